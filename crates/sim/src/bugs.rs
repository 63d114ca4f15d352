//! The planted bugs: does the simulator find them, with which checker, and after how many seeds?
//!
//! Each bug is a switch inside a node. Checkers see outputs alone, so a bug is found by what it
//! does. A bug counts as found when a checker that should find it does; every seed that found one
//! is run again with the switch off, and must pass.

use std::collections::BTreeMap;

use trilith_raft::planted::Bug;

use crate::{
    engine::{self, Run},
    faults::FaultKind,
    recorder::{Finished, Recorder},
    time::Span,
    trace::Trace,
    worlds::{
        node::{self, NodeBug, NodeWorld},
        raft::{HostBug, LeaseMode, Options, RaftWorld},
    },
};

/// Seeds that are tried for one bug before it counts as not found.
pub const SEEDS_MAX: u64 = 8_000;

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// In the core.
    Core(Bug),
    /// In the replica around it.
    Host(HostBug),
    /// In a real node, or in the disk that it is given.
    Node(NodeBug),
    /// In nobody: clocks drift further apart than leases allow for.
    Drift,
}

/// A bug and the checkers that should find it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The bug.
    pub bug: Planted,
    /// The checkers that should find it.
    pub by: &'static [&'static str],
    /// Faults that it cannot show itself without: they are on in every seed of its hunt, and in
    /// the same seeds without the bug.
    pub with: &'static [FaultKind],
}

impl Case {
    const fn with(self, with: &'static [FaultKind]) -> Self {
        Self { with, ..self }
    }

    /// The bug's name.
    #[must_use]
    pub fn name(&self) -> String {
        match self.bug {
            Planted::Core(bug) => format!("core {bug:?}"),
            Planted::Host(bug) => format!("host {bug:?}"),
            Planted::Node(NodeBug::Code(bug)) => format!("node {bug:?}"),
            Planted::Node(bug) => format!("node {bug:?}"),
            Planted::Drift => "clocks DriftBeyondLease".to_owned(),
        }
    }

    fn options(&self) -> Options {
        let mut options = Options {
            always: self.with.to_vec(),
            ..Options::default()
        };
        match self.bug {
            Planted::Core(bug) => options.core_bug = Some(bug),
            Planted::Host(bug) => options.host_bug = Some(bug),
            Planted::Node(_) => {}
            Planted::Drift => options.leases = LeaseMode::DriftBeyond,
        }
        if let Planted::Core(Bug::LeaseFromArrival | Bug::LeaseSurvivesTransfer) = self.bug {
            options.leases = LeaseMode::On;
        }
        options
    }

    /// The same run without the bug.
    fn options_off(&self) -> Options {
        let leases = match self.options().leases {
            LeaseMode::DriftBeyond => LeaseMode::On,
            other => other,
        };
        Options::new(leases, self.with.to_vec())
    }
}

/// What a hunt for one bug came to.
#[derive(Debug)]
pub struct Found {
    /// The bug.
    pub case: Case,
    /// How often each checker found it.
    pub by: BTreeMap<&'static str, usize>,
    /// Seeds that each hunt needed, ascending; a hunt that found nothing is not in it.
    pub needed: Vec<u64>,
    /// Seeds that were tried in all.
    pub tried: u64,
    /// Seeds that fail with the switch off too.
    pub fails_without: Vec<u64>,
    /// What the first find said.
    pub first: Option<(u64, String)>,
}

impl Found {
    /// Whether a checker that should find it did, and the seeds pass without it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.fails_without.is_empty() && self.case.by.iter().any(|name| self.by.contains_key(name))
    }

    /// The median of the seeds that the hunts needed.
    #[must_use]
    pub fn median(&self) -> Option<u64> {
        self.needed.get(self.needed.len() / 2).copied()
    }
}

