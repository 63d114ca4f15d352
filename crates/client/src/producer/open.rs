//! Batches that are being filled, one for each partition.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::Instant,
};
use trilith_batch::{BatchBuilder, PushError};
use trilith_types::{PartitionId, TimestampMs};

use super::{
    config::ProducerConfig,
    delivery::{Completion, Delivery},
    report::Report,
};
use crate::{DeliveryError, Record, SendError};

/// What a record takes in a batch beyond its own bytes, at most, when it has no headers.
const FRAMING_BYTES: usize = 32;
/// Builders kept for the next batches; more are let go.
const SPARE_BUILDERS_MAX: usize = 16;

/// What the sending side and the task that talks to the server share.
pub(super) struct Shared {
    pub(super) topic: String,
    pub(super) config: ProducerConfig,
    record_bytes_max: usize,
    partitions: Vec<Mutex<Open>>,
    /// Where records without a key go until the batch there is sealed.
    sticky: AtomicU32,
    /// Bytes that may still be taken.
    budget: Semaphore,
    /// Sealed batches, in order; bounded because every record in them holds budget.
    queue: mpsc::UnboundedSender<Item>,
    /// When open batches are to be sealed, in order of time.
    due: Mutex<VecDeque<Due>>,
    due_changed: Notify,
    /// How many wait for budget.
    waiting: AtomicUsize,
    spare: Mutex<Vec<BatchBuilder>>,
    /// Set once, when nothing more is taken.
    halted: OnceLock<DeliveryError>,
    halted_now: Notify,
    pub(super) report: Mutex<Report>,
}

/// What the task is given to do, in order.
pub(super) enum Item {
    Batch(Box<Sealed>),
    /// To be answered when everything before it is settled.
    Flush(oneshot::Sender<()>),
}

/// A batch that takes no more records.
pub(super) struct Sealed {
    pub(super) partition: PartitionId,
    pub(super) builder: BatchBuilder,
    pub(super) completion: Arc<Completion>,
    /// The budget it holds.
    pub(super) charge: usize,
    pub(super) sealed_at: Instant,
}

/// The batch of one partition that takes records.
#[derive(Default)]
struct Open {
    batch: Option<(BatchBuilder, Arc<Completion>)>,
    charge: usize,
    /// Counts the partition's batches, so that a timer never seals a later one.
    generation: u64,
}

#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    partition: PartitionId,
    generation: u64,
}

impl Shared {
    pub(super) fn new(
        topic: &crate::Topic,
        config: ProducerConfig,
        sticky: u32,
        queue: mpsc::UnboundedSender<Item>,
    ) -> Self {
        let partitions = topic.settings.partitions.unwrap_or(1).max(1);
        let record_bytes_max = topic.settings.record_bytes_max;
        Self {
            topic: topic.name.clone(),
            config,
            record_bytes_max: record_bytes_max.map_or(usize::MAX, |max| max as usize),
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
            sticky: AtomicU32::new(sticky % partitions),
            budget: Semaphore::new(config.in_flight_bytes_max),
            queue,
            due: Mutex::default(),
            due_changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            spare: Mutex::default(),
            halted: OnceLock::new(),
            halted_now: Notify::new(),
            report: Mutex::default(),
        }
    }

    pub(super) fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    pub(super) fn sticky(&self) -> PartitionId {
        PartitionId(self.sticky.load(Ordering::Relaxed))
    }

    /// Waits for budget and takes it.
    pub(super) async fn reserve(&self, record: &Record) -> Result<usize, SendError> {
        let bytes = record.bytes();
        if bytes > self.record_bytes_max {
            return Err(SendError::RecordTooLarge {
                bytes,
                max: self.record_bytes_max,
            });
        }
        // One that is larger than the whole budget goes alone.
        let charge = (bytes + FRAMING_BYTES).min(self.config.in_flight_bytes_max);
        if let Ok(permit) = self.budget.try_acquire_many(charge as u32) {
            permit.forget();
            return Ok(charge);
        }
        let _waiting = Waiting::new(&self.waiting);
        self.due_changed.notify_one();
        // The semaphore is never closed.
        if let Ok(permit) = self.budget.acquire_many(charge as u32).await {
            permit.forget();
        }
        Ok(charge)
    }

