//! How the nodes of a run are set; drawn once from the seed.

use std::time::Duration;

use trilith_host::HostConfig;
use trilith_storage::{LogConfig, journal::JournalConfig};
use trilith_types::{Incarnation, NodeId};

use super::plant::NodeBug;
use crate::{
    faults::{FaultKind, FaultPlan},
    rng::Rng,
    time::Span,
};

/// Groups on every node.
pub(super) const GROUPS: u64 = 3;

/// A tick of the cores.
const TICK: Duration = Duration::from_millis(10);

const ELECTION_TICKS: u32 = 10;

/// The unit in which this world's waiting is measured: the longest wait of a core.
pub(super) const ELECTION_TIMEOUT: Span = Span::millis(200);

/// What this world is told beside the seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Faults that are on in every run.
    pub always: Vec<FaultKind>,
    /// A bug of the nodes.
    pub bug: Option<NodeBug>,
    /// Clients offer writes all the time, and now and then one node is in trouble: how many are
    /// acknowledged in time?
    pub availability: bool,
}

/// The settings of every node of a run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) bug: Option<NodeBug>,
    pub(super) sync_mean: Span,
    /// Time passes as it does on a real node.
    usual: bool,
    shards: usize,
    heartbeat_ticks: u32,
    quiet_after_ticks: Option<u32>,
    recent_bytes_max: u64,
    send_bytes_max: u64,
    sync_bytes: u64,
    segment_bytes: u64,
    journal_bytes: u64,
    frame_bytes: u64,
    park_after: Duration,
}

impl Settings {
    pub(super) fn draw(plan: &FaultPlan, options: &Options, rng: &mut Rng) -> Self {
        Self {
            bug: options.bug,
            sync_mean: plan.sync_mean.min(Span::millis(12)),
            usual: false,
            shards: rng.between(1, 2) as usize,
            heartbeat_ticks: rng.between(1, 3) as u32,
            quiet_after_ticks: (rng.below(3) > 0).then(|| rng.between(5, 60) as u32),
            recent_bytes_max: rng.between(0, 40) << 10,
            send_bytes_max: rng.between(1, 64) << 10,
            sync_bytes: rng.between(8, 128) << 10,
            segment_bytes: rng.between(16, 128) << 10,
            journal_bytes: rng.between(2, 8) * (64 << 10),
            frame_bytes: rng.between(4, 64) << 10,
            park_after: Duration::from_millis(rng.between(200, 5_000)),
        }
    }

    /// As a node is set without a word from anybody, but with smaller files.
    pub(super) fn usual() -> Self {
        Self {
            bug: None,
            sync_mean: Span::millis(1),
            usual: true,
            shards: 2,
            heartbeat_ticks: 3,
            quiet_after_ticks: Some(50),
            recent_bytes_max: 8 << 20,
            send_bytes_max: 1 << 20,
            sync_bytes: 1 << 20,
            segment_bytes: 256 << 10,
            journal_bytes: 1 << 20,
            frame_bytes: 256 << 10,
            park_after: Duration::from_secs(10),
        }
    }

    pub(super) fn host(&self, node: NodeId, incarnation: Incarnation) -> HostConfig {
        let base = HostConfig::new(node, incarnation, "/node/host");
        HostConfig {
            shards: self.shards,
            open_segments_max: 16,
            tick: if self.usual { base.tick } else { TICK },
            election_ticks: match self.usual {
                true => base.election_ticks,
                false => ELECTION_TICKS,
            },
            heartbeat_ticks: self.heartbeat_ticks,
            quiet_after_ticks: self.quiet_after_ticks,
            disk_stall_ticks: 50,
            recent_bytes_max: self.recent_bytes_max,
            send_bytes_max: self.send_bytes_max,
            sync_bytes: self.sync_bytes,
            park_after: self.park_after,
            disk_retry: Duration::from_millis(50),
            journal: JournalConfig {
                file_bytes: self.journal_bytes,
                files_max: 4,
                frame_bytes: self.frame_bytes,
                ..base.journal
            },
            ..base
        }
    }

    pub(super) fn log(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_entries_max: 1 << 10,
            segment_offsets_max: 1 << 12,
            payload_bytes_max: 16 << 10,
            preallocate_bytes_min: 16 << 10,
            preallocate_bytes_max: 64 << 10,
            reserve_bytes: 64 << 10,
            resume_bytes: 16 << 10,
            ..LogConfig::default()
        }
    }
}
