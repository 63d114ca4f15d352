//! What can go wrong between a client's request and the log.

use trilith_batch::BatchError;
use trilith_storage::{AppendError, DataDirError, ReadError as LogError};
use trilith_topics::CatalogError;
use trilith_types::{Offset, PartitionId};

use crate::{NoRoom, TooManyWaiters};

/// Why a node could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory is held by another process, or cannot be made.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The catalog of topics cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The partitions that a topic still lacks could not be noted.
    #[error(transparent)]
    Topic(#[from] trilith_topics::TopicError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// There is no such partition, or it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
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
    /// Its log could not be opened when the node started.
    #[error("partition {partition} of topic {topic:?} is out of service: {reason}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionId,
        /// What was in the way.
        reason: String,
    },
}

/// Why a batch was not appended, or not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// There is no such partition, or it cannot be used.
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
    /// The disk is full. Appends go on by themselves when there is space again.
    #[error("{reason}")]
    DiskFull {
        /// How full, and what to do.
        reason: String,
    },
    /// The partition's log takes no more writes. The batch may be on disk or not.
    #[error("the partition takes no more writes until the node is restarted: {reason}")]
    Poisoned {
        /// The failure.
        reason: String,
    },
    /// The file system refused, and the batch was not appended. The next one may be.
    #[error("the batch was not appended: {reason}")]
    Io {
        /// What was refused.
        reason: String,
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

impl ProduceError {
    /// What a refused append means for its batch. `poisoned`: whether the log takes no more now.
    pub(crate) fn from_append(error: &AppendError, poisoned: bool) -> Self {
        let reason = error.to_string();
        match error {
            _ if poisoned => Self::Poisoned { reason },
            AppendError::DiskFull { .. } => Self::DiskFull { reason },
            AppendError::TooLarge { bytes, max } => Self::BatchTooLarge {
                bytes: usize::try_from(*bytes).unwrap_or(usize::MAX),
                max: *max,
            },
            _ => Self::Io { reason },
        }
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such partition any more: its topic was deleted.
    #[error(transparent)]
    Partition(#[from] PartitionError),
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
}