    /// Puts a record that holds `charge` into the open batch of its partition.
    pub(super) fn push(
        &self,
        partition: PartitionId,
        record: &Record,
        timestamp: TimestampMs,
        charge: usize,
    ) -> Result<Delivery, SendError> {
        let pushed = self.push_open(partition, record, timestamp, charge);
        if pushed.is_err() {
            self.budget.add_permits(charge);
        }
        pushed
    }

    fn push_open(
        &self,
        partition: PartitionId,
        record: &Record,
        timestamp: TimestampMs,
        charge: usize,
    ) -> Result<Delivery, SendError> {
        let unknown = SendError::UnknownPartition {
            partition,
            partitions: self.partitions(),
        };
        let slot = self
            .partitions
            .get(partition.get() as usize)
            .ok_or(unknown)?;
        let mut open = slot.lock();
        if let Some(error) = self.halted.get() {
            return Err(SendError::Halted(error.clone()));
        }
        if open.batch.as_ref().is_some_and(|(builder, _)| {
            builder.bytes() + record.bytes() + FRAMING_BYTES > self.config.batch_bytes
        }) {
            self.seal(partition, &mut open);
        }
        let delivery = match self.encode(&mut open, record, timestamp) {
            // A batch's own limits: what does not fit this one fits the next.
            Err(PushError::Full { .. } | PushError::Timestamp { .. }) => {
                self.seal(partition, &mut open);
                self.encode(&mut open, record, timestamp)
            }
            other => other,
        }
        .map_err(|error| SendError::Unencodable(error.to_string()))?;
        let first = open.charge == 0;
        open.charge += charge;
        let full = open.batch.as_ref().is_some_and(|(builder, _)| {
            builder.bytes() >= self.config.batch_bytes
                || builder.records() >= self.config.batch_records
        });
        if full {
            self.seal(partition, &mut open);
        } else if first {
            self.schedule(partition, open.generation);
        }
        Ok(delivery)
    }

    fn encode(
        &self,
        open: &mut Open,
        record: &Record,
        timestamp: TimestampMs,
    ) -> Result<Delivery, PushError> {
        let (builder, completion) = open.batch.get_or_insert_with(|| {
            let spare = self.spare.lock().pop();
            let new = || BatchBuilder::new(self.config.compression);
            (spare.unwrap_or_else(new), Arc::default())
        });
        let index = builder.records();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push_parts(key, value, &record.headers, timestamp)?;
        Ok(Delivery::new(Arc::clone(completion), index))
    }

    /// Closes the open batch and queues it. The partition is locked, so batches are queued in
    /// the order of their records.
    fn seal(&self, partition: PartitionId, open: &mut Open) {
        let Some((builder, completion)) = open.batch.take() else {
            return;
        };
        let charge = std::mem::take(&mut open.charge);
        open.generation += 1;
        let next = (partition.get() + 1) % self.partitions();
        let order = Ordering::Relaxed;
        // Only if records without a key still go here.
        let _ = self
            .sticky
            .compare_exchange(partition.get(), next, order, order);
        if builder.is_empty() {
            return;
        }
        let sealed = Box::new(Sealed {
            partition,
            builder,
            completion,
            charge,
            sealed_at: Instant::now(),
        });
        if let Err(mpsc::error::SendError(Item::Batch(sealed))) =
            self.queue.send(Item::Batch(sealed))
            && let Some(error) = self.halted.get()
        {
            self.fail(sealed, error);
        }
    }

