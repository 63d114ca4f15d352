//! A leader without a state machine.
//!
//! A node whose state machine is lost may be the only one with the last entries of the log, and
//! nobody else can be elected then. So it may be elected, and is a caretaker: it replicates and
//! commits like any leader, but takes no proposals and serves no reads. It hands leadership over
//! as soon as a voter that has its state machine has caught up, and is given a snapshot like any
//! follower then. What a caretaker's log no longer holds, some voter's state machine does, since
//! damage never reaches a majority of the copies of an entry: that voter can catch up.

use trilith_types::NodeId;

use crate::{core::Core, progress::Progress, status::Role, transfer::Transfer};

impl Core {
    /// Whether this node leads without a state machine.
    pub(crate) fn is_caretaker(&self) -> bool {
        self.role == Role::Leader && self.needs_snapshot
    }

    /// Caretaker: looks for a successor.
    pub(crate) fn caretaker_tick(&mut self) {
        if self.is_caretaker()
            && self.transfer.is_none()
            && let Some(to) = self.successor()
        {
            self.transfer = Some(Transfer::to(to));
            self.advance_transfer();
        }
    }

    /// One of the voters that have a state and the whole log, each as likely as the others: when
    /// one does not take office, the next try is another's.
    fn successor(&mut self) -> Option<NodeId> {
        let (voters, last) = (self.log.history.active(), self.log.last_index());
        let fits = |peer: &&Progress| {
            voters.is_voter(peer.id) && peer.has_state && !peer.suspected && peer.matched == last
        };
        let count = self.peers.iter().filter(fits).count();
        let place = match count {
            0 => return None,
            _ => self.random.below(count as u64) as usize,
        };
        let chosen = self.peers.iter().filter(fits).nth(place);
        chosen.map(|peer| peer.id)
    }
}
