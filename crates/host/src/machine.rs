//! The state machine of a group, as the host sees it.

use std::time::Duration;

use bytes::Bytes;
use trilith_raft::RoleChange;
use trilith_storage::Log;
use trilith_types::{
    EntryKind, EntryMeta, EntryPayload, GroupId, LogIndex, NodeId, Offset, Term, TimestampMs,
};

/// What a group's entries are applied to, and what turns requests into entries.
///
/// One thread calls it, and never two calls at a time. Applying must be pure: the same entries
/// give the same state on every replica. What a leader decides before it appends may look at what
/// is *speculative*: entries that are in its log and not yet committed.
///
/// Entries without a payload that mean something ([`EntryKind::NOOP`]) and configurations are the
/// host's own; a machine never sees them but in [`Machine::lead`].
pub trait Machine: Send + Sized + 'static {
    /// A client's wish. It carries its own answer callback.
    type Request: Send + 'static;
    /// What is left of a request once its entry is appended.
    type Pending: Send + 'static;

    /// Decides about a request, on the leader. What it decides on is the state with all entries up
    /// to `at.next_index` exclusive, as [`Machine::lead`] and earlier decisions have told it.
    fn decide(&mut self, request: Self::Request, at: &Leading) -> Decision<Self::Pending>;

    /// The last decision came to nothing: its entry, which was to be `at`, was not appended. Takes
    /// it back, and answers `pending`.
    fn undecide(&mut self, pending: Self::Pending, at: LogIndex, why: Refusal);

    /// Answers a request that is not decided on here. Nothing was stored.
    fn refuse(request: Self::Request, why: Refusal);

    /// This node leads from now on. `tail` gives every entry after the last applied one, in order,
    /// those of the host included; the speculative state is built from it, before the first
    /// decision.
    ///
    /// # Errors
    /// An entry that this version does not know: the replica stops.
    fn lead(
        &mut self,
        term: Term,
        tail: &mut dyn Iterator<Item = (EntryMeta, Bytes)>,
    ) -> Result<(), UnknownEntry>;

    /// This node leads no longer: speculative state goes.
    fn unlead(&mut self);

    /// Applies a committed entry. `payload` is all of it, or the head of the [`Draft`] that it was
    /// when that had a rest. `answers` are those who wait for it at this node, in the order of
    /// their decisions; what is not taken from it is dropped. Readers see the entry's records
    /// already.
    ///
    /// # Errors
    /// An entry that this version does not know: the replica stops, and nothing was changed.
    fn apply(
        &mut self,
        meta: &EntryMeta,
        payload: &Bytes,
        answers: &mut dyn Iterator<Item = Self::Pending>,
    ) -> Result<Effects, UnknownEntry>;

    /// Answers somebody whose entry will not be applied here.
    fn abandon(pending: Self::Pending, fate: Fate);

    /// The state as of the last applied entry, without what is speculative.
    fn state(&self) -> Bytes;

    /// Takes the place of the state whatever it was; empty bytes are the state before the first
    /// entry. Called at a start, and when a snapshot is installed.
    ///
    /// # Errors
    /// The bytes are no state of a version that this one knows.
    fn restore(&mut self, state: &[u8]) -> Result<(), StateError>;

    /// Whether the log itself is the data, as a partition's is. When it is not, the host trims the
    /// log up to what a durable state covers.
    fn log_is_data(&self) -> bool {
        true
    }

    /// The role, term or leader has changed.
    fn on_role(&mut self, _group: GroupId, _role: &RoleChange) {}

    /// How often the leader calls [`Machine::chore`]; `None`: never.
    fn chore_every(&self) -> Option<Duration> {
        None
    }

    /// On the leader, now and then: what the machine itself wants appended, for example because
    /// retention moves the log's start.
    fn chore(&mut self, _at: &Leading, _log: &Log) -> Option<(Draft, Self::Pending)> {
        None
    }
}

/// Where a leader's next entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leading {
    /// The leader's term.
    pub term: Term,
    /// The next entry's index.
    pub next_index: LogIndex,
    /// The next record's offset.
    pub next_offset: Offset,
    /// The time that the entry gets: the wall clock, but never before the last entry's.
    pub time: TimestampMs,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision<P> {
    /// It becomes an entry.
    Append {
        /// The entry.
        draft: Draft,
        /// Who waits for it to be applied.
        pending: P,
    },
    /// It is the same as an entry that is in the log and not yet applied: it is answered with it.
    Attach {
        /// That entry.
        to: LogIndex,
        /// Who waits.
        pending: P,
    },
    /// It has been answered.
    Done,
}

/// An entry to be. Its index, term, offset and time are the host's to give, as [`Leading`] says.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it is.
    pub kind: EntryKind,
    /// How many offsets it takes.
    pub records: u32,
    /// The largest timestamp of its records, or [`TimestampMs::MIN`] without records.
    pub max_timestamp: TimestampMs,
    /// The payload; it is never copied. Of one in two pieces the machine is given the head or all
    /// of it when it is applied, and when this node is to lead.
    pub payload: EntryPayload,
}

/// What applying an entry asks of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The log begins at this offset from now on.
    pub trim: Option<Offset>,
}

/// Why a request was not decided on. Nothing of it was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This node does not lead the group.
    #[error("not the leader of the group in term {term}; {}", known(*leader))]
    NotLeader {
        /// Who does, when it is known.
        leader: Option<NodeId>,
        /// The term.
        term: Term,
    },
    /// Leadership is about to go to another node.
    #[error("leadership is being handed to node {to}; try there")]
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// Too much is proposed and not yet committed.
    #[error("{uncommitted} bytes wait to be committed; the limit is {limit}: try again")]
    TooMuchUncommitted {
        /// How much waits.
        uncommitted: u64,
        /// The limit.
        limit: u64,
    },
    /// Too many requests wait for the shard.
    #[error("{limit} requests wait already: try again")]
    TooManyRequests {
        /// The limit.
        limit: usize,
    },
    /// The disk has no room for more entries; what is there can be read.
    #[error("the disk of the leader is full")]
    DiskFull,
    /// The node may open no more files; it closes some and goes on.
    #[error(
        "the leader has as many files open as it may (ulimit -n, or the system's limit); try again"
    )]
    OutOfFiles,
    /// The payload is larger than the log takes.
    #[error("an entry of {bytes} bytes is larger than the log takes ({max})")]
    TooLarge {
        /// How large it is.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The group is not hosted here.
    #[error("the group is not hosted here")]
    UnknownGroup,
    /// The node is being shut down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The replica or the node has stopped after a failure.
    #[error("the replica has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

fn known(leader: Option<NodeId>) -> String {
    leader.map_or_else(
        || "no leader is known".to_owned(),
        |id| format!("node {id} leads"),
    )
}

/// What is known of an entry that was proposed and will not be applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Another entry was committed in its place: it never will be stored.
    NotStored,
    /// It may be stored or not.
    Unknown,
}

/// An entry of a kind or version that this version does not know. It is never passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: a newer version wrote it; start that version here")]
pub struct UnknownEntry {
    /// What it is.
    pub what: String,
}

/// Bytes that are no state of the machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a state of this machine: {what}")]
pub struct StateError {
    /// What is wrong with them.
    pub what: String,
}