    fn schedule(&self, partition: PartitionId, generation: u64) {
        let mut due = self.due.lock();
        let was_empty = due.is_empty();
        due.push_back(Due {
            at: Instant::now() + self.config.linger,
            partition,
            generation,
        });
        drop(due);
        if was_empty {
            self.due_changed.notify_one();
        }
    }

    /// Whether batches should not wait to fill: somebody waits for budget and, the task being
    /// `idle`, only the open batches can hold it.
    fn starved(&self, idle: bool) -> bool {
        idle && self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Waits until a batch is to be sealed because of its age, or because its budget is needed.
    pub(super) async fn until_due(&self, idle: bool) {
        loop {
            let first = self.due.lock().front().copied();
            match first {
                Some(_) if self.starved(idle) => return,
                Some(due) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(due.at) => return,
                        () = self.due_changed.notified() => {}
                    }
                }
                None => self.due_changed.notified().await,
            }
        }
    }

    /// Seals what is old enough, or whose budget is needed.
    pub(super) fn seal_due(&self, idle: bool) {
        let hurry = self.starved(idle);
        let now = Instant::now();
        loop {
            let due = {
                let mut queue = self.due.lock();
                match queue.front() {
                    Some(due) if hurry || due.at <= now => queue.pop_front(),
                    _ => None,
                }
            };
            let Some(due) = due else { return };
            if let Some(slot) = self.partitions.get(due.partition.get() as usize) {
                let mut open = slot.lock();
                if open.generation == due.generation {
                    self.seal(due.partition, &mut open);
                }
            }
        }
    }

    /// Seals every open batch.
    pub(super) fn seal_all(&self) {
        for (number, slot) in self.partitions.iter().enumerate() {
            self.seal(PartitionId(number as u32), &mut slot.lock());
        }
    }

    /// Queues a mark behind everything sealed; what it returns is ready when all that is settled,
    /// and failed when the task is gone.
    pub(super) fn mark(&self) -> oneshot::Receiver<()> {
        let (done, settled) = oneshot::channel();
        // When the task is gone `done` is dropped here and the receiver learns it.
        let _ = self.queue.send(Item::Flush(done));
        settled
    }

    /// Takes nothing more from here on. The first reason stands.
    pub(super) fn halt(&self, error: DeliveryError) {
        // Set before the partitions are locked one by one: whoever pushes later sees it.
        let _ = self.halted.set(error);
        self.seal_all();
        self.halted_now.notify_waiters();
    }

    /// Waits until nothing more is taken, and gives the reason.
    pub(super) async fn until_halted(&self) -> DeliveryError {
        loop {
            // Made before the look, so that no halt falls between the look and the wait.
            let halted_now = self.halted_now.notified();
            if let Some(error) = self.halted.get() {
                return error.clone();
            }
            halted_now.await;
        }
    }

    pub(super) fn halted(&self) -> Option<&DeliveryError> {
        self.halted.get()
    }

    /// Settles a batch that was never sent.
    pub(super) fn fail(&self, sealed: Box<Sealed>, error: &DeliveryError) {
        let records = sealed.builder.records();
        self.settle(
            &sealed.completion,
            sealed.charge,
            records,
            Err(error.clone()),
        );
    }

    /// Tells the outcome and gives back the budget.
    pub(super) fn settle(
        &self,
        completion: &Completion,
        charge: usize,
        records: u32,
        outcome: Result<super::Delivered, DeliveryError>,
    ) {
        {
            let mut report = self.report.lock();
            match &outcome {
                Ok(first) => report.succeed(*first, records),
                Err(error) => report.fail(error, records),
            }
        }
        completion.complete(outcome);
        self.budget.add_permits(charge);
    }

    /// Keeps a builder, and the memory it has, for a later batch.
    pub(super) fn recycle(&self, builder: BatchBuilder) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_BUILDERS_MAX {
            spare.push(builder);
        }
    }
}

/// Counts one who waits for budget, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
