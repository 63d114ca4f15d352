//! Trilith's storage library beside the crate `commitlog` 0.2: the same payloads, the same sync,
//! in turn, in one run. `cargo run --release [-- DIR [ROW…]]`; the data lie in DIR (default: the
//! system's directory for temporary files) and go when the run ends. With ROWs, only the rows that
//! have one of these words in their name.
//!
//! Ratios above 1 are in Trilith's favour. A run in which the hypervisor took more than 3% of the
//! processor time says little; the last line tells.

mod steal;
mod subject;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use steal::Steal;
use subject::{Commitlog, Subject, Trilith};

const ROUNDS: usize = 5;
const BATCH: usize = 128 << 10;

/// One row: what is measured, and how, as operations or bytes per second.
struct Row {
    name: &'static str,
    unit: &'static str,
    run: fn(&mut dyn Subject) -> f64,
}

const ROWS: &[Row] = &[
    Row {
        name: "append 128 KiB, one sync at the end, 1 GiB",
        unit: "MB/s",
        run: append_many,
    },
    Row {
        name: "append and sync 4 KiB, closed loop",
        unit: "op/s",
        run: append_and_sync,
    },
    Row {
        name: "64 writers of 100 B, each waits for its sync",
        unit: "op/s",
        run: group_commit,
    },
    Row {
        name: "sequential read in page cache, 1 GiB",
        unit: "MB/s",
        run: read_all,
    },
    Row {
        name: "lookup of an offset among 1,000,000",
        unit: "op/s",
        run: |subject| look_up(subject, 1_000_000),
    },
    Row {
        name: "lookup of an offset among 10,000",
        unit: "op/s",
        run: |subject| look_up(subject, 10_000),
    },
    Row {
        name: "reader beside a writer",
        unit: "MB/s",
        run: read_beside_writer,
    },
];

fn main() {
    let root = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let steal = Steal::now();
    println!(
        "{:<48} {:>12} {:>12} {:>7}",
        "", "trilith", "commitlog", "ratio"
    );
    let words: Vec<String> = std::env::args().skip(2).collect();
    let is_wanted =
        |row: &&Row| words.is_empty() || words.iter().any(|word| row.name.contains(word));
    for row in ROWS.iter().filter(is_wanted) {
        let mut rates = [Vec::new(), Vec::new()];
        // One round to warm up, then in turn.
        for round in 0..=ROUNDS {
            let ours = fresh(&root, |dir| (row.run)(&mut Trilith::open(dir)));
            let theirs = fresh(&root, |dir| (row.run)(&mut Commitlog::open(dir)));
            if round > 0 {
                rates[0].push(ours);
                rates[1].push(theirs);
            }
        }
        let mut ratios: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(a, b)| a / b).collect();
        let [ours, theirs] = rates.map(|mut r| median(&mut r));
        println!(
            "{:<48} {ours:>7.0} {} {theirs:>7.0} {} {:>7.2}",
            row.name,
            row.unit,
            row.unit,
            median(&mut ratios)
        );
    }
    println!("medians of {ROUNDS} rounds; steal {:.1}%", steal.percent());
}

fn fresh(root: &std::path::Path, run: impl FnOnce(&std::path::Path) -> f64) -> f64 {
    let dir = tempfile::tempdir_in(root).expect("a directory for the data");
    run(dir.path())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

fn append_many(subject: &mut dyn Subject) -> f64 {
    let payload = vec![7; BATCH];
    let start = Instant::now();
    let count = (1 << 30) / BATCH;
    for _ in 0..count {
        subject.append(&payload);
    }
    subject.sync();
    rate(count * BATCH, start) / 1e6
}

fn append_and_sync(subject: &mut dyn Subject) -> f64 {
    let payload = vec![7; 4096];
    let start = Instant::now();
    for _ in 0..1000 {
        subject.append(&payload);
        subject.sync();
    }
    rate(1000, start)
}

fn group_commit(subject: &mut dyn Subject) -> f64 {
    subject.many_writers(64, 100, Duration::from_secs(2))
}

fn read_all(subject: &mut dyn Subject) -> f64 {
    let payload = vec![7; BATCH];
    let count = (1 << 30) / BATCH;
    for _ in 0..count {
        subject.append(&payload);
    }
    subject.sync();
    let start = Instant::now();
    assert_eq!(subject.read_through(), count * BATCH, "everything is read");
    rate(count * BATCH, start) / 1e6
}

fn look_up(subject: &mut dyn Subject, records: u64) -> f64 {
    for _ in 0..records {
        subject.append(&[7; 100]);
    }
    subject.sync();
    const LOOKUPS: u64 = 1_000_000;
    // In a scattered order, once to bring all of it into the processor's reach.
    let mut pass = || {
        let start = Instant::now();
        for n in 0..LOOKUPS {
            subject.look_up(n.wrapping_mul(0x9e37_79b1) % records);
        }
        rate(LOOKUPS as usize, start)
    };
    pass();
    pass()
}

fn read_beside_writer(subject: &mut dyn Subject) -> f64 {
    subject.read_beside_writer(BATCH, Duration::from_secs(2)) / 1e6
}
