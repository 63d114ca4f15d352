//! A producer that sends each batch until it knows that it is stored, over leaders that come and
//! go, with several batches under way.

use std::collections::{BTreeMap, VecDeque};

use trilith_batch::{ProducerStamp, Sequence};
use trilith_node::{PartitionError, ProduceError};
use trilith_topics::partition::ProduceRefusal;
use trilith_types::{NodeId, PartitionId, ProducerId};

use super::{Ask, Step, Told, Who};
use crate::{
    log_event::RecordId,
    time::{SimTime, Span},
    worlds::node::{
        Cx, NodeWorld, Timer,
        records::{Item, batch_of},
        settings::{PARTITIONS, TOPIC},
    },
};

/// Most records of a batch.
const RECORDS_MAX: u64 = 3;

/// Most batches until a producer begins anew.
const BATCHES_MAX: u64 = 24;

/// The mean pause before something is tried again.
const AGAIN: Span = Span::millis(15);

/// One in so many producers that wait for an answer dies, and another takes its place.
const DIES_ONE_IN: u64 = 400;

/// A batch of which it is not known yet that it is stored.
#[derive(Debug)]
struct Batch {
    /// Its place among the producer's batches.
    number: u64,
    sequence: Sequence,
    records: Vec<RecordId>,
    bytes: bytes::Bytes,
    begun: SimTime,
    call: Option<u64>,
    /// When it is to be sent, if it is not under way.
    due: SimTime,
}

/// A producer.
pub(super) struct Producer {
    /// Its number among all that there ever were.
    source: u32,
    id: Option<ProducerId>,
    asks_id: Option<u64>,
    epoch: u16,
    partition: PartitionId,
    /// What comes next on each partition.
    sequences: BTreeMap<PartitionId, Sequence>,
    serial: u32,
    batches: VecDeque<Batch>,
    /// Batches that it has made.
    made: u64,
    /// Batches until it begins anew.
    left: u64,
    next_at: SimTime,
    believed: Option<NodeId>,
    /// When the latest batch was begun that is stored.
    stored: Option<SimTime>,
    planned: Option<SimTime>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "producer {} (id {:?}, epoch {}) on partition {} with {} batches under way",
            self.source,
            self.id,
            self.epoch,
            self.partition,
            self.batches.len()
        )
    }
}

impl Producer {
    pub(super) fn new(source: u32, partition: PartitionId) -> Self {
        Self {
            source,
            id: None,
            asks_id: None,
            epoch: 0,
            partition,
            sequences: BTreeMap::new(),
            serial: 0,
            batches: VecDeque::new(),
            made: 0,
            left: BATCHES_MAX,
            next_at: SimTime::ZERO,
            believed: None,
            stored: None,
            planned: None,
        }
    }

    /// Whether a batch is stored that was begun since, and none is left from before.
    pub(super) fn has_stored_since(&self, moment: SimTime) -> bool {
        let is_old = |batch: &Batch| batch.begun < moment;
        self.stored.is_some_and(|begun| begun >= moment) && !self.batches.iter().any(is_old)
    }

    fn make(&mut self, now: SimTime, count: u64) {
        let Some(id) = self.id else { return };
        let sequence = self.sequences.get(&self.partition).copied();
        let sequence = sequence.unwrap_or(Sequence::ZERO);
        let serials = self.serial..self.serial + count as u32;
        let records: Vec<RecordId> = serials.map(|n| RecordId::of(self.source, n)).collect();
        let items: Vec<Item> = records.iter().copied().map(Item::produced).collect();
        let stamp = ProducerStamp {
            id,
            epoch: self.epoch,
            sequence,
        };
        let Some(bytes) = batch_of(&items, Some(stamp)) else {
            return;
        };
        self.serial += count as u32;
        self.left -= 1;
        let next = sequence.plus(count as u32);
        self.sequences.insert(self.partition, next);
        self.batches.push_back(Batch {
            number: self.made,
            sequence,
            records,
            bytes,
            begun: now,
            call: None,
            due: now,
        });
        self.made += 1;
    }

    /// Whether another batch may be made: a partition knows the last few batches again, counted
    /// from the latest one, so that none may be far ahead of the first that is unknown.
    fn has_room(&self, window: u64) -> bool {
        let first = self.batches.front().map_or(self.made, |batch| batch.number);
        self.made - first < window
    }

    /// Everything is stored: it goes on under another id, in another epoch, or elsewhere.
    fn begin_anew(&mut self, how: u64, partition: PartitionId, left: u64) {
        self.left = left;
        match how {
            0 => (self.id, self.epoch) = (None, 0),
            1 => self.epoch += 1,
            _ => {
                self.partition = partition;
                self.believed = None;
                return;
            }
        }
        self.sequences.clear();
    }

    /// The first batch that is to be sent now: they go out in their order.
    fn due(&mut self, now: SimTime) -> Option<&mut Batch> {
        let waits = |batch: &&mut Batch| batch.call.is_none();
        self.batches
            .iter_mut()
            .find(waits)
            .filter(|batch| batch.due <= now)
    }

    /// Another node may know better than the one that was asked.
    fn doubt(&mut self, error: &ProduceError) {
        self.believed = match error {
            ProduceError::Partition(PartitionError::NotLeader { leader, .. }) => {
                leader.as_ref().map(|leader| leader.node)
            }
            _ => None,
        };
    }
}

