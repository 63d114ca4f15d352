//! What the core knows of an entry: its identity, and how identities are written down for many
//! entries at once.

use std::fmt;

use trilith_types::{LogIndex, Term};

/// An entry's identity. Two logs that hold an entry of the same identity hold the same bytes
/// there and in every entry before it (Raft §5.3, the Log Matching Property).
///
/// The order is the one of Raft §5.4.1: the later term is more up to date, and within a term the
/// longer log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: LogIndex,
}

impl EntryId {
    /// The position before the first entry.
    pub const ZERO: Self = Self {
        term: Term::ZERO,
        index: LogIndex::ZERO,
    };
    /// Past every identity that can occur.
    pub const MAX: Self = Self {
        term: Term::MAX,
        index: LogIndex::MAX,
    };

    /// Puts the two numbers together, term first, as the paper writes them.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self {
            term: Term(term),
            index: LogIndex(index),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// Consecutive entries of one term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryRun {
    /// Their term.
    pub term: Term,
    /// How many there are.
    pub count: u64,
}

/// The terms of consecutive entries, as runs. One run takes no heap memory, and one run is what
/// nearly every message carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryRuns {
    first: EntryRun,
    rest: Vec<EntryRun>,
}

impl EntryRuns {
    /// No entries.
    pub const EMPTY: Self = Self {
        first: EntryRun {
            term: Term::ZERO,
            count: 0,
        },
        rest: Vec::new(),
    };

    /// `count` entries of one term.
    #[must_use]
    pub fn one(term: Term, count: u64) -> Self {
        Self {
            first: EntryRun { term, count },
            rest: Vec::new(),
        }
    }

    /// Adds `count` entries of `term` at the end.
    pub fn push(&mut self, term: Term, count: u64) {
        if count == 0 {
            return;
        }
        let last = self.rest.last_mut().unwrap_or(&mut self.first);
        if last.count == 0 {
            *last = EntryRun { term, count };
        } else if last.term == term {
            last.count = last.count.saturating_add(count);
        } else {
            self.rest.push(EntryRun { term, count });
        }
    }

    /// The runs in order; none of them is empty.
    pub fn iter(&self) -> impl Iterator<Item = EntryRun> + '_ {
        std::iter::once(self.first)
            .chain(self.rest.iter().copied())
            .filter(|run| run.count > 0)
    }

    /// How many entries there are in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.iter()
            .fold(0, |sum, run| sum.saturating_add(run.count))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether the terms never fall and none is below `floor`: what holds for every log.
    #[must_use]
    pub fn is_ordered_from(&self, floor: Term) -> bool {
        let mut previous = floor;
        self.iter().all(|run| {
            let fits = run.term >= previous;
            previous = run.term;
            fits
        })
    }
}

impl FromIterator<EntryRun> for EntryRuns {
    fn from_iter<I: IntoIterator<Item = EntryRun>>(runs: I) -> Self {
        let mut all = Self::EMPTY;
        for run in runs {
            all.push(run.term, run.count);
        }
        all
    }
}

impl fmt::Display for EntryRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for run in self.iter() {
            write!(f, "{separator}{}x{}", run.term, run.count)?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_identities_is_the_papers_up_to_date_order() {
        assert!(EntryId::new(3, 1) > EntryId::new(2, 9));
        assert!(EntryId::new(2, 9) > EntryId::new(2, 8));
        assert!(EntryId::ZERO < EntryId::new(1, 1) && EntryId::MAX > EntryId::new(9, 9));
    }

    #[test]
    fn equal_terms_join_into_one_run() {
        let mut runs = EntryRuns::EMPTY;
        assert!(runs.is_empty());
        runs.push(Term(1), 2);
        runs.push(Term(1), 3);
        runs.push(Term(4), 0);
        runs.push(Term(4), 1);
        runs.push(Term(4), 1);
        assert_eq!(runs.to_string(), "1x5,4x2");
        assert_eq!(runs.count(), 7);
        assert_eq!(runs.iter().collect::<EntryRuns>(), runs);
    }

    #[test]
    fn terms_that_fall_are_seen() {
        let mut runs = EntryRuns::one(Term(3), 1);
        assert!(runs.is_ordered_from(Term(3)));
        assert!(!runs.is_ordered_from(Term(4)));
        runs.push(Term(2), 1);
        assert!(!runs.is_ordered_from(Term(1)));
    }
}
