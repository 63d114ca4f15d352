//! `trilith consume`.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
    pin::Pin,
};

use clap::Args;
use futures::{Stream, StreamExt, TryFutureExt, future, stream};
use trilith_client::{
    Client, ConsumeOptions, Error, Interruption, Offset, PartitionId, PartitionOffsets, Position,
    StoredRecord, TimestampMs,
};

use crate::{
    connection::{Patient, block_on},
    failure::Failure,
    output::{Format, Progress},
    values::From,
};

/// Records that are handled together when they are there together; what is printed is flushed
/// after each such block.
const BLOCK_RECORDS: usize = 4096;
const BUFFER_BYTES: usize = 256 << 10;
/// Partitions read at a time over one connection; servers take 128 streams by default. Without
/// following, the others wait for their turn.
const STREAMS_PER_CONNECTION: usize = 64;

/// Print the records of a topic
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith consume orders                           every record there is
  trilith consume orders --follow --from end       new records as they come
  trilith consume orders --from -10                the last 10 of each partition
  trilith consume orders --from -1h --count 100    100 records, from an hour ago on
  trilith consume orders --from 2026-01-31T12:00:00Z --output json
  trilith consume orders --from @1767225600000     a time in milliseconds since 1970
  trilith consume orders --output '%p:%o %T %k=%s\\n'
  trilith consume images --partition 0 --output %s > disk.img

A FORMAT is text with
  %s value   %S its length   %R its length as 4 bytes, big-endian
  %k key     %K its length   %h headers, as name=value,name=value
  %o offset  %p partition    %T timestamp in ms   %t topic   %%  a percent sign
  \\n \\t \\r \\0 \\\\ \\xHH       special characters
Nothing is added at its end. A null key or value prints nothing and has length -1.

Without --follow reading stops at the end of the log as of its start. Records of one partition come
in their order; those of several partitions are mixed. When the server is gone, or a partition moves
to another one, reading goes on where it was as soon as that is possible within --timeout.")]
pub(crate) struct Consume {
    /// The topic
    topic: String,
    /// Read this partition only; else all of them
    #[arg(long, short, value_name = "NUMBER")]
    partition: Option<u32>,
    /// Where to start: start, end, an offset, -N for the last N records, or a time
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "start",
        allow_hyphen_values = true
    )]
    from: From,
    /// Stop after this many records
    #[arg(long, short, value_name = "N")]
    count: Option<u64>,
    /// Wait for new records at the end
    #[arg(long, short)]
    follow: bool,
    /// How records are printed: value, json or a FORMAT as below
    #[arg(long, short, value_name = "value|json|FORMAT", default_value = "value")]
    output: Format,
    #[command(flatten)]
    connection: Patient,
}

type Block = (PartitionId, Vec<Result<StoredRecord, Error>>);
type Blocks = Pin<Box<dyn Stream<Item = Block> + Send>>;

impl Consume {
    pub(crate) fn run(self) -> Result<(), Failure> {
        block_on(async {
            let client = self.connection.open().await?;
            self.consume(&client).await
        })
    }

