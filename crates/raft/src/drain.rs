//! What is to be done comes out here.

use crate::{
    core::Core,
    outbox::Outbox,
    output::{Apply, Output, Write},
};

impl Core {
    /// Moves everything that is to be done into `out`, at the ends of its lists. Called after one
    /// input or after many; the host calls it until nothing more comes, since sends that it has
    /// completed make room for others.
    pub fn drain(&mut self, out: &mut Output) {
        if !std::mem::take(&mut self.touched) {
            return;
        }
        self.drain_reads();
        self.drain_sends();
        self.drain_write(out);
        self.note_woken_peers();
        self.out.move_to(out);
        self.drain_apply(out);
        self.drain_role(out);
        if self.quiet.is_on() {
            self.out = Outbox::default();
        }
    }

    fn drain_write(&mut self, out: &mut Output) {
        if !self.hard_dirty && !self.out.has_log() {
            return;
        }
        debug_assert!(
            out.write.is_none(),
            "an output is carried out and cleared before the next"
        );
        let seq = self.writes.issue(self.log.last_index(), self.ticks);
        let hard_state = self.hard_dirty.then_some(self.hard);
        self.hard_dirty = false;
        let commit = self.log.commit.min(self.log.last_index());
        out.write = Some(Write {
            seq,
            hard_state,
            commit,
        });
    }

    fn drain_apply(&mut self, out: &mut Output) {
        let upto = self.log.appliable();
        if upto <= self.log.handed || self.needs_snapshot {
            return;
        }
        let first = out
            .apply
            .map_or(self.log.handed.next(), |apply| apply.first);
        self.log.handed = upto;
        out.apply = Some(Apply { first, last: upto });
    }

    fn drain_role(&mut self, out: &mut Output) {
        let now = self.role_now();
        if now != self.told {
            self.told = now;
            out.role = Some(now);
        }
    }
}
