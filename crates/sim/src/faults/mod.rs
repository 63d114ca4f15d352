//! Which faults a seed switches on, and how often they strike.
//!
//! Swarm testing (Groce et al., 2012): each seed leaves out a random part of the faults, because
//! a run in which everything goes wrong at once hides what a run with one fault shows.

mod plan;

pub use plan::{FaultPlan, Shape};

/// A kind of fault, or of trouble that an operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Messages are lost.
    Loss,
    /// Messages arrive twice.
    Duplicate,
    /// Messages overtake each other.
    Reorder,
    /// Messages arrive many election timeouts late.
    Straggle,
    /// A link becomes slow.
    SlowLink,
    /// The network falls apart: two-way, one-way or with a bridge.
    Partition,
    /// A process dies.
    Crash,
    /// A process dies at a chosen point of its next steps, such as after a write is on disk and
    /// before the messages that wait for it leave.
    CrashInStep,
    /// A machine loses power: unsynced writes survive in part, in any order, or torn.
    PowerCut,
    /// All machines lose power at once.
    PowerCutAll,
    /// A process stands still and goes on later.
    Pause,
    /// Clocks run at different speeds.
    ClockDrift,
    /// A clock jumps ahead.
    ClockJump,
    /// A disk takes long.
    SlowDisk,
    /// A disk refuses a sync.
    DiskFailure,
    /// A disk has no room for a while.
    DiskFull,
    /// Entries that were durable are damaged; their identity is still known.
    Damage,
    /// The end of a log that was durable is damaged so that nobody can say how long it was.
    DamagedTail,
    /// The state machine's own data is damaged.
    LostState,
    /// Both copies of term and vote are damaged.
    LostVote,
    /// A node comes back with an empty directory.
    EmptiedDirectory,
    /// A node comes back with a directory of an earlier incarnation.
    OldDirectory,
    /// A leader is asked to hand over.
    Transfer,
    /// The membership is changed.
    Membership,
    /// A log is compacted behind a snapshot.
    Compaction,
    /// A node is told that a peer seems dead though nobody knows.
    Suspicion,
    /// A leader is deposed in the middle of its work and comes back to office, while answers to
    /// what it said in its first term are still on their way to it; they arrive when others are
    /// about to depose it again.
    Comeback,
}

impl FaultKind {
    /// All kinds, in the order in which sums are printed.
    pub const ALL: [Self; 27] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Straggle,
        Self::SlowLink,
        Self::Partition,
        Self::Crash,
        Self::CrashInStep,
        Self::PowerCut,
        Self::PowerCutAll,
        Self::Pause,
        Self::ClockDrift,
        Self::ClockJump,
        Self::SlowDisk,
        Self::DiskFailure,
        Self::DiskFull,
        Self::Damage,
        Self::DamagedTail,
        Self::LostState,
        Self::LostVote,
        Self::EmptiedDirectory,
        Self::OldDirectory,
        Self::Transfer,
        Self::Membership,
        Self::Compaction,
        Self::Suspicion,
        Self::Comeback,
    ];

    /// Its name in traces and sums.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Straggle => "straggle",
            Self::SlowLink => "slow-link",
            Self::Partition => "partition",
            Self::Crash => "crash",
            Self::CrashInStep => "crash-in-step",
            Self::PowerCut => "power-cut",
            Self::PowerCutAll => "power-cut-all",
            Self::Pause => "pause",
            Self::ClockDrift => "clock-drift",
            Self::ClockJump => "clock-jump",
            Self::SlowDisk => "slow-disk",
            Self::DiskFailure => "disk-failure",
            Self::DiskFull => "disk-full",
            Self::Damage => "damage",
            Self::DamagedTail => "damaged-tail",
            Self::LostState => "lost-state",
            Self::LostVote => "lost-vote",
            Self::EmptiedDirectory => "emptied-directory",
            Self::OldDirectory => "old-directory",
            Self::Transfer => "transfer",
            Self::Membership => "membership",
            Self::Compaction => "compaction",
            Self::Suspicion => "suspicion",
            Self::Comeback => "comeback",
        }
    }

    /// The names of the kinds that are not among these.
    pub fn names_beside(supported: &[Self]) -> impl Iterator<Item = &'static str> {
        let others = Self::ALL
            .into_iter()
            .filter(|kind| !supported.contains(kind));
        others.map(Self::name)
    }

    /// The mean time between two strikes in a run where they are most frequent; `None` for a
    /// fault that has a rate of its own and does not strike at moments.
    fn interval_min(self) -> Option<crate::time::Span> {
        let millis = match self {
            Self::Loss | Self::Duplicate | Self::Reorder | Self::Straggle | Self::ClockDrift => {
                return None;
            }
            Self::Transfer | Self::Compaction | Self::CrashInStep => 150,
            Self::SlowLink | Self::Partition | Self::Crash | Self::Pause => 250,
            Self::Membership | Self::Suspicion | Self::ClockJump | Self::SlowDisk => 300,
            Self::PowerCut | Self::Damage | Self::DamagedTail | Self::LostState => 300,
            Self::Comeback => 400,
            Self::PowerCutAll | Self::DiskFailure | Self::DiskFull | Self::LostVote => 800,
            Self::EmptiedDirectory | Self::OldDirectory => 800,
        };
        Some(crate::time::Span::millis(millis))
    }
}