    async fn consume(&self, client: &Client) -> Result<(), Failure> {
        let mut blocks = self.open(client).await?;
        let mut printer = Printer {
            out: BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()),
            topic: &self.topic,
            format: &self.output,
            left: self.count.unwrap_or(u64::MAX),
            next: BTreeMap::new(),
        };
        let progress = Progress::counting("reading", io::stdout().is_terminal());
        while printer.left > 0
            && let Some((partition, block)) = blocks.next().await
        {
            progress.add(block.len() as u64);
            printer.print(partition, block)?;
        }
        progress.finish();
        Ok(())
    }

    /// All partitions that are asked for, mixed.
    async fn open(&self, client: &Client) -> Result<Blocks, Failure> {
        let offsets = self.partitions(client).await?;
        let mut clients = vec![client.clone()];
        let at_once = if self.follow {
            // All are read at once, more than one connection takes.
            for _ in 1..offsets.len().div_ceil(STREAMS_PER_CONNECTION) {
                clients.push(self.connection.open().await?);
            }
            None
        } else {
            Some(STREAMS_PER_CONNECTION)
        };
        let clients = clients.iter().cycle();
        let all: Vec<Blocks> = offsets
            .iter()
            .zip(clients)
            .map(|(offsets, client)| self.read(client, offsets))
            .collect();
        Ok(Box::pin(stream::iter(all).flatten_unordered(at_once)))
    }

    async fn partitions(&self, client: &Client) -> Result<Vec<PartitionOffsets>, Failure> {
        let mut offsets = client.list_offsets(&self.topic, None).await?;
        let Some(wanted) = self.partition else {
            return Ok(offsets);
        };
        let partitions = offsets.len();
        offsets.retain(|offsets| offsets.partition.get() == wanted);
        if offsets.is_empty() {
            return Err(Failure::Failed(format!(
                "there is no partition {wanted}; the topic has {partitions}, numbered from 0"
            )));
        }
        Ok(offsets)
    }

    /// One partition, opened when it is first asked for records. Without following it ends where
    /// the partition ended at the start of the command, whenever its turn comes.
    fn read(&self, client: &Client, offsets: &PartitionOffsets) -> Blocks {
        let (client, topic, options) = (client.clone(), self.topic.clone(), self.options(offsets));
        let PartitionOffsets { partition, end, .. } = *offsets;
        let end = if self.follow { Offset::MAX } else { end };
        let opened = async move {
            let consumer = client.consume(&topic, partition, options).await?;
            Ok::<_, Error>(consumer.on_interruption(say))
        };
        let records = opened.try_flatten_stream().take_while(move |record| {
            let is_before = record.as_ref().map_or(true, |record| record.offset < end);
            future::ready(is_before)
        });
        Box::pin(
            records
                .ready_chunks(BLOCK_RECORDS)
                .map(move |block| (partition, block)),
        )
    }

    fn options(&self, offsets: &PartitionOffsets) -> ConsumeOptions {
        let from = match self.from {
            From::Start => Position::Start,
            From::End => Position::End,
            From::Offset(offset) => Position::Offset(Offset(offset)),
            From::Last(records) => {
                let from = Offset(offsets.end.get().saturating_sub(records));
                Position::Offset(from.max(offsets.start))
            }
            From::Time(millis) => Position::Time(TimestampMs(millis)),
        };
        ConsumeOptions {
            from,
            follow: self.follow,
            limit: self.count,
            patience: self.connection.timeout.0,
        }
    }
}

/// Tells whoever watches why nothing comes.
fn say(interruption: &Interruption) {
    let Interruption {
        partition,
        position,
        cause,
    } = interruption;
    // There may be nobody to tell.
    let _ = writeln!(
        io::stderr(),
        "trilith: partition {partition}, offset {position}: {cause}; trying to go on"
    );
}

/// Prints records and remembers how far it is.
struct Printer<'a> {
    out: BufWriter<StdoutLock<'a>>,
    topic: &'a str,
    format: &'a Format,
    /// How many more are wanted.
    left: u64,
    /// Behind the last record of each partition.
    next: BTreeMap<PartitionId, Offset>,
}

impl Printer<'_> {
    fn print(
        &mut self,
        partition: PartitionId,
        block: Vec<Result<StoredRecord, Error>>,
    ) -> Result<(), Failure> {
        for record in block {
            if self.left == 0 {
                break;
            }
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    // What was read before it is good.
                    self.out.flush()?;
                    return Err(self.stopped(partition, &error));
                }
            };
            self.format.write(&mut self.out, self.topic, &record)?;
            self.left -= 1;
            self.next.insert(partition, record.offset.next());
        }
        Ok(self.out.flush()?)
    }

    /// Says where to go on: behind what cannot be read, when the server knows where that is, or
    /// else behind what was read.
    fn stopped(&self, partition: PartitionId, error: &Error) -> Failure {
        let next = match error {
            Error::Server(refusal) => refusal.metadata.get("next").cloned(),
            _ => None,
        };
        let next = next.or_else(|| self.next.get(&partition).map(Offset::to_string));
        let hint = match next {
            Some(next) => format!("; go on with --partition {partition} --from {next}"),
            None => String::new(),
        };
        Failure::Failed(format!(
            "reading partition {partition} stopped: {error}{hint}"
        ))
    }
}
