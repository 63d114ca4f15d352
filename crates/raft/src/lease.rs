//! Leases: reads without a round trip, where the settings allow them.
//!
//! The rules that make them safe (off by default all the same):
//!
//! - A lease is counted from the moment at which the acknowledged heartbeats were **sent**, by
//!   the leader's clock, and the clock is read after the request has arrived.
//! - A follower that answers a heartbeat promises its vote to nobody for longer than the lease,
//!   by its own clock. A suspicion of the leader does not break the promise.
//! - A follower that has started again abstains for as long as a promise lasts.
//! - A leader that has sent "time out now" serves no lease read again in that term.
//! - A quiet group has no heartbeats and so no lease: its reads go to a quorum.
//!
//! Two clocks must not drift apart, over one promise, by more than the promise is longer than
//! the lease.

use crate::{
    config::{LeaseConfig, Moment},
    core::Core,
    status::Role,
};

/// Promises given, and the right to count on those of others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lease {
    /// Until then this node votes for nobody.
    promised_until: Moment,
    /// This leader has sent "time out now" in its term.
    handed_over: bool,
}

impl Lease {
    /// A node that has just started may have promised its vote before it stopped.
    pub(crate) fn after_start(config: Option<LeaseConfig>, now: Moment) -> Self {
        let promised_until = config.map_or(Moment(0), |lease| now.plus(lease.promise_micros));
        Self {
            promised_until,
            handed_over: false,
        }
    }

    pub(crate) fn start_term(&mut self) {
        self.handed_over = false;
    }

    pub(crate) fn hand_over(&mut self) {
        self.handed_over = true;
    }
}

impl Core {
    /// Whether this node has promised its vote to nobody for now.
    pub(crate) fn vote_is_promised(&self) -> bool {
        self.config.lease.is_some() && self.now < self.lease.promised_until
    }

    /// Follower: a heartbeat is being answered.
    pub(crate) fn promise_vote(&mut self) {
        if let Some(lease) = self.config.lease {
            let until = self.now.plus(lease.promise_micros);
            self.lease.promised_until = self.lease.promised_until.max(until);
        }
    }

    /// Leader: whether a quorum's promises still hold.
    pub(crate) fn has_lease(&self) -> bool {
        let Some(lease) = self.config.lease else {
            return false;
        };
        let gone = self.lease.handed_over && !planted!(self, LeaseSurvivesTransfer);
        if self.role != Role::Leader || gone || !self.has_committed_in_term() {
            return false;
        }
        let me = self.id();
        let sent_at = self.quorum().highest_reached(|id| {
            if id == me {
                return Some(self.now);
            }
            self.peers.get(id).and_then(|peer| peer.acked_sent_at)
        });
        sent_at.is_some_and(|sent_at| self.now < sent_at.plus(lease.duration_micros))
    }
}
