//! The clients of this world, beside those of the engine: producers that send until they know, and
//! readers that follow. They speak with the nodes as clients do: over links of their own that
//! delay, and that lose questions and answers.

mod plain;
mod producer;
mod reader;
mod topics;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use trilith_host::GroupStatus;
use trilith_node::{
    Appended, ControlError, NodeStatus, PartitionReader, Produce, ProduceError, ReadError, Topic,
    TopicDescription, TopicSettingsPatch,
};
use trilith_types::{GroupId, LogIndex, NodeId, Offset, PartitionId, ProducerId, TopicId};

pub(super) use self::plain::partition_of;
use self::{producer::Producer, reader::Reader, topics::Pebbles};
use super::{
    Cx, NodeWorld, Timer,
    settings::{ELECTION_TIMEOUT, PARTITIONS, TOPIC},
};
use crate::{
    event::{Event, Note},
    faults::{FaultKind, FaultPlan},
    history::{Object, OpId, Outcome},
    log_event::{LogEvent, Partition, RecordId},
    rng::Rng,
    time::{SimTime, Span},
};

/// Producers of a run.
const PRODUCERS: usize = 3;

/// Readers of a run, before those that read everything once more after healing.
const READERS: u32 = 2;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A producer.
    Producer(usize),
    /// A reader.
    Reader(usize),
    /// Whoever made the topic.
    Operator,
    /// Whoever makes, changes and deletes topics.
    Topics,
    /// Who writes to a topic that comes and goes.
    Scatterer,
}

/// A question to a node.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// For a producer's id.
    Producer,
    /// To store a batch.
    Produce {
        topic: &'static str,
        partition: PartitionId,
        batch: Bytes,
        records: Vec<RecordId>,
    },
    /// To read.
    Read {
        topic: &'static str,
        partition: PartitionId,
    },
    /// To make a topic.
    Create {
        topic: &'static str,
        settings: TopicSettingsPatch,
    },
    /// To change a topic's settings.
    Alter {
        topic: &'static str,
        settings: TopicSettingsPatch,
    },
    /// To delete the topic that comes and goes.
    Delete,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Told {
    Producer(Result<ProducerId, ControlError>),
    Produced(Result<Appended, ProduceError>),
    Reader(Result<Shown, ReadError>),
    /// A topic was made, changed or deleted.
    Topic(Result<Option<TopicId>, ControlError>),
    /// Nothing came in time, or nobody was there.
    Nothing,
}

/// A reader, and what it showed when it was given.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) reader: PartitionReader,
    pub(super) earliest: Offset,
    pub(super) end: Offset,
}

/// What is said at a node.
#[derive(Debug)]
pub(super) enum Said {
    /// To one of these clients.
    Told(u64, Told),
    /// A put of the engine's clients has ended.
    Put(OpId, Object, u64, Result<Appended, ProduceError>),
    /// A read of theirs may begin.
    MayRead(OpId, Object, Result<PartitionReader, ReadError>),
    /// A write that was offered has ended.
    Probed(OpId, Outcome),
    /// A group's machine is in this state.
    State(GroupId, LogIndex, u64),
    /// How the node is.
    Status(Box<NodeStatus>),
    /// The numbers of a shard's groups.
    Groups(Vec<(GroupId, GroupStatus)>),
    /// A transfer of leadership has begun.
    Transfers,
    /// How its replicas are.
    Described(TopicDescription),
}

/// Called with an answer.
type Say = Box<dyn FnOnce(Told) + Send>;

/// A question on its way, or its answer.
#[derive(Debug)]
struct Call {
    who: Who,
    node: NodeId,
    ask: Ask,
    /// When it came to the node.
    asked: SimTime,
    /// The topic that its node knew then by the name that was asked for.
    topic: Option<TopicId>,
    told: Option<Told>,
}

/// A client's next step.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A question comes to its node.
    Arrive(u64),
    /// Its answer comes back.
    Return(u64),
    /// It is not waited for any longer.
    GiveUp(u64),
    /// A producer goes on.
    Produce(usize),
    /// A reader goes on.
    Read(usize),
    /// The topic's maker goes on.
    Operate,
    /// Whoever changes topics goes on.
    Topics,
    /// Who writes to a topic that comes and goes does so.
    Scatter,
}

