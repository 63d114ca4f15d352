//! The task that sends sealed batches and hears what became of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use trilith_batch::Sequence;
use trilith_proto::v1::{self, produce_stream_response::Result as Answer};
use trilith_types::PartitionId;

use super::{
    answer::{delivered, invalid},
    identity,
    lane::{Batch, Identity, Lane, Next, WINDOW},
    links::{Address, Event, Links},
    open::{Item, Sealed, Shared},
};
use crate::{DeliveryError, Error, Fate, connection::Connection};

/// How often lanes that wait for time to pass are looked at.
const TICK: Duration = Duration::from_millis(10);
/// A leader that has not answered for this long is asked after, at another node.
const PROBE_AFTER: Duration = Duration::from_millis(400);

type Asking<T> = Option<Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>>;
type Leaders = Vec<Option<Address>>;

/// Owned by one task. When that ends, by the producer's drop or the runtime's, everything that
/// is not settled is settled then.
pub(super) struct Driver {
    shared: Arc<Shared>,
    connection: Connection,
    queue: mpsc::UnboundedReceiver<Item>,
    links: Links,
    lanes: Vec<Lane>,
    /// Lanes that hold batches.
    busy: BTreeSet<usize>,
    /// Batches that are not settled, by their order: the first is the oldest.
    unsettled: BTreeSet<u64>,
    /// The lane of each request that is open.
    requests: BTreeMap<u64, usize>,
    /// The next batch's order and the next request's number; none is used twice.
    next_order: u64,
    next_request: u64,
    /// Flushes, each with the order behind what it waits for.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    /// Where each lane's batches go, as far as is known.
    leaders: Leaders,
    locating: Asking<Leaders>,
    /// The newest identity.
    identity: Option<Identity>,
    identifying: Asking<Option<Identity>>,
    /// Whether batches are stamped: as configured, unless the server knows no producers.
    idempotent: bool,
    /// When to look at the lanes again.
    tick: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Connection,
        queue: mpsc::UnboundedReceiver<Item>,
    ) -> Self {
        let partitions = shared.partitions() as usize;
        let idempotent = shared.config.idempotent;
        let mut driver = Self {
            links: Links::new(connection.clone(), shared.config.in_flight_requests_max),
            lanes: (0..partitions).map(|_| Lane::default()).collect(),
            leaders: vec![None; partitions],
            shared,
            connection,
            queue,
            busy: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_order: 0,
            next_request: 0,
            flushes: Vec::new(),
            locating: None,
            identity: None,
            identifying: None,
            idempotent,
            tick: None,
        };
        // Both are needed by the first batch, which is likely to come soon.
        driver.locate(None);
        if idempotent {
            driver.identify();
        }
        driver
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let room = self.unsettled.len() < self.unsettled_max();
            let idle = self.unsettled.is_empty() && self.queue.is_empty();
            let tick = self.tick.filter(|_| !self.busy.is_empty());
            tokio::select! {
                event = self.links.event() => self.happened(event),
                item = self.queue.recv(), if room => match item {
                    Some(Item::Batch(batch)) => self.take(batch),
                    Some(Item::Flush(done)) => self.flushes.push((self.next_order, done)),
                    None => return,
                },
                () = self.shared.until_due(idle), if room => self.shared.seal_due(idle),
                located = asked(&mut self.locating) => self.located(located),
                identified = asked(&mut self.identifying) => self.identified(identified),
                () = at(tick) => self.look(),
            }
            self.settle_flushes();
        }
    }

    /// Batches taken from the queue. What waits there grows.
    fn unsettled_max(&self) -> usize {
        let max = self.shared.config.in_flight_requests_max;
        if self.idempotent {
            max.min(self.lanes.len().saturating_mul(WINDOW))
        } else {
            max
        }
    }

    fn take(&mut self, sealed: Box<Sealed>) {
        if let Some(error) = self.shared.halted() {
            return self.shared.fail(sealed, &unsent(error));
        }
        let Sealed {
            partition,
            builder,
            completion,
            charge,
            sealed_at,
        } = *sealed;
        let lane = partition.get() as usize;
        let batch = Batch::new(self.next_order, completion, charge, sealed_at, builder);
        self.unsettled.insert(self.next_order);
        self.next_order += 1;
        if let Some(into) = self.lanes.get_mut(lane) {
            into.push(batch);
            self.busy.insert(lane);
        }
        self.send(lane);
    }

    /// Sends what a lane has to send.
    fn send(&mut self, at: usize) {
        let now = Instant::now();
        self.tick.get_or_insert(now + TICK);
        loop {
            let Some(lane) = self.lanes.get_mut(at) else {
                return;
            };
            match lane.next(now, self.idempotent) {
                Next::Send => {}
                Next::Wait => return,
                // One serves all lanes, until one of them needs another.
                Next::Identify => match self.identity.filter(|&identity| lane.may_take(identity)) {
                    Some(identity) => {
                        lane.identify(identity);
                        continue;
                    }
                    None => {
                        self.identity = None;
                        return self.identify();
                    }
                },
            }
            let Some(address) = self.leaders.get(at).cloned().flatten() else {
                return self.locate(None);
            };
            if !self.links.ready(&address) || !self.send_one(at, &address, now) {
                return;
            }
        }
    }

    fn send_one(&mut self, at: usize, address: &Address, now: Instant) -> bool {
        let Some(lane) = self.lanes.get_mut(at) else {
            return false;
        };
        let Some(mut batch) = lane.take(self.idempotent) else {
            return false;
        };
        let (bytes, builder) = batch.bytes();
        if let Some(builder) = builder {
            self.shared.recycle(builder);
        }
        let request = v1::ProduceRequest {
            topic: self.shared.topic.clone(),
            partition: Some(at as u32),
            records: Vec::new(),
            batch: bytes,
        };
        let request = v1::ProduceStreamRequest {
            sequence: self.next_request,
            request: Some(request),
        };
        if !self.links.send(address, request) {
            lane.untake(batch);
            return false;
        }
        lane.sent(self.next_request, batch, now);
        self.requests.insert(self.next_request, at);
        self.next_request += 1;
        true
    }

    fn send_all(&mut self) {
        for lane in self.busy.clone() {
            self.send(lane);
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Opened(address) => {
                for lane in self.routed(&address) {
                    self.send(lane);
                }
            }
            Event::Failed(address, error) => {
                for lane in self.routed(&address) {
                    self.not_reached(lane, &error);
                }
                self.locate(Some(address));
            }
            Event::Answer(answer) => self.answered(answer),
            Event::Ended(address, error) => {
                for lane in self.routed(&address) {
                    self.lose(lane, &error);
                }
                self.locate(Some(address));
            }
        }
    }

    /// Busy lanes whose batches go to this node.
    fn routed(&self, address: &Address) -> Vec<usize> {
        let goes = |lane: &&usize| {
            self.leaders
                .get(**lane)
                .is_some_and(|l| l.as_ref() == Some(address))
        };
        self.busy.iter().filter(goes).copied().collect()
    }

    /// No stream was opened to a lane's leader.
    fn not_reached(&mut self, at: usize, error: &Error) {
        self.forget_leader(at);
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        lane.pause(Instant::now());
        if !error.may_pass() {
            for batch in lane.unsent() {
                let fate = batch.fate();
                self.give_up(at, batch, fate, error);
            }
        }
    }

    /// A lane's stream is gone. What was sent on it may be stored or not.
    fn lose(&mut self, at: usize, error: &Error) {
        self.forget_leader(at);
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        for batch in lane.lost(Instant::now(), self.idempotent) {
            self.give_up(at, batch, Fate::Unknown, error);
        }
        self.requests.retain(|_, lane| *lane != at);
    }

    fn forget_leader(&mut self, at: usize) {
        if let Some(leader) = self.leaders.get_mut(at) {
            *leader = None;
        }
        let partition = PartitionId(at as u32);
        let nobody = Error::Interrupted { why: String::new() };
        self.connection
            .moved(&self.shared.topic, partition, &nobody);
    }

    fn answered(&mut self, answer: v1::ProduceStreamResponse) {
        let request = answer.sequence;
        let Some(at) = self.requests.remove(&request) else {
            // It was given up, or sent again elsewhere; this answer comes too late.
            return;
        };
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        let Some(batch) = lane.answered(request) else {
            return;
        };
        let partition = PartitionId(at as u32);
        match answer.result {
            Some(Answer::Response(response)) => match delivered(partition, &response) {
                Ok(first) => {
                    lane.stored(Instant::now());
                    self.settle(at, batch, Ok(first));
                }
                Err(error) => self.give_up(at, batch, error.fate, &error.cause),
            },
            Some(Answer::Error(error)) => self.refused(at, batch, &Error::from_proto(error)),
            None => {
                let error = invalid("it holds neither a response nor an error");
                self.give_up(at, batch, error.fate, &error.cause);
            }
        }
        self.send(at);
        if self.unsettled.len() + 1 >= self.unsettled_max() {
            self.send_all();
        }
    }

    /// An answer that is no acknowledgement: sends again what may be sent again.
    fn refused(&mut self, at: usize, batch: Batch, error: &Error) {
        let now = Instant::now();
        let sure = error.rules_out_stored();
        let (halted, idempotent) = (self.shared.halted().is_some(), self.idempotent);
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        let reason = error.reason().unwrap_or_default();
        if !idempotent || halted {
            let fate = match (sure, batch.fate()) {
                (true, fate) => fate,
                (false, _) => Fate::Unknown,
            };
            return self.give_up(at, batch, fate, error);
        }
        match reason {
            "OUT_OF_SEQUENCE" | "UNKNOWN_PRODUCER" | "STALE_EPOCH" => {
                let expected = expected(error);
                for batch in lane.out_of_sequence(batch, now, expected) {
                    self.give_up(at, batch, Fate::Unknown, error);
                }
            }
            "NOT_LEADER" => {
                let moved = self.follow(at, error);
                if let Some(lane) = self.lanes.get_mut(at) {
                    lane.back(batch, now, true, moved);
                }
            }
            _ if error.may_pass() => {
                lane.back(batch, now, sure, false);
                self.forget_leader(at);
            }
            _ => {
                let fate = if sure { batch.fate() } else { Fate::Unknown };
                if fate == Fate::NotStored {
                    lane.leave_gap(batch.order);
                }
                self.give_up(at, batch, fate, error);
            }
        }
    }

    /// Takes the leader that a refusal names; whether it is another one.
    fn follow(&mut self, at: usize, error: &Error) -> bool {
        let named = match error {
            Error::Server(refusal) => refusal.metadata.get("address"),
            _ => None,
        };
        let named: Option<Address> = named.map(|address| address.as_str().into());
        let Some(leader) = self.leaders.get_mut(at) else {
            return false;
        };
        let moved = named.is_some() && *leader != named;
        *leader = if moved { named } else { None };
        let partition = PartitionId(at as u32);
        self.connection.moved(&self.shared.topic, partition, error);
        moved
    }

    /// Tells the outcome of a batch that is not acknowledged.
    fn give_up(&mut self, at: usize, batch: Batch, fate: Fate, cause: &Error) {
        let error = DeliveryError {
            fate,
            cause: cause.clone(),
        };
        self.settle(at, batch, Err(error.clone()));
        if self.shared.config.halt_on_failure && self.shared.halted().is_none() {
            self.shared.halt(error);
            self.drop_unsent();
        }
    }

    /// After a halt nothing more is sent.
    fn drop_unsent(&mut self) {
        let Some(halt) = self.shared.halted().cloned() else {
            return;
        };
        for at in self.busy.clone() {
            let unsent = self.lanes.get_mut(at).map(Lane::unsent);
            for batch in unsent.into_iter().flatten() {
                let fate = batch.fate();
                self.give_up(at, batch, fate, &halt.cause);
            }
        }
    }

    fn settle(
        &mut self,
        at: usize,
        batch: Batch,
        outcome: Result<super::Delivered, DeliveryError>,
    ) {
        self.unsettled.remove(&batch.order);
        if self.lanes.get(at).is_none_or(Lane::is_empty) {
            self.busy.remove(&at);
        }
        self.shared
            .settle(&batch.completion, batch.charge, batch.records, outcome);
    }

    /// Time has passed: gives up what waited too long, asks after leaders that are silent, and
    /// sends what has paused.
    fn look(&mut self) {
        let now = Instant::now();
        self.tick = None;
        for at in self.busy.clone() {
            self.expire(at, now);
            self.probe(at, now);
            self.send(at);
        }
        if !self.busy.is_empty() {
            self.tick = Some(now + TICK);
        }
    }

    fn expire(&mut self, at: usize, now: Instant) {
        let timeout = self.shared.config.delivery_timeout;
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        let expired = lane.expired(now, timeout);
        if expired.is_empty() {
            return;
        }
        let why = format!("no answer within {timeout:?}");
        for batch in expired {
            let fate = batch.fate();
            self.give_up(at, batch, fate, &Error::Interrupted { why: why.clone() });
        }
    }

    fn probe(&mut self, at: usize, now: Instant) {
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        let Some(silent) = lane.silent_since() else {
            return;
        };
        let last = lane.probed.map_or(silent, |probed| probed.max(silent));
        if now.saturating_duration_since(last) >= PROBE_AFTER && self.idempotent {
            lane.probed = Some(now);
            let suspect = self.leaders.get(at).cloned().flatten();
            self.locate(suspect);
        }
    }

    /// Asks who leads the partitions, unless that is being asked.
    fn locate(&mut self, avoid: Option<Address>) {
        if self.locating.is_some() {
            return;
        }
        let (connection, topic) = (self.connection.clone(), self.shared.topic.clone());
        let partitions = self.lanes.len();
        self.locating = Some(Box::pin(async move {
            let mut leaders = connection.learn(&topic, avoid.as_deref()).await?;
            if leaders.is_empty() {
                // A server that knows of no leaders leads everything itself.
                leaders = vec![Some(connection.any().address); partitions];
            }
            Ok(leaders)
        }));
    }

    fn located(&mut self, located: Result<Leaders, Error>) {
        self.locating = None;
        let now = Instant::now();
        let leaders = match located {
            Ok(leaders) => leaders,
            Err(error) => {
                let waiting: Vec<usize> = self.busy.iter().copied().collect();
                for at in waiting {
                    if self.leaders.get(at).is_some_and(Option::is_none) {
                        self.not_reached(at, &error);
                    }
                }
                return;
            }
        };
        for at in 0..self.lanes.len() {
            let leader = leaders.get(at).cloned().flatten();
            self.lead(at, leader, now);
        }
        self.send_all();
    }

    /// Takes note of a lane's leader. What is open at an older one is sent again.
    fn lead(&mut self, at: usize, leader: Option<Address>, now: Instant) {
        let (Some(known), Some(lane)) = (self.leaders.get_mut(at), self.lanes.get_mut(at)) else {
            return;
        };
        match (known.as_ref(), leader) {
            (Some(old), Some(new)) if *old != new => {
                *known = Some(new);
                if self.idempotent {
                    // All can be sent again, so none is given back.
                    drop(lane.lost(now, true));
                    self.requests.retain(|_, lane| *lane != at);
                }
            }
            (None, Some(new)) => *known = Some(new),
            (None, None) => lane.pause(now),
            (Some(_), _) => {}
        }
    }

    fn identify(&mut self) {
        if self.identifying.is_none() {
            self.identifying = Some(Box::pin(identity::ask(self.connection.clone())));
        }
    }

    fn identified(&mut self, identified: Result<Option<Identity>, Error>) {
        self.identifying = None;
        match identified {
            Ok(Some(identity)) => self.identity = Some(identity),
            Ok(None) => self.idempotent = false,
            Err(error) => {
                // Asked again by the next look at a lane, until its batches have waited too long.
                for at in self.busy.clone() {
                    self.not_reached(at, &error);
                }
            }
        }
        self.send_all();
    }

    /// Answers the flushes before which nothing is open any more.
    fn settle_flushes(&mut self) {
        let open = self.unsettled.first().copied().unwrap_or(self.next_order);
        for (_, done) in self.flushes.extract_if(.., |(behind, _)| *behind <= open) {
            // Whoever flushed may have gone.
            let _ = done.send(());
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let why = "the producer was dropped before an answer came";
        let sent = Error::Interrupted { why: why.into() };
        let why = "the producer was dropped before it was sent";
        let unsent = Error::Interrupted { why: why.into() };
        self.shared.halt(DeliveryError::not_stored(unsent.clone()));
        for at in self.busy.clone() {
            let batches = self.lanes.get_mut(at).map(Lane::all);
            for batch in batches.into_iter().flatten() {
                let fate = batch.fate();
                let cause = match fate {
                    Fate::Unknown => &sent,
                    Fate::NotStored => &unsent,
                };
                self.give_up(at, batch, fate, cause);
            }
        }
        self.queue.close();
        while let Ok(item) = self.queue.try_recv() {
            if let (Item::Batch(batch), Some(error)) = (item, self.shared.halted()) {
                self.shared.fail(batch, &self::unsent(error));
            }
        }
    }
}

/// The sequence that a refusal says comes next.
fn expected(error: &Error) -> Option<Sequence> {
    match error {
        Error::Server(refusal) => {
            let expected = refusal.metadata.get("expected")?;
            Sequence::new(expected.parse().ok()?)
        }
        _ => None,
    }
}

async fn asked<T>(asking: &mut Asking<T>) -> Result<T, Error> {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The reason of a halt, for what was not sent because of it.
fn unsent(halt: &DeliveryError) -> DeliveryError {
    DeliveryError::not_stored(halt.cause.clone())
}
