//! A group that has no leader and cannot get one: too few of its voters are in reach.
//!
//! Its election timeouts would end in pre-votes that nobody answers, some twice a second and group,
//! which with thousands of groups is all that a node does while the others are away. So its time
//! passes slowly until a link comes back: the links say so, and that wakes it at once. They may be
//! wrong, which is why its time never stands still.

use std::time::Duration;

use trilith_raft::Role;

use super::{Cx, Replica};
use crate::machine::Machine;

/// Of so many ticks, a stranded group has one.
const SLOWER: u32 = 64;

impl<M: Machine> Replica<M> {
    /// Whether every tick would be wasted: nobody leads, those who are not suspected are no quorum,
    /// and nobody here waits for time to pass.
    fn is_stranded(&self, cx: &Cx<M>) -> bool {
        if cx.suspected.is_empty() || self.stopped.is_some() || self.is_deaf(cx) {
            return false;
        }
        let voters = &self.core.configuration().voters;
        let in_reach = |id| id == cx.node() || !cx.suspected.contains(&id);
        if voters.incoming().is_empty() || voters.is_reached(in_reach) {
            return false;
        }
        let status = self.core.status();
        status.leader.is_none()
            && matches!(status.role, Role::Follower | Role::PreCandidate)
            && status.reads_pending == 0
            && self.requests.is_empty()
            && self.write.is_idle()
            && self.parked_sends.is_empty()
            && self.outgoing.is_empty()
            && self.staging.is_none()
    }

    /// Looks again at whether time is to pass slowly, and says whether it is.
    pub(crate) fn slow_down(&mut self, cx: &Cx<M>) -> bool {
        let is_stranded = self.is_stranded(cx);
        if !is_stranded {
            self.slow_tick = None;
        } else if self.slow_tick.is_none() {
            self.slow_tick = Some(cx.now.monotonic + slow_tick(cx));
        }
        is_stranded
    }

    /// A stranded group's tick, when it is due.
    pub(super) fn tick_slowly(&mut self, cx: &mut Cx<M>) {
        if self.slow_tick.is_some_and(|at| at <= cx.now.monotonic) {
            self.slow_tick = Some(cx.now.monotonic + slow_tick(cx));
            self.tick(cx);
        }
    }
}

fn slow_tick<M: Machine>(cx: &Cx<M>) -> Duration {
    cx.config.tick * SLOWER
}
