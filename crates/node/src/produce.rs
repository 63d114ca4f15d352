//! Producing: from an encoded batch to its acknowledgement.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_batch::{BatchHeader, BatchLimits, check};
use trilith_storage::Durability;
use trilith_types::{Offset, PartitionId, TimestampMs};

use super::{
    NoRoom, Node, PartitionError, Permit, ProduceError, REQUEST_BYTES,
    machine::GroupRequest,
    node::Live,
    partition::PartitionShared,
    partition_replica::{Append, Appending},
};

/// A moment on the node's monotonic clock after which an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub(crate) Duration);

/// A batch for a partition.
#[derive(Debug)]
pub struct Produce<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Which partition.
    pub partition: PartitionId,
    /// One encoded batch, as it came.
    pub batch: Bytes,
    /// A batch that still waits then is answered [`ProduceError::DeadlineExceeded`] and is not
    /// appended. Once it was appended its answer comes, late or not.
    pub deadline: Option<Deadline>,
    /// Room for the batch from [`Node::reserve`]; `None` takes it if there is some.
    pub permit: Option<Permit>,
}

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

impl Node {
    /// Appends a batch and calls `done` once: when it is as durable as promised, or with the reason
    /// why not. On this thread when that is known at once, else on the thread that owns the
    /// partition, where it must not block.
    ///
    /// The batch is checked here, on the caller's thread. Batches that one thread sends to one
    /// partition are appended in that order.
    pub fn produce(
        &self,
        produce: Produce<'_>,
        done: impl FnOnce(Result<Appended, ProduceError>) + Send + 'static,
    ) {
        let arrived = self.inner.env.clock.monotonic();
        let deadline = produce.deadline;
        match self.examine(produce) {
            Ok(examined) => {
                let group = examined.partition.group;
                let bytes = examined.batch.len();
                let appending = Appending {
                    partition: examined.partition,
                    metrics: Arc::clone(&self.inner.metrics),
                    clock: Arc::clone(&self.inner.env.clock),
                    durability: self.inner.durability(),
                    arrived,
                    bytes,
                    permit: examined.permit,
                    done: Box::new(done),
                };
                let append = Append {
                    header: examined.header,
                    batch: examined.batch,
                    deadline: deadline.map(|Deadline(at)| at),
                    appending,
                };
                examined
                    .live
                    .host
                    .request(group, GroupRequest::Partition(append));
            }
            Err(error) => {
                self.inner.metrics.failed_batches.add(1);
                done(Err(error));
            }
        }
    }

    /// Everything that can be said about a batch before it waits.
    fn examine(&self, produce: Produce<'_>) -> Result<Examined, ProduceError> {
        if self.inner.is_closing() {
            return Err(ProduceError::ShuttingDown);
        }
        let live = Arc::clone(self.inner.live().map_err(PartitionError::from)?);
        let directory = self.inner.directory.load();
        let served = directory.topic(produce.topic)?;
        let partition = Arc::clone(served.partition(produce.partition)?);
        if !partition.is_here {
            return Err(partition.not_leader(partition.known_leader()).into());
        }
        let limits = BatchLimits {
            record_bytes_max: served.topic.settings.record_bytes_max,
            batch_bytes_max: self.inner.config.batch_bytes_max(),
            ..BatchLimits::default()
        };
        let header = check(&produce.batch, &limits)?;
        let permit = match produce.permit {
            Some(permit) => permit,
            None => self.try_reserve(produce.batch.len())?,
        };
        Ok(Examined {
            live,
            partition,
            header,
            batch: produce.batch,
            permit,
        })
    }

    /// The moment `after` from now.
    #[must_use]
    pub fn deadline(&self, after: Duration) -> Deadline {
        Deadline(self.inner.env.clock.monotonic().saturating_add(after))
    }

    /// Calls `ready` with room for a batch of `bytes` (and [`REQUEST_BYTES`] beside), at once or
    /// when others have given room back: for those who would rather wait than be refused.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn reserve(
        &self,
        bytes: usize,
        ready: impl FnOnce(Permit) + Send + 'static,
    ) -> Result<(), NoRoom> {
        self.inner.admission.reserve(bytes + REQUEST_BYTES, ready)
    }

    /// Room for a batch of `bytes` (and [`REQUEST_BYTES`] beside), if there is any now.
    ///
    /// # Errors
    /// There is none.
    pub fn try_reserve(&self, bytes: usize) -> Result<Permit, NoRoom> {
        self.inner.admission.try_reserve(bytes + REQUEST_BYTES)
    }
}

/// A batch that may go to its partition.
struct Examined {
    live: Arc<Live>,
    partition: Arc<PartitionShared>,
    header: BatchHeader,
    batch: Bytes,
    permit: Permit,
}
