//! Reading a partition.

mod feed;
mod options;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use trilith_batch::{Records, decode};
use trilith_proto::v1;
use trilith_types::{Offset, PartitionId, TimestampMs};

use self::feed::{Feed, Next};
pub use self::options::{ConsumeOptions, Interruption, Position};
use crate::{Error, StoredRecord, connection::Connection};

/// A [`Stream`] of records of one partition, in order, none twice.
///
/// It follows the partition as its leader moves, and goes on behind the last record after a lost
/// connection, for [`ConsumeOptions::patience`]; [`Consumer::on_interruption`] hears of it. After
/// an error the stream ends, and [`Consumer::position`] says where to go on. A reader that is slow
/// costs bounded memory on both sides: the server stops sending while what was sent waits unread.
/// Dropping the consumer ends the reading on the server too.
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
/// let options = ConsumeOptions { from, follow: true, limit: Some(3), ..Default::default() };
/// let mut records = client.consume("readings", PartitionId(0), options).await?;
/// let mut seen = Vec::new();
/// while let Some(record) = records.next().await {
///     seen.push(record?.offset.get());
/// }
/// assert_eq!(seen, [7, 8, 9]);
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    feed: Feed,
    partition: PartitionId,
    /// Batches of the last response that are not begun.
    batches: std::vec::IntoIter<Bytes>,
    /// The batch that is being read.
    records: Option<Records>,
    /// What a batch may hold before the place that was asked for.
    skip: Skip,
    left: u64,
    /// Where to go on; unknown until the server has said where the place asked for is.
    position: Option<Offset>,
    /// Where the last response says to go on.
    next: Option<Offset>,
    end: Offset,
    /// Where a reader that does not follow stops.
    stop: Option<Offset>,
    follows: bool,
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
        let (skip, position) = match options.from {
            Position::Start | Position::End => (Skip::Nothing, None),
            Position::Offset(offset) => (Skip::Below(offset), Some(offset)),
            Position::Time(time) => (Skip::Before(time), None),
        };
        let mut feed = Feed::open(connection, topic, partition, options).await?;
        if options.limit == Some(0) {
            // A limit of nothing is on the wire "no limit": it ends here.
            feed.end();
        }
        Ok(Self {
            feed,
            partition,
            batches: Vec::new().into_iter(),
            records: None,
            skip,
            left: options.limit.unwrap_or(u64::MAX),
            position,
            next: position,
            end: position.unwrap_or_default(),
            stop: None,
            follows: options.follow,
        })
    }

    /// Calls `listener` whenever reading is interrupted and tried again, once for each
    /// interruption. It must not block.
    #[must_use]
    pub fn on_interruption(mut self, listener: impl FnMut(&Interruption) + Send + 'static) -> Self {
        self.feed.listen(Box::new(listener));
        self
    }

    /// The offset behind the last record given out: where to go on after an error, by
    /// [`Position::Offset`]. Before the first response it is the offset asked for, or 0.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.position.unwrap_or_default()
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
        self.position = Some(offset.next());
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
        self.feed.end();
        self.drop_unread();
    }

    fn drop_unread(&mut self) {
        self.records = None;
        self.batches = Vec::new().into_iter();
    }

    fn take(&mut self, response: v1::ConsumeResponse) {
        self.next = Some(Offset(response.next_offset));
        self.end = Offset(response.end_offset);
        // The first response was read at the stream's start; a later stream would go further.
        self.stop = self.stop.or((!self.follows).then_some(self.end));
        self.batches = response.batches.into_iter();
    }

    /// A new stream begins where the last one was given out.
    fn resume(&mut self) {
        self.drop_unread();
        self.next = self.position;
        if let Some(position) = self.position {
            self.skip = Skip::Below(position);
        }
    }

    fn is_behind_stop(&self) -> bool {
        self.stop
            .zip(self.position)
            .is_some_and(|(stop, position)| position >= stop)
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
            if consumer.feed.has_ended() {
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
            let next = consumer
                .feed
                .poll_next(cx, consumer.position, consumer.left);
            match ready!(next) {
                Ok(Next::Response(response)) => consumer.take(response),
                Ok(Next::Resumed) if consumer.is_behind_stop() => consumer.finish(),
                Ok(Next::Resumed) => consumer.resume(),
                Ok(Next::End) => consumer.finish(),
                Err(error) => {
                    consumer.finish();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("partition", &self.partition)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
