//! What a core wants done, and in which order.
//!
//! The host calls [`Core::drain`](crate::Core::drain) after one input or after many, and carries
//! out what it finds. The core itself holds back what must wait for the disk, so that every field
//! may be acted on as soon as it is seen; what is left of ordering duties stands on the fields.

use trilith_types::{LogIndex, NodeId, Term};

use crate::{
    configuration::Configuration,
    entry::EntryId,
    error::ReadError,
    message::{Message, SnapshotOffer},
    status::Role,
};

/// Numbers the writes of one core, from 1, in the order in which they are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSeq(pub u64);

/// The host's own name for a read; it comes back with the answer. The core makes its own
/// positions, so a host may use a name again once it has been answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Everything a core wants done since it was last asked. One value is used for many cores and
/// many turns: its lists keep their memory.
#[derive(Debug, Default)]
pub struct Output {
    /// What must be written, in this order, after everything of earlier outputs:
    /// first the term and the vote, then the log operations, then a sync of both. Once all of it
    /// **and of every earlier write** survives a power cut, say so with
    /// [`Core::persisted`](crate::Core::persisted). Writes may be pipelined; a term must be
    /// durable before a frame of that term is submitted.
    pub write: Option<Write>,
    /// The log operations of `write`; in order; empty when `write` is `None`.
    pub log: Vec<LogOp>,
    /// To be sent as soon as possible, in any order; may be lost. What had to wait for the disk
    /// has waited inside the core.
    pub messages: Vec<Message>,
    /// Entries to be fetched and sent: read them, then ask
    /// [`Core::complete_send`](crate::Core::complete_send) for the message that goes with the
    /// payloads, which also says whether the term has passed meanwhile. Reads may overtake the
    /// disk: what was handed out in `log` can be sent before it is synced.
    pub sends: Vec<SendEntries>,
    /// Entries that a peer has lost: the same by
    /// [`Core::complete_repair`](crate::Core::complete_repair).
    pub repairs: Vec<SendRepair>,
    /// What to do about snapshots.
    pub snapshots: Vec<SnapshotOp>,
    /// The commit index, when it has risen. What lies at or below it is decided for ever, on a
    /// quorum's disks, if not yet on this one; clients may be told. It may be written down for
    /// the next start, but only once every write that was handed out is persisted: a log on disk
    /// that is still to be truncated would contradict it. [`Write::commit`] is the one to keep
    /// with a write.
    pub commit: Option<LogIndex>,
    /// Entries to be given to the state machine, in order, after any `LogOp::Install` of the same
    /// output. They are committed, and durable and intact here. Say
    /// [`Core::applied`](crate::Core::applied) when done. Each is handed out once.
    pub apply: Option<Apply>,
    /// Reads that are answered.
    pub reads: Vec<ReadDone>,
    /// The members in force, when they have changed: connect to them, and mirror them beside term
    /// and vote before the write of this output is reported as persisted.
    pub configuration: Option<(LogIndex, Configuration)>,
    /// The log should be trimmed up to here, at least: it is applied, some of it is damaged, and
    /// peers have it only in snapshots any more. Say [`Core::trimmed`](crate::Core::trimmed)
    /// when the state machine's data is durable so far and it is done.
    pub trim: Option<LogIndex>,
    /// The suffix that was unknown at the start is no longer in doubt: the mark that the host
    /// keeps of it may go.
    pub unknown_settled: bool,
    /// The role, term or leader, when one has changed. Proposals of an earlier term that are not
    /// yet committed are now of unknown outcome.
    pub role: Option<RoleChange>,
}

impl Output {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.write.is_none()
            && self.log.is_empty()
            && self.messages.is_empty()
            && self.sends.is_empty()
            && self.repairs.is_empty()
            && self.snapshots.is_empty()
            && self.commit.is_none()
            && self.apply.is_none()
            && self.reads.is_empty()
            && self.configuration.is_none()
            && self.role.is_none()
            && !self.unknown_settled
            && self.trim.is_none()
    }

    /// Takes everything out and keeps the memory.
    pub fn clear(&mut self) {
        self.write = None;
        self.log.clear();
        self.messages.clear();
        self.sends.clear();
        self.repairs.clear();
        self.snapshots.clear();
        self.commit = None;
        self.apply = None;
        self.reads.clear();
        self.configuration = None;
        self.role = None;
        self.unknown_settled = false;
        self.trim = None;
    }
}

/// A durable write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its number, for [`Core::persisted`](crate::Core::persisted).
    pub seq: WriteSeq,
    /// The term and the vote, when they have changed.
    pub hard_state: Option<HardState>,
    /// The commit index as far as the log reaches that this write leaves behind. Keep it with
    /// the write, unsynced if that is easier, for
    /// [`Restored::commit`](crate::Restored::commit).
    pub commit: LogIndex,
}

/// What a node must not forget but for its log (Raft §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term that it has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
}

