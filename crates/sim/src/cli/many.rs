//! `many`: a range of seeds.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use trilith_sim::stats::Stats;

use super::WorldArgs;

/// Which seeds.
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) seeds: u64,
    pub(super) jobs: u64,
    pub(super) at_most: Option<u64>,
    pub(super) verbose: bool,
}

/// What came of a range.
#[derive(Default)]
pub(super) struct Sum {
    pub(super) stats: Stats,
    pub(super) failed: Vec<u64>,
}

pub(super) fn run(world: &WorldArgs, range: &Range) -> io::Result<bool> {
    let began = Instant::now();
    let sum = seeds(world, range);
    report(world, &sum, began.elapsed());
    Ok(sum.failed.is_empty())
}

/// Runs the seeds of a range; each thread takes every `jobs`-th of them.
pub(super) fn seeds(world: &WorldArgs, range: &Range) -> Sum {
    let jobs = range.jobs.max(1);
    let mut sum = Sum::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs)
            .map(|job| scope.spawn(move || every_nth(world, range, job, jobs)))
            .collect();
        for thread in threads {
            let part = thread.join().expect("a seed that panics ends the process");
            sum.stats.add(&part.stats);
            sum.failed.extend(part.failed);
        }
    });
    sum.failed.sort_unstable();
    sum
}

fn every_nth(world: &WorldArgs, range: &Range, job: u64, jobs: u64) -> Sum {
    let end = range
        .at_most
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut sum = Sum::default();
    for seed in (range.first + job..range.first + range.seeds).step_by(jobs as usize) {
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let finished = world.run(seed, None, false);
        if range.verbose || finished.violation.is_some() {
            println!("{}", world.verdict(seed, &finished));
        }
        sum.stats.add(&finished.stats);
        if finished.violation.is_some() {
            sum.failed.push(seed);
        }
    }
    sum
}

/// Prints the sums, and how fast they came.
pub(super) fn report(world: &WorldArgs, sum: &Sum, took: Duration) {
    let seconds = took.as_secs_f64().max(1e-9);
    println!("{}", sum.stats.report(&world.absent()));
    println!(
        "{:.1} seeds a second, {:.0} simulated seconds a second, {seconds:.1} s in all",
        sum.stats.runs as f64 / seconds,
        sum.stats.simulated.0 as f64 / 1e6 / seconds,
    );
    match sum.failed.as_slice() {
        [] => println!("{} seeds ok", sum.stats.runs),
        failed => println!(
            "{} of {} seeds FAILED: {failed:?}",
            failed.len(),
            sum.stats.runs
        ),
    }
}
