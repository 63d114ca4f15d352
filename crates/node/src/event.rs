//! What comes into a shard.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_batch::BatchHeader;
use trilith_storage::{Durability, Log, SyncOutcome};
use trilith_topics::TopicSettings;
use trilith_types::{GroupId, Offset, PartitionId, TimestampMs};

use crate::{Permit, ProduceError, partition::PartitionShared};

/// What an acknowledged batch got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where it went.
    pub partition: PartitionId,
    /// Its first record's offset; the others follow densely.
    pub first_offset: Offset,
    /// How many records it has.
    pub records: u32,
    /// What the acknowledgement stands for.
    pub durability: Durability,
    /// The server's time of the append.
    pub append_time: TimestampMs,
}

/// Called once with the answer to a produce.
pub(crate) type Done = Box<dyn FnOnce(Result<Appended, ProduceError>) + Send>;

/// A checked batch on its way into a log.
pub(crate) struct Append {
    pub(crate) partition: Arc<PartitionShared>,
    pub(crate) header: BatchHeader,
    pub(crate) batch: Bytes,
    /// On the monotonic clock.
    pub(crate) deadline: Option<Duration>,
    /// When it came, on the monotonic clock.
    pub(crate) arrived: Duration,
    pub(crate) permit: Permit,
    pub(crate) done: Done,
}

/// A partition's numbers, for people and tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// The earliest record's offset.
    pub start_offset: Offset,
    /// Behind the last record that readers see.
    pub end_offset: Offset,
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: u32,
    /// Ranges of offsets that were found damaged on disk and are refused.
    pub damaged_ranges: u32,
}

/// What comes into a shard.
pub(crate) enum Event {
    /// A batch to append.
    Append(Append),
    /// A sync is over.
    Synced {
        group: GroupId,
        submitted: Duration,
        outcome: SyncOutcome,
    },
    /// A partition to host.
    Host {
        log: Box<Log>,
        shared: Arc<PartitionShared>,
        settings: TopicSettings,
    },
    /// Other settings for a partition.
    Configure {
        group: GroupId,
        settings: TopicSettings,
    },
    /// The partition's numbers are asked for.
    Describe {
        group: GroupId,
        reply: Box<dyn FnOnce(PartitionStats) + Send>,
    },
    /// The partition's topic was deleted: forget its log, then answer.
    Forget {
        group: GroupId,
        reply: Box<dyn FnOnce() + Send>,
    },
    /// Finish everything that has come, sync it, and close all logs.
    Close,
}
