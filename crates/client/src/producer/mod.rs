//! Writing records.

mod answer;
mod config;
mod delivery;
mod driver;
mod identity;
mod lane;
mod links;
mod open;
mod report;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::SystemTime,
};

use tokio::{sync::mpsc, task::JoinHandle};
use trilith_batch::partition_for_key;
use trilith_types::{PartitionId, TimestampMs};

pub use config::ProducerConfig;
pub use delivery::{Delivered, Delivery, Durability};
pub use report::{PartitionReport, Report, Unacknowledged};

use self::{driver::Driver, open::Shared};
use crate::{DeliveryError, Record, SendError, Topic, connection::Connection};

/// Writes records to one topic: collects them into batches and sends many at a time.
///
/// - **Placement.** A record with a key goes to the partition that Kafka's default partitioner
///   would choose, among the partitions that there were when the producer was made. Records
///   without a key stick to one partition for a batch, then move on.
/// - **Order.** Records of one partition are stored in the order in which they were sent, each
///   once. Batches go to the partition's leader; when that moves, or the connection is lost, they
///   are sent again unchanged until it is known what became of them, for
///   [`ProducerConfig::delivery_timeout`], and the leader knows a batch that it has. See
///   [`ProducerConfig::idempotent`] and [`ProducerConfig::halt_on_failure`].
/// - **Bounds.** What is taken and not answered is bounded in bytes; at the bound
///   [`Producer::send`] waits.
/// - **The end.** [`Producer::close`] sends everything and waits for the answers. Dropping the
///   producer sends nothing more: every [`Delivery`] that is open then fails, as not stored or as
///   unknown.
///
/// A producer can be shared by reference or in an `Arc`.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/server.rs"));
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start().await?;
/// # let address = server.address.clone();
/// # use trilith_client::{Client, ProducerConfig, Record, TopicSettings};
/// # let client = Client::connect([address]).await?;
/// # client.create_topic("readings", TopicSettings::default()).await?;
/// let producer = client.producer("readings", ProducerConfig::default()).await?;
/// // Fast: each record is taken, and sent with others.
/// for reading in 0..1000 {
///     producer.send(Record::new(reading.to_string()).with_key("sensor-7")).await?;
/// }
/// // Everything is acknowledged, or the error says what was not and why.
/// let report = producer.close().await?;
/// assert_eq!(report.acknowledged, 1000);
/// # Ok(())
/// # }
/// ```
pub struct Producer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Producer {
    pub(crate) fn start(connection: Connection, topic: &Topic, config: ProducerConfig) -> Self {
        let (queue, items) = mpsc::unbounded_channel();
        // Producers begin at different partitions, or all would begin with the first.
        let sticky = RandomState::new().hash_one(topic.id) as u32;
        let shared = Arc::new(Shared::new(topic, config.bounded(), sticky, queue));
        let driver = Driver::new(Arc::clone(&shared), connection, items);
        let task = tokio::spawn(driver.run());
        Self { shared, task }
    }

    /// Takes a record, placed by its key. Returns as soon as it is taken, which waits only while
    /// too much is in flight; the result comes with the [`Delivery`].
    ///
    /// # Errors
    /// The record was not taken: it is too large, or the producer has halted.
    pub async fn send(&self, record: Record) -> Result<Delivery, SendError> {
        let charge = self.shared.reserve(&record).await?;
        let partition = match &record.key {
            Some(key) => partition_for_key(key, self.shared.partitions()),
            None => self.shared.sticky(),
        };
        self.push(partition, &record, charge)
    }

    /// Takes a record for this partition, whatever its key.
    ///
    /// # Errors
    /// As [`Producer::send`], or there is no such partition.
    pub async fn send_to(
        &self,
        partition: PartitionId,
        record: Record,
    ) -> Result<Delivery, SendError> {
        let charge = self.shared.reserve(&record).await?;
        self.push(partition, &record, charge)
    }

    fn push(
        &self,
        partition: PartitionId,
        record: &Record,
        charge: usize,
    ) -> Result<Delivery, SendError> {
        let timestamp = record.timestamp.unwrap_or_else(now);
        self.shared.push(partition, record, timestamp, charge)
    }

    /// How many partitions the topic had when the producer was made.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.shared.partitions()
    }

    /// What became of the records so far; those in flight are not counted.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report.lock().clone()
    }

    /// Waits until the producer halts ([`ProducerConfig::halt_on_failure`]) and gives the reason,
    /// for a caller that may have nothing to send for long.
    pub async fn halted(&self) -> DeliveryError {
        self.shared.until_halted().await
    }

    /// Sends what was taken, without waiting for batches to fill, and waits for the answers.
    ///
    /// # Errors
    /// A record was not acknowledged, now or at any time before.
    pub async fn flush(&self) -> Result<Report, Unacknowledged> {
        self.shared.seal_all();
        // When the task is gone it has settled everything on its way out.
        let _ = self.shared.mark().await;
        self.report().into_result()
    }

    /// Flushes, and ends the producer.
    ///
    /// # Errors
    /// A record was not acknowledged, at any time.
    pub async fn close(self) -> Result<Report, Unacknowledged> {
        self.flush().await
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", &self.shared.topic)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    TimestampMs(since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }))
}
