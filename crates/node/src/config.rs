//! A node's settings.

use std::{path::PathBuf, time::Duration};

use trilith_host::HostConfig;
use trilith_storage::{LogConfig, SyncPolicy, journal::JournalConfig};
use trilith_types::limits::{BATCH_BYTES_MAX, RECORD_BYTES_MAX};

use super::{FEATURE_LEVEL, Start};

/// Most shards by default, however many cores there are: shards wait for the disk more than they
/// compute.
const SHARDS_DEFAULT_MAX: usize = 4;

/// Store, offsets, entries, times.
const FILES_PER_SEGMENT: u64 = 4;

/// More open segments than this are of no use, however many files may be open: each is memory, too.
const SEGMENTS_MAX: usize = 4096;

/// More logs than this are not kept open for writing: their indexes are mapped, and systems bound
/// the mappings of a process (65,530 on Linux).
const LOGS_MAX: usize = 8192;

/// Where a node is reached, as it tells others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// By clients, as `host:port`.
    pub client: String,
    /// By other nodes, as `host:port`; empty on a node that listens for none.
    pub peer: String,
}

/// A node's settings.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The data directory; made if missing.
    pub data: PathBuf,
    /// Its name; `None` takes the one that the data directory has, or the default.
    pub name: Option<String>,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it does when it belongs to no cluster.
    pub start: Start,
    /// Addresses of other nodes, for a node that belongs to no cluster yet.
    pub seeds: Vec<String>,
    /// What an acknowledgement of a cluster of one node stands for. With more nodes, always
    /// [`SyncPolicy::Always`].
    pub sync: SyncPolicy,
    /// Threads that own groups.
    pub shards: usize,
    /// Most bytes of batches between their arrival and their answer.
    pub inflight_bytes_max: usize,
    /// Most ended segments that are kept open, over all partitions, with four files each.
    pub open_segments_max: usize,
    /// Most logs with files open for writing, over all shards, with four files each; at least one a
    /// shard.
    pub open_logs_max: usize,
    /// What topics do not set about the logs of their partitions: reserves and index settings.
    pub log: LogConfig,
    /// The journal's sizes.
    pub journal: JournalConfig,
    /// The host's times and limits, as far as nothing here says otherwise; `None`: the usual ones.
    pub host: Option<HostConfig>,
    /// What the node says its program can do; below [`FEATURE_LEVEL`] it is as an earlier one.
    pub feature_level: u32,
    /// Bytes a second that are read in the background to find damage while it can be mended; 0: none.
    pub scrub_bytes_per_second: u64,
    /// How often a leader with a retention setting looks for segments to remove.
    pub retention_interval: Duration,
}

impl NodeConfig {
    /// The defaults, with this data directory: a cluster of one node.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            data: data.into(),
            name: None,
            addresses: Addresses::default(),
            start: Start::Alone,
            seeds: Vec::new(),
            sync: SyncPolicy::Always,
            shards: cores.min(SHARDS_DEFAULT_MAX),
            inflight_bytes_max: 64 << 20,
            open_segments_max: 64,
            open_logs_max: 2048,
            log: LogConfig::of_many(),
            journal: JournalConfig::default(),
            host: None,
            feature_level: FEATURE_LEVEL,
            scrub_bytes_per_second: 4 << 20,
            retention_interval: Duration::from_secs(10),
        }
    }

    /// Largest batch: what a file of the journal has room for, and no more than any may have.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u32 {
        let journal = self.journal.payload_bytes_max().min(BATCH_BYTES_MAX.into());
        journal as u32
    }

    /// Largest record that topics may allow: one that fits a batch of its own.
    #[must_use]
    pub fn record_bytes_max(&self) -> u32 {
        let batch = self.batch_bytes_max();
        let beside = (BATCH_BYTES_MAX - RECORD_BYTES_MAX).min(batch / 4);
        batch - beside
    }

    /// These settings for a process that may have `files` files open. Reads under way may hold
    /// segments that the cache has closed meanwhile; a quarter of what is left goes to segments
    /// that are read, a quarter to logs that are written and another to those that are being synced;
    /// the rest is for connections and everything else.
    #[must_use]
    pub fn with_open_files(self, files: u64) -> Self {
        /// Sixteen reads at a time, and a few files that are always open.
        const READS_AND_OTHERS: u64 = 16 * FILES_PER_SEGMENT + 32;
        /// A quarter each for what is written and for what is read.
        const SHARE: u64 = 4 * FILES_PER_SEGMENT;
        let left = files.saturating_sub(READS_AND_OTHERS);
        let segments = usize::try_from(left / SHARE).unwrap_or(usize::MAX);
        Self {
            open_segments_max: segments.clamp(1, SEGMENTS_MAX),
            open_logs_max: segments.clamp(1, LOGS_MAX),
            ..self
        }
    }
}
