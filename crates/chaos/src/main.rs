//! `trilith-chaos run` and `trilith-chaos check`; `cargo xtask chaos` builds and runs it.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::{Parser, Subcommand};
use trilith_chaos::{
    check::check,
    faults::Fault,
    history, network,
    run::{Plan, run},
};

/// Break a real cluster under load, and check what its clients saw.
#[derive(Parser)]
#[command(name = "trilith-chaos")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start a cluster, break it, check the history.
    Run(Run),
    /// Check a history that was kept.
    Check {
        /// The file `history.jsonl` of a run.
        history: PathBuf,
    },
}

#[derive(clap::Args)]
struct Run {
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/trilith")]
    program: PathBuf,
    /// A new directory for data, logs and the history; removed after a good run
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    dir: PathBuf,
    /// Go on with rounds of faults for so long; 0: one round, each fault once
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Only these faults
    #[arg(long = "fault", value_name = "FAULT", value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Decides the order and the length of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many producers
    #[arg(long, default_value_t = 4)]
    producers: u32,
    /// Records a second of each producer
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// The first port of the nodes
    #[arg(long, default_value_t = 17_400)]
    port: u16,
    /// Leave the network alone: links are not cut
    #[arg(long)]
    no_network: bool,
    /// The size of the one small disk, in MiB; by default what the run's records need, twice
    #[arg(long, value_name = "MIB")]
    small_disk: Option<u64>,
    /// Keep the directory after a good run
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Run(arguments) => start(arguments),
        Task::Check { history } => history::read(&history)
            .map(|events| {
                let verdict = check(&events);
                println!("{verdict}");
                verdict.broken.is_empty()
            })
            .map_err(|error| format!("{}: {error}", history.display())),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Run) -> Result<bool, String> {
    let own_network = !arguments.no_network && enter();
    if arguments.dir.exists() {
        return Err(format!(
            "{} is there already; remove it, or give another --dir",
            arguments.dir.display()
        ));
    }
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|error| error.to_string());
    let small_disk_mib = own_network.then(|| small_disk(&arguments));
    let plan = Plan {
        program: absolute(&arguments.program)?,
        dir: absolute(&arguments.dir)?,
        time: Duration::from_secs(arguments.minutes * 60),
        nodes: arguments.nodes,
        faults: arguments.faults,
        seed: arguments.seed,
        producers: arguments.producers,
        rate: arguments.rate,
        port: arguments.port,
        own_network,
        small_disk_mib,
    };
    let panics = count_panics();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(run(&plan));
    let mut outcome = outcome.map_err(|error| error.to_string())?;
    let panics = panics.load(Ordering::Acquire);
    if panics > 0 {
        let problem = format!("{panics} panics in the clients");
        outcome.problems.push(problem);
    }
    println!("{}", outcome.verdict);
    for problem in &outcome.problems {
        println!("PROBLEM: {problem}");
    }
    let good = outcome.is_good();
    if good && !arguments.keep {
        let removed = std::fs::remove_dir_all(&plan.dir);
        removed.map_err(|error| format!("{}: {error}", plan.dir.display()))?;
    } else {
        println!("everything is in {}", plan.dir.display());
    }
    Ok(good)
}

/// Room for the journal and, at a kilobyte a record, for what is produced.
fn small_disk(arguments: &Run) -> u64 {
    let records = u64::from(arguments.producers) * u64::from(arguments.rate);
    let minutes = arguments.minutes.max(2);
    arguments
        .small_disk
        .unwrap_or(768 + records * minutes * 60 / 1024)
}

/// Counts panics from here on: a client's task that is gone must not go unnoticed.
fn count_panics() -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::AcqRel);
        told(panic);
    }));
    count
}

/// Goes into namespaces of its own, or says why not.
fn enter() -> bool {
    match network::enter() {
        Ok(()) => true,
        Err(error) => {
            println!("links are not cut and no disk is filled: this needs namespaces ({error})");
            false
        }
    }
}
