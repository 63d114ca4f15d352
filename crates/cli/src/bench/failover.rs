//! `trilith bench failover`.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};
use trilith_client::{Client, ConsumeOptions, NodeId, Offset, PartitionId, ProducerConfig, Record};

use super::{payload::Payload, steal::Ticks, topic::BenchTopic};
use crate::{
    connection::{Patient, block_on},
    failure::Failure,
    output::{Align, Table, print_json, print_line},
    values::{ByteSize, Span},
};

/// How long a node that was killed may take to be back.
const BACK_WAIT: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Measure how long writes stop when the leader goes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith up --restart-after 1s                    in another terminal
  trilith bench failover --rounds 50
  trilith bench failover --signal stop             the leader is paused and not killed
  trilith bench failover --pid 4711                this process, once

In each round clients write one record at a time; the process that leads the topic's partition gets the
signal, and the longest times between two acknowledgements, and between two records that a reader who
follows gets, are taken. Before the next round all nodes are
waited for, so something has to start them again. It kills processes of this machine by their ids.")]
pub(crate) struct BenchFailover {
    /// How often the leader goes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What happens to the leader
    #[arg(long, value_enum, default_value_t = Blow::Kill)]
    signal: Blow,
    /// The process that goes, in one round, instead of the leader's
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    /// Clients that write at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Bytes of a record's value
    #[arg(long, value_name = "SIZE", default_value = "256B")]
    size: ByteSize,
    /// How long to write before the leader goes, and after
    #[arg(long, value_name = "TIME", default_value = "2s")]
    settle: Span,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Patient,
}

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Blow {
    /// kill -9: its sockets close at once.
    Kill,
    /// kill -STOP, and -CONT after the round: it says nothing.
    Stop,
    /// kill -TERM: it hands leadership over and ends.
    Term,
}

impl Blow {
    const fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Stop => Signal::STOP,
            Self::Term => Signal::TERM,
        }
    }
}

/// The time between acknowledgements over all clients, or between records that are read.
#[derive(Clone, Debug)]
struct Gaps(Arc<Mutex<Gap>>);

#[derive(Debug)]
struct Gap {
    last: Instant,
    longest: Duration,
    count: u64,
    failure: Option<String>,
}

impl Gaps {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Gap {
            last: Instant::now(),
            longest: Duration::ZERO,
            count: 0,
            failure: None,
        })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Gap) -> T) -> T {
        let mut gap = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut gap)
    }

    /// One more.
    fn came(&self) {
        self.with(|gap| {
            let now = Instant::now();
            gap.longest = gap.longest.max(now - gap.last);
            gap.last = now;
            gap.count += 1;
        });
    }

    fn begin(&self) {
        self.with(|gap| gap.longest = Duration::ZERO);
    }

    /// The longest gap since it was begun, the one that is open included.
    fn longest(&self) -> Duration {
        self.with(|gap| gap.longest.max(gap.last.elapsed()))
    }
}

/// What came of all rounds.
struct Outcome {
    /// Between acknowledgements, sorted.
    gaps: Vec<Duration>,
    /// Between records read, sorted.
    read_gaps: Vec<Duration>,
    acknowledged: u64,
    steal: Option<f64>,
}

