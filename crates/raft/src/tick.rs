//! Time passes.

use crate::{config::Moment, core::Core, election::Campaign, progress::Progress, status::Role};

impl Core {
    /// One tick of the host's timer. `now` is the host's clock. A quiet core needs none.
    pub fn tick(&mut self, now: Moment) {
        self.observe(now);
        if self.quiet.is_on() || self.vote_lost {
            return;
        }
        self.ticks = self.ticks.saturating_add(1);
        self.repair_tick();
        self.read_tick();
        self.receiving_tick();
        if self.is_leading() {
            self.leader_tick();
        } else {
            self.follower_tick();
        }
        self.touched |= self.quiet.is_on() || !self.out.is_empty();
    }

    fn follower_tick(&mut self) {
        self.election_elapsed = self.election_elapsed.saturating_add(1);
        if self.election_elapsed < self.election_timeout {
            return;
        }
        self.touched = true;
        self.receiving = None;
        if self.may_campaign() && !self.vote_is_promised() {
            self.start_campaign(Campaign::PreVote);
        } else {
            self.reset_election_timer();
            self.stand_again();
            self.leader = None;
        }
    }

    fn leader_tick(&mut self) {
        self.idle_tick();
        self.check_elapsed = self.check_elapsed.saturating_add(1);
        let lost_quorum = self.check_elapsed >= self.config.election_ticks && !self.has_quorum();
        if lost_quorum || self.disk_is_stalled() {
            self.touched = true;
            self.become_follower(self.hard.term, None);
            return;
        }
        self.repairing_tick();
        if !self.is_leading() {
            self.touched = true;
            return;
        }
        if self.check_elapsed >= self.config.election_ticks {
            self.check_elapsed = 0;
        }
        self.caretaker_tick();
        self.transfer_tick();
        self.snapshot_tick();
        self.heartbeat_elapsed = self.heartbeat_elapsed.saturating_add(1);
        if self.heartbeat_elapsed >= self.config.heartbeat_ticks {
            self.broadcast_heartbeat();
        }
        // A group of one, or one whose other members are all suspected, has nobody to ask.
        if self.role == Role::Leader {
            self.maybe_go_quiet();
        }
    }

    /// Check-quorum (dissertation §6.2): whether a quorum was heard within an election timeout.
    fn has_quorum(&self) -> bool {
        let me = self.id();
        let window = u64::from(self.config.election_ticks);
        self.quorum().is_reached(|id| {
            let heard = |p: &Progress| self.ticks.saturating_sub(p.heard_tick) < window;
            id == me || self.peers.get(id).is_some_and(heard)
        })
    }

    /// Whether the oldest write has been on its way for too long.
    pub(crate) fn disk_is_stalled(&self) -> bool {
        let limit = u64::from(self.config.disk_stall_ticks);
        self.writes
            .oldest_tick()
            .is_some_and(|since| self.ticks.saturating_sub(since) > limit)
    }
}
