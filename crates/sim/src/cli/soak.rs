//! `soak`: new seeds for a time; stopped and started again, it goes on where it was.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use trilith_sim::stats::Stats;

use super::{
    WorldArgs,
    many::{self, Range, Sum},
};

/// Seeds between two savings of the sums.
const SEEDS_A_ROUND: u64 = 100;

/// The first seed of the first soak: far from those that are run by hand.
const FIRST_SEED: u64 = 1_000_000;

pub(super) fn run(world: &WorldArgs, minutes: u64, jobs: u64, file: &Path) -> io::Result<bool> {
    let began = Instant::now();
    let mut sum = load(file)?;
    let (before, end) = (sum.stats.runs, began + Duration::from_secs(minutes * 60));
    if before > 0 {
        println!(
            "going on after {before} seeds, {} of them failed",
            sum.failed.len()
        );
    }
    while Instant::now() < end {
        let first = FIRST_SEED + sum.stats.runs;
        let range = Range {
            first,
            seeds: SEEDS_A_ROUND,
            jobs,
            at_most: None,
            verbose: false,
        };
        let round = many::seeds(world, &range);
        sum.stats.add(&round.stats);
        sum.failed.extend(round.failed);
        save(file, &sum)?;
    }
    let took = began.elapsed();
    println!("{}", sum.stats.report(&world.absent()));
    println!(
        "{} seeds in this soak, {:.1} a second",
        sum.stats.runs - before,
        (sum.stats.runs - before) as f64 / took.as_secs_f64().max(1e-9)
    );
    println!(
        "{} seeds in all, {} failed {:?}",
        sum.stats.runs,
        sum.failed.len(),
        sum.failed
    );
    Ok(sum.failed.is_empty())
}

fn load(file: &Path) -> io::Result<Sum> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sum::default()),
        Err(error) => return Err(said(file, "read", &error)),
    };
    let failed = text
        .lines()
        .filter_map(|l| l.strip_prefix("failed ")?.parse().ok())
        .collect();
    Ok(Sum {
        stats: Stats::from_lines(&text),
        failed,
    })
}

/// Writes the sums beside the old ones and puts them in their place, so that a soak that is
/// stopped while it writes loses nothing.
fn save(file: &Path, sum: &Sum) -> io::Result<()> {
    let mut text = sum.stats.to_lines();
    for seed in &sum.failed {
        text.push_str(&format!("failed {seed}\n"));
    }
    let fresh = file.with_extension("new");
    fs::write(&fresh, text)
        .and_then(|()| fs::rename(&fresh, file))
        .map_err(|error| said(file, "write", &error))
}

fn said(file: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot {what} {}: {error}", file.display()),
    )
}
