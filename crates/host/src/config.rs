//! The host's settings.

use std::{path::PathBuf, time::Duration};

use trilith_types::{Incarnation, NodeId};

/// A host's settings.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// This node.
    pub node: NodeId,
    /// Which start of it this is; higher with every start, durably.
    pub incarnation: Incarnation,
    /// Where the journal and the votes are; made if missing. All logs are on the same file system.
    pub dir: PathBuf,
    /// How many shards groups are spread over.
    pub shards: usize,
    /// Most segment files that are kept open for readers, over all groups.
    pub open_segments_max: usize,
    /// Most logs of one shard that have files open for writing, and most whose segments are being
    /// synced, which opens the files of those that have none. Each has four files.
    pub open_logs_max: usize,
    /// How often time passes for cores that are awake.
    pub tick: Duration,
    /// Ticks without a leader until an election; the real number is random, up to twice it.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: u32,
    /// Ticks without work after which a group goes quiet; `None`: never.
    pub quiet_after_ticks: Option<u32>,
    /// Ticks after which a leader steps down whose oldest write is not yet on disk.
    pub disk_stall_ticks: u32,
    /// Most proposed and uncommitted payload bytes of one group.
    pub uncommitted_bytes_max: u64,
    /// Most payload bytes on their way to one peer, for each group.
    pub inflight_bytes_max: u64,
    /// Most payload bytes in one message between nodes.
    pub send_bytes_max: u64,
    /// Most bytes of recent entries that one group keeps in memory for its followers.
    pub recent_bytes_max: u64,
    /// The same over all groups of a shard.
    pub shard_recent_bytes_max: u64,
    /// Most bytes of entries that wait in a shard's inbox; messages past it are dropped.
    pub inbox_bytes_max: u64,
    /// Most requests that wait in a shard's inbox; those past it are refused.
    pub inbox_requests_max: usize,
    /// A group's segments are synced once this many bytes of it are in the journal alone. The
    /// journal's next syncs wait behind them on the same disk: large steps are stalls for everybody.
    pub sync_bytes: u64,
    /// Bytes a second of snapshots that one group sends to one peer.
    pub snapshot_bytes_per_second: u64,
    /// Most snapshots that a shard sends at a time; others wait for their turn.
    pub snapshots_sending_max: usize,
    /// A group without entries for this long closes its files.
    pub park_after: Duration,
    /// How often a group whose disk was full tries again.
    pub disk_retry: Duration,
    /// How long a clean stop waits for leadership to be taken over.
    pub handover: Duration,
    /// Bytes a second, over all shards, that are read in the background to find damage; 0: none.
    pub scrub_bytes_per_second: u64,
    /// How often everything is read through, at most.
    pub scrub_every: Duration,
    /// What does the journal's sizes.
    pub journal: trilith_storage::journal::JournalConfig,
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}: {why}")]
pub struct ConfigError {
    /// Which one.
    pub setting: &'static str,
    /// What was given.
    pub value: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

impl HostConfig {
    /// The usual settings: ticks of 20 ms, elections after 300 to 600 ms, heartbeats of 60 ms.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation, dir: impl Into<PathBuf>) -> Self {
        Self {
            node,
            incarnation,
            dir: dir.into(),
            shards: 2,
            open_segments_max: 64,
            open_logs_max: 1024,
            tick: Duration::from_millis(20),
            election_ticks: 15,
            heartbeat_ticks: 3,
            quiet_after_ticks: Some(50),
            disk_stall_ticks: 50,
            uncommitted_bytes_max: 64 << 20,
            inflight_bytes_max: 16 << 20,
            send_bytes_max: 1 << 20,
            recent_bytes_max: 8 << 20,
            shard_recent_bytes_max: 64 << 20,
            inbox_bytes_max: 64 << 20,
            inbox_requests_max: 64 << 10,
            sync_bytes: 4 << 20,
            snapshot_bytes_per_second: 64 << 20,
            snapshots_sending_max: 4,
            park_after: Duration::from_secs(10),
            disk_retry: Duration::from_millis(200),
            handover: Duration::from_secs(1),
            scrub_bytes_per_second: 4 << 20,
            scrub_every: Duration::from_secs(24 * 60 * 60),
            journal: trilith_storage::journal::JournalConfig::default(),
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Names the first one that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("node", self.node.0),
            ("incarnation", self.incarnation.0),
            ("shards", self.shards as u64),
            ("open_logs_max", self.open_logs_max as u64),
            ("tick", self.tick.as_micros() as u64),
            ("send_bytes_max", self.send_bytes_max),
            ("sync_bytes", self.sync_bytes),
            ("inbox_bytes_max", self.inbox_bytes_max),
            ("inbox_requests_max", self.inbox_requests_max as u64),
            ("snapshot_bytes_per_second", self.snapshot_bytes_per_second),
            ("snapshots_sending_max", self.snapshots_sending_max as u64),
        ];
        let zero = positive.into_iter().find(|(_, value)| *value == 0);
        zero.map_or(Ok(()), |(setting, value)| {
            let why = "it must be at least 1";
            Err(ConfigError {
                setting,
                value,
                why,
            })
        })
    }
}
