//! The log as the core knows it, without its bytes.

use trilith_types::{LogIndex, Term};

use crate::{
    damage::Damage, entry::EntryId, history::History, restored::UnknownSuffix, term_runs::TermRuns,
};

/// A suffix that may have been there, and what ends the doubt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown {
    pub(crate) last_possible: EntryId,
    /// The commit index of a leader that knew of this life, in that leader's term. Whatever an
    /// earlier life of this node helped to commit lies at or below it, or before that leader's
    /// own first entry.
    pub(crate) settled_at: Option<(Term, LogIndex)>,
}

impl From<UnknownSuffix> for Unknown {
    fn from(suffix: UnknownSuffix) -> Self {
        Self {
            last_possible: suffix.last_possible,
            settled_at: None,
        }
    }
}

/// Identities, marks and doubts. `applied <= handed`, and both and `stored` stay within the log;
/// `commit` never falls.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) runs: TermRuns,
    pub(crate) history: History,
    /// Where the log ends on disk.
    pub(crate) stored: LogIndex,
    pub(crate) commit: LogIndex,
    /// Up to here entries have been handed out to be applied.
    pub(crate) handed: LogIndex,
    pub(crate) applied: LogIndex,
    pub(crate) damage: Damage,
    pub(crate) unknown: Option<Unknown>,
}

impl Log {
    pub(crate) fn last(&self) -> EntryId {
        self.runs.last()
    }

    pub(crate) fn last_index(&self) -> LogIndex {
        self.runs.last_index()
    }

    /// Where the log ends on disk with every byte before it intact or applied: what counts as a
    /// copy. What is applied was committed, and the state machine holds what it did.
    pub(crate) fn intact(&self) -> LogIndex {
        let from = self.applied.next().min(self.stored.next());
        self.damage.intact_to(from, self.stored)
    }

    /// Up to here entries can be applied: committed, on disk and intact from the last one on.
    pub(crate) fn appliable(&self) -> LogIndex {
        self.damage
            .intact_to(self.handed.next(), self.commit.min(self.stored))
    }

    /// The first damaged entry that the state machine still needs.
    pub(crate) fn first_needed(&self) -> Option<EntryId> {
        let (first, _) = self.damage.range_from(self.applied.next())?;
        self.runs.id_at(first)
    }

    /// The first damaged entry.
    pub(crate) fn first_damaged(&self) -> Option<EntryId> {
        self.runs.id_at(self.damage.first()?)
    }
}
