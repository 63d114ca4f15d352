//! What comes into a shard.

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use trilith_peer::PeerEvent;
use trilith_peer::{GroupMessage, SnapshotAck, SnapshotChunk};
use trilith_raft::{
    Change, Configuration, Doubtful, PRIORITY_MAX, PeerStatus, Role, SendEntries, SendRepair,
    Status, Transition,
};
use trilith_storage::{
    Log, LogConfig, ReadError, StoredEntry, SyncOutcome, journal::JournalFailed, votes::VotesFailed,
};
use trilith_types::{EntryMeta, EntryPayload, GroupId, LogIndex, NodeId, Offset};

use crate::{
    ChangeRefused, DiscardRefused, Group, OpenGroupError, ReadRefused, TransferRefused,
    machine::Machine, replica::Checked,
};

/// A group to host.
#[derive(Debug)]
pub struct GroupSpec<M> {
    /// Which one. Ids are never used again.
    pub group: GroupId,
    /// Where its log goes; made if missing. Nothing else may be in there.
    pub dir: PathBuf,
    /// Its first members, the same on every replica of a new group. Empty on a node that joins an
    /// existing group: the leader will tell. What is on disk already counts instead.
    pub configuration: Configuration,
    /// The settings of its log.
    pub log: LogConfig,
    /// The machine before its first entry.
    pub machine: M,
    /// How soon it stands for election, from 0 to [`PRIORITY_MAX`].
    pub priority: u8,
}

impl<M> GroupSpec<M> {
    /// A group with the usual settings.
    pub fn new(
        group: GroupId,
        dir: impl Into<PathBuf>,
        configuration: Configuration,
        machine: M,
    ) -> Self {
        Self {
            group,
            dir: dir.into(),
            configuration,
            log: LogConfig::of_many(),
            machine,
            priority: PRIORITY_MAX,
        }
    }
}

/// A hosted group, for people and tools.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its core.
    pub core: Status,
    /// Its members.
    pub members: Configuration,
    /// The other members, as the leader knows them.
    pub peers: Vec<(NodeId, PeerStatus)>,
    /// The first entry of its log.
    pub start_index: LogIndex,
    /// The first offset.
    pub start_offset: Offset,
    /// Behind the last record that readers see.
    pub visible_upto: Offset,
    /// Behind the last record of the log.
    pub end_offset: Offset,
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: usize,
    /// Up to here the segments are known to be on disk.
    pub synced: LogIndex,
    /// Ranges of entries that are damaged in its log.
    pub damaged_ranges: usize,
    /// Whether the disk has no room for it.
    pub is_disk_full: bool,
    /// Why it has stopped, if it has.
    pub stopped: Option<Arc<str>>,
}

/// What [`HostHandle::discard_doubtful`](crate::HostHandle::discard_doubtful) found, and whether it
/// is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// What the replica is in its group, afterwards.
    pub role: Role,
    /// What is, or was, doubtful in its log.
    pub doubtful: Doubtful,
    /// Whether it is dropped now. It was not without a confirmation, or when nothing was doubtful.
    pub is_done: bool,
}

pub(crate) type OpenDone = Box<dyn FnOnce(Result<Arc<Group>, OpenGroupError>) + Send>;
pub(crate) type ReadReply = Box<dyn FnOnce(Result<LogIndex, ReadRefused>) + Send>;
pub(crate) type TransferReply = Box<dyn FnOnce(Result<(), TransferRefused>) + Send>;
pub(crate) type ChangeReply = Box<dyn FnOnce(Result<LogIndex, ChangeRefused>) + Send>;
pub(crate) type DiscardReply = Box<dyn FnOnce(Result<Discard, DiscardRefused>) + Send>;
pub(crate) type StatusReply = Box<dyn FnOnce(Option<GroupStatus>) + Send>;
pub(crate) type StatusesReply = Box<dyn FnOnce(Vec<(GroupId, GroupStatus)>) + Send>;
pub(crate) type Instruction<M> = Box<dyn FnOnce(&mut M, &Log) + Send>;

