//! What can go wrong between a client's request and the log.

use std::fmt;

use trilith_batch::BatchError;
use trilith_host::DiscardRefused;
use trilith_storage::{DataDirError, ReadError as LogError};
use trilith_topics::partition::ProduceRefusal;
use trilith_types::{NodeId, Offset, PartitionId};

use super::IdentityError;
use crate::{NoRoom, TooManyWaiters};

/// Why a node could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory is held by another process, or cannot be made.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The node's identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The list of nodes to found a cluster with is none.
    #[error(transparent)]
    Found(#[from] super::FoundError),
    /// Journal, votes or the groups could not be opened.
    #[error(transparent)]
    Host(#[from] trilith_host::HostOpenError),
    /// The group that holds the cluster's own state could not be opened.
    #[error("the cluster's own state: {0}")]
    Controller(trilith_host::OpenGroupError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Who leads, as far as this node knows, and where clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The node.
    pub node: NodeId,
    /// Its address for clients; `None` until it has told it.
    pub client_address: Option<String>,
}

/// For messages: who leads instead.
struct Elsewhere<'a>(&'a Option<Leader>);

impl fmt::Display for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("no leader is known now; try again"),
            Some(Leader {
                node,
                client_address: None,
            }) => write!(f, "node {node} does"),
            Some(Leader {
                node,
                client_address: Some(address),
            }) => write!(f, "node {node} at {address} does"),
        }
    }
}

/// This node belongs to no cluster yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node belongs to no cluster yet: found one with `trilith cluster init`, or wait until \
     its seeds have one"
)]
pub struct NotFounded;

/// This node was a member of its cluster, and another one has its place by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node was removed from its cluster, in which it was node {node}, and serves nothing any \
     more: ask the cluster's other nodes. Stop it and remove its data directory; with an empty one \
     its machine can be a new node (trilith cluster replace)"
)]
pub struct Removed {
    /// Its number, which no other node gets.
    pub node: NodeId,
}

/// This node can serve nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMember {
    /// Not yet.
    #[error(transparent)]
    NotFounded(#[from] NotFounded),
    /// Not any more.
    #[error(transparent)]
    Removed(#[from] Removed),
}

/// There is no such partition, or it cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// No cluster, or not any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// No topic of that name.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// The name.
        topic: String,
    },
    /// The topic has no partition of that number.
    #[error("topic {topic:?} has partitions 0 to {}, not {partition}", partitions.saturating_sub(1))]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: PartitionId,
        /// How many there are.
        partitions: u32,
    },
    /// Another node leads it. Nothing was done.
    #[error(
        "this node does not lead partition {partition} of topic {topic:?}; {}",
        Elsewhere(leader)
    )]
    NotLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionId,
        /// Who does, as far as is known.
        leader: Option<Leader>,
    },
    /// This node's replica is out of service.
    #[error("partition {partition} of topic {topic:?} is out of service on this node: {reason}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionId,
        /// What is in the way.
        reason: String,
    },
}

/// Why a batch was not appended, or not acknowledged. Except for
/// [`OutcomeUnknown`](Self::OutcomeUnknown), the batch is not stored and never will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// There is no such partition, or it cannot be used here.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The batch is larger than any may be.
    #[error("the batch has {bytes} bytes; the most is {max}")]
    BatchTooLarge {
        /// Its size, once decompressed if that is what is too large.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// A record is larger than its topic allows.
    #[error("record {index} of the batch has {bytes} bytes; the most in this topic is {max}")]
    RecordTooLarge {
        /// The record's place in the batch, from 0.
        index: u32,
        /// Key, value and headers together.
        bytes: usize,
        /// The topic's setting.
        max: u32,
    },
    /// A codec that is not supported.
    #[error("compression codec {codec} ({name}) is not supported; use none or lz4")]
    UnsupportedCodec {
        /// Its number.
        codec: u8,
        /// Its name.
        name: &'static str,
    },
    /// The batch was changed on its way.
    #[error("the batch's checksum is {stored:#010x}, its bytes have {computed:#010x}")]
    Checksum {
        /// By its header.
        stored: u32,
        /// By its bytes.
        computed: u32,
    },
    /// The batch is not what it claims to be.
    #[error("malformed batch: {0}")]
    Malformed(BatchError),
    /// The producer's numbers do not fit what is stored.
    #[error(transparent)]
    Producer(ProduceRefusal),
    /// The disk is full. Appends go on by themselves when there is space again.
    #[error("the batch was not appended: {reason}")]
    DiskFull {
        /// How full, and what to do.
        reason: String,
    },
    /// The node may open no more files. Appends go on by themselves when it can.
    #[error("the batch was not appended: {reason}")]
    OutOfFiles {
        /// What to do.
        reason: String,
    },
    /// The batch was appended and this node cannot tell whether it will stay: it lost the
    /// leadership, or stopped, before a majority had it.
    #[error(
        "it is not known whether the batch is stored: the leadership changed before a majority had \
         it; look, or send it again with the same producer id and sequence"
    )]
    OutcomeUnknown,
    /// Too much waits for the other nodes.
    #[error("{waiting} bytes wait for a majority of the nodes, of at most {max}; try again later")]
    TooMuchUncommitted {
        /// Bytes that wait.
        waiting: u64,
        /// The limit.
        max: u64,
    },
    /// Too many requests wait.
    #[error("{max} requests wait for this partition's thread already; try again later")]
    TooManyRequests {
        /// The limit.
        max: usize,
    },
    /// Too much is in flight.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The deadline passed before the batch was appended. It was not appended.
    #[error("the deadline passed before the batch was appended; it was not")]
    DeadlineExceeded,
    /// The node is shutting down. The batch was not appended.
    #[error("the node is shutting down")]
    ShuttingDown,
}

