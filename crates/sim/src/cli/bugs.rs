//! `bugs`: the table of planted bugs.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use clap::Args;
use trilith_sim::bugs::{self, CASES, Case, Found};

/// What is asked of the table.
#[derive(Debug, Args)]
pub(super) struct BugArgs {
    /// Seeds that are tried for one bug before it counts as not found.
    #[arg(long, default_value_t = bugs::SEEDS_MAX)]
    seeds: u64,
    /// Finds of each bug; the table gives the median of the seeds they needed.
    #[arg(long, default_value_t = 5)]
    hunts: usize,
    /// Only bugs whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Bugs that are looked for at the same time, each on a thread of its own.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Prints what the first find of each bug said.
    #[arg(long)]
    verbose: bool,
}

pub(super) fn run(args: &BugArgs) -> io::Result<bool> {
    let began = Instant::now();
    let cases: Vec<Case> = CASES
        .iter()
        .copied()
        .filter(|c| c.name().contains(&args.only))
        .collect();
    println!(
        "{:34} {:>7} {:>6} {:>6}  found by",
        "bug", "median", "finds", "seeds"
    );
    let next = AtomicUsize::new(0);
    let missed: Vec<String> = thread::scope(|scope| {
        let hunter = || {
            let mut missed = Vec::new();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = bugs::hunt(*case, 1, args.hunts, args.seeds);
                println!("{}", row(&found, args.verbose));
                if !found.is_good() {
                    missed.push(case.name());
                }
            }
            missed
        };
        let threads: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(hunter)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a seed that panics ends the process"))
            .collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    match missed.as_slice() {
        [] => println!(
            "{} bugs found, the same seeds pass without them; {seconds:.0} s",
            cases.len()
        ),
        missed => println!(
            "NOT FOUND as they should be: {}; {seconds:.0} s",
            missed.join(", ")
        ),
    }
    Ok(missed.is_empty())
}

fn row(found: &Found, verbose: bool) -> String {
    let median = found
        .median()
        .map_or_else(|| "-".to_owned(), |m| m.to_string());
    let by: Vec<String> = found
        .by
        .iter()
        .map(|(name, times)| format!("{name} ({times})"))
        .collect();
    let mut row = format!(
        "{:34} {median:>7} {:>6} {:>6}  {}",
        found.case.name(),
        found.needed.len(),
        found.tried,
        by.join(", ")
    );
    if !found.fails_without.is_empty() {
        row.push_str(&format!("; FAIL WITHOUT IT: {:?}", found.fails_without));
    }
    if let (true, Some((seed, what))) = (verbose, &found.first) {
        row.push_str(&format!("\n    seed {seed}: {what}"));
    }
    row
}
