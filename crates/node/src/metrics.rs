//! What a node counts of its clients' requests; its groups have counts of their own
//! ([`trilith_host::Metrics`]).

use trilith_host::{Counter, Histogram};

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
    /// From a batch's arrival to its answer, in microseconds.
    pub commit_micros: Histogram,
}