/// How a run's clients are set.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// The mean time that a question or an answer takes.
    delay: Span,
    /// Of a million questions or answers, so many are lost.
    loss: u32,
    /// How long an answer is waited for.
    patience: Span,
    /// The mean time between two batches.
    pause: Span,
    /// Most batches of a producer from the first of unknown fate on.
    window: u64,
}

/// The clients, and what they wait for.
pub(super) struct Clients {
    habits: Habits,
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    producers: Vec<Producer>,
    next_source: u32,
    readers: Vec<Reader>,
    pebbles: Pebbles,
    /// Behind what was acknowledged.
    acknowledged: BTreeMap<PartitionId, Offset>,
    /// Before this offset there is nothing of an object.
    births: BTreeMap<Object, Offset>,
}

impl Clients {
    pub(super) fn draw(plan: &FaultPlan, rng: &mut Rng) -> Self {
        let loss = match plan.enabled.contains(&FaultKind::Loss) {
            true => rng.between(1_000, 150_000) as u32,
            false => 0,
        };
        let habits = Habits {
            delay: Span::micros(rng.between(100, 10_000)),
            loss,
            patience: ELECTION_TIMEOUT.times(rng.between(1, 8)),
            pause: Span::millis(rng.between(5, 150)),
            window: rng.between(1, 5),
        };
        let partition = |n: u64| PartitionId((n % u64::from(PARTITIONS)) as u32);
        let producers = (0..PRODUCERS).map(|n| Producer::new(n as u32, partition(n as u64)));
        let readers = (0..READERS).map(|n| Reader::new(n, TOPIC, partition(rng.below(100))));
        let mut readers: Vec<Reader> = readers.collect();
        let number = readers.len() as u32;
        readers.push(Reader::slow(number, TOPIC, partition(rng.below(100))));
        readers.push(Reader::new(number + 1, topics::NAME, PartitionId(0)));
        Self {
            habits,
            calls: BTreeMap::new(),
            next_call: 1,
            producers: producers.collect(),
            next_source: PRODUCERS as u32,
            readers,
            pebbles: Pebbles::draw(rng),
            acknowledged: BTreeMap::new(),
            births: BTreeMap::new(),
        }
    }

    fn called(&self, call: u64) -> Option<&Call> {
        self.calls.get(&call)
    }
}

impl NodeWorld {
    pub(super) fn begin_clients(&mut self, cx: &mut Cx) {
        cx.after(Span::millis(1), Timer::Client(Step::Operate));
        if self.probing.is_some() {
            return;
        }
        for place in 0..self.clients.producers.len() {
            cx.after(ELECTION_TIMEOUT, Timer::Client(Step::Produce(place)));
        }
        for place in 0..self.clients.readers.len() {
            cx.after(ELECTION_TIMEOUT, Timer::Client(Step::Read(place)));
        }
        self.begin_pebbles(cx);
    }

    /// The links of clients are good from here on, and everything is read once more.
    pub(super) fn heal_clients(&mut self, cx: &mut Cx) {
        self.clients.habits.loss = 0;
        self.clients.habits.delay = self.clients.habits.delay.min(Span::millis(2));
        for partition in (0..PARTITIONS).map(PartitionId) {
            let place = self.clients.readers.len();
            self.clients
                .readers
                .push(Reader::auditor(place as u32, TOPIC, partition));
            cx.after(ELECTION_TIMEOUT, Timer::Client(Step::Read(place)));
        }
    }

    pub(super) fn client_step(&mut self, cx: &mut Cx, step: Step) {
        match step {
            Step::Arrive(call) => self.arrive(cx, call),
            Step::Return(call) => self.take_answer(cx, call),
            Step::GiveUp(call) => self.give_up(cx, call),
            Step::Produce(place) => self.go_on_producing(cx, place),
            Step::Read(place) => self.go_on_reading(cx, place),
            Step::Operate => self.operate(cx),
            Step::Topics => self.go_on_with_topics(cx),
            Step::Scatter => self.scatter(cx),
        }
    }

    /// Any node: clients know them all.
    fn anybody(&self, cx: &mut Cx) -> NodeId {
        cx.rng().pick(&self.members).copied().unwrap_or(NodeId(1))
    }

