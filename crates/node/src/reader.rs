//! Reading a partition: batches as they are stored, without a lock that its shard could hold.

use std::sync::Arc;

use bytes::Bytes;

use trilith_batch::decode;
use trilith_host::{Group, Wait};
use trilith_storage::{EntryKind, LogCursor, LogReader, ReadChunk, ReadError as LogError};
use trilith_types::{
    Offset, PartitionId, TimestampMs,
    planted::{self, Bug},
};

use super::{ReadError, node::Live, partition::PartitionShared};
use crate::Metrics;

/// Reads a partition on the node that leads it; clones are cheap, and any thread may use one. Once
/// another node leads, it answers [`super::PartitionError::NotLeader`]: what it showed until then was
/// committed and stays.
#[derive(Clone, Debug)]
pub struct PartitionReader {
    pub(crate) shared: Arc<PartitionShared>,
    pub(crate) live: Arc<Live>,
    pub(crate) group: Arc<Group>,
    pub(crate) log: LogReader,
    pub(crate) metrics: Arc<Metrics>,
}

/// Batches in a row, as they are stored.
#[derive(Clone, Debug, Default)]
pub struct Batches {
    /// The batches. The first may hold records before the offset asked for.
    pub batches: Vec<StoredBatch>,
    /// Where to read next.
    pub next: Offset,
    /// Behind the last record that could be seen.
    pub end: Offset,
}

/// A stored batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Its first record's offset.
    pub first_offset: Offset,
    /// How many offsets it takes.
    pub records: u32,
    /// When it was appended.
    pub append_time: TimestampMs,
    /// The highest of its records' timestamps.
    pub max_timestamp: TimestampMs,
    /// The encoded batch, its base offset set; a slice of the bytes that were read.
    pub bytes: Bytes,
}

