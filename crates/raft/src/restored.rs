//! What a host read back from its disk, good or bad, and hands to a new core.

use trilith_types::{LogIndex, Term};

use crate::{configuration::Configuration, entry::EntryId, output::HardState, term_runs::TermRuns};

/// The state from which a core starts.
///
/// Everything in it must be durable: what was read back after an unclean stop is written and
/// synced again first. The default is a node that has never been a member of anything; it waits
/// for a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The term and the vote.
    pub vote: RestoredVote,
    /// The identities of every entry of the log, damaged ones included, after the position from
    /// which on it is kept. A state machine that is ahead of the log starts a new one: its base
    /// is the entry that was applied last.
    pub log: TermRuns,
    /// The members as of the log's base.
    pub base_configuration: Configuration,
    /// The configurations in the log, ascending. For a damaged configuration entry, the mirror
    /// beside term and vote has a copy.
    pub configurations: Vec<(LogIndex, Configuration)>,
    /// The commit index that was kept with the latest write, see
    /// [`Write::commit`](crate::Write::commit). Past the log's end it shows that entries were
    /// lost, and counts as an unknown suffix.
    pub commit: LogIndex,
    /// Up to here the state machine has durably applied; at least the log's base.
    pub applied: LogIndex,
    /// Ranges of entries whose identity is known and whose bytes are lost, first and last.
    pub damaged: Vec<(LogIndex, LogIndex)>,
    /// Whether the log may once have gone on past its end, and how far at most. The bytes are
    /// set aside by the host; the core asks the group what to think of them. A doubt outlives
    /// the start that found it: the host keeps a durable mark, and gives it back at every start
    /// until [`Output::unknown_settled`](crate::Output::unknown_settled).
    pub unknown_suffix: Option<UnknownSuffix>,
    /// Whether the state machine's own data was lost: it is replaced by a peer's snapshot, and
    /// `applied` says nothing but the log's base.
    pub state_machine_lost: bool,
}

/// The term and the vote as they came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoredVote {
    /// They are known. A log whose last term is higher shows that they are not the latest, and
    /// counts as [`RestoredVote::Lost`].
    Known(HardState),
    /// Every copy is bad. The node may have promised anything: it votes for nobody, stands for
    /// nothing and acknowledges nothing, but still hands out entries that others have lost,
    /// until it is replaced under a new identity.
    Lost,
}

impl Default for RestoredVote {
    fn default() -> Self {
        Self::Known(HardState::default())
    }
}

/// A suffix of which nothing is known but that it may have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSuffix {
    /// No entry of it can have been past this one. Its term is at most the restored one, since a
    /// term is durable before any entry of it; [`EntryId::MAX`] when there is no bound.
    pub last_possible: EntryId,
}

impl Restored {
    /// The first start of a node of a new group whose members are known to all.
    #[must_use]
    pub fn first_start(configuration: Configuration) -> Self {
        Self {
            base_configuration: configuration,
            ..Self::default()
        }
    }

    /// The term and vote to go on with; `None` when they are lost.
    pub(crate) fn hard_state(&self) -> Option<HardState> {
        match self.vote {
            RestoredVote::Known(known) if known.term >= self.log.last().term => Some(known),
            _ => None,
        }
    }

    /// The highest term that shows in what is left.
    pub(crate) fn term_seen(&self) -> Term {
        let known = match self.vote {
            RestoredVote::Known(known) => known.term,
            RestoredVote::Lost => Term::ZERO,
        };
        known.max(self.log.last().term)
    }
}