/// One operation on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOp {
    /// Remove the entries from `from` on. Durable before what is appended after it.
    Truncate {
        /// The first entry that goes.
        from: LogIndex,
    },
    /// Add the entries `first..=last`, all of one term.
    Append {
        /// Their term.
        term: Term,
        /// The first index: right after the last one that is there.
        first: LogIndex,
        /// The last index.
        last: LogIndex,
        /// Where their payloads are.
        payload: Payload,
    },
    /// Write the bytes of damaged entries again; their identities stay. The payloads came beside
    /// a message.
    Rewrite {
        /// The first one.
        first: EntryId,
        /// The last index; between the two, terms are as the log has them.
        last: LogIndex,
    },
    /// Put the staged snapshot in the place of the state machine, then forget the log up to and
    /// including `last`; and what comes after it too unless `keep_suffix`.
    Install {
        /// The last entry that the snapshot covers.
        last: EntryId,
        /// Whether the entries after it stay.
        keep_suffix: bool,
    },
}

/// Where the payloads of appended entries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// With the host since [`Core::propose`](crate::Core::propose), under their term and index.
    Proposed,
    /// With the host since they came beside an [`Append`](crate::message::Append), under their
    /// term and index. Configurations among them are bytes like all others.
    Received,
    /// There is none: the entry with which a leader starts its term.
    Noop,
    /// This configuration, to be encoded by the host.
    Configuration(Configuration),
}

/// An instruction to send entries to a peer.
///
/// Send from `prev.index + 1` on, at least one entry, then as many as fit in `bytes_max`, none
/// past `last_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendEntries {
    /// The peer.
    pub to: NodeId,
    /// The term that it is sent in; when it has passed, the send is dropped.
    pub term: Term,
    /// Names the instruction; one at a time is open for each peer.
    pub ticket: u64,
    /// The entry before the first one.
    pub prev: EntryId,
    /// The last entry that may be sent; at least `prev.index + 1`.
    pub last_max: LogIndex,
    /// The budget of payload bytes.
    pub bytes_max: u64,
}

impl SendEntries {
    /// The first entry to be sent.
    #[must_use]
    pub const fn first(&self) -> LogIndex {
        self.prev.index.next()
    }
}

/// How far the host came with a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The entries up to `last` are ready to go, `bytes` of payload.
    Ready {
        /// The last one.
        last: LogIndex,
        /// Their payloads together.
        bytes: u64,
    },
    /// The host could not read or will not send now; the core tries again at the next heartbeat.
    Failed,
    /// The first entry is no longer in the log: the peer needs a snapshot.
    Compacted,
}

/// An instruction to send entries to a peer that has lost their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRepair {
    /// The peer.
    pub to: NodeId,
    /// The term that it was asked in.
    pub term: Term,
    /// The ranges that are wanted: the first entry of each and the index of its last, ascending.
    pub ranges: Vec<(EntryId, LogIndex)>,
    /// The budget of payload bytes for all of them; at least one entry is sent.
    pub bytes_max: u64,
}

/// What to do about snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotOp {
    /// Leader: choose a snapshot that covers at least `at_least`, then ask
    /// [`Core::offer_snapshot`](crate::Core::offer_snapshot) for the message that offers it.
    Offer {
        /// The peer.
        to: NodeId,
        /// The term that it is offered in.
        term: Term,
        /// The least index that it must cover.
        at_least: LogIndex,
    },
    /// Leader: stream the offered snapshot to the peer from `from_byte` on. Report with
    /// [`Core::snapshot_progress`](crate::Core::snapshot_progress) and
    /// [`Core::snapshot_failed`](crate::Core::snapshot_failed).
    Stream {
        /// The peer.
        to: NodeId,
        /// The snapshot.
        last: EntryId,
        /// Where to start.
        from_byte: u64,
    },
    /// Leader: the stream to that peer is of no use any more.
    Abort {
        /// The peer.
        to: NodeId,
    },
    /// Follower: a snapshot is offered and wanted. Say with
    /// [`Core::accept_snapshot`](crate::Core::accept_snapshot) how many bytes of exactly this one
    /// are there already, with [`Core::snapshot_arriving`](crate::Core::snapshot_arriving) that
    /// more has come, and once it is whole and synced, call
    /// [`Core::snapshot_staged`](crate::Core::snapshot_staged). When it cannot be taken or its
    /// stream breaks off, call [`Core::refuse_snapshot`](crate::Core::refuse_snapshot): the core
    /// gives up a silent one only after
    /// [`Config::snapshot_stall_ticks`](crate::Config::snapshot_stall_ticks). What was staged can
    /// be kept for the next try.
    Receive {
        /// Who offers it.
        from: NodeId,
        /// What it covers.
        offer: SnapshotOffer,
    },
}

/// Entries for the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apply {
    /// The first one.
    pub first: LogIndex,
    /// The last one.
    pub last: LogIndex,
}

/// An answered read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadDone {
    /// The host's name for it.
    pub id: ReadId,
    /// The read is linearisable on a state machine that has applied this index or more: serve it
    /// no earlier. Or why there is no answer; nothing was promised then.
    pub result: Result<LogIndex, ReadError>,
}

/// A change of role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The role now.
    pub role: Role,
    /// The term now.
    pub term: Term,
    /// The leader, when it is known.
    pub leader: Option<NodeId>,
}
