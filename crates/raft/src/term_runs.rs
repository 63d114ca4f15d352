//! The log as the core knows it: which term is at which index, as runs of equal terms.

use trilith_types::{LogIndex, Term};

use crate::entry::{EntryId, EntryRuns};

/// The identities of every entry of a log, kept as runs of equal terms: a log of a million
/// entries of one term costs sixteen bytes.
///
/// `base` is the position just before the first entry that is still there: (0, 0) for a log that
/// starts at 1, or the last entry that a snapshot covers. Terms never fall along the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TermRuns {
    base: EntryId,
    last: LogIndex,
    runs: Vec<Run>,
}

/// A run lasts until the next one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: LogIndex,
    term: Term,
}

impl TermRuns {
    /// An empty log that goes on after `base`.
    #[must_use]
    pub const fn starting_after(base: EntryId) -> Self {
        Self {
            base,
            last: base.index,
            runs: Vec::new(),
        }
    }

    /// The position just before the first entry.
    #[must_use]
    pub const fn base(&self) -> EntryId {
        self.base
    }

    /// The index of the first entry that is there, or would be.
    #[must_use]
    pub const fn first_index(&self) -> LogIndex {
        self.base.index.next()
    }

    /// The index of the last entry; the base when there is none.
    #[must_use]
    pub const fn last_index(&self) -> LogIndex {
        self.last
    }

    /// The last entry's identity; the base when there is none.
    #[must_use]
    pub fn last(&self) -> EntryId {
        let term = self.runs.last().map_or(self.base.term, |run| run.term);
        EntryId {
            term,
            index: self.last,
        }
    }

