//! `trilith bench produce`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use futures::future::try_join_all;
use trilith_client::{Client, limits::BATCH_BYTES_MAX};

use super::{
    baseline,
    load::{Load, Request},
    measure::{Measure, Times},
    pace,
    payload::Payload,
    report::Report,
    steal::Ticks,
    topic::BenchTopic,
};
use crate::{
    commands::produce::Compression,
    connection::{Connection, block_on},
    failure::Failure,
    values::{ByteSize, Span},
};

/// Requests of one client that an open loop may have unanswered.
const OPEN_REQUESTS_MAX: usize = 512;

/// Measure how fast records are acknowledged
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith bench produce --size 1KiB --batch 128 --clients 2 --in-flight 8
  trilith bench produce --size 100B --batch 1000 --clients 4 --in-flight 8
  trilith bench produce --batch 1 --clients 64     many writers of single records
  trilith bench produce --batch 1 --clients 16 --rate 5000
  trilith bench produce --baseline-dir ./trilith-data --json")]
pub(crate) struct BenchProduce {
    #[command(flatten)]
    pub(super) run: RunOptions,
    /// Records that travel together, as one batch
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch: u32,
    /// Requests that each client keeps open in a closed loop
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// How batches are compressed; the values are random and never get smaller
    #[arg(long, value_enum, default_value_t = Compression::None)]
    compression: Compression,
    /// Also measure plain write + fdatasync in this directory, before and after, and compare
    #[arg(long, value_name = "DIR")]
    baseline_dir: Option<PathBuf>,
    /// How much to write for the baseline each time
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    baseline_bytes: ByteSize,
}

/// What every benchmark takes.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// The topic; made when it is not there, and kept. Without it one is made and deleted
    #[arg(long, value_name = "NAME")]
    pub(super) topic: Option<String>,
    /// Partitions of a topic that is made
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) partitions: u32,
    /// Bytes of a record's value
    #[arg(long, value_name = "SIZE", default_value = "1KiB")]
    pub(super) size: ByteSize,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) clients: u16,
    /// Connections that the clients share [default: one for each client, 16 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) connections: Option<u16>,
    /// Open loop: records a second, over all clients
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: Option<u64>,
    /// How long to count
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) seconds: u64,
    /// How long to run before counting
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub(super) warmup: Span,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
}

impl RunOptions {
    /// The connections; client `n` takes the `n`-th, counted round.
    pub(super) async fn connect(&self) -> Result<Vec<Client>, Failure> {
        let count = self.connections.unwrap_or(self.clients.min(16));
        try_join_all((0..count).map(|_| self.connection.open())).await
    }

    pub(super) fn times(&self) -> Times {
        Times::new(self.warmup.0, Duration::from_secs(self.seconds))
    }
}

/// Waits for clients that run each on its own.
pub(super) async fn join(
    clients: Vec<tokio::task::JoinHandle<Result<Measure, Failure>>>,
    times: Times,
) -> Result<Measure, Failure> {
    let mut all = Measure::new(times)?;
    for client in clients {
        let measure = client
            .await
            .map_err(|error| Failure::because("a client ended", error))??;
        all.add(measure)?;
    }
    Ok(all)
}

impl BenchProduce {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let request_bytes = u64::from(self.batch) * (self.run.size.0 + 64);
        if request_bytes > BATCH_BYTES_MAX.into() {
            return Err(Failure::Usage(format!(
                "{} records of {} are more than one batch can hold ({}): take a smaller --batch",
                self.batch,
                self.run.size,
                ByteSize(BATCH_BYTES_MAX.into()),
            )));
        }
        let before = self.baseline()?;
        let mut report = block_on(self.measure())?;
        let after = self.baseline()?;
        report.baseline = before
            .zip(after)
            .map(|(before, after)| f64::midpoint(before, after));
        report.print(self.run.json)
    }

    fn baseline(&self) -> Result<Option<f64>, Failure> {
        let Some(dir) = &self.baseline_dir else {
            return Ok(None);
        };
        let measured = baseline::measure(dir, self.baseline_bytes.0);
        let what = || format!("the baseline in {}", dir.display());
        measured
            .map(Some)
            .map_err(|error| Failure::because(what(), error))
    }

    async fn measure(&self) -> Result<Report, Failure> {
        let connections = self.run.connect().await?;
        let Some(admin) = connections.first() else {
            return Err(Failure::Usage("--connections must be at least 1".into()));
        };
        let (named, size) = (self.run.topic.as_deref(), self.run.size.0);
        let topic = BenchTopic::open(admin, named, self.run.partitions, size).await?;
        let measured = self.load(&connections, &topic.name).await;
        topic.close(admin).await?;
        measured
    }

    async fn load(&self, connections: &[Client], topic: &str) -> Result<Report, Failure> {
        let payload = Payload::new(self.run.size.0 as usize);
        let window = match self.run.rate {
            None => usize::from(self.in_flight),
            Some(_) => OPEN_REQUESTS_MAX,
        };
        let (times, stolen) = (self.run.times(), Ticks::now());
        let mut loads = Vec::new();
        let clients = usize::from(self.run.clients);
        for client in connections.iter().cycle().take(clients) {
            let (request, payload) = (self.request(), payload.clone());
            loads.push(Load::open(client, topic, request, payload, times, window).await?);
        }
        let running = match self.run.rate {
            None => loads
                .into_iter()
                .map(|load| tokio::spawn(load.closed(window)))
                .collect(),
            Some(rate) => {
                let per_second = rate as f64 / f64::from(self.batch);
                let calls = pace::start(times, per_second, clients);
                loads
                    .into_iter()
                    .zip(calls)
                    .map(|(load, due)| tokio::spawn(load.paced(due)))
                    .collect()
            }
        };
        let measure = join(running, times).await?;
        Ok(Report {
            title: self.title(),
            latency_of: "acknowledgement of a request",
            measure,
            steal: stolen
                .zip(Ticks::now())
                .map(|(before, now)| now.share_since(before)),
            baseline: None,
            settings: self.settings(),
        })
    }

    fn request(&self) -> Request {
        Request {
            records: self.batch,
            size: self.run.size.0 as usize,
            compression: self.compression.into(),
            stamped: false,
        }
    }

    fn title(&self) -> String {
        let mode = match self.run.rate {
            None => format!("closed loop, {} in flight each", self.in_flight),
            Some(rate) => format!("open loop, {rate} records/s offered"),
        };
        format!(
            "produce: {}, records of {} in batches of {}, {mode}",
            super::report::clients(self.run.clients),
            self.run.size,
            self.batch
        )
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({
            "bench": "produce",
            "clients": self.run.clients,
            "size": self.run.size.0,
            "batch": self.batch,
            "partitions": self.run.partitions,
            "in_flight": self.run.rate.is_none().then_some(self.in_flight),
            "rate": self.run.rate,
            "seconds": self.run.seconds,
            "warmup_ms": self.run.warmup.millis(),
        })
    }
}
