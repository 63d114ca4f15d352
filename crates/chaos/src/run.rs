//! A run: a cluster, clients, one fault after another, and the verdict.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use trilith_client::{Client, TopicSettings};

use crate::{
    check::{Verdict, check},
    disk::SmallDisk,
    faults::{Breaker, Fault, FaultError},
    history::{History, What},
    load::{Clients, Load, read_log},
    network::Network,
    nodes::Nodes,
    rng::Rng,
};

/// How long the cluster may take to be there, to take records again after a fault, or to hand out
/// its whole log.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many acknowledgements after a fault show that the cluster goes on.
const PROGRESS: usize = 100;

const TOPIC: &str = "chaos";
const PARTITIONS: u32 = 3;

/// How a run is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program `trilith`.
    pub program: PathBuf,
    /// Where everything goes; it is made.
    pub dir: PathBuf,
    /// How long to go on with rounds of faults; zero: one round.
    pub time: Duration,
    /// How many nodes.
    pub nodes: usize,
    /// Only these faults; empty: all.
    pub faults: Vec<Fault>,
    /// Decides the order and the length of faults.
    pub seed: u64,
    /// How many producers.
    pub producers: u32,
    /// Records a second of each.
    pub rate: u32,
    /// The first port.
    pub port: u16,
    /// Whether the nodes get a network of their own.
    pub own_network: bool,
    /// How large the last node's disk of its own is, in MiB.
    pub small_disk_mib: Option<u64>,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Files.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The answer.
        source: io::Error,
    },
    /// Nodes, network or disk.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// The cluster did not come up.
    #[error("no cluster after {PATIENCE:?}: {why}; its logs are in {dir}")]
    NoCluster {
        /// The last answer.
        why: String,
        /// Where the logs are.
        dir: String,
    },
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// Of the history.
    pub verdict: Verdict,
    /// What went wrong beside it: a node that ended, a cluster that took nothing any more.
    pub problems: Vec<String>,
}

impl Outcome {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.verdict.broken.is_empty()
    }
}

/// Runs a plan.
///
/// # Errors
/// The cluster could not be set up, or nothing can be kept of it.
pub async fn run(plan: &Plan) -> Result<Outcome, RunError> {
    let io = |what: &str| {
        let what = format!("{what} {}", plan.dir.display());
        move |source| RunError::Io { what, source }
    };
    fs::create_dir_all(&plan.dir).map_err(io("make"))?;
    let history = History::begin(&plan.dir.join("history.jsonl")).map_err(io("write in"))?;
    let history = Arc::new(history);
    let mut breaker = set_up(plan).await?;
    let load = Load {
        endpoints: breaker.nodes.endpoints(),
        topic: TOPIC.to_owned(),
        partitions: PARTITIONS,
        producers: plan.producers,
        rate: plan.rate,
        readers: 1,
        delivery: Duration::from_secs(30),
    };
    let mut problems = Vec::new();
    let mut clients = Clients::start(&load, &history);
    if let Err(problem) = faults(plan, &mut breaker, &mut clients, &load, &history).await {
        problems.push(problem);
    }
    if let Err(problem) = wind_up(&mut breaker, clients, &load, &history).await {
        problems.push(problem);
    }
    let events = history.end().map_err(io("write in"))?;
    Ok(Outcome {
        verdict: check(&events),
        problems,
    })
}

async fn set_up(plan: &Plan) -> Result<Breaker, RunError> {
    let network = plan
        .own_network
        .then(|| Network::make(plan.nodes))
        .transpose();
    let network = network.map_err(FaultError::from)?;
    let nodes = Nodes::prepare(
        plan.program.clone(),
        &plan.dir,
        plan.nodes,
        plan.port,
        network,
    );
    let mut nodes = nodes.map_err(FaultError::from)?;
    let small_disk = match (
        plan.small_disk_mib,
        nodes.data(plan.nodes.saturating_sub(1)),
    ) {
        (Some(mib), Some(at)) => Some(SmallDisk::mount(at, mib).map_err(FaultError::from)?),
        _ => None,
    };
    nodes.start_all().map_err(FaultError::from)?;
    let client = found(&mut nodes, &plan.dir).await?;
    Ok(Breaker {
        nodes,
        small_disk,
        client,
        topic: TOPIC.to_owned(),
    })
}

