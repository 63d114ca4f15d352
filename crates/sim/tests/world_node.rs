//! The world `node` as a whole: a seed repeats, a range of seeds holds every property, and what is
//! planted is found.

use trilith_sim::{
    engine::{self, Run},
    recorder::{Finished, Recorder},
    time::Span,
    trace::Trace,
    worlds::node::{NodeWorld, Options},
};

fn run(seed: u64) -> Finished {
    let run = Run {
        seed,
        faults_for: Span::secs(2),
        options: Options::default(),
    };
    engine::run::<NodeWorld>(&run, |nodes| Recorder::new(nodes, Trace::new(None), None))
}

#[test]
fn a_seed_gives_one_trace() {
    assert_eq!(run(3).hash, run(3).hash);
    assert_ne!(run(3).hash, run(4).hash);
}

#[test]
fn a_range_of_seeds_holds_every_property() {
    let mut done = 0;
    for seed in 1..=10 {
        let finished = run(seed);
        assert_eq!(finished.violation, None, "seed {seed}");
        done += finished.stats.reached("operations-done");
    }
    assert!(done > 500, "only {done} operations");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_journal_that_is_not_synced_is_found() {
    use trilith_sim::bugs::{CASES, hunt};
    let case = CASES
        .iter()
        .find(|case| case.name() == "node JournalNotSynced");
    let found = hunt(*case.expect("it is in the table"), 1, 1, 20);
    assert!(found.is_good(), "{found:?}");
}