/// Runs a seed in the case's world, with the bug or without.
fn run(seed: u64, case: &Case, with_bug: bool) -> Finished {
    let recorder = |nodes| Recorder::new(nodes, Trace::new(None), None);
    let faults_for = Span::secs(10);
    if let Planted::Node(bug) = case.bug {
        let options = node::Options {
            always: case.with.to_vec(),
            bug: with_bug.then_some(bug),
            ..node::Options::default()
        };
        let run = Run {
            seed,
            faults_for,
            options,
        };
        return engine::run::<NodeWorld>(&run, recorder);
    }
    let options = match with_bug {
        true => case.options(),
        false => case.options_off(),
    };
    let run = Run {
        seed,
        faults_for,
        options,
    };
    engine::run::<RaftWorld>(&run, recorder)
}

/// Looks for a bug, `hunts` times, with seeds from `first` on.
#[must_use]
pub fn hunt(case: Case, first: u64, hunts: usize, seeds_max: u64) -> Found {
    let (by, needed, fails_without) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut found = Found {
        case,
        by,
        needed,
        tried: 0,
        fails_without,
        first: None,
    };
    let mut since = 0;
    for seed in first..first + seeds_max {
        found.tried += 1;
        since += 1;
        let Some(violation) = run(seed, &case, true).violation else {
            continue;
        };
        *found.by.entry(violation.checker).or_default() += 1;
        found.first.get_or_insert((seed, violation.to_string()));
        if run(seed, &case, false).violation.is_some() {
            found.fails_without.push(seed);
        }
        if case.by.contains(&violation.checker) {
            found.needed.push(since);
            since = 0;
        }
        if found.needed.len() >= hunts {
            break;
        }
    }
    found.needed.sort_unstable();
    found
}

const ELECTION: &str = "election safety";
const VOTES: &str = "durable votes";
const MATCHING: &str = "log matching";
const COMPLETENESS: &str = "leader completeness";
const STATE: &str = "state-machine safety";
const COMMIT: &str = "commit";
const CONFIGURATION: &str = "configuration safety";
const ACKNOWLEDGED: &str = "acknowledged";
const READS: &str = "linearizable";
const LEASE: &str = "lease safety";
const PROGRESS: &str = "progress";
const STABILITY: &str = "stability";
const HOST: &str = "host";
const START: &str = "start";
const KEPT: &str = "acknowledged records";
const ONCE: &str = "records once";
const ORDER: &str = "records in order";
const PREFIX: &str = "readers' prefix";
const ENDS: &str = "end offsets";
const REPLICAS: &str = "replicas equal";
const REFUSED: &str = "refused";
const RETENTION: &str = "retention";
const TOPICS: &str = "topics";

/// What may come of a disk, or of what a node does with it, that forgets.
const DISK: &[&str] = &[
    ELECTION, READS, KEPT, ONCE, PREFIX, ENDS, REPLICAS, PROGRESS, HOST, START,
];

const fn core(bug: Bug, by: &'static [&'static str]) -> Case {
    Case {
        bug: Planted::Core(bug),
        by,
        with: &[],
    }
}

const fn host(bug: HostBug, by: &'static [&'static str]) -> Case {
    Case {
        bug: Planted::Host(bug),
        by,
        with: &[],
    }
}

const fn node(bug: NodeBug, by: &'static [&'static str]) -> Case {
    Case {
        bug: Planted::Node(bug),
        by,
        with: &[],
    }
}

const fn code(bug: node::Bug, by: &'static [&'static str]) -> Case {
    node(NodeBug::Code(bug), by)
}

