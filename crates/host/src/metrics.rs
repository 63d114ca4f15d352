//! What a host counts. Whoever serves metrics reads these.

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

/// What a host counts, all groups together, since it was opened.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Groups that are hosted.
    pub groups: Gauge,
    /// Of those, the ones that this node leads.
    pub leading: Gauge,
    /// Of those, the ones whose time passes; the others are quiet, or have no quorum in reach.
    pub awake: Gauge,
    /// Replicas whose vote is lost.
    pub voteless: Gauge,
    /// Replicas that have stopped after a failure.
    pub stopped: Gauge,
    /// Groups whose log finds no room on the disk.
    pub full: Gauge,
    /// Entries that a leader of this node has appended.
    pub proposed_entries: Counter,
    /// Payload bytes of those.
    pub proposed_bytes: Counter,
    /// Entries that came from leaders and were appended.
    pub received_entries: Counter,
    /// Payload bytes of those.
    pub received_bytes: Counter,
    /// Entries that were applied.
    pub applied_entries: Counter,
    /// Requests that were refused.
    pub refused_requests: Counter,
    /// Requests that wait in an inbox.
    pub queued_requests: Gauge,
    /// Requests whose entries are appended and not yet applied.
    pub pending_requests: Gauge,
    /// Messages to other nodes.
    pub sent_messages: Counter,
    /// Messages from other nodes.
    pub received_messages: Counter,
    /// Messages that a core dropped: late, doubled, or of another time.
    pub dropped_messages: Counter,
    /// Messages that found an inbox full, a full disk, or no group.
    pub refused_messages: Counter,
    /// Sends that were served from memory.
    pub recent_sends: Counter,
    /// Sends whose entries were read from the log.
    pub read_sends: Counter,
    /// Bytes of recent entries that are kept in memory.
    pub recent_bytes: Gauge,
    /// Elections that this node has won.
    pub elections_won: Counter,
    /// Conflicting suffixes that were truncated.
    pub truncations: Counter,
    /// Syncs of segments in the background.
    pub segment_syncs: Counter,
    /// Durable marks that were given to the journal.
    pub marks: Counter,
    /// Snapshots that were sent whole.
    pub snapshots_sent: Counter,
    /// Snapshots that were put in place.
    pub snapshots_installed: Counter,
    /// Bytes of snapshots sent.
    pub snapshot_bytes_sent: Counter,
    /// Bytes of snapshots received.
    pub snapshot_bytes_received: Counter,
    /// Logs that could not be opened, and whose replicas are rebuilt from a peer's snapshot.
    pub lost_logs: Counter,
    /// Bytes of logs that were read in the background to find damage.
    pub scrubbed_bytes: Counter,
    /// Times that a shard has read all of its logs through.
    pub scrub_passes: Counter,
    /// Damaged entries that were found.
    pub damaged_entries: Counter,
    /// Damaged entries that were written again.
    pub repaired_entries: Counter,
    /// From the order to sync segments until they are durable, in microseconds.
    pub segment_sync_micros: Histogram,
    /// From a submission to the journal until it is durable, in microseconds.
    pub persist_micros: Histogram,
    /// Entries of one group in one submission to the journal.
    pub entries_per_submission: Histogram,
    /// Events that one turn of a shard took.
    pub events_per_turn: Histogram,
}
