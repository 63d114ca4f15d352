//! Leadership transfer (dissertation §3.10).

use trilith_types::NodeId;

use crate::{
    config::Moment,
    core::Core,
    election::Campaign,
    error::{Dropped, TransferError},
    message::{Body, Round},
    status::Role,
};

/// A transfer under way. Until it ends no proposal is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    /// When the target was told last to stand for election.
    ordered_at: Option<Moment>,
    elapsed: u32,
}

impl Transfer {
    pub(crate) fn to(to: NodeId) -> Self {
        Self {
            to,
            ordered_at: None,
            elapsed: 0,
        }
    }
}

impl Core {
    /// Hands leadership to `to`: it is brought up to date and told to stand for election. After
    /// an election timeout without effect, this leader goes on.
    ///
    /// # Errors
    /// When this node does not lead, or `to` cannot, or does already, or another transfer runs.
    pub fn transfer(&mut self, to: NodeId) -> Result<(), TransferError> {
        self.touched = true;
        self.wake();
        if self.role != Role::Leader {
            return Err(TransferError::NotLeader {
                leader: self.leader,
            });
        }
        if to == self.id() {
            return Err(TransferError::AlreadyLeader { to });
        }
        if !self.configuration().is_voter(to) {
            return Err(TransferError::NotVoter { to });
        }
        match self.transfer {
            Some(running) if running.to == to => return Ok(()),
            Some(running) => return Err(TransferError::InProgress { to: running.to }),
            None => {}
        }
        self.transfer = Some(Transfer::to(to));
        self.advance_transfer();
        Ok(())
    }

    /// Tells the target to stand once it has everything.
    pub(crate) fn advance_transfer(&mut self) {
        let last = self.log.last_index();
        let Some(transfer) = self.transfer.as_mut() else {
            return;
        };
        let to = transfer.to;
        let ready = self.peers.get(to).is_some_and(|peer| peer.matched == last);
        if ready && transfer.ordered_at.is_none() {
            self.order_to_stand();
        }
    }

    fn order_to_stand(&mut self) {
        let (now, round) = (self.now, self.reads.round());
        let Some(transfer) = self.transfer.as_mut() else {
            return;
        };
        transfer.ordered_at = Some(now);
        let to = transfer.to;
        self.lease.hand_over();
        self.send(to, Body::TimeoutNow { round });
    }

    /// The target follows this leader still, by its answer to a heartbeat that was sent after the
    /// order to stand: that was lost, or a round that began for a read has overtaken it and made
    /// it void. It is told again.
    pub(crate) fn repeat_order(&mut self, from: NodeId, sent_at: Moment) {
        let ignored = |transfer: &Transfer| {
            transfer.to == from && transfer.ordered_at.is_some_and(|at| at < sent_at)
        };
        if self.transfer.as_ref().is_some_and(ignored) {
            self.order_to_stand();
        }
    }

    /// Gives up after an election timeout: the target may be gone. A new round of heartbeats makes
    /// a "stand for election" void that is still on its way: it must not depose a leader that goes
    /// on.
    pub(crate) fn transfer_tick(&mut self) {
        let Some(transfer) = self.transfer.as_mut() else {
            return;
        };
        transfer.elapsed = transfer.elapsed.saturating_add(1);
        let over = transfer.elapsed >= self.config.election_ticks;
        let gone = !self.log.history.active().is_voter(transfer.to);
        if over || gone {
            let ordered = transfer.ordered_at.is_some();
            self.transfer = None;
            if ordered {
                self.begin_round();
            }
        }
    }

    pub(crate) fn on_timeout_now(&mut self, from: NodeId, round: Round) -> Result<(), Dropped> {
        if round < self.heard_round && !planted!(self, StaleTimeoutNow) {
            return Err(Dropped::TransferOver);
        }
        let in_order = self.role == Role::Follower && self.leader == Some(from);
        if !in_order || !self.may_campaign() {
            return Err(Dropped::WrongRole);
        }
        self.start_campaign(Campaign::Transfer);
        Ok(())
    }
}
