//! Reading a partition.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use tonic::Streaming;
use trilith_batch::{Records, decode};
use trilith_proto::v1::{self, position::At};
use trilith_types::{Offset, PartitionId, TimestampMs};

use crate::{Error, StoredRecord, connection::Connection};

/// Where reading starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// The earliest record there is.
    #[default]
    Start,
    /// Behind the last record.
    End,
    /// This offset, or the next record after it. Below the earliest record the server refuses
    /// with `OFFSET_OUT_OF_RANGE`.
    Offset(Offset),
    /// The first record whose timestamp is at or after this one.
    Time(TimestampMs),
}

/// What to read.
///
/// ```
/// use trilith_client::{ConsumeOptions, Offset, Position};
///
/// let tail = ConsumeOptions { from: Position::End, follow: true, ..ConsumeOptions::default() };
/// let ten = ConsumeOptions { from: Position::Offset(Offset(7)), limit: Some(10), ..tail };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// Where to start.
    pub from: Position,
    /// Wait for new records at the end instead of stopping there. Without it the stream ends at
    /// the end of the log as of its start.
    pub follow: bool,
    /// Stop after this many records.
    pub limit: Option<u64>,
}

/// A [`Stream`] of records of one partition, in order, none twice.
///
/// After an error the stream ends: nothing is resumed silently. [`Consumer::position`] says where
/// to go on. A reader that is slow costs bounded memory on both sides: the server stops sending
/// while what was sent waits unread. Dropping the consumer ends the reading on the server too.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/server.rs"));
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start().await?;
/// # let address = server.address.clone();
/// # use trilith_client::*;
/// # let client = Client::connect([address]).await?;
/// # client.create_topic("readings", TopicSettings::default()).await?;
/// # let producer = client.producer("readings", ProducerConfig::default()).await?;
/// # for n in 0..10 { producer.send(Record::new(n.to_string())).await?; }
/// # producer.close().await?;
/// use futures::StreamExt;
/// use trilith_client::{ConsumeOptions, Offset, PartitionId, Position};
///
/// let from = Position::Offset(Offset(7));
/// let options = ConsumeOptions { from, follow: true, limit: Some(3) };
/// let mut records = client.consume("readings", PartitionId(0), options).await?;
/// let mut seen = Vec::new();
/// while let Some(record) = records.next().await {
///     seen.push(record?.offset.get());
/// }
/// assert_eq!(seen, [7, 8, 9]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    connection: Connection,
    responses: Option<Streaming<v1::ConsumeResponse>>,
    partition: PartitionId,
    /// Batches of the last response that are not begun.
    batches: std::vec::IntoIter<Bytes>,
    /// The batch that is being read.
    records: Option<Records>,
    /// What a batch may hold before the place that was asked for.
    skip: Skip,
    left: u64,
    position: Offset,
    /// Where the last response says to go on.
    next: Offset,
    end: Offset,
}

/// Records of the first batch that are not wanted.
#[derive(Clone, Copy, Debug)]
enum Skip {
    Nothing,
    Below(Offset),
    Before(TimestampMs),
}

impl Consumer {
    pub(crate) async fn open(
        connection: &Connection,
        topic: &str,
        partition: PartitionId,
        options: ConsumeOptions,
    ) -> Result<Self, Error> {
        let (at, skip, position) = match options.from {
            Position::Start => (
                At::Edge(v1::Edge::Start.into()),
                Skip::Nothing,
                Offset::ZERO,
            ),
            Position::End => (At::Edge(v1::Edge::End.into()), Skip::Nothing, Offset::ZERO),
            Position::Offset(offset) => (At::Offset(offset.get()), Skip::Below(offset), offset),
            Position::Time(time) => (
                At::TimestampMs(time.get()),
                Skip::Before(time),
                Offset::ZERO,
            ),
        };
        let request = v1::ConsumeRequest {
            topic: topic.to_owned(),
            partition: partition.get(),
            from: Some(v1::Position { at: Some(at) }),
            follow: options.follow,
            max_records: options.limit.unwrap_or(0),
            batches: true,
            max_response_bytes: 0,
        };
        let answer = connection.log().consume(request).await;
        let responses = answer
            .map_err(|status| connection.failed(&status))?
            .into_inner();
        Ok(Self {
            connection: connection.clone(),
            // A limit of nothing is on the wire "no limit": it ends here.
            responses: (options.limit != Some(0)).then_some(responses),
            partition,
            batches: Vec::new().into_iter(),
            records: None,
            skip,
            left: options.limit.unwrap_or(u64::MAX),
            position,
            next: position,
            end: position,
        })
    }

    /// The offset behind the last record given out: where to go on after an error, by
    /// [`Position::Offset`]. Before the first record it is the offset asked for, or 0.
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.position
    }

    /// Behind the last record of the partition, as of the last response.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// The next record of what has arrived.
    fn buffered(&mut self) -> Result<Option<StoredRecord>, Error> {
        loop {
            let Some(records) = &mut self.records else {
                let Some(batch) = self.batches.next() else {
                    self.position = self.position.max(self.next);
                    return Ok(None);
                };
                self.records = Some(decode(batch).map_err(damaged)?);
                continue;
            };
            match records.next() {
                None => self.records = None,
                Some(item) => {
                    let (offset, record) = item.map_err(damaged)?;
                    if self.wanted(offset, record.timestamp) {
                        return Ok(Some(self.give(offset, record)));
                    }
                }
            }
        }
    }

    fn wanted(&mut self, offset: Offset, timestamp: TimestampMs) -> bool {
        let wanted = match self.skip {
            Skip::Nothing => true,
            Skip::Below(first) => offset >= first,
            Skip::Before(first) => timestamp >= first,
        };
        if wanted {
            self.skip = Skip::Nothing;
        }
        wanted
    }

    fn give(&mut self, offset: Offset, record: trilith_batch::Record) -> StoredRecord {
        self.position = offset.next();
        self.left -= 1;
        if self.left == 0 {
            self.finish();
        }
        StoredRecord {
            partition: self.partition,
            offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }

    fn finish(&mut self) {
        self.responses = None;
        self.records = None;
        self.batches = Vec::new().into_iter();
    }

    fn take(&mut self, response: v1::ConsumeResponse) {
        self.next = Offset(response.next_offset);
        self.end = Offset(response.end_offset);
        self.batches = response.batches.into_iter();
    }
}

fn damaged(error: trilith_batch::BatchError) -> Error {
    Error::Protocol {
        what: error.to_string(),
    }
}

impl Stream for Consumer {
    type Item = Result<StoredRecord, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let consumer = &mut *self;
        loop {
            if consumer.responses.is_none() {
                return Poll::Ready(None);
            }
            match consumer.buffered() {
                Ok(None) => {}
                Ok(Some(record)) => return Poll::Ready(Some(Ok(record))),
                Err(error) => {
                    consumer.finish();
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let Some(responses) = &mut consumer.responses else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(responses).poll_next(cx)) {
                Some(Ok(response)) => consumer.take(response),
                Some(Err(status)) => {
                    let error = consumer.connection.failed(&status);
                    consumer.finish();
                    return Poll::Ready(Some(Err(error)));
                }
                None => consumer.finish(),
            }
        }
    }
}