/// Every planted bug, with the checkers that should find it.
pub const CASES: &[Case] = &[
    core(Bug::CommitOlderTermByCount, &[COMMIT, COMPLETENESS])
        .with(&[FaultKind::Partition, FaultKind::Crash]),
    core(Bug::VoteBeforePersist, &[VOTES]),
    core(Bug::AckBeforePersist, &[ACKNOWLEDGED, COMPLETENESS]),
    core(Bug::CountOwnUnpersisted, &[ACKNOWLEDGED, COMPLETENESS]),
    core(Bug::ReadWithoutOwnTermCommit, &[READS]),
    core(Bug::ReusedReadRound, &[READS]).with(&[FaultKind::Comeback]),
    core(Bug::OldHeartbeatConfirmsRead, &[READS]).with(&[FaultKind::Pause]),
    core(
        Bug::TruncateOnMatchingAppend,
        &[COMMIT, COMPLETENESS, ACKNOWLEDGED],
    ),
    core(
        Bug::StaleAckAcrossTerms,
        &[COMMIT, ACKNOWLEDGED, COMPLETENESS],
    )
    .with(&[FaultKind::Comeback]),
    core(Bug::StaleTimeoutNow, &[STABILITY]).with(&[FaultKind::Transfer, FaultKind::Straggle]),
    core(Bug::ChangeWithoutOverlap, &[CONFIGURATION]),
    core(Bug::ConfigurationNotRolledBack, &[CONFIGURATION]),
    core(Bug::PreVoteRaisesTerm, &[STABILITY, PROGRESS]),
    core(Bug::TransferWithoutElection, &[VOTES, ELECTION]),
    core(Bug::InstallOlderSnapshot, &[COMMIT, STATE]),
    core(Bug::DamagedAsMissing, &[COMMIT, COMPLETENESS]),
    core(Bug::LostVoteAsNone, &[VOTES, ELECTION]),
    core(Bug::LeaseFromArrival, &[LEASE, READS]).with(&[FaultKind::Partition]),
    core(Bug::QuietNeverWakes, &[PROGRESS]),
    core(Bug::UnknownSuffixVotes, &[COMPLETENESS, COMMIT]),
    core(Bug::VoteTwice, &[VOTES, ELECTION]),
    core(Bug::VoteIgnoresLog, &[COMPLETENESS]),
    core(Bug::CommitBeyondMatched, &[COMMIT]).with(&[FaultKind::Partition]),
    core(Bug::ElectionOnHalf, &[ELECTION, COMPLETENESS]),
    core(
        Bug::MatchSurvivesRestart,
        &[ACKNOWLEDGED, PROGRESS, COMPLETENESS],
    ),
    core(Bug::NoPreviousCheck, &[MATCHING]),
    core(Bug::LearnersCount, &[ACKNOWLEDGED, COMPLETENESS]),
    core(Bug::LeaseSurvivesTransfer, &[LEASE, READS])
        .with(&[FaultKind::Transfer, FaultKind::SlowLink]),
    core(Bug::TwoChangesInFlight, &[CONFIGURATION]),
    core(Bug::StaleWriteReport, &[ACKNOWLEDGED, COMPLETENESS]),
    core(Bug::DiscardOnFirstNever, &[COMMIT, COMPLETENESS]),
    core(
        Bug::JointByOneMajority,
        &[ACKNOWLEDGED, COMPLETENESS, ELECTION],
    ),
    core(Bug::DisruptiveCampaign, &[STABILITY]),
    host(HostBug::ReportBeforeSync, &[ACKNOWLEDGED, VOTES]),
    // The core keeps a commit index with each write: it sees that entries are gone and waits for
    // those who have them rather than lose them, which shows as a group without progress.
    host(
        HostBug::RecoveredNotSynced,
        &[COMPLETENESS, ACKNOWLEDGED, COMMIT, PROGRESS],
    ),
    host(
        HostBug::FailedSyncRetried,
        &[COMPLETENESS, ACKNOWLEDGED, COMMIT, PROGRESS],
    ),
    host(
        HostBug::SameIncarnation,
        &[ACKNOWLEDGED, COMMIT, COMPLETENESS, READS, PROGRESS],
    ),
    host(
        HostBug::OldDirectoryAccepted,
        &[VOTES, COMPLETENESS, ACKNOWLEDGED],
    ),
    host(HostBug::UnknownSuffixCut, &[COMPLETENESS, COMMIT]),
    host(HostBug::ChecksumIgnored, &[MATCHING, STATE]),
    host(HostBug::ReadBeforeApplied, &[READS]),
    host(HostBug::AppliedTwice, &[STATE]),
    host(HostBug::UnknownAsRefused, &[READS, HOST]),
    host(HostBug::ProposalRetried, &[READS]),
    host(HostBug::OldVoteRestored, &[VOTES, ELECTION]),
    Case {
        bug: Planted::Drift,
        by: &[LEASE, READS],
        with: &[FaultKind::Partition],
    },
    node(NodeBug::JournalNotSynced, DISK).with(&[FaultKind::PowerCut, FaultKind::PowerCutAll]),
    node(NodeBug::VotesNotSynced, DISK).with(&[FaultKind::PowerCut, FaultKind::PowerCutAll]),
    node(NodeBug::SegmentsNotSynced, DISK).with(&[FaultKind::PowerCut, FaultKind::PowerCutAll]),
    node(NodeBug::NamesNotSynced, DISK).with(&[FaultKind::PowerCut]),
    node(NodeBug::FailedSyncTrusted, DISK).with(&[FaultKind::PowerCut, FaultKind::PowerCutAll]),
    node(NodeBug::VotesForgotten, DISK).with(&[FaultKind::Crash]),
    node(NodeBug::OldVotesRestored, DISK).with(&[FaultKind::Crash]),
    node(NodeBug::JournalRecycledEarly, DISK).with(&[FaultKind::Crash]),
    node(NodeBug::OldManifestsRestored, DISK).with(&[FaultKind::Crash]),
    code(
        node::Bug::StateForgetsProducers,
        &[REPLICAS, ONCE, PROGRESS],
    )
    .with(&[FaultKind::Crash]),
    code(node::Bug::AppliedTwice, &[REPLICAS, ONCE, PROGRESS]).with(&[FaultKind::Crash]),
    code(node::Bug::AnsweredEarly, &[READS, KEPT, ENDS]),
    code(node::Bug::UnknownAsRefused, &[READS]),
    code(node::Bug::ReadUnconfirmed, &[READS, ENDS]),
    code(node::Bug::DuplicateBeforeCommit, &[KEPT, ONCE, ENDS])
        .with(&[FaultKind::Loss, FaultKind::Partition]),
    code(node::Bug::TailNotRebuilt, &[ONCE]).with(&[FaultKind::Loss, FaultKind::Crash]),
    // The batch that was to fill the gap is out of sequence for ever: its producer is not heard.
    code(node::Bug::GapTaken, &[ORDER, ONCE, PROGRESS]),
    code(
        node::Bug::VisibleBeforeCommit,
        &[PREFIX, ENDS, KEPT, HOST, READS],
    ),
    code(node::Bug::StrangersLetIn, &[REFUSED]).with(&[FaultKind::EmptiedDirectory]),
    code(node::Bug::EveryStartCounts, &[REFUSED]).with(&[FaultKind::OldDirectory]),
    code(node::Bug::LivesAlike, &[REFUSED]).with(&[FaultKind::OldDirectory]),
    code(node::Bug::LeadersStay, &[PROGRESS]).with(&[FaultKind::Crash]),
    code(node::Bug::ProducerIdsTwice, &[KEPT, ONCE, HOST, PROGRESS]),
    code(node::Bug::UndecidedStays, &[KEPT, ONCE, ORDER, PROGRESS])
        .with(&[FaultKind::Loss, FaultKind::SlowDisk]),
    // What was acknowledged is passed by, and a reader sees a hole.
    code(node::Bug::GapUnsaid, &[PREFIX, KEPT]),
    code(node::Bug::RetentionTakesMore, &[RETENTION]),
    // The old topic's groups are there yet, or their files: whatever comes of that.
    code(
        node::Bug::TopicIdsTwice,
        &[TOPICS, KEPT, REPLICAS, ENDS, PREFIX],
    ),
    code(node::Bug::DeletedStays, &[PROGRESS]),
    code(node::Bug::DamageServed, &[PREFIX]).with(&[FaultKind::Damage]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_has_its_place_in_the_table() {
        for bug in Bug::ALL {
            assert!(
                CASES.iter().any(|c| c.bug == Planted::Core(*bug)),
                "{bug:?}"
            );
        }
        for bug in NodeBug::ALL {
            assert!(CASES.iter().any(|c| c.bug == Planted::Node(bug)), "{bug:?}");
        }
        for bug in HostBug::ALL {
            assert!(CASES.iter().any(|c| c.bug == Planted::Host(bug)), "{bug:?}");
        }
    }
}