impl NodeWorld {
    fn plan_producer(&mut self, cx: &mut Cx, place: usize, at: SimTime) {
        let now = cx.now();
        let Some(producer) = self.clients.producers.get_mut(place) else {
            return;
        };
        let at = at.max(now.plus(Span(1)));
        if producer.planned.is_none_or(|planned| at < planned) {
            producer.planned = Some(at);
            cx.after(at.since(now), Timer::Client(Step::Produce(place)));
        }
    }

    pub(super) fn go_on_producing(&mut self, cx: &mut Cx, place: usize) {
        let now = cx.now();
        let habits = self.clients.habits;
        let Some(producer) = self.clients.producers.get_mut(place) else {
            return;
        };
        if producer.planned.is_some_and(|planned| planned > now) {
            return;
        }
        producer.planned = None;
        if cx.are_clients_silent() {
            return;
        }
        if !producer.batches.is_empty() && !self.healed && cx.rng().below(DIES_ONE_IN) == 0 {
            let partition = producer.partition;
            *producer = Producer::new(self.clients.next_source, partition);
            self.clients.next_source += 1;
        }
        if producer.id.is_none() {
            if producer.asks_id.is_none() {
                self.ask_for_id(cx, place);
            }
            return;
        }
        if producer.left == 0 && producer.batches.is_empty() {
            let how = cx.rng().below(3);
            let partition = PartitionId(cx.rng().below(u64::from(PARTITIONS)) as u32);
            let left = cx.rng().between(1, BATCHES_MAX);
            producer.begin_anew(how, partition, left);
        } else if producer.left > 0 && producer.next_at <= now && producer.has_room(habits.window) {
            let count = cx.rng().between(1, RECORDS_MAX);
            producer.make(now, count);
            producer.next_at = now.plus(Span(cx.rng().waiting(habits.pause.0)));
        }
        let next = producer.next_at;
        self.send_due(cx, place);
        let again = now.plus(AGAIN);
        self.plan_producer(cx, place, next.max(again));
    }

    fn send_due(&mut self, cx: &mut Cx, place: usize) {
        let now = cx.now();
        let anybody = self.anybody(cx);
        loop {
            let Some(producer) = self.clients.producers.get_mut(place) else {
                return;
            };
            let partition = producer.partition;
            let node = *producer.believed.get_or_insert(anybody);
            let Some(batch) = producer.due(now) else {
                return;
            };
            let ask = Ask::Produce {
                topic: TOPIC,
                partition,
                batch: batch.bytes.clone(),
                records: batch.records.clone(),
            };
            let sequence = batch.sequence;
            let call = self.ask(cx, Who::Producer(place), node, ask);
            let producer = self.clients.producers.get_mut(place);
            let batches = producer.into_iter().flat_map(|p| &mut p.batches);
            for batch in batches.filter(|batch| batch.sequence == sequence) {
                batch.call = Some(call);
            }
        }
    }

    fn ask_for_id(&mut self, cx: &mut Cx, place: usize) {
        let whom = self.controller(cx);
        let call = self.ask(cx, Who::Producer(place), whom, Ask::Producer);
        if let Some(producer) = self.clients.producers.get_mut(place) {
            producer.asks_id = Some(call);
        }
    }

    pub(super) fn take_produced(&mut self, cx: &mut Cx, place: usize, call: u64, told: Told) {
        let now = cx.now();
        let again = now.plus(Span(1 + cx.rng().waiting(AGAIN.0)));
        let Some(producer) = self.clients.producers.get_mut(place) else {
            return;
        };
        if producer.asks_id == Some(call) {
            producer.asks_id = None;
            if let Told::Producer(Ok(id)) = told {
                (producer.id, producer.epoch) = (Some(id), 0);
                producer.sequences.clear();
            }
            self.plan_producer(cx, place, again);
            return;
        }
        let is_it = |batch: &Batch| batch.call == Some(call);
        let Some(at) = producer.batches.iter().position(is_it) else {
            // It is of a producer that has died.
            return;
        };
        match told {
            Told::Produced(Ok(_)) => {
                if let Some(batch) = producer.batches.remove(at) {
                    producer.stored = producer.stored.max(Some(batch.begun));
                }
            }
            other => {
                if let Some(batch) = producer.batches.get_mut(at) {
                    (batch.call, batch.due) = (None, again);
                }
                match other {
                    Told::Produced(Err(error)) => {
                        producer.doubt(&error);
                        if let Some(what) = absurd(&error) {
                            let what = format!("{producer:?} is told: {what}");
                            cx.fail("host", what);
                        }
                    }
                    _ => producer.believed = None,
                }
            }
        }
        self.plan_producer(cx, place, again);
    }
}

/// What no node may say to a producer that does nothing wrong.
fn absurd(error: &ProduceError) -> Option<String> {
    match error {
        ProduceError::BatchTooLarge { .. }
        | ProduceError::RecordTooLarge { .. }
        | ProduceError::UnsupportedCodec { .. }
        | ProduceError::Checksum { .. }
        | ProduceError::Malformed(_)
        | ProduceError::DeadlineExceeded
        | ProduceError::Producer(ProduceRefusal::StaleEpoch { .. } | ProduceRefusal::Fields(_)) => {
            Some(error.to_string())
        }
        _ => None,
    }
}