/// What comes into a shard.
pub(crate) enum Event<M: Machine> {
    /// A client's wish.
    Request { group: GroupId, request: M::Request },
    /// A core of another node speaks.
    Message(GroupMessage),
    /// A piece of a snapshot.
    Chunk { from: NodeId, chunk: SnapshotChunk },
    /// How far a snapshot has come.
    ChunkAck { from: NodeId, ack: SnapshotAck },
    /// A read to be confirmed.
    Read { group: GroupId, reply: ReadReply },
    /// Leadership is to be handed over.
    Transfer {
        group: GroupId,
        to: NodeId,
        reply: TransferReply,
    },
    /// The members are to be changed.
    Change {
        group: GroupId,
        changes: Vec<Change>,
        transition: Transition,
        reply: ChangeReply,
    },
    /// What is doubtful in a log is asked for, and is to be dropped if that is confirmed.
    Discard {
        group: GroupId,
        confirmed: bool,
        reply: DiscardReply,
    },
    /// A reader met damage that ends before an offset.
    Damaged { group: GroupId, next: Offset },
    /// A group's log is to be read through.
    Check { group: GroupId },
    /// A group is to stand for election now, if it may.
    Campaign { group: GroupId },
    /// How soon a group stands for election.
    Priority { group: GroupId, priority: u8 },
    /// Something for a group's machine.
    Instruct {
        group: GroupId,
        instruction: Instruction<M>,
    },
    /// Other settings for a group's log.
    Configure { group: GroupId, log: LogConfig },
    /// A group to host.
    Open {
        spec: Box<GroupSpec<M>>,
        done: OpenDone,
    },
    /// A group's data is to go.
    Forget {
        group: GroupId,
        done: Box<dyn FnOnce() + Send>,
    },
    /// News of another node.
    Peer(PeerEvent),
    /// A group's numbers are asked for.
    Status { group: GroupId, reply: StatusReply },
    /// All groups' numbers are asked for.
    Statuses { reply: StatusesReply },
    /// The journal has these durable.
    Persisted {
        group: GroupId,
        submitted: Duration,
        result: Result<(), JournalFailed>,
    },
    /// A term, a vote or members are durable.
    VoteStored {
        group: GroupId,
        number: u64,
        result: Result<(), VotesFailed>,
    },
    /// The journal wants to be past this group.
    NeedMark { group: GroupId },
    /// A durable mark that matters is durable.
    Marked {
        group: GroupId,
        result: Result<(), JournalFailed>,
    },
    /// Segments of a group were synced.
    Synced {
        group: GroupId,
        number: u64,
        outcome: SyncOutcome,
    },
    /// A staged snapshot's segments were synced.
    StagedSynced {
        group: GroupId,
        number: u64,
        outcome: SyncOutcome,
    },
    /// Entries were read for a peer.
    Fetched {
        group: GroupId,
        send: FetchFor,
        result: Result<Vec<StoredEntry>, ReadError>,
    },
    /// Hand leadership over, now and whenever it comes back, and go on with everything else.
    /// `done` is dropped when nothing is left to hand over.
    HandOver { done: Arc<OnDrop> },
    /// Somebody could not open a file to read, for want of descriptors.
    WantFiles,
    /// A node is about to stop: leadership is not handed to it.
    Leaving(NodeId),
    /// What a peer has lost was read, and some of it may be damaged here too.
    RepairRead {
        group: GroupId,
        send: SendRepair,
        entries: Vec<(EntryMeta, EntryPayload)>,
        damaged: Vec<(LogIndex, LogIndex)>,
    },
    /// A piece of a log was read through.
    Checked { group: GroupId, checked: Checked },
    /// Hand leadership over, finish, and close all logs.
    Close,
}

/// Calls what it holds when the last one lets go of it.
pub(crate) struct OnDrop(Option<Box<dyn FnOnce() + Send + Sync>>);

impl OnDrop {
    pub(crate) fn new(call: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(call)))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// What entries are read for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FetchFor {
    /// To send them.
    Send(SendEntries),
    /// As a piece of a snapshot.
    Snapshot { to: NodeId, number: u64 },
}