impl BenchFailover {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let outcome = block_on(self.measure())?;
        if self.json {
            return Ok(print_json(&self.as_json(&outcome))?);
        }
        Ok(print_line(&self.as_text(&outcome))?)
    }

    async fn measure(&self) -> Result<Outcome, Failure> {
        let client = self.connection.open().await?;
        let topic = BenchTopic::open(&client, None, 1, self.size.0).await?;
        let (stolen, gaps, read) = (Ticks::now(), Gaps::new(), Gaps::new());
        let mut tasks = self.write(&client, &topic.name, &gaps).await?;
        tasks.push(self.read(&topic.name, &read).await?);
        let rounds = if self.pid.is_some() { 1 } else { self.rounds };
        let (mut longest, mut read_longest) = (Vec::new(), Vec::new());
        let mut failed = None;
        for _ in 0..rounds {
            match self.round(&client, &topic.name, [&gaps, &read]).await {
                Ok([gap, read_gap]) => {
                    longest.push(gap);
                    read_longest.push(read_gap);
                }
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
        }
        for task in tasks {
            task.abort();
        }
        topic.close(&client).await?;
        let (acknowledged, failure) = gaps.with(|gap| (gap.count, gap.failure.take()));
        let failure = failure.or_else(|| read.with(|gap| gap.failure.take()));
        if let Some(failure) = failed.or(failure.map(Failure::Failed)) {
            return Err(failure);
        }
        longest.sort_unstable();
        read_longest.sort_unstable();
        Ok(Outcome {
            gaps: longest,
            read_gaps: read_longest,
            acknowledged,
            steal: stolen
                .zip(Ticks::now())
                .map(|(before, now)| now.share_since(before)),
        })
    }

    /// Clients that write for as long as they are let.
    async fn write(
        &self,
        client: &Client,
        topic: &str,
        gaps: &Gaps,
    ) -> Result<Vec<JoinHandle<()>>, Failure> {
        let payload = Payload::new(self.size.0 as usize);
        let mut writers = Vec::new();
        for _ in 0..self.clients {
            let config = ProducerConfig {
                batch_records: 1,
                ..ProducerConfig::default()
            };
            let producer = client.producer(topic, config).await?;
            let (mut payload, gaps) = (payload.clone(), gaps.clone());
            writers.push(tokio::spawn(async move {
                loop {
                    let sent = producer.send(Record::new(payload.next())).await;
                    let outcome = match sent {
                        Ok(delivery) => delivery.await.map_err(|error| error.to_string()),
                        Err(error) => Err(error.to_string()),
                    };
                    match outcome {
                        Ok(_) => gaps.came(),
                        Err(why) => {
                            return gaps.with(|gap| _ = gap.failure.get_or_insert(why));
                        }
                    }
                }
            }));
        }
        Ok(writers)
    }

    /// A client that reads what is written, and sees to it that nothing is missing or comes twice.
    async fn read(&self, topic: &str, gaps: &Gaps) -> Result<JoinHandle<()>, Failure> {
        let client = self.connection.open().await?;
        let options = ConsumeOptions {
            follow: true,
            ..ConsumeOptions::default()
        };
        let mut records = client.consume(topic, PartitionId(0), options).await?;
        let gaps = gaps.clone();
        Ok(tokio::spawn(async move {
            let mut next = Offset(0);
            let why = loop {
                match records.next().await {
                    Some(Ok(record)) if record.offset == next => {
                        gaps.came();
                        next = next.next();
                    }
                    Some(Ok(record)) => {
                        break format!("offset {} was read instead of {next}", record.offset);
                    }
                    Some(Err(error)) => break format!("reading at offset {next}: {error}"),
                    None => break format!("reading ended at offset {next}"),
                }
            };
            gaps.with(|gap| _ = gap.failure.get_or_insert(why));
        }))
    }

    async fn round(
        &self,
        client: &Client,
        topic: &str,
        gaps: [&Gaps; 2],
    ) -> Result<[Duration; 2], Failure> {
        let victim = match self.pid {
            Some(pid) => process(pid)?,
            None => {
                all_back(client).await?;
                leader(client, topic).await?
            }
        };
        sleep(self.settle.0).await;
        gaps.iter().for_each(|gaps| gaps.begin());
        kill_process(victim, self.signal.signal())
            .map_err(|error| Failure::because("cannot signal the leader's process", error))?;
        sleep(self.settle.0).await;
        let longest = gaps.map(Gaps::longest);
        if self.signal == Blow::Stop {
            kill_process(victim, Signal::CONT)
                .map_err(|error| Failure::because("cannot let the leader go on", error))?;
        }
        Ok(longest)
    }

    fn as_text(&self, outcome: &Outcome) -> String {
        let mut table = Table::new(&[
            ("between two", Align::Left),
            ("rounds", Align::Right),
            ("shortest", Align::Right),
            ("median", Align::Right),
            ("p90", Align::Right),
            ("p99", Align::Right),
            ("longest", Align::Right),
        ]);
        let rows = [
            ("acknowledgements", &outcome.gaps),
            ("records read", &outcome.read_gaps),
        ];
        for (what, gaps) in rows {
            let ms = |share: f64| format!("{:.1} ms", millis(at(gaps, share)));
            let shares = [0.0, 0.5, 0.9, 0.99, 1.0].map(ms);
            let head = [what.to_owned(), gaps.len().to_string()];
            table.row(head.into_iter().chain(shares).collect());
        }
        let steal = outcome.steal.map_or(String::new(), |steal| {
            format!(
                "\nthe hypervisor took {:.1}% of the processor time",
                steal * 100.0
            )
        });
        format!(
            "failover: {:?}, {} clients, records of {}, {} acknowledged; the longest times in each \
             round\n\n{table}{steal}",
            self.signal, self.clients, self.size, outcome.acknowledged
        )
    }

    fn as_json(&self, outcome: &Outcome) -> serde_json::Value {
        let of = |gaps: &[Duration]| {
            let ms = |share: f64| millis(at(gaps, share));
            json!({
                "rounds": gaps.iter().map(|gap| millis(*gap)).collect::<Vec<_>>(),
                "median": ms(0.5), "p90": ms(0.9), "p99": ms(0.99), "max": ms(1.0),
            })
        };
        json!({
            "bench": "failover",
            "signal": format!("{:?}", self.signal).to_lowercase(),
            "clients": self.clients,
            "size": self.size.0,
            "acknowledged": outcome.acknowledged,
            "gap_ms": of(&outcome.gaps),
            "read_gap_ms": of(&outcome.read_gaps),
            "steal": outcome.steal,
        })
    }
}

