//! What one node says to another.

use bytes::Bytes;
use trilith_raft::{EntryId, Message};
use trilith_types::{EntryMeta, EntryPayload, GroupId, Term};

use crate::heartbeat::Heartbeat;

/// A message of one group's core, with the entries that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMessage {
    /// What the core says.
    pub message: Message,
    /// The entries that an `Append` or a `Repair` speaks of, all of them and in order; none with
    /// any other message. Payloads are shared, not copied: the same bytes go to every peer.
    pub entries: Vec<(EntryMeta, EntryPayload)>,
}

/// Everything that nodes say to each other once the handshake is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeMessage {
    /// One group to its replica on the other node.
    Group(GroupMessage),
    /// One node to the other: stands for all groups between the two.
    Heartbeat(Heartbeat),
    /// A piece of a snapshot. Goes over the bulk connection.
    SnapshotChunk(SnapshotChunk),
    /// How far a snapshot has come. Goes over the bulk connection.
    SnapshotAck(SnapshotAck),
    /// A question of the layer above; its bytes mean something to that layer alone.
    Call(Call),
    /// The answer to a [`Call`].
    Answer(Call),
}

impl From<GroupMessage> for NodeMessage {
    fn from(message: GroupMessage) -> Self {
        Self::Group(message)
    }
}

/// A piece of a snapshot on its way to a replica that wants it. A receiver that does not expect it
/// drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotChunk {
    /// The group.
    pub group: GroupId,
    /// The term of the leader that sends it.
    pub term: Term,
    /// Which snapshot: the last entry whose effects are in it.
    pub last: EntryId,
    /// The size of the whole snapshot in bytes.
    pub total: u64,
    /// Where in the snapshot these bytes belong.
    pub position: u64,
    /// The bytes; at most [`SNAPSHOT_CHUNK_BYTES_MAX`](crate::SNAPSHOT_CHUNK_BYTES_MAX).
    pub bytes: Bytes,
}

/// How far a receiver has a snapshot, so that its sender goes on, or goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotAck {
    /// The group.
    pub group: GroupId,
    /// The term that the chunks came in.
    pub term: Term,
    /// Which snapshot.
    pub last: EntryId,
    /// All bytes below are there.
    pub received: u64,
}

/// A question or an answer between the layers above, which know what the bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The asker's number for it; the answer has the same one.
    pub id: u64,
    /// What is asked or answered; at most [`CALL_BYTES_MAX`](crate::CALL_BYTES_MAX).
    pub bytes: Bytes,
}

/// The two kinds of connections between a pair of nodes. Each has a socket and a queue of its
/// own, so that a snapshot never stands before a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Heartbeats, what cores say, entries, calls.
    Control,
    /// Snapshots.
    Bulk,
}

impl Class {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Control, Self::Bulk];
}

impl NodeMessage {
    /// Which connection it goes over.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Group(_) | Self::Heartbeat(_) | Self::Call(_) | Self::Answer(_) => Class::Control,
            Self::SnapshotChunk(_) | Self::SnapshotAck(_) => Class::Bulk,
        }
    }
}
