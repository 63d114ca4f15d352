//! What is handed to the journal.

use std::fmt;

use bytes::Bytes;
use trilith_types::{EntryMeta, EntryPayload, GroupId, LogIndex, Offset, Term};

use super::JournalFailed;
use crate::meta::SegmentId;

/// Called once with what became of a submission; on the thread that learnt it, and never while
/// the journal is locked. It may submit again.
pub type JournalDone = Box<dyn FnOnce(Result<(), JournalFailed>) + Send>;

/// What one group wants to be durable.
pub struct Submission {
    /// Whose it is.
    pub group: GroupId,
    /// In the order in which they count.
    pub ops: Vec<JournalOp>,
    /// Called after these and all earlier submissions, of any group, are durable.
    pub done: JournalDone,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("group", &self.group)
            .field("ops", &self.ops)
            .finish_non_exhaustive()
    }
}

/// One change of one group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalOp {
    /// An entry at the end of the log: its index is one more than the last one's.
    Append {
        /// Everything but the payload.
        meta: EntryMeta,
        /// The term of the entry before it, so that a replay that has lost that one still knows
        /// its identity.
        prev_term: Term,
        /// The payload.
        payload: EntryPayload,
    },
    /// An entry at the end of the log whose payload is lost here, and that peers have: a replay
    /// gives its identity, so that it is neither forgotten nor taken for something else.
    Lost {
        /// Everything but the payload, as [`Append`](Self::Append)'s. Only index, term and kind
        /// need be true.
        meta: EntryMeta,
        /// The term of the entry before it.
        prev_term: Term,
    },
    /// Every entry from this index on is no longer part of the log.
    Truncate {
        /// The first that goes.
        from: LogIndex,
    },
    /// What of the group is durable outside of the journal.
    Mark(Mark),
    /// A snapshot was installed: the log starts anew.
    Reset {
        /// The index of the first entry to come.
        next_index: LogIndex,
        /// The first offset to come.
        next_offset: Offset,
        /// The term of the entry before it.
        term: Term,
    },
    /// The group is deleted. Its id never comes back.
    Forget,
}

/// What of one group is durable outside of the journal, at the moment it was submitted: every
/// operation submitted before counts in it, a truncation too.
///
/// A replay begins with the latest one. The journal keeps everything after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The segment that holds the last synced entry.
    pub segment: SegmentId,
    /// Where the synced entries end in it.
    pub position: u64,
    /// Every entry up to this one is synced in segments.
    pub index: LogIndex,
    /// The offset after the last of them.
    pub next_offset: Offset,
    /// The term of the last of them.
    pub last_term: Term,
    /// Up to here `state` has applied the log.
    pub applied: LogIndex,
    /// Known to be committed.
    pub commit: LogIndex,
    /// The state machine as of `applied`, in its own encoding; may be empty. It is written again
    /// at the head of every journal file, so it should be small.
    pub state: Bytes,
}

impl JournalOp {
    /// Bytes of payload or state that it brings.
    pub(super) fn body_bytes(&self) -> u64 {
        match self {
            Self::Append { payload, .. } => payload.len() as u64,
            Self::Mark(mark) => mark.state.len() as u64,
            Self::Lost { .. } | Self::Truncate { .. } | Self::Reset { .. } | Self::Forget => 0,
        }
    }
}
