//! `trilith produce`.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use serde::Serialize;
use trilith_client::{Fate, PartitionId, Producer, ProducerConfig, Report, SendError};

use crate::{
    connection::{Connection, block_on},
    failure::Failure,
    input,
    output::{Progress, counted},
    signals::Signals,
    values::{Delimiter, Span},
};

/// Write records to a topic: lines, JSON lines or whole files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo hello | trilith produce greetings
  trilith produce logs /var/log/dpkg.log           one record for each line
  trilith produce users --key-delimiter ':' /etc/passwd
  trilith produce events --input json events.jsonl
  split -b 1M disk.img piece. && trilith produce images --input files --partition 0 piece.*
  trilith consume a --output json | trilith produce b --input json

JSON lines have any of: key, value (text), key_base64, value_base64 (bytes), timestamp_ms,
headers ([{\"name\":\"…\",\"value\":\"…\"}]). A value of null is a tombstone. Empty lines are passed over.

At the end of the input, or when Ctrl-C (SIGINT) or SIGTERM stops it, it says how many records were
acknowledged, and their offsets; a second signal ends it at once. An acknowledged record is as durable
as the server's --sync says. When a record is not acknowledged, nothing more is sent and the exit code
is 1.")]
pub(crate) struct Produce {
    /// The topic
    topic: String,
    /// Read these files, one after the other; '-' is standard input, as is none at all
    files: Vec<PathBuf>,
    /// What a record is: a line, a line of JSON, or a whole file
    #[arg(long, value_enum, default_value_t = input::Kind::Lines)]
    input: input::Kind,
    /// The text between key and value of a line, such as ':' or '\t'; a line without it is a value
    #[arg(long, value_name = "TEXT")]
    key_delimiter: Option<Delimiter>,
    /// Write to this partition, whatever the key
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u32>,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = Compression::None)]
    compression: Compression,
    /// Give up when a connection or an answer does not come within this time
    #[arg(
        long,
        env = "TRILITH_TIMEOUT",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "30s"
    )]
    timeout: Span,
    /// The summary: text on standard error, a JSON object on standard output, or none
    #[arg(long, value_enum, default_value_t = Summary::Text)]
    summary: Summary,
    #[command(flatten)]
    connection: Connection,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    None,
    Lz4,
}

impl From<Compression> for trilith_client::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Summary {
    Text,
    Json,
    None,
}

impl Produce {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.check()?;
        block_on(async {
            let producer = tokio::time::timeout(self.timeout.0, self.open()).await;
            let producer = producer.map_err(|_| {
                Failure::Failed(format!(
                    "no answer from {} within {}",
                    self.connection, self.timeout
                ))
            })??;
            self.produce(producer).await
        })
    }

    fn check(&self) -> Result<(), Failure> {
        if self.key_delimiter.is_some() && self.input != input::Kind::Lines {
            return Err(Failure::Usage(
                "--key-delimiter goes with --input lines only".into(),
            ));
        }
        Ok(())
    }

    async fn open(&self) -> Result<Producer, Failure> {
        let client = self.connection.open().await?;
        let config = ProducerConfig {
            compression: self.compression.into(),
            // The acknowledged records are then the first ones of the input.
            halt_on_failure: true,
            delivery_timeout: self.timeout.0,
            ..ProducerConfig::default()
        };
        Ok(client.producer(&self.topic, config).await?)
    }

    async fn produce(&self, producer: Producer) -> Result<(), Failure> {
        let typed = self.files.is_empty() && io::stdin().is_terminal();
        let progress = Progress::counting("sending", typed);
        let mut signals = Signals::listen()?;
        let sent = tokio::select! {
            sent = self.send_all(&producer, &progress) => sent,
            // What was sent is waited for and told, as at the end of the input.
            code = signals.next() => Err(Failure::Signalled(code)),
        };
        let closed = tokio::select! {
            closed = producer.close() => closed,
            code = signals.next() => return Err(Failure::Signalled(code)),
        };
        progress.finish();
        let report = match &closed {
            Ok(report) => report,
            Err(failed) => &failed.report,
        };
        self.print(report)?;
        if let Some(failure) = &report.first_failure {
            let again = match failure.fate {
                Fate::NotStored => "",
                Fate::Unknown => "; sent again it may be there twice",
            };
            let why = format!(
                "not acknowledged: {}: {failure}{again}",
                counted(report.not_acknowledged, "record")
            );
            return Err(Failure::Failed(why));
        }
        sent
    }

    async fn send_all(&self, producer: &Producer, progress: &Progress) -> Result<(), Failure> {
        let mut sent_before = 0;
        let mut blocks = input::read(self.input, self.key_delimiter.clone(), self.files.clone());
        loop {
            let block = tokio::select! {
                block = blocks.recv() => block,
                // The report says why. Input may not come for long, so it is not waited for.
                _ = producer.halted() => return Ok(()),
            };
            let Some(block) = block else { return Ok(()) };
            let records = block?;
            let read = records.len() as u64;
            for (number, record) in (sent_before..).zip(records) {
                let sent = match self.partition {
                    Some(partition) => producer.send_to(PartitionId(partition), record).await,
                    None => producer.send(record).await,
                };
                match sent {
                    Ok(_) => {}
                    // The report says why.
                    Err(SendError::Halted(_)) => return Ok(()),
                    Err(error) => return Err(Failure::because(self.place(number), error)),
                }
            }
            sent_before += read;
            progress.add(read);
        }
    }

    /// Where a record of the input is, counted from 0.
    fn place(&self, number: u64) -> String {
        let file = usize::try_from(number)
            .ok()
            .and_then(|at| self.files.get(at));
        match (self.input, file) {
            (input::Kind::Files, Some(file)) => file.display().to_string(),
            _ => format!("record {} of the input", number + 1),
        }
    }

    fn print(&self, report: &Report) -> io::Result<()> {
        match self.summary {
            Summary::None => Ok(()),
            Summary::Json => crate::output::print_json(&SummaryLine::new(&self.topic, report)),
            Summary::Text => {
                let mut err = io::stderr().lock();
                writeln!(
                    err,
                    "{} acknowledged",
                    counted(report.acknowledged, "record")
                )?;
                for (partition, part) in &report.partitions {
                    let (records, first, last) = (part.records, part.first, part.last);
                    writeln!(
                        err,
                        "  partition {partition}: {}, offsets {first} to {last}",
                        counted(records, "record")
                    )?;
                }
                Ok(())
            }
        }
    }
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    topic: &'a str,
    acknowledged: u64,
    not_acknowledged: u64,
    partitions: Vec<SummaryPartition>,
}

#[derive(Serialize)]
struct SummaryPartition {
    partition: u32,
    records: u64,
    first_offset: u64,
    last_offset: u64,
}

impl<'a> SummaryLine<'a> {
    fn new(topic: &'a str, report: &Report) -> Self {
        let part = |(partition, part): (&PartitionId, &trilith_client::PartitionReport)| {
            SummaryPartition {
                partition: partition.get(),
                records: part.records,
                first_offset: part.first.get(),
                last_offset: part.last.get(),
            }
        };
        Self {
            topic,
            acknowledged: report.acknowledged,
            not_acknowledged: report.not_acknowledged,
            partitions: report.partitions.iter().map(part).collect(),
        }
    }
}
