//! Clients: producers, readers, and one who asks for ends. All they do and see goes into the
//! history.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
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
        for reader in 0..load.readers * load.partitions {
            others.spawn(follow(reader, load.clone(), Arc::clone(history)));
        }
        others.spawn(ask_for_ends(load.clone(), Arc::clone(history)));
        Self {
            producing,
            producers,
            others,
        }
    }

    /// Another reader, from the start of its partition.
    pub fn add_reader(&mut self, reader: u32, load: &Load, history: &Arc<History>) {
        self.others
            .spawn(follow(reader, load.clone(), Arc::clone(history)));
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
async fn follow(reader: u32, load: Load, history: Arc<History>) {
    let client = connect(&load).await;
    let partition = reader % load.partitions;
    let mut next = 0;
    loop {
        let options = ConsumeOptions {
            from: Position::Offset(Offset(next)),
            follow: true,
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

/// Reads the whole log, once all is still.
///
/// # Errors
/// The client's, after trying for `patience`.
pub async fn read_log(load: &Load, history: &History, patience: Duration) -> Result<(), Error> {
    let client = connect(load).await;
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
        for (offset, record) in records {
            history.note(What::Final {
                partition,
                offset,
                record,
            });
        }
    }
    Ok(())
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
