//! One reader of a partition.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::Instant,
};
use tonic::Streaming;
use trilith_node::{PartitionCursor, PartitionReader, ReadError};
use trilith_proto::v1;
use trilith_types::{Offset, PartitionId, TimestampMs};

use super::{
    Engine,
    leaders::{Seek, Step},
    told,
};
use crate::{
    call::Call,
    consume::Chunk,
    error::{ApiError, Reason},
    forward::{of_read, passed_on},
    metrics::Metrics,
};

/// Reads go to the blocking pool, a bounded number at a time. Most are copies from the page cache
/// and quick; but one that goes to the disk would keep every connection of its thread waiting, and
/// which it will be is not known before. A chunk is large enough not to notice the difference.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    turns: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Turns {
    pub(super) fn new(reads_max: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(reads_max.max(1))),
            metrics,
        }
    }

    /// Runs `read` when its turn has come.
    async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let _waiting = self.metrics.reads.enter();
        let begun = Instant::now();
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_closed| ApiError::shutting_down())?;
        let work = move || {
            // The turn ends with the read, also when nobody waits for it any more.
            let _turn = turn;
            read()
        };
        let done = tokio::task::spawn_blocking(work).await;
        self.metrics.read_seconds.record(begun.elapsed());
        done.map_err(|_| ApiError::new(Reason::Internal, "a read was broken off"))
    }
}

/// Where a partition is read.
pub(crate) enum Place {
    /// Here.
    Here(Reader),
    /// At its leader, which clients reach at this address.
    At(String),
}

impl Engine {
    /// Where a partition is read. What [`Reader::end`] gives at first is behind everything that
    /// was acknowledged before this was called.
    pub(crate) async fn find(
        &self,
        call: &Call,
        topic: &str,
        partition: PartitionId,
    ) -> Result<Place, ApiError> {
        let mut seek = Seek::new(call);
        loop {
            let opened = told(
                |tell| self.node().reader(topic, partition, tell),
                seek.until(),
            );
            let refusal = match opened.await? {
                Ok(reader) => {
                    return Ok(Place::Here(Reader::new(reader, self.turns.clone())));
                }
                Err(refusal) => ApiError::from(refusal),
            };
            if let Step::To(address) = seek.after(self, refusal).await? {
                return Ok(Place::At(address));
            }
        }
    }
}

impl Engine {
    /// Has the leader at `address` say where partitions start and end.
    pub(crate) async fn offsets_at(
        &self,
        address: &str,
        request: v1::ListOffsetsRequest,
        call: &Call,
    ) -> Result<v1::ListOffsetsResponse, ApiError> {
        let request = passed_on(request, call.deadline);
        let answer = self.forward.log(address)?.list_offsets(request).await;
        Ok(answer.map_err(|status| of_read(&status))?.into_inner())
    }

    /// Has the leader at `address` read.
    pub(crate) async fn consume_at(
        &self,
        address: &str,
        request: v1::ConsumeRequest,
        call: &Call,
    ) -> Result<Streaming<v1::ConsumeResponse>, ApiError> {
        let request = passed_on(request, call.deadline);
        let answer = self.forward.log(address)?.consume(request).await;
        Ok(answer.map_err(|status| of_read(&status))?.into_inner())
    }
}

/// How often it is looked whether a node that reads for another one still leads, while nothing comes.
const LEADER_LOOK: Duration = Duration::from_millis(100);

/// For so many looks in a row it must not.
const LEADER_LOOKS: u32 = 3;

impl Engine {
    /// Ready, with a reason to ask again, when the node at `address` is not known any more as the
    /// partition's leader. A node that is paused, or that this one is cut off from, does not say so
    /// itself.
    pub(crate) async fn led_elsewhere(
        &self,
        topic: &str,
        partition: PartitionId,
        address: &str,
    ) -> ApiError {
        let mut looks = 0;
        while looks < LEADER_LOOKS {
            tokio::time::sleep(LEADER_LOOK).await;
            let leads = self.node().leads_at(topic, partition, address);
            looks = if leads { 0 } else { looks + 1 };
        }
        let message = format!("the leader at {address} is silent, and another one leads or will");
        ApiError::new(Reason::NotLeader, message)
    }
}

/// How long a read that met damage waits for other nodes to mend it.
const MENDING_MAX: Duration = Duration::from_secs(5);

/// How often it looks.
const MENDING_LOOK: Duration = Duration::from_millis(20);

/// Reads a partition forward.
#[derive(Debug)]
pub(crate) struct Reader {
    reader: PartitionReader,
    /// Away while a read is under way; a read that was given up takes it along.
    cursor: Option<PartitionCursor>,
    turns: Turns,
}

impl Reader {
    pub(super) const fn new(reader: PartitionReader, turns: Turns) -> Self {
        Self {
            reader,
            cursor: None,
            turns,
        }
    }

    /// The earliest record's offset.
    pub(crate) fn earliest(&self) -> Offset {
        self.reader.earliest()
    }

    /// Behind the last readable record.
    pub(crate) fn end(&self) -> Offset {
        self.reader.end()
    }

    /// The first offset at or after a time; the end when there is none.
    pub(crate) async fn offset_at_time(&self, time: TimestampMs) -> Result<Offset, ApiError> {
        let reader = self.reader.clone();
        Ok(self
            .turns
            .run(move || reader.offset_at_time(time))
            .await??)
    }

    /// Whole batches from the one that holds `from`, about `bytes_max` bytes of them.
    pub(crate) async fn read(&mut self, from: Offset, bytes_max: usize) -> Result<Chunk, ApiError> {
        let left = self
            .cursor
            .take()
            .filter(|cursor| cursor.position() == from);
        let mut cursor = left.unwrap_or_else(|| self.reader.cursor(from));
        let mended_by = Instant::now() + MENDING_MAX;
        let batches = loop {
            let read = move || {
                let batches = cursor.read(bytes_max);
                (cursor, batches)
            };
            let (after, batches) = self.turns.run(read).await?;
            match batches {
                // The node has begun to fetch what is lost from others.
                Err(ReadError::Damaged { .. })
                    if self.reader.is_replicated() && Instant::now() < mended_by =>
                {
                    cursor = after;
                    tokio::time::sleep(MENDING_LOOK).await;
                }
                other => {
                    self.cursor = Some(after);
                    break other?;
                }
            }
        };
        Ok(Chunk {
            batches: batches
                .batches
                .into_iter()
                .map(|batch| batch.bytes)
                .collect(),
            next: batches.next,
            end: batches.end,
        })
    }

    /// Waits until there is more than `end`, or the partition is gone: then the next read says so.
    pub(crate) async fn advanced(&self, end: Offset) -> Result<(), ApiError> {
        let (call, called) = oneshot::channel();
        // Held to the end: dropped, it takes the callback back.
        let _wait = self.reader.on_advance(end, move || _ = call.send(()))?;
        // Dropped uncalled only when the node is gone.
        called.await.map_err(|_| ApiError::shutting_down())
    }
}
