//! Limits and times of the links.

use std::time::Duration;

use trilith_types::limits::BATCH_BYTES_MAX;

/// Most bytes of one frame behind its header: an append may hold a full share of entries and go
/// past it by one of the largest.
pub const FRAME_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX as usize;

/// Messages that wait together are put into one frame up to this size. A larger message has a
/// frame of its own.
pub const FRAME_BYTES_TARGET: usize = 256 << 10;

/// Most bytes of a piece of a snapshot.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 1 << 20;

/// Most bytes of a call or an answer.
pub const CALL_BYTES_MAX: usize = 1 << 20;

/// Most entries of one message.
pub const ENTRIES_PER_MESSAGE_MAX: usize = 64 << 10;

/// Most runs of terms in one message: each is an election that left entries behind.
pub const RUNS_PER_MESSAGE_MAX: usize = 64 << 10;

/// Most shards that a heartbeat speaks of.
pub const SHARDS_MAX: usize = 256;

/// Longest name of a node, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 63;

/// Longest address, in bytes: the longest host name and a port.
pub const ADDRESS_BYTES_MAX: usize = 261;

/// Longest reason of a refusal, in bytes. A longer one is cut.
pub const REASON_BYTES_MAX: usize = 1 << 10;

/// Most nodes that a cluster is founded with.
pub const FOUNDERS_MAX: usize = 32;

/// Times and limits of a node's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// From one heartbeat to the next.
    pub heartbeat_every: Duration,
    /// A peer that was not heard, did not get on, or did not hear us for so long is suspected.
    pub suspect_after: Duration,
    /// A connection on which nothing came for so long is given up, and dialled anew.
    pub close_after: Duration,
    /// A handshake, connecting included, that takes longer is given up.
    pub handshake_max: Duration,
    /// The pause after the first failed dial. It doubles with each further one.
    pub backoff_min: Duration,
    /// The longest pause. A random part of up to half is taken off each.
    pub backoff_max: Duration,
    /// Connections whose handshake is under way. One more is closed at once.
    pub handshakes_max: usize,
    /// Bytes that wait for one peer's control connection. What comes then is dropped and counted.
    pub control_bytes_max: usize,
    /// Bytes that wait for one peer's bulk connection. What comes then is dropped and counted.
    pub bulk_bytes_max: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            heartbeat_every: Duration::from_millis(40),
            suspect_after: Duration::from_millis(250),
            close_after: Duration::from_secs(2),
            handshake_max: Duration::from_secs(2),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            handshakes_max: 32,
            control_bytes_max: 64 << 20,
            bulk_bytes_max: 4 << 20,
        }
    }
}
