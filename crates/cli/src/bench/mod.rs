//! `trilith bench`: load, and what came of it.

mod baseline;
mod consume;
mod failover;
mod load;
mod measure;
mod pace;
mod payload;
mod produce;
mod report;
mod steal;
mod topic;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Put load on a server and measure it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith bench produce --clients 16 --batch 1
  trilith bench produce --rate 10000 --seconds 30 --json
  trilith bench consume --clients 2
  trilith bench failover --rounds 50               of a cluster under 'trilith up'

Without --rate the loop is closed: each client waits for an answer before it sends again. With it
the loop is open: requests go when they are due, whatever came back, and latency counts from when
they were due, so that a server that stalls cannot hide it.")]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Produce(produce::BenchProduce),
    Consume(consume::BenchConsume),
    Failover(failover::BenchFailover),
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Produce(produce) => produce.run(),
            What::Consume(consume) => consume.run(),
            What::Failover(failover) => failover.run(),
        }
    }
}
