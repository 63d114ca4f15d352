//! Those who wait for an entry to be applied.

use std::collections::VecDeque;

use trilith_raft::EntryId;
use trilith_types::LogIndex;

/// Who waits for which entry. Bounded by what a leader may have uncommitted.
///
/// An entry that was truncated here may still be committed: another replica may hold it, and bring
/// it back. Only another entry that is applied in its place ends it for good.
#[derive(Debug)]
pub(crate) struct Pending<P> {
    /// By index, ascending.
    waiting: VecDeque<(EntryId, P)>,
    /// Entries that were truncated.
    displaced: Vec<(EntryId, P)>,
}

impl<P> Default for Pending<P> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            displaced: Vec::new(),
        }
    }
}

/// Who is to be told what when an entry is applied.
#[derive(Debug)]
pub(crate) struct Due<P> {
    /// They waited for this entry.
    pub(crate) answered: Vec<P>,
    /// They waited for another one in its place.
    pub(crate) lost: Vec<P>,
}

impl<P> Due<P> {
    const fn none() -> Self {
        Self {
            answered: Vec::new(),
            lost: Vec::new(),
        }
    }

    fn add(&mut self, applied: EntryId, id: EntryId, pending: P) {
        if id == applied {
            self.answered.push(pending);
        } else {
            self.lost.push(pending);
        }
    }
}

impl<P> Pending<P> {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.displaced.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Somebody waits for `id`.
    pub(crate) fn push(&mut self, id: EntryId, pending: P) {
        let place = match self.waiting.back() {
            Some((last, _)) if last.index > id.index => self
                .waiting
                .partition_point(|(other, _)| other.index <= id.index),
            _ => self.waiting.len(),
        };
        self.waiting.insert(place, (id, pending));
    }

    /// The log was truncated from `from` on.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        let keep = self.waiting.partition_point(|(id, _)| id.index < from);
        self.displaced.extend(self.waiting.drain(keep..));
    }

    /// The entry `applied` is applied.
    pub(crate) fn apply(&mut self, applied: EntryId) -> Due<P> {
        let mut due = Due::none();
        let is_due = |id: &EntryId| id.index <= applied.index;
        while let Some((id, pending)) = self.waiting.pop_front_if(|(id, _)| is_due(id)) {
            due.add(applied, id, pending);
        }
        if !self.displaced.is_empty() {
            for (id, pending) in self.displaced.extract_if(.., |(id, _)| is_due(id)) {
                due.add(applied, id, pending);
            }
        }
        due
    }

    /// A snapshot covers everything up to `index`: what became of these entries is not known.
    pub(crate) fn covered(&mut self, index: LogIndex) -> Vec<P> {
        let mut gone = Vec::new();
        while let Some((_, pending)) = self.waiting.pop_front_if(|(id, _)| id.index <= index) {
            gone.push(pending);
        }
        let displaced = self.displaced.extract_if(.., |(id, _)| id.index <= index);
        gone.extend(displaced.map(|(_, pending)| pending));
        gone
    }

    /// Everybody.
    pub(crate) fn take_all(&mut self) -> Vec<P> {
        let all = self.waiting.drain(..).chain(self.displaced.drain(..));
        all.map(|(_, pending)| pending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> EntryId {
        EntryId::new(term, index)
    }

    #[test]
    fn those_of_one_entry_are_answered_together_in_order() {
        let mut pending = Pending::default();
        pending.push(id(1, 3), "a");
        pending.push(id(1, 4), "b");
        pending.push(id(1, 3), "again");
        let due = pending.apply(id(1, 3));
        assert_eq!((due.answered, due.lost), (vec!["a", "again"], vec![]));
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn a_truncated_entry_is_lost_only_when_another_one_is_applied_there() {
        let mut pending = Pending::default();
        pending.push(id(1, 3), "a");
        pending.push(id(1, 4), "b");
        pending.truncate(LogIndex(3));
        pending.push(id(2, 3), "c");
        let due = pending.apply(id(1, 3));
        assert_eq!((due.answered, due.lost), (vec!["a"], vec!["c"]));
        let due = pending.apply(id(3, 4));
        assert_eq!((due.answered, due.lost), (vec![], vec!["b"]));
        assert!(pending.is_empty());
    }

    #[test]
    fn a_snapshot_leaves_those_after_it() {
        let mut pending = Pending::default();
        for index in 1..=4 {
            pending.push(id(1, index), index);
        }
        pending.truncate(LogIndex(4));
        assert_eq!(pending.covered(LogIndex(2)), [1, 2]);
        assert_eq!(pending.take_all(), [3, 4]);
    }
}
