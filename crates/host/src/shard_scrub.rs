//! A shard's scrub carried out: pieces are read by workers, and what they find is mended like any
//! other damage.

use std::ops::Bound;

use trilith_types::{GroupId, LogIndex};

use crate::{machine::Machine, replica::Checked, scrub::Place, shard::Shard};

/// Most groups with nothing to read that are passed over in one turn.
const PASSED_OVER_MAX: usize = 256;

impl<M: Machine> Shard<M> {
    /// Has the next piece read when it is time.
    pub(crate) fn scrub_if_due(&mut self) {
        let now = self.cx.now.monotonic;
        for _ in 0..PASSED_OVER_MAX {
            let Some(place) = self.scrub.due(now) else {
                return;
            };
            let (group, from) = match place {
                Place::Within(group, from) => (group, from),
                Place::After(before) => {
                    let after = before.map_or(Bound::Unbounded, Bound::Excluded);
                    let mut later = self.replicas.range((after, Bound::Unbounded));
                    let Some((group, _)) = later.next() else {
                        self.scrub.has_passed(now);
                        self.cx.metrics.scrub_passes.add(1);
                        return;
                    };
                    (*group, LogIndex::ZERO)
                }
            };
            let replica = self.replicas.get(&group);
            match replica.and_then(|replica| replica.scrub_piece(&self.cx, from)) {
                Some(true) => return self.scrub.reads(),
                Some(false) => return self.scrub.was_refused(now),
                None => self.scrub.goes_on(Place::After(Some(group))),
            }
        }
    }

    /// A piece of a group's log was read.
    pub(crate) fn scrubbed(&mut self, group: GroupId, checked: &Checked) {
        let next = match checked.next {
            Some(next) => Place::Within(group, next),
            None => Place::After(Some(group)),
        };
        self.cx.metrics.scrubbed_bytes.add(checked.bytes);
        let now = self.cx.now.monotonic;
        self.scrub.was_read(now, checked.bytes, next);
    }
}
