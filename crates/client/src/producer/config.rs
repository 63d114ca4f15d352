//! How a producer batches and how much it holds.

use std::time::Duration;

use trilith_batch::Compression;
use trilith_types::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

/// How a producer batches and how much it holds.
///
/// ```
/// use std::time::Duration;
/// use trilith_client::{Compression, ProducerConfig};
///
/// let config = ProducerConfig {
///     compression: Compression::Lz4,
///     linger: Duration::from_millis(20),
///     ..ProducerConfig::default()
/// };
/// assert_eq!(config.batch_bytes, 256 << 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// A batch is sent when it has this many bytes before compression. A larger record goes in a
    /// batch of its own. Default 256 KiB; at most what a batch may have.
    pub batch_bytes: usize,
    /// A batch is sent when it has this many records. Default: as many as a batch may have.
    pub batch_records: u32,
    /// A batch is sent this long after its first record, however small it is. Default 5 ms.
    pub linger: Duration,
    /// How batches are compressed. Default: not.
    pub compression: Compression,
    /// Bytes of records taken and not yet answered. At the limit [`crate::Producer::send`] waits.
    /// Default 32 MiB.
    pub in_flight_bytes_max: usize,
    /// Batches sent and not yet answered. At the limit batches wait and grow. Default 64.
    pub in_flight_requests_max: usize,
    /// How long a batch may wait for its answer, while nothing of its partition is acknowledged,
    /// before its records are given up. Default 30 s.
    pub delivery_timeout: Duration,
    /// Number the batches, so that the leader stores each once however often it is sent, and send
    /// them again when it is not known what became of them. At most 5 batches of a partition are
    /// on their way at a time then. Without it a lost connection leaves what was on its way
    /// [`crate::Fate::Unknown`]. Default: do.
    pub idempotent: bool,
    /// After the first record that was not acknowledged send nothing more: what was not sent yet
    /// is not stored. Without it the producer goes on, and later records may be stored while
    /// earlier ones are not. Default: go on.
    pub halt_on_failure: bool,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            batch_bytes: 256 << 10,
            batch_records: BATCH_RECORDS_MAX,
            linger: Duration::from_millis(5),
            compression: Compression::None,
            in_flight_bytes_max: 32 << 20,
            in_flight_requests_max: 64,
            delivery_timeout: Duration::from_secs(30),
            idempotent: true,
            halt_on_failure: false,
        }
    }
}

impl ProducerConfig {
    /// The same with every number within its bounds.
    pub(super) fn bounded(self) -> Self {
        Self {
            batch_bytes: self.batch_bytes.clamp(1, BATCH_BYTES_MAX as usize),
            batch_records: self.batch_records.clamp(1, BATCH_RECORDS_MAX),
            // A semaphore counts them, and takes them in numbers of 32 bits.
            in_flight_bytes_max: self.in_flight_bytes_max.clamp(1, 1 << 30),
            in_flight_requests_max: self.in_flight_requests_max.clamp(1, 1 << 16),
            ..self
        }
    }
}
