//! Clients: producers, readers, and one who asks for ends. All they do and see goes into the
//! history.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::TryStreamExt;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use trilith_client::{
    Client, ConsumeOptions, Delivery, Error, Fate, Offset, PartitionId, Position, Producer,
    ProducerConfig, Record, SendError,
};

use crate::history::{History, RecordId, What};

/// How long a client waits before it tries again what failed.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Records of a producer that are sent and not answered.
const UNANSWERED_MAX: usize = 1_000;

/// So many records a late reader takes; it would hold up a long run otherwise.
const LATE_MAX: u64 = 20_000;

/// What clients are told to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the nodes are.
    pub endpoints: Vec<String>,
    /// The topic, which exists.
    pub topic: String,
    /// Its partitions.
    pub partitions: u32,
    /// How many producers.
    pub producers: u32,
    /// Records a second of each.
    pub rate: u32,
    /// Readers of each partition.
    pub readers: u32,
    /// How long a producer tries to deliver a record.
    pub delivery: Duration,
}

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    producing: Arc<AtomicBool>,
    producers: JoinSet<()>,
    others: JoinSet<()>,
    /// Where each reader is that follows to the end; reader `i` reads partition `i % partitions`.
    reached: Vec<Arc<AtomicU64>>,
}

impl Clients {
    /// Sets them to work.
    #[must_use]
    pub fn start(load: &Load, history: &Arc<History>) -> Self {
        let producing = Arc::new(AtomicBool::new(true));
        let (mut producers, mut others) = (JoinSet::new(), JoinSet::new());
        for id in 0..load.producers {
            let producing = Arc::clone(&producing);
            producers.spawn(produce(id, load.clone(), Arc::clone(history), producing));
        }
        let mut reached = Vec::new();
        for reader in 0..load.readers * load.partitions {
            let at = Arc::<AtomicU64>::default();
            reached.push(Arc::clone(&at));
            others.spawn(follow(reader, None, load.clone(), Arc::clone(history), at));
        }
        others.spawn(ask_for_ends(load.clone(), Arc::clone(history)));
        Self {
            producing,
            producers,
            others,
            reached,
        }
    }

    /// Another reader, from the start of its partition, for the first 20,000 records.
    pub fn add_reader(&mut self, reader: u32, load: &Load, history: &Arc<History>) {
        let (load, at) = (load.clone(), Arc::default());
        self.others.spawn(follow(
            reader,
            Some(LATE_MAX),
            load,
            Arc::clone(history),
            at,
        ));
    }

    /// Waits until those who follow have read as many records as there are in their partitions.
    ///
    /// # Errors
    /// After `patience`: who is behind, for people.
    pub async fn catch_up(&self, lengths: &[u64], patience: Duration) -> Result<(), String> {
        let behind = || {
            let readers = self.reached.iter().zip(lengths.iter().cycle());
            let mut numbered = readers.enumerate();
            numbered.find_map(|(reader, (reached, length))| {
                let reached = reached.load(Ordering::Acquire);
                let what = || format!("reader {reader} stands at {reached} of {length} records");
                (reached < *length).then(what)
            })
        };
        let waiting = async {
            while behind().is_some() {
                sleep(AGAIN_AFTER).await;
            }
        };
        match timeout(patience, waiting).await {
            Ok(()) => Ok(()),
            Err(_) => Err(behind().unwrap_or_default()),
        }
    }

    /// Lets the producers finish: every record has an answer then.
    pub async fn finish_producing(&mut self) {
        self.producing.store(false, Ordering::Release);
        while self.producers.join_next().await.is_some() {}
    }
}

async fn connect(load: &Load) -> Client {
    loop {
        match Client::connect(load.endpoints.clone()).await {
            Ok(client) => return client,
            Err(_) => sleep(AGAIN_AFTER).await,
        }
    }
}

async fn open(client: &Client, load: &Load) -> Producer {
    let config = ProducerConfig {
        linger: Duration::from_millis(2),
        delivery_timeout: load.delivery,
        ..ProducerConfig::default()
    };
    loop {
        match client.producer(&load.topic, config).await {
            Ok(producer) => return producer,
            Err(_) => sleep(AGAIN_AFTER).await,
        }
    }
}

