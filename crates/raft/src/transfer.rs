//! Leadership transfer (dissertation §3.10).

use trilith_types::NodeId;

use crate::{
    core::Core,
    election::Campaign,
    error::{Dropped, TransferError},
    message::{Body, Round},
    status::Role,
};

/// A transfer under way. Until it ends nothing is proposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    /// The target has been told to stand for election.
    sent: bool,
    elapsed: u32,
}

impl Transfer {
    pub(crate) fn to(to: NodeId) -> Self {
        Self {
            to,
            sent: false,
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
        if ready && !transfer.sent {
            transfer.sent = true;
            self.lease.hand_over();
            let round = self.reads.round();
            self.send(to, Body::TimeoutNow { round });
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
            let sent = transfer.sent;
            self.transfer = None;
            if sent {
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
