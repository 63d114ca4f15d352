//! Whether shards and disk are getting on, for the heartbeats between nodes.

use std::sync::atomic::{AtomicU64, Ordering};

use trilith_peer::Progress;

/// Counters that go up with every tick while all is well.
#[derive(Debug)]
pub(crate) struct Pulse {
    shards: Vec<AtomicU64>,
    disk: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            disk: AtomicU64::new(0),
        }
    }

    pub(crate) fn shard_ticked(&self, shard: usize) {
        if let Some(counter) = self.shards.get(shard) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn disk_is_well(&self) {
        self.disk.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        let shards = self.shards.iter();
        Progress {
            shards: shards.map(|n| n.load(Ordering::Relaxed)).collect(),
            disk: self.disk.load(Ordering::Relaxed),
        }
    }
}