    /// How many runs there are: what the memory is proportional to.
    #[must_use]
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// The term at `index`; `None` before the base and past the end.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last {
            return None;
        }
        self.run_at(index).map(|run| run.term)
    }

    /// The identity at `index`; `None` before the base and past the end.
    #[must_use]
    pub fn id_at(&self, index: LogIndex) -> Option<EntryId> {
        self.term_at(index).map(|term| EntryId { term, index })
    }

    /// Whether the log holds the entry `id`, or starts right after it.
    #[must_use]
    pub fn holds(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    fn run_at(&self, index: LogIndex) -> Option<&Run> {
        // Nearly every question is about the last run.
        match self.runs.last() {
            Some(last) if last.first <= index => Some(last),
            _ => {
                let after = self.runs.partition_point(|run| run.first <= index);
                after.checked_sub(1).and_then(|at| self.runs.get(at))
            }
        }
    }

    /// Adds `count` entries of `term` at the end.
    ///
    /// # Panics
    /// In debug builds, when `term` is below the last one.
    pub fn append(&mut self, term: Term, count: u64) {
        if count == 0 {
            return;
        }
        let last = self.last();
        debug_assert!(term >= last.term, "terms never fall along a log");
        if self.runs.is_empty() || last.term != term {
            self.runs.push(Run {
                first: self.last.next(),
                term,
            });
        }
        self.last = self.last.plus(count);
    }

    /// Puts `earlier` in front; nothing happens unless it ends with the base.
    pub(crate) fn prepend(&mut self, earlier: &Self) {
        if earlier.last() != self.base {
            return;
        }
        let own = self.slice(self.first_index(), self.last);
        *self = earlier.clone();
        for run in own.iter() {
            self.append(run.term, run.count);
        }
    }

    /// Removes the entries from `from` on. What lies at or before the base stays.
    pub fn truncate_from(&mut self, from: LogIndex) {
        let from = from.max(self.first_index());
        if from > self.last {
            return;
        }
        self.last = from.prev();
        while self.runs.last().is_some_and(|run| run.first > self.last) {
            self.runs.pop();
        }
    }

    /// Forgets the entries up to and including `upto`, which becomes the base. Nothing happens
    /// when it lies before the base or past the end.
    pub fn compact_to(&mut self, upto: LogIndex) {
        if upto <= self.base.index {
            return;
        }
        let Some(term) = self.term_at(upto) else {
            return;
        };
        self.base = EntryId { term, index: upto };
        let gone = self.runs.partition_point(|run| run.first <= upto);
        // The run that covers the first kept entry is cut at its front.
        let keep_from = gone.saturating_sub(1);
        self.runs.drain(..keep_from);
        if self.last == upto {
            self.runs.clear();
        } else if let Some(run) = self.runs.first_mut() {
            run.first = run.first.max(upto.next());
        }
        self.merge_front();
    }

    /// When the cut fell on the end of a run, the run in front is empty.
    fn merge_front(&mut self) {
        let first = self.first_index();
        let covers = self.runs.get(1).is_some_and(|next| next.first <= first);
        if covers {
            self.runs.remove(0);
        }
    }

    /// The last index at or before `at` whose term is at most `term`, with its identity: where
    /// two logs can still agree (fast backtracking, Raft §5.3). At worst it is the base.
    #[must_use]
    pub fn last_not_above(&self, at: LogIndex, term: Term) -> EntryId {
        let at = at.min(self.last);
        let mut end = at;
        for run in self.runs.iter().rev() {
            if run.first > end {
                continue;
            }
            if run.term <= term {
                return EntryId {
                    term: run.term,
                    index: end,
                };
            }
            end = run.first.prev();
        }
        if at < self.base.index {
            EntryId {
                term: Term::ZERO,
                index: at,
            }
        } else {
            self.base
        }
    }

    /// The terms of `first..=last`, as a message carries them. What the log does not hold is left
    /// out at the end.
    #[must_use]
    pub fn slice(&self, first: LogIndex, last: LogIndex) -> EntryRuns {
        let last = last.min(self.last);
        let mut slice = EntryRuns::EMPTY;
        let mut at = first.max(self.first_index());
        let start = self
            .runs
            .partition_point(|run| run.first <= at)
            .saturating_sub(1);
        let mut runs = self.runs.iter().skip(start).peekable();
        while let Some(run) = runs.next() {
            if at > last {
                break;
            }
            let end = runs
                .peek()
                .map_or(self.last, |next| next.first.prev())
                .min(last);
            slice.push(run.term, end.next().since(at).unwrap_or(0));
            at = at.max(end.next());
        }
        slice
    }

    /// The first index at which the log and `runs`, laid from `first` on, differ in term, or past
    /// which the log ends; `None` when the log holds every one of them.
    #[must_use]
    pub fn first_difference(&self, first: LogIndex, runs: &EntryRuns) -> Option<LogIndex> {
        let mut at = first;
        for run in runs.iter() {
            let end = at.plus(run.count);
            while at < end {
                if self.term_at(at) != Some(run.term) {
                    return Some(at);
                }
                at = self.run_end(at).next().min(end);
            }
        }
        None
    }

    /// The last index of the run that `index` is in.
    fn run_end(&self, index: LogIndex) -> LogIndex {
        if index <= self.base.index {
            return index;
        }
        let next = self.runs.partition_point(|run| run.first <= index);
        self.runs
            .get(next)
            .map_or(self.last, |run| run.first.prev())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log as a plain list of terms; the entry at `base + 1` comes first.
    #[derive(Clone, Debug)]
    struct Naive {
        base: EntryId,
        terms: Vec<Term>,
    }

    impl Naive {
        fn last(&self) -> LogIndex {
            self.base.index.plus(self.terms.len() as u64)
        }

        fn term_at(&self, index: LogIndex) -> Option<Term> {
            if index == self.base.index {
                return Some(self.base.term);
            }
            let offset = index.since(self.base.index)?.checked_sub(1)?;
            self.terms.get(offset as usize).copied()
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Append { term_step: u64, count: u64 },
        Truncate(u64),
        Compact(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            3 => (0..3_u64, 0..5_u64).prop_map(|(term_step, count)| Op::Append { term_step, count }),
            1 => (0..30_u64).prop_map(Op::Truncate),
            1 => (0..30_u64).prop_map(Op::Compact),
        ];
        prop::collection::vec(op, 0..24)
    }

    fn run(ops: &[Op]) -> (TermRuns, Naive) {
        let mut runs = TermRuns::starting_after(EntryId::new(1, 2));
        let mut naive = Naive {
            base: EntryId::new(1, 2),
            terms: Vec::new(),
        };
        for op in ops {
            match *op {
                Op::Append { term_step, count } => {
                    let term = Term(runs.last().term.get() + term_step);
                    runs.append(term, count);
                    naive.terms.extend((0..count).map(|_| term));
                }
                Op::Truncate(at) => {
                    runs.truncate_from(LogIndex(at));
                    let keep = at.saturating_sub(naive.base.index.get() + 1) as usize;
                    naive.terms.truncate(keep);
                }
                Op::Compact(upto) => {
                    runs.compact_to(LogIndex(upto));
                    if let Some(term) = naive.term_at(LogIndex(upto)) {
                        let gone = (upto - naive.base.index.get()) as usize;
                        naive.terms.drain(..gone);
                        naive.base = EntryId {
                            term,
                            index: LogIndex(upto),
                        };
                    }
                }
            }
        }
        (runs, naive)
    }

    proptest! {
        #[test]
        fn the_runs_say_what_a_list_of_terms_says(ops in ops(), term in 0..8_u64, at in 0..40_u64) {
            let (runs, naive) = run(&ops);
            prop_assert_eq!(runs.base(), naive.base);
            prop_assert_eq!(runs.last_index(), naive.last());
            for index in 0..60 {
                prop_assert_eq!(runs.term_at(LogIndex(index)), naive.term_at(LogIndex(index)));
            }
            let found = runs.last_not_above(LogIndex(at), Term(term));
            let at = LogIndex(at).min(naive.last());
            let expected = (naive.base.index.get() + 1..=at.get())
                .rev()
                .find(|&i| naive.term_at(LogIndex(i)).is_some_and(|t| t <= Term(term)))
                .map_or(naive.base.index.min(at), LogIndex);
            prop_assert_eq!(found.index, expected);
        }

        #[test]
        fn what_was_compacted_can_be_put_in_front_again(ops in ops(), upto in 0..40_u64, off in 0..3_u64) {
            let (whole, _) = run(&ops);
            let mut rest = whole.clone();
            rest.compact_to(LogIndex(upto));
            let mut front = whole.clone();
            front.truncate_from(rest.first_index());
            front.append(front.last().term, off);
            let expected = if off == 0 { whole } else { rest.clone() };
            rest.prepend(&front);
            prop_assert_eq!(rest, expected);
        }

        #[test]
        fn a_slice_holds_the_terms_in_order(ops in ops(), first in 0..30_u64, count in 0..30_u64) {
            let (runs, naive) = run(&ops);
            let (first, last) = (LogIndex(first), LogIndex(first + count));
            let slice = runs.slice(first, last);
            let listed: Vec<_> =
                slice.iter().flat_map(|r| (0..r.count).map(move |_| r.term)).collect();
            let start = first.max(runs.first_index());
            let expected: Vec<_> = (start.get()..=last.min(naive.last()).get())
                .filter_map(|i| naive.term_at(LogIndex(i)))
                .collect();
            prop_assert_eq!(&listed, &expected);
            prop_assert_eq!(runs.first_difference(start, &slice), None);
        }

        #[test]
        fn the_first_difference_is_the_one_that_a_walk_finds(
            ops in ops(),
            first in 3..20_u64,
            other in prop::collection::vec((1..6_u64, 1..4_u64), 0..5),
        ) {
            let (runs, naive) = run(&ops);
            let first = LogIndex(first).max(runs.first_index());
            let mut theirs = EntryRuns::EMPTY;
            let mut terms = Vec::new();
            for (term, count) in other {
                theirs.push(Term(term), count);
                terms.extend((0..count).map(|_| Term(term)));
            }
            let expected = terms
                .iter()
                .enumerate()
                .map(|(i, &term)| (first.plus(i as u64), term))
                .find(|&(index, term)| naive.term_at(index) != Some(term))
                .map(|(index, _)| index);
            prop_assert_eq!(runs.first_difference(first, &theirs), expected);
        }
    }

    #[test]
    fn a_million_entries_of_one_term_are_one_run() {
        let mut runs = TermRuns::default();
        for _ in 0..1_000_000 {
            runs.append(Term(1), 1);
        }
        assert_eq!(runs.run_count(), 1);
        assert_eq!(runs.last(), EntryId::new(1, 1_000_000));
        assert!(runs.holds(EntryId::new(1, 5)) && !runs.holds(EntryId::new(2, 5)));
        assert_eq!(runs.id_at(LogIndex(1_000_001)), None);
    }
}
