//! How the replicas of a run are set; drawn once from the seed.

use trilith_raft::{Config, LeaseConfig};
use trilith_types::{GroupId, Incarnation, NodeId};

use crate::{
    faults::{FaultKind, FaultPlan},
    rng::Rng,
    time::Span,
};

#[cfg(feature = "planted-bugs")]
use super::host_bugs::HostBug;

/// A tick of the cores.
pub(super) const TICK: Span = Span::millis(10);

/// Ticks without a leader before an election; each core adds up to as much again, and half of it
/// for each step of priority below the highest.
const ELECTION_TICKS: u32 = 10;

/// The unit in which this world's waiting is measured: the longest wait of a core of the highest
/// priority.
pub(super) const ELECTION_TIMEOUT: Span = TICK.times(2 * ELECTION_TICKS as u64);

/// How long a leader may count on a lease, by its clock.
const LEASE: Span = Span::millis(80);

/// How long a follower keeps its promise, by its clock. A clock that runs a part of `d` fast and
/// one that runs as much slow are apart by less than this allows while `d` is below a ninth.
const PROMISE: Span = Span::millis(100);

/// The largest drift under which leases are safe, in a million.
pub(super) const DRIFT_SAFE: u32 = 100_000;

/// A drift under which leases are not.
pub(super) const DRIFT_BEYOND: u32 = 800_000;

/// Whether leaders may read by lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseMode {
    /// Never.
    Off,
    /// Always, within the drift that leases allow for.
    On,
    /// In a quarter of the seeds.
    #[default]
    BySeed,
    /// Always, and clocks drift further than leases allow for.
    DriftBeyond,
}

/// What this world is told beside the seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether leaders may read by lease.
    pub leases: LeaseMode,
    /// Faults that are on in every run.
    pub always: Vec<FaultKind>,
    /// A bug of the core.
    #[cfg(feature = "planted-bugs")]
    pub core_bug: Option<trilith_raft::planted::Bug>,
    /// A bug of the replica around it.
    #[cfg(feature = "planted-bugs")]
    pub host_bug: Option<HostBug>,
}

impl Options {
    /// Options without any bug.
    #[must_use]
    pub fn new(leases: LeaseMode, always: Vec<FaultKind>) -> Self {
        Self {
            leases,
            always,
            #[cfg(feature = "planted-bugs")]
            core_bug: None,
            #[cfg(feature = "planted-bugs")]
            host_bug: None,
        }
    }
}

/// The settings of every replica of a run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    config: Config,
    #[cfg(feature = "planted-bugs")]
    pub(super) options: Options,
    pub(super) sync_mean: Span,
    /// A host compacts its log once it holds this many entries.
    pub(super) compact_at: usize,
    /// Sends that wait for a slow read of the log, in a million.
    pub(super) slow_sends: u32,
    /// Whether a power cut may leave what nobody can tell from damage. Not together with nodes
    /// that are gone for good: with one voter gone, what is in doubt on another waits for an
    /// operator, by design.
    pub(super) ambiguous: bool,
    /// Whether the monotonic clocks behind leases jump when the clocks that drive ticks do.
    pub(super) jumps_reach_leases: bool,
}

impl Settings {
    pub(super) fn draw(plan: &FaultPlan, options: &Options, rng: &mut Rng) -> Self {
        let leases = match options.leases {
            LeaseMode::Off => false,
            LeaseMode::On | LeaseMode::DriftBeyond => true,
            LeaseMode::BySeed => rng.below(4) == 0,
        };
        let mut config = Config::new(GroupId(1), NodeId(1), Incarnation(1));
        config.election_ticks = ELECTION_TICKS;
        config.heartbeat_ticks = rng.between(1, 4) as u32;
        config.inflight_messages_max = rng.between(1, 16) as u32;
        config.inflight_bytes_max = rng.between(1_000, 60_000);
        config.send_bytes_max = rng.between(500, 20_000);
        config.uncommitted_bytes_max = rng.between(4_000, 100_000);
        config.reads_pending_max = rng.between(2, 64) as u32;
        config.disk_stall_ticks = rng.between(20, 60) as u32;
        config.snapshot_stall_ticks = rng.between(10, 60) as u32;
        config.quiet_after_ticks = (rng.below(3) > 0).then(|| rng.between(3, 40) as u32);
        config.lease = leases.then_some(LeaseConfig {
            duration_micros: LEASE.0,
            promise_micros: PROMISE.0,
        });
        let on = |kind| plan.enabled.contains(&kind);
        let often = on(FaultKind::Compaction);
        let gone = [
            FaultKind::EmptiedDirectory,
            FaultKind::OldDirectory,
            FaultKind::LostVote,
        ];
        Self {
            config,
            #[cfg(feature = "planted-bugs")]
            options: options.clone(),
            sync_mean: plan.sync_mean,
            compact_at: rng.between(if often { 10 } else { 200 }, if often { 80 } else { 800 })
                as usize,
            slow_sends: if on(FaultKind::SlowDisk) {
                rng.between(10_000, 300_000) as u32
            } else {
                0
            },
            ambiguous: !gone.into_iter().any(on),
            jumps_reach_leases: !leases || options.leases == LeaseMode::DriftBeyond,
        }
    }

    /// The settings of one core.
    pub(super) fn config(&self, node: NodeId, incarnation: Incarnation, rng: &mut Rng) -> Config {
        let mut config = self.config.clone();
        config.node = node;
        config.incarnation = incarnation;
        config.priority = rng.between(1, u64::from(trilith_raft::PRIORITY_MAX)) as u8;
        #[cfg(feature = "planted-bugs")]
        if let Some(bug) = self.options.core_bug {
            config.planted = trilith_raft::planted::Planted::one(bug);
        }
        config
    }

    /// Whether the cores may read by lease.
    pub(super) fn leases(&self) -> bool {
        self.config.lease.is_some()
    }
}