impl From<BatchError> for ProduceError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::BatchTooLarge { bytes, max } => Self::BatchTooLarge { bytes, max },
            BatchError::RecordTooLarge { index, bytes, max } => {
                Self::RecordTooLarge { index, bytes, max }
            }
            BatchError::UnsupportedCodec { codec, name } => Self::UnsupportedCodec { codec, name },
            BatchError::Checksum { stored, computed } => Self::Checksum { stored, computed },
            other => Self::Malformed(other),
        }
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such partition any more, or this node no longer leads it.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The leadership could not be confirmed.
    #[error("the partition's leader could not confirm that it leads; try again: {reason}")]
    NoQuorum {
        /// What was in the way.
        reason: String,
    },
    /// Below the earliest record or past the end.
    #[error("offset {offset} is not in the log, which holds {earliest} up to {end}")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The earliest record's.
        earliest: Offset,
        /// Behind the last record's.
        end: Offset,
    },
    /// These records were stored and can no longer be read; reading can go on at `next`.
    #[error("{source}")]
    Damaged {
        /// The first offset that is lost.
        first: Offset,
        /// The first offset after the damage.
        next: Offset,
        /// File and position.
        source: LogError,
    },
    /// A stored batch that is not one, although its checksums are right.
    #[error("the batch at offset {offset} cannot be decoded: {source}")]
    Batch {
        /// Its first offset.
        offset: Offset,
        /// What is wrong with it.
        source: BatchError,
    },
    /// The file system refused.
    #[error(transparent)]
    Log(LogError),
    /// Too many wait for the partition to grow.
    #[error(transparent)]
    TooManyWaiters(#[from] TooManyWaiters),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why nothing doubtful is listed or dropped. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscardError {
    /// There is no such partition, or no cluster.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// Other nodes keep it, or it could not be opened here.
    #[error("this node has no replica of {replica} in service: ask a node that keeps one")]
    NoReplica {
        /// Of what, for people.
        replica: String,
    },
    /// The replica here refuses.
    #[error("{replica}: {refused}")]
    Refused {
        /// Of what, for people.
        replica: String,
        /// Why.
        refused: DiscardRefused,
    },
}

/// Why the cluster's own state was not changed, or not looked up.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No cluster, or not any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Another node leads the cluster. Nothing was done.
    #[error("this node does not lead the cluster; {}", Elsewhere(leader))]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<Leader>,
    },
    /// What was asked for is refused, or unknown.
    #[error(transparent)]
    Refused(#[from] trilith_topics::controller::ControllerError),
    /// A node cannot be replaced now, or not so.
    #[error("{why}")]
    CannotReplace {
        /// What is in the way, and what to do.
        why: String,
    },
    /// The leadership could not be confirmed.
    #[error("the leader of the cluster could not confirm that it leads; try again: {reason}")]
    NoQuorum {
        /// What was in the way.
        reason: String,
    },
    /// The change was begun, and this node cannot tell whether it will stay.
    #[error("it is not known whether the change was made: the leadership changed meanwhile; look")]
    OutcomeUnknown,
    /// The disk is full.
    #[error("nothing was changed: {reason}")]
    DiskFull {
        /// How full, and what to do.
        reason: String,
    },
    /// No more files may be opened.
    #[error("nothing was changed: {reason}")]
    OutOfFiles {
        /// Whose limit it is.
        reason: String,
    },
    /// Too much waits for the other nodes.
    #[error("too many changes wait for a majority of the nodes; try again later")]
    Overloaded,
    /// This node's replica takes no more changes.
    #[error("this node takes no more changes until it is restarted: {reason}")]
    Stopped {
        /// The failure.
        reason: String,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}
