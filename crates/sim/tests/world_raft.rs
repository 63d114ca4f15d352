//! The world `raft` as a whole: a seed repeats, and a range of seeds holds every property.

use trilith_sim::{
    engine::{self, Run},
    picture::Picture,
    recorder::{Finished, Recorder},
    time::Span,
    trace::Trace,
    worlds::raft::{LeaseMode, Options, RaftWorld},
};

fn run(seed: u64, options: Options, draws: bool) -> Finished {
    let run = Run {
        seed,
        faults_for: Span::secs(4),
        options,
    };
    let recorder =
        |nodes| Recorder::new(nodes, Trace::new(None), draws.then(|| Picture::new(nodes)));
    engine::run::<RaftWorld>(&run, recorder)
}

#[test]
fn a_seed_gives_one_trace_however_it_is_watched() {
    for seed in 1..=5 {
        let (plain, drawn) = (
            run(seed, Options::default(), false),
            run(seed, Options::default(), true),
        );
        assert_eq!(plain.hash, drawn.hash, "seed {seed}");
        assert_eq!(plain.stats, drawn.stats, "seed {seed}");
        assert!(
            drawn
                .picture
                .is_some_and(|p| p.to_html("x").contains("<svg"))
        );
    }
}

#[test]
fn seeds_differ() {
    let hash = |seed| run(seed, Options::default(), false).hash;
    assert_ne!(hash(1), hash(2));
}

#[test]
fn a_range_of_seeds_holds_every_property() {
    let mut elections = 0;
    for seed in 1..=60 {
        let finished = run(seed, Options::default(), false);
        assert_eq!(finished.violation, None, "seed {seed}");
        elections += finished.stats.reached("elections");
    }
    assert!(elections > 60, "only {elections} elections");
}

/// Seeds that failed once, for other reasons than a fault of the core. What they found in the core
/// has scenarios in `crates/raft/tests`; a change that draws other numbers makes other worlds of
/// these seeds, so that they guard only what still happens in them.
///
/// - 1212904: the world was called settled although two of five hosts had not looked at their
///   connections since healing, and still held the leader for failed. The one suspicion that is
///   spread after that made a majority, which may depose a leader.
/// - 1164830, 1111709: a node in an early term lost its copy of an entry, to a leader of that
///   term, that a leader of a later term had committed with the copies of others.
#[test]
fn seeds_that_failed_once_hold_every_property() {
    for seed in [1_212_904, 1_164_830, 1_111_709] {
        let run = Run {
            seed,
            faults_for: Span::secs(10),
            options: Options::default(),
        };
        let recorder = |nodes| Recorder::new(nodes, Trace::new(None), None);
        let finished = engine::run::<RaftWorld>(&run, recorder);
        assert_eq!(finished.violation, None, "seed {seed}");
    }
}

#[test]
fn leases_hold_under_the_drift_that_they_allow_for() {
    let mut reads = 0;
    for seed in 1..=15 {
        let options = Options {
            leases: LeaseMode::On,
            ..Options::default()
        };
        let finished = run(seed, options, false);
        assert_eq!(finished.violation, None, "seed {seed}");
        reads += finished.stats.reached("lease-reads");
    }
    assert!(reads > 0);
}

/// Bugs that few seeds are enough for; the whole table is what `trilith-sim bugs` prints.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_are_found_by_the_checker_that_should_find_them() {
    use trilith_sim::bugs::{CASES, hunt};
    let quick = [
        "VoteBeforePersist",
        "AckBeforePersist",
        "CountOwnUnpersisted",
        "VoteTwice",
        "ElectionOnHalf",
    ];
    for case in CASES
        .iter()
        .filter(|c| quick.iter().any(|name| c.name().ends_with(name)))
    {
        let found = hunt(*case, 1, 1, 100);
        assert!(found.is_good(), "{found:?}");
    }
}
