//! `availability`: how many writes are acknowledged in time.

use std::{ops::Range, time::Instant};

use trilith_sim::{
    engine,
    time::Span,
    worlds::node::{Account, NodeWorld, Options},
};

/// The share below which something is wrong, in a million.
const FLOOR: u64 = 999_900;

/// Nodes in the group.
const NODES: u64 = 3;

pub(super) fn run(hours: u64, seeds: Range<u64>) -> bool {
    let began = Instant::now();
    let options = Options {
        availability: true,
        ..Options::default()
    };
    let mut sum = Account::default();
    for seed in seeds {
        let lasts = Span::secs(hours * 3_600);
        let (world, violation) = engine::observe::<NodeWorld>(seed, &options, NODES, lasts);
        if let Some(violation) = violation {
            println!("seed {seed} FAILED: {violation}");
            return false;
        }
        let account = world.account();
        println!("seed {seed}: {account}");
        sum.add(&account);
    }
    println!("in all: {sum}; {:.0} s", began.elapsed().as_secs_f64());
    sum.in_time * 1_000_000 >= sum.offered * FLOOR
}
