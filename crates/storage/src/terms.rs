//! Which term each entry has, as runs: a log has few of them, one for each leader.

use trilith_types::{LogIndex, Term};

use crate::codec::Input;

/// Neighbouring entries of one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRun {
    /// Their term.
    pub term: Term,
    /// The first of them.
    pub first: LogIndex,
    /// The last of them.
    pub last: LogIndex,
}

/// Where each term of a log begins; terms and entries both rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(Vec<(Term, LogIndex)>);

impl Terms {
    /// Of a log without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes the term of the next entry.
    pub fn note(&mut self, term: Term, index: LogIndex) {
        if self.0.last().is_none_or(|(last, _)| *last != term) {
            self.0.push((term, index));
        }
    }

    /// The term of an entry; `None` below the first. The caller knows where the log ends.
    #[must_use]
    pub fn at(&self, index: LogIndex) -> Option<Term> {
        let after = self.0.partition_point(|(_, first)| *first <= index);
        let (term, _) = self.0.get(after.checked_sub(1)?)?;
        Some(*term)
    }

    /// Forgets the entries from `from` on.
    pub fn cut(&mut self, from: LogIndex) {
        self.0.retain(|(_, first)| *first < from);
    }

    /// Forgets the entries below `first`, the log's first one now; `next` is the one that comes
    /// after its last.
    pub fn begin_at(&mut self, first: LogIndex, next: LogIndex) {
        let after = self.0.partition_point(|(_, start)| *start <= first);
        if let Some(holds) = after.checked_sub(1) {
            self.0.drain(..holds);
        }
        match self.0.first_mut() {
            Some((_, start)) if first < next => *start = (*start).max(first),
            _ => self.0.clear(),
        }
    }

    /// The runs of a log whose next entry is `next`.
    #[must_use]
    pub fn runs(&self, next: LogIndex) -> Vec<TermRun> {
        let ends = self.0.iter().skip(1).map(|(_, first)| *first);
        let ends = ends.chain([next]);
        let run = |((term, first), end): (&(Term, LogIndex), LogIndex)| TermRun {
            term: *term,
            first: *first,
            last: end.prev(),
        };
        self.0.iter().zip(ends).map(run).collect()
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for (term, first) in &self.0 {
            out.extend_from_slice(&term.0.to_le_bytes());
            out.extend_from_slice(&first.0.to_le_bytes());
        }
    }

    /// Reads `count` runs; `None` when they do not rise.
    pub(crate) fn decode(input: &mut Input<'_>, count: u32) -> Option<Self> {
        let starts: Option<Vec<_>> = (0..count)
            .map(|_| Some((Term(input.u64()?), LogIndex(input.u64()?))))
            .collect();
        let starts = starts?;
        let rising = starts.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1);
        rising.then_some(Self(starts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(of: &[(u64, u64)]) -> Terms {
        let mut terms = Terms::default();
        for (term, index) in of {
            terms.note(Term(*term), LogIndex(*index));
        }
        terms
    }

    #[test]
    fn runs_follow_what_was_noted_cut_and_trimmed() {
        let mut found = terms(&[(1, 1), (1, 2), (3, 3), (7, 4), (7, 5)]);
        let run = |term, first, last| TermRun {
            term: Term(term),
            first: LogIndex(first),
            last: LogIndex(last),
        };
        assert_eq!(
            found.runs(LogIndex(6)),
            [run(1, 1, 2), run(3, 3, 3), run(7, 4, 5)]
        );
        found.cut(LogIndex(4));
        found.note(Term(8), LogIndex(4));
        found.begin_at(LogIndex(2), LogIndex(5));
        assert_eq!(
            found.runs(LogIndex(5)),
            [run(1, 2, 2), run(3, 3, 3), run(8, 4, 4)]
        );
        assert_eq!(found.at(LogIndex(1)), None);
        found.begin_at(LogIndex(5), LogIndex(5));
        assert_eq!(found, Terms::default());
    }

    proptest! {
        #[test]
        fn the_term_of_each_entry_is_the_one_noted(
            steps in proptest::collection::vec(0..3_u64, 1..40),
            first in 1..40_u64,
            from in 1..45_u64,
        ) {
            let mut term = 1;
            let noted: Vec<(u64, u64)> = (1..).zip(&steps).map(|(index, step)| {
                term += step;
                (term, index)
            }).collect();
            let mut found = terms(&noted);
            let next = from.min(noted.len() as u64 + 1);
            let first = first.min(next);
            found.cut(LogIndex(next));
            found.begin_at(LogIndex(first), LogIndex(next));
            for (term, index) in &noted {
                let kept = (first..next).contains(index);
                prop_assert!(!kept || found.at(LogIndex(*index)) == Some(Term(*term)));
            }
            let runs = found.runs(LogIndex(next));
            let count: u64 = runs.iter().map(|run| run.last.0 + 1 - run.first.0).sum();
            prop_assert_eq!(count, next - first);
            let mut bytes = Vec::new();
            found.encode(&mut bytes);
            let mut input = Input::new(&bytes);
            prop_assert_eq!(Terms::decode(&mut input, found.len() as u32), Some(found));
        }
    }
}