/// The sorted durations' value at a share of them, the next higher one.
fn at(sorted: &[Duration], share: f64) -> Duration {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let last = sorted.len().saturating_sub(1);
    let found = sorted.get(rank.saturating_sub(1).min(last));
    found.copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Waits until every node of the cluster answers.
async fn all_back(client: &Client) -> Result<(), Failure> {
    let give_up = Instant::now() + BACK_WAIT;
    loop {
        let answers = client.cluster_status().await;
        let silent = answers.iter().find(|(_, report)| report.is_err());
        let Some((address, _)) = silent else {
            return Ok(());
        };
        if Instant::now() > give_up {
            return Err(Failure::Failed(format!(
                "{address} was not started again within {BACK_WAIT:?}"
            )));
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The process that leads the topic's only partition.
async fn leader(client: &Client, topic: &str) -> Result<Pid, Failure> {
    let give_up = Instant::now() + BACK_WAIT;
    loop {
        let topic = client.describe_topic(topic).await?;
        let leader: Option<NodeId> = topic.partitions.first().and_then(|p| p.leader);
        let answers = client.cluster_status().await;
        let found = answers.iter().find_map(|(_, report)| {
            let node = &report.as_ref().ok()?.node;
            (node.node.id.is_some() && node.node.id == leader).then_some(node.process_id)
        });
        if let Some(pid) = found {
            return process(i32::try_from(pid).unwrap_or_default());
        }
        if Instant::now() > give_up {
            return Err(Failure::Failed("nobody leads the topic".into()));
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn process(pid: i32) -> Result<Pid, Failure> {
    let wrong = || Failure::Usage(format!("{pid} is no process id"));
    Pid::from_raw(pid).filter(|_| pid > 1).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_few_rounds_are_whole_rounds() {
        let gaps: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        let ms = |share| at(&gaps, share).as_millis();
        assert_eq!(
            [ms(0.0), ms(0.5), ms(0.9), ms(0.99), ms(1.0)],
            [1, 5, 9, 10, 10]
        );
        assert_eq!(at(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn the_open_gap_counts_and_an_acknowledgement_ends_it() {
        let gaps = Gaps::new();
        gaps.with(|gap| gap.last = Instant::now() - Duration::from_secs(5));
        assert!(gaps.longest() >= Duration::from_secs(5));
        gaps.came();
        assert!(gaps.longest() >= Duration::from_secs(5), "it was that long");
        gaps.begin();
        assert!(gaps.longest() < Duration::from_secs(5));
        assert_eq!(gaps.with(|gap| gap.count), 1);
    }
}
