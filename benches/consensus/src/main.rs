//! Trilith's Raft core beside the crate `raft` 0.7: three nodes in one thread, hosts in memory
//! that do the same work, in turn, in one run. `cargo run --release [-- WORDS]`,
//! with words for the rows that have them in their names.
//!
//! Ratios above 1 are in Trilith's favour. Times are processor time of one thread; a run in
//! which the hypervisor took more than 3% of the processor time says little, the last line tells.

mod cluster;
mod meter;
mod raft07;
mod replica;
mod rows;
mod steal;
mod trilith;

use raft07::Raft07;
use steal::Steal;
use trilith::Trilith;

const ROUNDS: usize = 5;

/// What a row says.
#[derive(Clone, Copy, PartialEq)]
enum Better {
    /// A rate.
    Higher,
    /// A time, or a number of bytes.
    Lower,
}

/// What a row should reach.
enum Target {
    /// At least this ratio.
    Ratio(f64),
    /// At most this in Trilith's core, and ahead.
    AtMost(f64),
}

/// One row: what is measured, for each core.
struct Row {
    name: String,
    unit: &'static str,
    better: Better,
    target: Target,
    /// 1 for what does not depend on time.
    rounds: usize,
    ours: Box<dyn Fn() -> f64>,
    theirs: Box<dyn Fn() -> f64>,
}

macro_rules! row {
    ($name:expr, $unit:expr, $better:ident, $target:expr, $rounds:expr, $function:ident($($arg:expr),*)) => {
        Row {
            name: $name.into(),
            unit: $unit,
            better: Better::$better,
            target: $target,
            rounds: $rounds,
            ours: Box::new(move || rows::$function::<Trilith>($($arg),*)),
            theirs: Box::new(move || rows::$function::<Raft07>($($arg),*)),
        }
    };
}

fn rows() -> Vec<Row> {
    use Target::{AtMost, Ratio};
    let mut list = Vec::new();
    for (depth, how, target) in [(1, "one at a time", 1.0), (64, "64 at a time", 3.0)] {
        for bytes in [0, 256, 4096] {
            let name = format!("proposals of {bytes} B, {how}");
            let target = Ratio(target);
            list.push(row!(
                name,
                "op/s",
                Higher,
                target,
                ROUNDS,
                proposals(depth, bytes)
            ));
        }
    }
    list.extend([
        row!(
            "tick of an idle group, awake",
            "ns",
            Lower,
            Ratio(1.0),
            ROUNDS,
            idle_tick()
        ),
        row!(
            "10,000 idle groups, awake: tick of one",
            "ns",
            Lower,
            Ratio(1.0),
            ROUNDS,
            idle_groups_tick(false)
        ),
        row!(
            "10,000 idle groups, quiet: tick of one",
            "ns",
            Lower,
            Ratio(1.0),
            ROUNDS,
            idle_groups_tick(true)
        ),
        row!(
            "10,000 idle groups: memory of one core",
            "B",
            Lower,
            AtMost(2048.0),
            1,
            idle_group_bytes()
        ),
        row!(
            "leader, a follower lacks 10^6 entries",
            "B",
            Lower,
            Ratio(1.0),
            1,
            backlog_of_follower_bytes()
        ),
        row!(
            "leader, 10^6 entries not on any disk",
            "B",
            Lower,
            Ratio(1.0),
            1,
            backlog_uncommitted_bytes()
        ),
        row!(
            "allocations of a proposal, one at a time",
            "",
            Lower,
            AtMost(0.0),
            1,
            allocations(1)
        ),
        row!(
            "allocations of a proposal, 64 at a time",
            "",
            Lower,
            AtMost(0.0),
            1,
            allocations(64)
        ),
    ]);
    list
}

fn main() {
    let steal = Steal::now();
    println!(
        "{:<42} {:>14} {:>14} {:>8}  target",
        "", "trilith", "raft 0.7", "ratio"
    );
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for row in rows().iter().filter(|row| row.name.contains(&wanted)) {
        measure(row);
    }
    println!(
        "medians of {ROUNDS} rounds, the sides in turn; steal {:.1}%",
        steal.percent()
    );
}

fn measure(row: &Row) {
    let mut values = [Vec::new(), Vec::new()];
    // Where time is measured, one round to warm up.
    let warm_up = usize::from(row.rounds > 1);
    for round in 0..row.rounds + warm_up {
        let (ours, theirs) = ((row.ours)(), (row.theirs)());
        if round >= warm_up {
            values[0].push(ours);
            values[1].push(theirs);
        }
    }
    let mut ratios: Vec<f64> = values[0]
        .iter()
        .zip(&values[1])
        .map(|(a, b)| match row.better {
            Better::Higher => a / b,
            Better::Lower => b / a,
        })
        .collect();
    let ratio = median(&mut ratios);
    let [ours, theirs] = values.map(|mut v| median(&mut v));
    let (reached, target) = match row.target {
        Target::Ratio(least) => (ratio >= least, format!(">= {least:.0}x")),
        Target::AtMost(most) => (
            ours <= most && ratio > 1.0,
            format!("<= {most} {}", row.unit),
        ),
    };
    let verdict = if reached { "" } else { "  MISSED" };
    println!(
        "{:<42} {:>14} {:>14} {ratio:>8.2}  {}{verdict}",
        row.name,
        show(ours, row.unit),
        show(theirs, row.unit),
        target.trim_end()
    );
}

fn show(value: f64, unit: &str) -> String {
    let digits = if value.fract() != 0.0 && value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit:<4}")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