async fn produce(id: u32, load: Load, history: Arc<History>, producing: Arc<AtomicBool>) {
    let client = connect(&load).await;
    let mut producer = open(&client, &load).await;
    let mut pace = interval(Duration::from_secs(1) / load.rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let room = Arc::new(Semaphore::new(UNANSWERED_MAX));
    let mut answers = JoinSet::new();
    let mut count = 0;
    while producing.load(Ordering::Acquire) {
        pace.tick().await;
        while answers.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            break;
        };
        let (record, partition) = (RecordId::new(id, count), count % load.partitions);
        count += 1;
        history.note(What::Send { record, partition });
        match producer
            .send_to(PartitionId(partition), value(record))
            .await
        {
            Ok(delivery) => {
                let history = Arc::clone(&history);
                answers.spawn(async move {
                    answer(record, delivery, &history).await;
                    drop(permit);
                });
            }
            Err(error) => {
                let why = error.to_string();
                history.note(What::NotStored { record, why });
                if matches!(error, SendError::Halted(_)) {
                    producer = open(&client, &load).await;
                }
            }
        }
    }
    while answers.join_next().await.is_some() {}
}

async fn answer(record: RecordId, delivery: Delivery, history: &History) {
    history.note(match delivery.await {
        Ok(delivered) => What::Acked {
            record,
            partition: delivered.partition.get(),
            offset: delivered.offset.get(),
        },
        Err(error) => {
            let why = error.to_string();
            match error.fate {
                Fate::NotStored => What::NotStored { record, why },
                Fate::Unknown => What::Unknown { record, why },
            }
        }
    });
}

/// The record's number as text, and up to a kilobyte behind it, so that sizes differ.
fn value(record: RecordId) -> Record {
    let padding = (record.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize;
    Record::new(format!("{} {}", record.0, ".".repeat(padding)))
}

fn record_of(value: Option<&[u8]>) -> RecordId {
    let number = || {
        let text = std::str::from_utf8(value?).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    number().map_or(RecordId::FOREIGN, RecordId)
}

/// Follows a partition from its start, across everything, each time from where it was.
async fn follow(
    reader: u32,
    records_max: Option<u64>,
    load: Load,
    history: Arc<History>,
    reached: Arc<AtomicU64>,
) {
    let client = connect(&load).await;
    let partition = reader % load.partitions;
    let mut next = 0;
    while records_max.is_none_or(|max| next < max) {
        let options = ConsumeOptions {
            from: Position::Offset(Offset(next)),
            follow: true,
            limit: records_max.map(|max| max - next),
            ..ConsumeOptions::default()
        };
        let opened = client
            .consume(&load.topic, PartitionId(partition), options)
            .await;
        if let Ok(mut records) = opened {
            while let Ok(Some(record)) = records.try_next().await {
                let offset = record.offset.get();
                next = offset + 1;
                history.note(What::Read {
                    reader,
                    partition,
                    offset,
                    record: record_of(record.value.as_deref()),
                });
                reached.store(next, Ordering::Release);
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}

async fn ask_for_ends(load: Load, history: Arc<History>) {
    let client = connect(&load).await;
    loop {
        let asked = history.now();
        if let Ok(offsets) = client.list_offsets(&load.topic, None).await {
            for offsets in offsets {
                history.note(What::End {
                    asked,
                    partition: offsets.partition.get(),
                    end: offsets.end.get(),
                });
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Reads the whole log, once all is still; how many records each partition has.
///
/// # Errors
/// The client's, after trying for `patience`.
pub async fn read_log(
    load: &Load,
    history: &History,
    patience: Duration,
) -> Result<Vec<u64>, Error> {
    let client = connect(load).await;
    let mut lengths = Vec::new();
    for partition in 0..load.partitions {
        let attempts = async {
            loop {
                match read_partition(&client, load, partition).await {
                    Ok(records) => return Ok(records),
                    Err(error) if error.may_pass() => sleep(AGAIN_AFTER).await,
                    Err(error) => return Err(error),
                }
            }
        };
        let late = || Error::Interrupted {
            why: format!("partition {partition} could not be read within {patience:?}"),
        };
        let records = timeout(patience, attempts).await.map_err(|_| late())??;
        lengths.push(records.len() as u64);
        for (offset, record) in records {
            history.note(What::Final {
                partition,
                offset,
                record,
            });
        }
    }
    Ok(lengths)
}

async fn read_partition(
    client: &Client,
    load: &Load,
    partition: u32,
) -> Result<Vec<(u64, RecordId)>, Error> {
    let options = ConsumeOptions::default();
    let records = client
        .consume(&load.topic, PartitionId(partition), options)
        .await?;
    records
        .map_ok(|record| (record.offset.get(), record_of(record.value.as_deref())))
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_again_by_its_value() {
        for record in [RecordId::new(0, 0), RecordId::new(7, 99)] {
            let value = value(record).value.unwrap();
            assert_eq!(record_of(Some(&value)), record);
        }
        for foreign in [None, Some(&b""[..]), Some(b"x 1"), Some(&[0xff])] {
            assert_eq!(record_of(foreign), RecordId::FOREIGN);
        }
    }
}
