//! `trilith bench consume`.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use trilith_client::{
    Client, Compression, ConsumeOptions, PartitionId, Position, ProducerConfig, Record,
};

use super::{
    load::{Load, Request},
    measure::{Measure, Times},
    pace,
    payload::Payload,
    produce::{RunOptions, join},
    report::Report,
    steal::Ticks,
    topic::BenchTopic,
};
use crate::{connection::block_on, failure::Failure, values::ByteSize};

/// Records that are counted together when they are there together.
const BLOCK_RECORDS: usize = 4096;
/// Bytes of a value that carry the time it was due.
const STAMP_BYTES: usize = 8;
/// Requests of the producer beside followers that may be unanswered.
const OPEN_REQUESTS_MAX: usize = 512;

/// Measure how fast records are read
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith bench consume --clients 2                over records made for the run
  trilith bench consume --topic orders             over what is there
  trilith bench consume --rate 1000                from sending to reading

Without --rate every client reads a partition from its start to its end, again and again. With --rate
records are produced at that rate, one by one, and the clients follow: latency counts from when a
record was due to be sent until it was read.")]
pub(crate) struct BenchConsume {
    #[command(flatten)]
    run: RunOptions,
    /// How much to write to a topic that is made for the run
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    fill: ByteSize,
}

impl BenchConsume {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.run.rate.is_some() && self.run.size.0 < STAMP_BYTES as u64 {
            return Err(Failure::Usage(format!(
                "--rate needs a --size of {STAMP_BYTES} or more"
            )));
        }
        block_on(self.measure())?.print(self.run.json)
    }

    async fn measure(&self) -> Result<Report, Failure> {
        let connections = self.run.connect().await?;
        let Some(admin) = connections.first() else {
            return Err(Failure::Usage("--connections must be at least 1".into()));
        };
        let (named, size) = (self.run.topic.as_deref(), self.run.size.0);
        let topic = BenchTopic::open(admin, named, self.run.partitions, size).await?;
        let measured = self.measure_on(&connections, admin, &topic).await;
        topic.close(admin).await?;
        measured
    }

    async fn measure_on(
        &self,
        connections: &[Client],
        admin: &Client,
        topic: &BenchTopic,
    ) -> Result<Report, Failure> {
        if self.run.rate.is_none() && self.run.topic.is_none() {
            self.fill(admin, &topic.name).await?;
        }
        let partitions = admin.list_offsets(&topic.name, None).await?;
        let empty = partitions
            .iter()
            .all(|offsets| offsets.start == offsets.end);
        if self.run.rate.is_none() && empty {
            return Err(Failure::Failed(format!(
                "topic {} holds no records",
                topic.name
            )));
        }
        let stolen = Ticks::now();
        let times = self.run.times();
        let mut running = Vec::new();
        let numbers = partitions.iter().map(|offsets| offsets.partition).cycle();
        let clients = connections
            .iter()
            .cycle()
            .zip(numbers)
            .take(self.run.clients.into());
        for (client, partition) in clients {
            let (client, topic) = (client.clone(), topic.name.clone());
            running.push(match self.run.rate {
                None => tokio::spawn(read_again(client, topic, partition, times)),
                Some(_) => {
                    let from = Position::End;
                    let options = ConsumeOptions {
                        from,
                        follow: true,
                        limit: None,
                        ..ConsumeOptions::default()
                    };
                    let records = client.consume(&topic, partition, options).await?;
                    tokio::spawn(follow(records, times))
                }
            });
        }
        if let Some(rate) = self.run.rate {
            self.feed(admin, &topic.name, rate as f64, times).await?;
        }
        let measure = join(running, times).await?;
        Ok(self.report(
            measure,
            stolen
                .zip(Ticks::now())
                .map(|(was, is)| is.share_since(was)),
        ))
    }

    fn report(&self, measure: Measure, steal: Option<f64>) -> Report {
        let RunOptions {
            clients,
            size,
            rate,
            seconds,
            partitions,
            ..
        } = &self.run;
        let mode = match rate {
            None => "from start to end, again and again".to_owned(),
            Some(rate) => format!("following {rate} records/s"),
        };
        Report {
            title: format!("consume: {}, {mode}", super::report::clients(*clients)),
            latency_of: match rate {
                None => "first record of a pass",
                Some(_) => "from due to be sent until read",
            },
            measure,
            steal,
            baseline: None,
            settings: serde_json::json!({
                "bench": "consume",
                "clients": clients,
                "size": size.0,
                "rate": rate,
                "seconds": seconds,
                "partitions": partitions,
            }),
        }
    }

    /// Writes records until there are `--fill` bytes of values.
    async fn fill(&self, client: &Client, topic: &str) -> Result<(), Failure> {
        let producer = client.producer(topic, ProducerConfig::default()).await?;
        let mut payload = Payload::new(self.run.size.0 as usize);
        for _ in 0..self.fill.0.div_ceil(self.run.size.0.max(1)) {
            producer.send(Record::new(payload.next())).await?;
        }
        let closed = producer.close().await;
        closed
            .map(|_| ())
            .map_err(|error| Failure::because("filling the topic", error))
    }

    /// Produces single stamped records at the rate until the end.
    async fn feed(
        &self,
        client: &Client,
        topic: &str,
        rate: f64,
        times: Times,
    ) -> Result<(), Failure> {
        let size = self.run.size.0 as usize;
        let request = Request {
            records: 1,
            size,
            compression: Compression::None,
            stamped: true,
        };
        let payload = Payload::new(size);
        let load = Load::open(client, topic, request, payload, times, OPEN_REQUESTS_MAX).await?;
        let mut calls = pace::start(times, rate, 1);
        let Some(due) = calls.pop() else {
            return Ok(());
        };
        match load.paced(due).await?.first_failure {
            None => Ok(()),
            Some(why) => Err(Failure::because("producing beside the readers", why)),
        }
    }
}

