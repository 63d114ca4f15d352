//! Quiet groups: a group with nothing to do has no ticks and no heartbeats of its own.
//!
//! A leader whose group has been idle proposes quiet with its heartbeats, naming its last entry.
//! A follower that holds exactly that log, all of it committed and applied, goes quiet and says
//! so. The leader follows once every peer that is not suspected has said so, and they are a
//! quorum. From then on the host's detector of failed nodes stands for the heartbeats:
//!
//! - Whatever may bring work wakes a core: a message, but for "I am quiet" and a stranger's pre-vote;
//!   a request of the host; damage; [`Core::peer_suspect`] and [`Core::peer_alive`]. Reports of what
//!   is done, such as writes, applied entries and trims, do not.
//! - A follower that wakes tells the leader, which wakes too: else it, and others that woke with
//!   it, would hear nothing and depose a leader that is only asleep.
//! - While it is quiet, the quorum counts as checked as long as nobody is suspected. Woken, a
//!   leader must hear from a quorum within an election timeout or step down, as always.
//! - Reads wake the group and are confirmed by a quorum as always; there is no lease.
//! - A suspicion stays until the host takes it back. A late message from a suspected leader does
//!   not send a follower back to sleep, since the host would not wake it a second time.

use trilith_types::NodeId;

use crate::{
    config::Moment,
    core::Core,
    entry::EntryId,
    message::{Body, HeartbeatReply, Round},
    progress::Sending,
    status::Role,
};

/// Whether a core is quiet, and for how long it has had nothing to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quiet {
    on: bool,
    idle_ticks: u32,
    /// Leader: a peer may have said that it is quiet.
    answered: bool,
}

impl Quiet {
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Leader: a peer has said whether it is quiet.
    pub(crate) fn note_answer(&mut self, quiet: bool) {
        self.answered |= quiet;
    }

    /// There is something to do.
    pub(crate) fn touch(&mut self) {
        self.idle_ticks = 0;
    }
}

impl Core {
    /// The host suspects that `peer`'s node has failed or cannot be reached. It may be wrong: a
    /// suspicion only brings elections and checks forward, and breaks no promise.
    pub fn peer_suspect(&mut self, peer: NodeId) {
        self.touched = true;
        if planted!(self, QuietNeverWakes) && self.quiet.is_on() {
            return;
        }
        let Some(progress) = self.peers.get_mut(peer) else {
            return;
        };
        progress.suspected = true;
        if progress.sending == Sending::Replicate {
            let next = progress.matched.next();
            progress.probe_from(next);
        }
        self.wake();
        if self.leader == Some(peer) && self.role == Role::Follower {
            self.stand_soon();
        }
    }

    /// The host has heard from `peer`'s node again.
    pub fn peer_alive(&mut self, peer: NodeId) {
        self.touched = true;
        let Some(progress) = self.peers.get_mut(peer) else {
            return;
        };
        progress.suspected = false;
        progress.paused = false;
        self.wake();
    }

    /// Takes the group's ticks up again, and tells a leader that may still be asleep.
    pub(crate) fn wake(&mut self) {
        if !self.quiet.on {
            return;
        }
        self.wake_silently();
        let leader = self.leader.filter(|&id| !self.suspects(id));
        if let (Role::Follower, Some(leader)) = (self.role, leader) {
            self.touched = true;
            let reply = HeartbeatReply {
                round: Round(0),
                sent_at: Moment(0),
                received: self.verified,
                ack: None,
                quiet: false,
                needs_snapshot: self.needs_snapshot,
            };
            self.send(leader, Body::HeartbeatReply(reply));
        }
    }

    /// The same when the leader is awake.
    pub(crate) fn wake_silently(&mut self) {
        if !self.quiet.on {
            return;
        }
        self.quiet.touch();
        self.quiet.on = false;
        self.election_elapsed = 0;
        self.check_elapsed = 0;
        // A leader that wakes says so at its next tick.
        self.heartbeat_elapsed = self.config.heartbeat_ticks;
        let tick = self.ticks;
        for peer in self.peers.iter_mut() {
            peer.quiet = false;
            peer.heard_tick = tick;
        }
    }

    /// Counts an idle tick.
    pub(crate) fn idle_tick(&mut self) {
        self.quiet.idle_ticks = self.quiet.idle_ticks.saturating_add(1);
    }

    fn suspects(&self, id: NodeId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.suspected)
    }

    /// What holds for every member of a group that may go quiet.
    fn is_settled(&self) -> bool {
        let log = &self.log;
        let last = log.last_index();
        let done = [log.stored, log.commit, log.applied]
            .iter()
            .all(|&mark| mark == last);
        done && log.damage.is_empty()
            && log.unknown.is_none()
            && self.writes.is_idle()
            && !self.hard_dirty
            && self.reads.is_empty()
            && self.receiving.is_none()
            && !self.needs_snapshot
            && !self.configuration().is_joint()
    }

    /// The entry at which a leader proposes to go quiet.
    pub(crate) fn quiet_proposal(&self) -> Option<EntryId> {
        let after = self.config.quiet_after_ticks?;
        let last = self.log.last_index();
        let caught_up = |id| {
            self.peers.get(id).is_none_or(|p| {
                p.matched == last && p.sending == Sending::Replicate && p.ticket.is_none()
            })
        };
        let peers_done = self
            .peers
            .iter()
            .all(|peer| peer.suspected || caught_up(peer.id));
        let quorum_awake = self.quorum().is_reached(|id| !self.suspects(id));
        let ready = self.role == Role::Leader
            && self.quiet.idle_ticks >= after
            && self.has_committed_in_term()
            && self.transfer.is_none()
            && peers_done
            && quorum_awake
            && self.is_settled();
        ready.then(|| self.log.last())
    }

    /// Leader: goes quiet once everybody else has.
    pub(crate) fn maybe_go_quiet(&mut self) {
        let all = self.peers.iter().all(|peer| peer.suspected || peer.quiet);
        if all && self.quiet_proposal().is_some() {
            self.go_quiet();
        }
    }

    /// Leader: what it sends to a quiet peer wakes that, but for the proposal to be quiet.
    pub(crate) fn note_woken_peers(&mut self) {
        if !self.quiet.answered {
            return;
        }
        for message in &self.out.messages {
            let proposal = matches!(&message.body, Body::Heartbeat(h) if h.quiet.is_some());
            if !proposal && let Some(peer) = self.peers.get_mut(message.to) {
                peer.quiet = false;
            }
        }
        self.quiet.answered = self.peers.iter().any(|peer| peer.quiet);
    }

    /// Follower: whether it goes quiet at the leader's proposal.
    pub(crate) fn accept_quiet(&mut self, leader: NodeId, last: EntryId) -> bool {
        let agree = self.log.last() == last
            && self.verified == last.index
            && !self.suspects(leader)
            && !self.ack_due
            && self.is_settled();
        if agree {
            self.go_quiet();
        }
        agree
    }

    fn go_quiet(&mut self) {
        self.quiet.on = true;
        self.quiet.idle_ticks = 0;
        self.uncommitted.release_memory();
        self.writes.release_memory();
        self.reads.release_memory();
        for peer in self.peers.iter_mut() {
            peer.inflight.release();
        }
    }
}
