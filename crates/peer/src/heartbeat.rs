//! The node-pair heartbeat: one for all groups between two nodes.

/// What a node says to each peer every
/// [`heartbeat_every`](crate::LinkConfig::heartbeat_every), however quiet its groups are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Counts the heartbeats of this connection, from 1.
    pub sequence: u64,
    /// The highest sequence that came from the receiver; 0 before the first. So each side learns
    /// whether it is heard.
    pub echo: u64,
    /// Whether the sender's threads and disk are getting on.
    pub progress: Progress,
}

/// Counters that go up as long as all is well: a process that still answers on its socket while
/// its shards hang is as good as dead to the groups it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// One for each shard: goes up at least with every tick. At most
    /// [`SHARDS_MAX`](crate::SHARDS_MAX).
    pub shards: Vec<u64>,
    /// Goes up with every tick in which no write is overdue.
    pub disk: u64,
}

impl Progress {
    /// Whether every counter is past what it was in `earlier`.
    #[must_use]
    pub fn is_past(&self, earlier: &Self) -> bool {
        // Another number of shards is another life of the node, and that is progress.
        self.shards.len() != earlier.shards.len()
            || (self.disk > earlier.disk
                && self
                    .shards
                    .iter()
                    .zip(&earlier.shards)
                    .all(|(now, then)| now > then))
    }
}