/// Reads the partition from its start to its end until the time is over.
async fn read_again(
    client: Client,
    topic: String,
    partition: PartitionId,
    times: Times,
) -> Result<Measure, Failure> {
    let mut measure = Measure::new(times)?;
    while Instant::now() < times.end {
        let begun = Instant::now();
        let records = client
            .consume(&topic, partition, ConsumeOptions::default())
            .await?;
        let mut blocks = records.try_ready_chunks(BLOCK_RECORDS);
        let mut first = true;
        while let Some(block) = blocks.next().await {
            let block = block.map_err(|error| Failure::because("reading", error.1))?;
            if std::mem::take(&mut first) {
                measure.answered(begun);
            }
            let bytes = block
                .iter()
                .map(|record| record.value.as_ref().map_or(0, Bytes::len));
            measure.arrived(block.len() as u64, bytes.sum::<usize>() as u64);
            if Instant::now() >= times.end {
                return Ok(measure);
            }
        }
        if first {
            // An empty partition would be asked for its end without pause.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(measure)
}

/// Reads stamped records as they come until the time is over.
async fn follow(mut records: trilith_client::Consumer, times: Times) -> Result<Measure, Failure> {
    let mut measure = Measure::new(times)?;
    let end = tokio::time::sleep_until(times.end.into());
    tokio::pin!(end);
    loop {
        let next = tokio::select! {
            () = &mut end => return Ok(measure),
            next = records.next() => next,
        };
        let Some(record) = next
            .transpose()
            .map_err(|error| Failure::because("reading", error))?
        else {
            return Err(Failure::Failed("the server ended the stream".into()));
        };
        let value = record.value.unwrap_or_default();
        measure.arrived(1, value.len() as u64);
        if let Some(nanos) = value.first_chunk::<STAMP_BYTES>() {
            measure.answered(times.start + Duration::from_nanos(u64::from_be_bytes(*nanos)));
        }
    }
}

/// `value` with its first bytes replaced by when it was due, counted from the run's start.
pub(super) fn stamp(value: &Bytes, due: Duration) -> Bytes {
    let mut stamped = BytesMut::from(&**value);
    if let Some(room) = stamped.first_chunk_mut::<STAMP_BYTES>() {
        *room = (due.as_nanos() as u64).to_be_bytes();
    }
    stamped.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_takes_the_first_eight_bytes() {
        let value = stamp(&Bytes::from(vec![7; 10]), Duration::from_nanos(0x0102));
        assert_eq!(&value[..], [0, 0, 0, 0, 0, 0, 1, 2, 7, 7]);
    }
}
