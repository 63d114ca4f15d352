//! What a node counts. Whoever serves metrics reads these.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Histogram;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a node counts, all partitions together, since it was opened.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Batches appended.
    pub appended_batches: Counter,
    /// Records appended.
    pub appended_records: Counter,
    /// Bytes of batches appended.
    pub appended_bytes: Counter,
    /// Batches that were refused or could not be appended.
    pub failed_batches: Counter,
    /// Of those, the ones whose deadline passed while they waited.
    pub expired_batches: Counter,
    /// Bytes of batches handed to readers.
    pub read_bytes: Counter,
    /// Batches handed to readers.
    pub read_batches: Counter,
    /// Syncs that succeeded.
    pub syncs: Counter,
    /// Syncs that failed; each poisoned a partition.
    pub failed_syncs: Counter,
    /// Segments that retention removed.
    pub retired_segments: Counter,
    /// Bytes that retention removed.
    pub retired_bytes: Counter,
    /// Batches that wait to be appended.
    pub queued_batches: Gauge,
    /// Batches that are appended and wait for their sync.
    pub unsynced_batches: Gauge,
    /// Partitions that are hosted.
    pub partitions: Gauge,
    /// Partitions that take no more writes after a failure.
    pub poisoned_partitions: Gauge,
    /// Partitions whose last append found no room on the disk.
    pub full_partitions: Gauge,
    /// From a batch's arrival to its answer, in microseconds.
    pub commit_micros: Histogram,
    /// One write of one partition's waiting batches, in microseconds.
    pub append_micros: Histogram,
    /// From a sync's submission to its completion, in microseconds.
    pub sync_micros: Histogram,
    /// Batches that one sync made durable.
    pub batches_per_sync: Histogram,
}