impl PartitionReader {
    /// Which partition.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.shared.partition
    }

    /// Whether other nodes have the partition too. Then damage that a read meets is mended from
    /// there, which takes a moment: the same read succeeds after it.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.shared.replicas().len() > 1
    }

    /// The earliest record's offset. It never goes back, whoever leads: the command that moves it
    /// counts when it is applied, also while the log here still has what came before.
    #[must_use]
    pub fn earliest(&self) -> Offset {
        self.log.start_offset().max(self.shared.log_start())
    }

    /// Behind the last record that readers see.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.log.visible_upto()
    }

    /// Batches from the one that holds the first record at or after `from`: as many whole ones as
    /// fit into `max_bytes`, and at least one. At the end there are none.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] below the earliest or past the end, [`ReadError::Damaged`] when
    /// the very first batch cannot be read.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Batches, ReadError> {
        self.shared.led_here()?;
        let read = self.log.read(from, max_bytes);
        self.batches(from, read)
    }

    /// Reads forward from `from` without looking anything up twice; finishes each segment that it
    /// has begun, even when retention removes it.
    #[must_use]
    pub fn cursor(&self, from: Offset) -> PartitionCursor {
        PartitionCursor {
            cursor: self.log.cursor(from),
            reader: self.clone(),
        }
    }

    /// The first record whose timestamp is at or after `time`; the end when there is none. Where
    /// timestamps go backwards, the first in the order of offsets.
    ///
    /// # Errors
    /// As [`PartitionReader::read`].
    pub fn offset_at_time(&self, time: TimestampMs) -> Result<Offset, ReadError> {
        self.shared.led_here()?;
        let reader = &self.log;
        let found = reader
            .offset_at_time(time)
            .map_err(|error| self.error(Offset::ZERO, error))?;
        let chunk = match reader.read(found, 1) {
            // Damaged, or removed in this moment: whoever reads from there is told so.
            Err(_) => return Ok(found),
            Ok(chunk) => chunk,
        };
        let batch = chunk
            .frames
            .into_iter()
            .find(|frame| frame.kind == EntryKind::BATCH);
        let Some(batch) = batch else { return Ok(found) };
        let malformed = |source| ReadError::Batch {
            offset: found,
            source,
        };
        for item in decode(batch.payload).map_err(malformed)? {
            let (offset, record) = item.map_err(malformed)?;
            if record.timestamp >= time {
                return Ok(offset.max(found));
            }
        }
        Ok(found)
    }

    /// Calls `callback` once, when readers see more than `seen_end`, when the partition goes away,
    /// or when this node leads it no longer: at once if that is so already, else on another thread. Dropping what this returns
    /// takes the callback back.
    ///
    /// # Errors
    /// [`ReadError::TooManyWaiters`], or this node leads no longer.
    pub fn on_advance(
        &self,
        seen_end: Offset,
        callback: impl FnOnce() + Send + 'static,
    ) -> Result<Wait, ReadError> {
        let wait = self.group.on_advance(seen_end, callback)?;
        // Leadership that was lost before the callback had its place wakes nobody.
        self.shared.led_here()?;
        Ok(wait)
    }

    fn batches(
        &self,
        from: Offset,
        read: Result<ReadChunk, LogError>,
    ) -> Result<Batches, ReadError> {
        let chunk = read.map_err(|error| self.error(from, error))?;
        let batches: Vec<_> = chunk
            .frames
            .into_iter()
            .filter(|frame| frame.kind == EntryKind::BATCH)
            .map(|frame| StoredBatch {
                first_offset: frame.first_offset,
                records: frame.records,
                append_time: frame.append_time,
                max_timestamp: frame.max_timestamp,
                bytes: frame.payload,
            })
            .collect();
        self.metrics.read_batches.add(batches.len() as u64);
        self.metrics
            .read_bytes
            .add(batches.iter().map(|batch| batch.bytes.len() as u64).sum());
        Ok(Batches {
            batches,
            next: chunk.next,
            end: chunk.end,
        })
    }

    fn error(&self, offset: Offset, error: LogError) -> ReadError {
        if let LogError::Io { source, .. } = &error
            && trilith_env::is_out_of_files(source)
        {
            self.live.host.want_files();
        }
        if let LogError::Damaged { first, .. } = &error
            && self.shared.damage_met.is_new(*first)
        {
            let (topic, partition) = (&self.shared.topic, self.shared.partition);
            tracing::error!(%topic, %partition, %error, "a reader met damage on disk");
        }
        if let LogError::Damaged { next, .. } = &error
            && self.is_replicated()
        {
            self.live.host.damaged(self.shared.group, *next);
        }
        match error {
            LogError::OffsetGone { offset, .. } => ReadError::OutOfRange {
                offset,
                earliest: self.earliest(),
                end: self.end(),
            },
            LogError::Beyond { offset, end } => ReadError::OutOfRange {
                offset,
                earliest: self.earliest(),
                end,
            },
            LogError::Damaged { first, next, .. } => ReadError::Damaged {
                first: first.max(offset),
                next,
                source: error,
            },
            other => ReadError::Log(other),
        }
    }
}

/// Reads a partition forward.
#[derive(Debug)]
pub struct PartitionCursor {
    reader: PartitionReader,
    cursor: LogCursor,
}

impl PartitionCursor {
    /// The partition's reader.
    #[must_use]
    pub const fn reader(&self) -> &PartitionReader {
        &self.reader
    }

    /// The offset that is read next.
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.cursor.position()
    }

    /// Goes to another offset, for example past damage.
    pub fn seek(&mut self, to: Offset) {
        self.cursor.seek(to);
    }

    /// Reads on; as [`PartitionReader::read`].
    ///
    /// # Errors
    /// As there. The cursor stays where it is.
    pub fn read(&mut self, max_bytes: usize) -> Result<Batches, ReadError> {
        self.reader.shared.led_here()?;
        let from = self.cursor.position();
        let mut read = self.cursor.read(max_bytes);
        if let (Err(LogError::OffsetGone { earliest, .. }), true) =
            (&read, planted::is_on(Bug::GapUnsaid))
        {
            self.cursor.seek(*earliest);
            read = self.cursor.read(max_bytes);
        }
        self.reader.batches(from, read)
    }
}