    /// Sends a question on its way.
    fn ask(&mut self, cx: &mut Cx, who: Who, node: NodeId, ask: Ask) -> u64 {
        let call = self.clients.next_call;
        self.clients.next_call += 1;
        let (asked, topic, told) = (cx.now(), None, None);
        let waiting = Call {
            who,
            node,
            ask,
            asked,
            topic,
            told,
        };
        self.clients.calls.insert(call, waiting);
        let Habits {
            delay,
            loss,
            patience,
            ..
        } = self.clients.habits;
        if !cx.rng().chance(loss) {
            let takes = Span(cx.rng().waiting(delay.0));
            cx.after(takes, Timer::Client(Step::Arrive(call)));
        }
        cx.after(patience, Timer::Client(Step::GiveUp(call)));
        call
    }

    /// A question comes to its node.
    fn arrive(&mut self, cx: &mut Cx, number: u64) {
        let now = cx.now();
        let Some(call) = self.clients.calls.get_mut(&number) else {
            return;
        };
        call.asked = now;
        let (id, ask) = (call.node, call.ask.clone());
        let Some(life) = self.node(id).and_then(|node| node.life.as_ref()) else {
            // Nobody listens there.
            self.answer_later(cx, number, Told::Nothing);
            return;
        };
        if life.paused {
            cx.after(ELECTION_TIMEOUT, Timer::Client(Step::Arrive(number)));
            return;
        }
        let ears = Arc::clone(&life.ears);
        let (node, life) = (life.node.clone(), life.number);
        let say = move |told| ears.lock().push(Said::Told(number, told));
        let say_topic = |say: Say| {
            move |topic: Result<Arc<Topic>, ControlError>| {
                say(Told::Topic(topic.map(|topic| Some(topic.id))));
            }
        };
        self.note_asked(cx, number, (id, life), &node);
        match ask {
            Ask::Producer => node.new_producer(move |id| say(Told::Producer(id))),
            Ask::Create { topic, settings } => {
                node.create_topic(topic, &settings, false, say_topic(Box::new(say)));
            }
            Ask::Alter { topic, settings } => {
                node.alter_topic(topic, &settings, say_topic(Box::new(say)));
            }
            Ask::Delete => node.delete_topic(topics::NAME, move |gone| {
                say(Told::Topic(gone.map(|()| None)));
            }),
            Ask::Produce {
                topic,
                partition,
                batch,
                ..
            } => {
                let produce = Produce {
                    topic,
                    partition,
                    batch,
                    deadline: None,
                    permit: None,
                };
                node.produce(produce, move |result| say(Told::Produced(result)));
            }
            Ask::Read { topic, partition } => node.reader(topic, partition, move |reader| {
                say(Told::Reader(reader.map(|reader| Shown {
                    earliest: reader.earliest(),
                    end: reader.end(),
                    reader,
                })));
            }),
        }
        self.drive(cx, id);
    }

    /// A node is asked: which topic that is about is what the node knows by its name now.
    fn note_asked(
        &mut self,
        cx: &mut Cx,
        number: u64,
        (id, life): (NodeId, u64),
        node: &trilith_node::Node,
    ) {
        let Some(call) = self.clients.calls.get_mut(&number) else {
            return;
        };
        match &call.ask {
            Ask::Produce { topic, .. } | Ask::Read { topic, .. } => {
                call.topic = node.topic(topic).ok().map(|topic| topic.id);
            }
            Ask::Create { .. } | Ask::Alter { .. } | Ask::Delete => {
                self.clients.pebbles.asked(number, id, life);
            }
            Ask::Producer => {}
        }
        let call = self.clients.called(number);
        if let Some(Call {
            ask: Ask::Produce { topic, records, .. },
            topic: Some(id),
            ..
        }) = call
            && *topic == topics::NAME
        {
            let topic = *id;
            cx.record(&Event::Log(LogEvent::Offered { topic, records }));
        }
    }

