//! The command line.

mod availability;
#[cfg(feature = "planted-bugs")]
mod bugs;
mod many;
mod one;
mod soak;

use std::{io, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use trilith_sim::{
    engine::{self, Run},
    faults::FaultKind,
    picture::Picture,
    recorder::{Finished, Recorder},
    time::Span,
    trace::Trace,
    world::World,
    worlds::{
        node::{self, NodeWorld},
        raft::{LeaseMode, Options, RaftWorld},
    },
};

/// Runs Trilith's parts under simulated time, network, disks and faults; a seed decides
/// everything.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs one seed.
    Run {
        #[command(flatten)]
        world: WorldArgs,
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Prints every event.
        #[arg(long)]
        trace: bool,
        /// Draws the run into this file.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Runs many seeds, one after another.
    Many {
        #[command(flatten)]
        world: WorldArgs,
        /// How many.
        #[arg(long)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Seeds that run at the same time, each on a thread of its own.
        #[arg(long, default_value_t = 1)]
        jobs: u64,
        /// Begins no further seed after this many seconds.
        #[arg(long, value_name = "SECONDS")]
        at_most: Option<u64>,
        /// Prints a line for every seed, not only for those that fail.
        #[arg(long)]
        verbose: bool,
    },
    /// Runs new seeds for a time, going on where the last soak stopped.
    Soak {
        #[command(flatten)]
        world: WorldArgs,
        /// For how long.
        #[arg(long)]
        minutes: u64,
        /// Seeds that run at the same time, each on a thread of its own.
        #[arg(long, default_value_t = 1)]
        jobs: u64,
        /// Where the sums are kept.
        #[arg(
            long,
            value_name = "FILE",
            default_value = "target/trilith-sim-soak.txt"
        )]
        sums: PathBuf,
    },
    /// Offers writes to a group of real nodes all the time while now and then one of the three is
    /// in trouble, and prints which share is acknowledged within a second.
    Availability {
        /// Simulated hours of each seed.
        #[arg(long, default_value_t = 6)]
        hours: u64,
        /// How many seeds.
        #[arg(long)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        first: u64,
    },
    /// Plants one known bug after another and prints which checker finds it after how many seeds.
    #[cfg(feature = "planted-bugs")]
    Bugs(bugs::BugArgs),
}

/// Which world, and how it is set.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorldArgs {
    /// The world.
    #[arg(long, value_enum, default_value_t = WorldName::Raft)]
    world: WorldName,
    /// For how many simulated seconds faults strike.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Whether leaders may read by lease.
    #[arg(long, value_enum, default_value_t = Leases::BySeed)]
    leases: Leases,
    /// Faults that are on whatever the seed says, by the names that the sums show.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    with: Vec<FaultKind>,
}

fn fault(name: &str) -> Result<FaultKind, String> {
    let known = FaultKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| {
        format!(
            "{name} is no fault; they are {}",
            FaultKind::ALL.map(FaultKind::name).join(" ")
        )
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WorldName {
    /// The consensus core with a minimal replica.
    Raft,
    /// Whole nodes, over disks of bytes and connections that carry frames.
    Node,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Leases {
    /// Never.
    Off,
    /// Always, with clocks that drift as far as leases allow.
    On,
    /// On for some seeds.
    BySeed,
    /// Always, with clocks that drift further than leases allow: the lease checker must find it.
    DriftBeyond,
}

impl WorldArgs {
    fn options(&self) -> Options {
        let leases = match self.leases {
            Leases::Off => LeaseMode::Off,
            Leases::On => LeaseMode::On,
            Leases::BySeed => LeaseMode::BySeed,
            Leases::DriftBeyond => LeaseMode::DriftBeyond,
        };
        Options::new(leases, self.with.clone())
    }

    /// Runs a seed.
    fn run(&self, seed: u64, sink: Option<Box<dyn io::Write>>, draws: bool) -> Finished {
        let faults_for = Span::secs(self.seconds);
        let recorder =
            |nodes| Recorder::new(nodes, Trace::new(sink), draws.then(|| Picture::new(nodes)));
        match self.world {
            WorldName::Raft => {
                let options = self.options();
                let run = Run {
                    seed,
                    faults_for,
                    options,
                };
                engine::run::<RaftWorld>(&run, recorder)
            }
            WorldName::Node => {
                let options = node::Options {
                    always: self.with.clone(),
                    ..node::Options::default()
                };
                let run = Run {
                    seed,
                    faults_for,
                    options,
                };
                engine::run::<NodeWorld>(&run, recorder)
            }
        }
    }

    /// What its sums have no number for.
    fn absent(&self) -> Vec<&'static str> {
        match self.world {
            WorldName::Raft => RaftWorld::absent(),
            WorldName::Node => NodeWorld::absent(),
        }
    }

    /// The command that runs a seed again.
    fn replay(&self, seed: u64) -> String {
        let world = match self.world {
            WorldName::Raft => "raft",
            WorldName::Node => "node",
        };
        let mut command =
            format!("cargo run --release -p trilith-sim -- run --world {world} --seed {seed}");
        let name = |value: Leases| value.to_possible_value().map(|v| v.get_name().to_owned());
        if self.seconds != 10 {
            command.push_str(&format!(" --seconds {}", self.seconds));
        }
        if let (false, Some(name)) = (matches!(self.leases, Leases::BySeed), name(self.leases)) {
            command.push_str(&format!(" --leases {name}"));
        }
        if !self.with.is_empty() {
            let names: Vec<&str> = self.with.iter().map(|kind| kind.name()).collect();
            command.push_str(&format!(" --with {}", names.join(",")));
        }
        command
    }

    /// The last line of a seed.
    fn verdict(&self, seed: u64, finished: &Finished) -> String {
        match &finished.violation {
            None => format!("seed {seed} ok trace={:016x}", finished.hash),
            Some(violation) => {
                format!(
                    "seed {seed} FAILED: {violation}; replay: {}",
                    self.replay(seed)
                )
            }
        }
    }
}

impl Command {
    /// Does what was asked for; true when nothing failed.
    pub(crate) fn execute(self) -> io::Result<bool> {
        match self.what {
            What::Run {
                world,
                seed,
                trace,
                html,
            } => one::run(&world, seed, trace, html.as_deref()),
            What::Many {
                world,
                seeds,
                first,
                jobs,
                at_most,
                verbose,
            } => many::run(
                &world,
                &many::Range {
                    first,
                    seeds,
                    jobs,
                    at_most,
                    verbose,
                },
            ),
            What::Soak {
                world,
                minutes,
                jobs,
                sums,
            } => soak::run(&world, minutes, jobs, &sums),
            What::Availability {
                hours,
                seeds,
                first,
            } => Ok(availability::run(hours, first..first + seeds)),
            #[cfg(feature = "planted-bugs")]
            What::Bugs(args) => bugs::run(&args),
        }
    }
}