/// Waits until the cluster makes a topic.
async fn found(nodes: &mut Nodes, dir: &Path) -> Result<Client, RunError> {
    let settings = TopicSettings {
        partitions: Some(PARTITIONS),
        replicas: Some(nodes.len().min(3) as u32),
        // Small, so that segments are closed and sent as a whole.
        segment_bytes: Some(1 << 20),
        ..TopicSettings::default()
    };
    let begun = Instant::now();
    loop {
        nodes.check().map_err(FaultError::from)?;
        let attempt = async {
            let client = Client::connect(nodes.endpoints()).await?;
            match client.create_topic(TOPIC, settings).await {
                Err(error) if error.reason() != Some("TOPIC_EXISTS") => Err(error),
                _ => Ok(client),
            }
        };
        match attempt.await {
            Ok(client) => return Ok(client),
            Err(error) if begun.elapsed() > PATIENCE => {
                return Err(RunError::NoCluster {
                    why: error.to_string(),
                    dir: dir.display().to_string(),
                });
            }
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// One round of the faults after another, until the time is over.
async fn faults(
    plan: &Plan,
    breaker: &mut Breaker,
    clients: &mut Clients,
    load: &Load,
    history: &Arc<History>,
) -> Result<(), String> {
    progress(history, 0)
        .await
        .map_err(|()| "no record was taken".to_owned())?;
    let begun = Instant::now();
    let mut rng = Rng::new(plan.seed);
    let mut reader = load.readers * load.partitions;
    loop {
        let mut round: Vec<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| plan.faults.is_empty() || plan.faults.contains(fault))
            .filter(|fault| breaker.can(*fault))
            .collect();
        if !plan.time.is_zero() {
            rng.shuffle(&mut round);
        }
        for fault in round {
            one(fault, breaker, history, &mut rng).await?;
            if !plan.time.is_zero() && begun.elapsed() > plan.time {
                return Ok(());
            }
        }
        // Somebody who reads everything from the start, in the middle of what comes next.
        clients.add_reader(reader, load, history);
        reader += 1;
        if begun.elapsed() >= plan.time {
            return Ok(());
        }
    }
}

async fn one(
    fault: Fault,
    breaker: &mut Breaker,
    history: &History,
    rng: &mut Rng,
) -> Result<(), String> {
    let hold = Duration::from_millis(500 + rng.below(2_500));
    let begun = history.now();
    history.note(What::Fault {
        what: fault.to_string(),
    });
    let told = breaker.make(fault, hold).await;
    let told = told.map_err(|error| format!("{fault}: {error}"))?;
    let healed = history.now();
    let what = format!("{fault}: {told}");
    history.note(What::Fault { what });
    let goes_on = progress(history, healed).await;
    let gap = history.gap_since(begun) as f64 / 1e6;
    println!("{fault}: {told}; longest time without an acknowledgement {gap:.3} s");
    goes_on.map_err(|()| format!("{fault}: fewer than {PROGRESS} records were acknowledged in {PATIENCE:?} after it was mended"))?;
    // Some time in which all is well, so that the next fault meets a whole cluster now and then.
    sleep(Duration::from_millis(rng.below(1_500))).await;
    breaker.nodes.check().map_err(|error| error.to_string())
}

async fn progress(history: &History, since: u64) -> Result<(), ()> {
    let waiting = async {
        while history.acked_since(since) < PROGRESS {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.map_err(|_| ())
}

/// Lets the producers finish, reads the log, stops the nodes in order, and looks at their files.
async fn wind_up(
    breaker: &mut Breaker,
    mut clients: Clients,
    load: &Load,
    history: &History,
) -> Result<(), String> {
    let finished = timeout(PATIENCE, clients.finish_producing()).await;
    finished.map_err(|_| format!("producers had no answers after {PATIENCE:?}"))?;
    let read = read_log(load, history, PATIENCE).await;
    let lengths = read.map_err(|error| format!("the log cannot be read: {error}"))?;
    clients.catch_up(&lengths, PATIENCE).await?;
    drop(clients);
    for i in 0..breaker.nodes.len() {
        let stopped = breaker.nodes.stop(i).await;
        stopped.map_err(|error| error.to_string())?;
    }
    for i in 0..breaker.nodes.len() {
        breaker.nodes.verify(i).await?;
    }
    Ok(())
}