    /// A node answers.
    pub(super) fn told(&mut self, cx: &mut Cx, number: u64, told: Told) {
        self.clients.pebbles.answered(number);
        let at = cx.now();
        let Some(call) = self.clients.called(number) else {
            return;
        };
        if let Told::Produced(Err(ProduceError::TooMuchUncommitted { .. })) = told {
            let (node, kind) = (call.node, Note::Backpressure);
            cx.record(&Event::Note { node, kind });
        }
        match (&call.ask, &told, call.topic) {
            (
                Ask::Produce {
                    topic: name,
                    partition: number,
                    records,
                    ..
                },
                Told::Produced(Ok(appended)),
                Some(topic),
            ) => {
                let (first, number, name) = (appended.first_offset, *number, *name);
                cx.record(&Event::Log(LogEvent::Acknowledged {
                    partition: Partition { topic, number },
                    at,
                    first,
                    records,
                }));
                let end = first.plus(records.len() as u64);
                if name == TOPIC {
                    self.note_acknowledged(number, end);
                }
            }
            (Ask::Read { partition, .. }, Told::Reader(Ok(shown)), Some(topic)) => {
                let number = *partition;
                cx.record(&Event::Log(LogEvent::Bounds {
                    partition: Partition { topic, number },
                    asked: call.asked,
                    at,
                    earliest: shown.earliest,
                    end: shown.end,
                }));
            }
            _ => {}
        }
        self.answer_later(cx, number, told);
    }

    fn note_acknowledged(&mut self, partition: PartitionId, end: Offset) {
        let known = self.clients.acknowledged.entry(partition).or_default();
        *known = end.max(*known);
    }

    fn answer_later(&mut self, cx: &mut Cx, number: u64, told: Told) {
        let Habits { delay, loss, .. } = self.clients.habits;
        let is_lost = cx.rng().chance(loss);
        let takes = Span(cx.rng().waiting(delay.0));
        if let Some(call) = self.clients.calls.get_mut(&number).filter(|_| !is_lost) {
            call.told = Some(told);
            cx.after(takes, Timer::Client(Step::Return(number)));
        }
    }

    fn take_answer(&mut self, cx: &mut Cx, number: u64) {
        if let Some(mut call) = self.clients.calls.remove(&number) {
            let told = call.told.take().unwrap_or(Told::Nothing);
            self.take(cx, number, &call, told);
        }
    }

    fn give_up(&mut self, cx: &mut Cx, number: u64) {
        if let Some(call) = self.clients.calls.remove(&number) {
            self.take(cx, number, &call, Told::Nothing);
        }
    }

    /// A client has an answer, or none.
    fn take(&mut self, cx: &mut Cx, number: u64, call: &Call, told: Told) {
        match call.who {
            Who::Producer(place) => self.take_produced(cx, place, number, told),
            Who::Reader(place) => {
                self.take_reader(cx, place, (number, call.node, call.topic), told)
            }
            Who::Topics => self.take_topic(cx, number, &told),
            Who::Scatterer => self.take_scattered(call.asked, &told),
            Who::Operator => cx.after(Span::millis(20), Timer::Client(Step::Operate)),
        }
    }

    /// Makes the topic, unless somebody knows it already.
    fn operate(&mut self, cx: &mut Cx) {
        if self.topic().is_none() {
            let (topic, settings) = (TOPIC, self.settings.topic);
            let whom = self.controller(cx);
            self.ask(cx, Who::Operator, whom, Ask::Create { topic, settings });
        }
    }

    /// Who holds itself for the leader of the cluster, or else anybody.
    fn controller(&self, cx: &mut Cx) -> NodeId {
        let leads =
            |node: &&super::Node| node.role(super::FIRST) == Some(trilith_raft::Role::Leader);
        let leader = self.nodes.iter().find(leads).map(|node| node.id);
        leader.unwrap_or_else(|| self.anybody(cx))
    }

    /// What keeps the clients from having got what they wanted, if anything does.
    pub(super) fn clients_unsettled(&mut self, healed: SimTime) -> Option<String> {
        if self.topic().is_none() {
            return Some("there is no topic".to_owned());
        }
        let waits = |producer: &&Producer| !producer.has_stored_since(healed);
        if let Some(producer) = self.clients.producers.iter().find(waits) {
            return Some(format!("a producer is not heard: {producer:?}"));
        }
        let reads = |reader: &&Reader| !reader.is_through();
        if let Some(reader) = self.clients.readers.iter().find(reads) {
            return Some(format!("not everything could be read: {reader:?}"));
        }
        self.pebbles_unsettled(healed)
    }

    /// Readers of a process that has ended end with it.
    pub(super) fn drop_readers(&mut self, id: NodeId) {
        for reader in &mut self.clients.readers {
            reader.lose(id);
        }
    }
}
