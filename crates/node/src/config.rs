//! A node's settings.

use std::{path::PathBuf, time::Duration};

use trilith_storage::{LogConfig, SyncPolicy};

/// Most shards by default, however many cores there are: shards wait for the disk more than they
/// compute.
const SHARDS_DEFAULT_MAX: usize = 4;

/// Store, offsets, entries, times.
const FILES_PER_SEGMENT: u64 = 4;

/// More open segments than this are of no use, however many files may be open: each is memory, too.
const SEGMENTS_MAX: usize = 4096;

/// A node's settings.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The data directory; made if missing.
    pub data: PathBuf,
    /// When appends are synced, and what an acknowledgement stands for.
    pub sync: SyncPolicy,
    /// Threads that own partitions.
    pub shards: usize,
    /// Most bytes of batches between their arrival and their answer.
    pub inflight_bytes_max: usize,
    /// Most segments that are open for writing, over all partitions, with four files each. At the
    /// limit the log that has gone without an append for longest is settled, and appends that
    /// would open another one wait for that.
    pub active_segments_max: usize,
    /// Most ended segments that are kept open, over all partitions, with four files each.
    pub open_segments_max: usize,
    /// What topics do not set about the logs of their partitions: reserves and index settings.
    pub log: LogConfig,
    /// How often a partition with a retention setting looks for segments to remove.
    pub retention_interval: Duration,
    /// A log that had no append for this long writes down how far it is synced.
    pub mark_after: Duration,
    /// A log that had no append for this long is settled: synced, its files closed, so that it
    /// costs next to nothing until the next append.
    pub settle_after: Duration,
}

impl NodeConfig {
    /// The defaults, with this data directory.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            data: data.into(),
            sync: SyncPolicy::Always,
            shards: cores.min(SHARDS_DEFAULT_MAX),
            inflight_bytes_max: 64 << 20,
            active_segments_max: 64,
            open_segments_max: 64,
            log: LogConfig::default(),
            retention_interval: Duration::from_secs(10),
            mark_after: Duration::from_millis(50),
            settle_after: Duration::from_secs(60),
        }
    }

    /// These settings for a process that may have `files` files open. Reads under way may hold
    /// segments that the cache has closed meanwhile; half of what is left goes to segments, the
    /// other half is for connections and everything else.
    #[must_use]
    pub fn with_open_files(self, files: u64) -> Self {
        /// Sixteen reads at a time, and a few files that are always open.
        const READS_AND_OTHERS: u64 = 16 * FILES_PER_SEGMENT + 32;
        /// A quarter each for what is written and for what is read.
        const SHARE: u64 = 4 * FILES_PER_SEGMENT;
        let left = files.saturating_sub(READS_AND_OTHERS);
        let segments = usize::try_from(left / SHARE).unwrap_or(usize::MAX);
        Self {
            active_segments_max: segments.clamp(1, SEGMENTS_MAX),
            open_segments_max: segments.clamp(1, SEGMENTS_MAX),
            ..self
        }
    }
}
