//! Those who wait for an entry to be applied.

use std::collections::VecDeque;

use trilith_raft::EntryId;
use trilith_types::{LogIndex, Term};

/// Who waits for which entry. Bounded by what a leader may have uncommitted.
///
/// An entry that was truncated here may still be committed: another replica may hold it, and bring
/// it back. Another entry that is applied in its place ends it for good, and so does one of a later
/// term that is applied before its place: terms never fall along a log. Without the latter somebody
/// could wait for as long as nobody else writes.
#[derive(Debug)]
pub(crate) struct Pending<P> {
    /// By index, ascending.
    waiting: VecDeque<(EntryId, P)>,
    /// Entries that were truncated.
    displaced: Vec<(EntryId, P)>,
    /// Of the last entry that was applied.
    term: Term,
}

impl<P> Default for Pending<P> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            displaced: Vec::new(),
            term: Term::ZERO,
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
        if applied.term > self.term {
            self.term = applied.term;
            due.lost.extend(self.outlived(applied.term));
        }
        due
    }

    /// Those whose entries come after one of this term and have an earlier one, which cannot be.
    fn outlived(&mut self, term: Term) -> Vec<P> {
        let is_older = |(id, _): &(EntryId, P)| id.term < term;
        let (older, waiting): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(is_older);
        self.waiting = waiting;
        let displaced = self.displaced.extract_if(.., |pending| is_older(pending));
        let lost: Vec<P> = older
            .into_iter()
            .chain(displaced)
            .map(|(_, pending)| pending)
            .collect();
        lost
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
    fn an_entry_of_a_later_term_ends_all_older_ones_behind_it() {
        let mut pending = Pending::default();
        for index in 3..=6 {
            pending.push(id(1, index), index);
        }
        pending.truncate(LogIndex(4));
        pending.push(id(2, 9), 9);
        pending.push(id(1, 8), 8);
        let due = pending.apply(id(1, 3));
        assert_eq!((due.answered, due.lost), (vec![3], vec![]));
        // The next leader's first entry: nobody else writes for now.
        let due = pending.apply(id(2, 4));
        assert_eq!((due.answered, due.lost), (vec![], vec![4, 8, 5, 6]));
        assert_eq!(pending.len(), 1);
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
