//! A topic that comes and goes: it is made, altered, deleted, and made again under the same name,
//! while one client writes to it and another reads.
//!
//! Whoever does that asks one thing at a time. It goes on only when nothing is left that a node was
//! asked before and has not answered: what comes late must not delete the next topic of the name.

use std::{collections::BTreeMap, path::Path};

use trilith_env::Disk;
use trilith_node::{ControlError, PartitionError, ProduceError, TopicError, TopicSettingsPatch};
use trilith_topics::controller::ControllerError;
use trilith_types::{GroupId, NodeId, PartitionId, TopicId};

use super::{Ask, Reader, Step, Told, Who};
use crate::{
    event::Event,
    log_event::{LogEvent, RecordId},
    rng::Rng,
    time::{SimTime, Span},
    worlds::node::{
        Cx, Node, NodeWorld, Timer,
        records::{Item, batch_of},
        settings::{DATA, ELECTION_TIMEOUT, REPLICAS, TOPIC},
    },
};

/// Its name.
pub(in crate::worlds::node) const NAME: &str = "pebbles";

/// The most partitions that it is given.
const PARTITIONS_MAX: u32 = 2;

/// The mean pause between two writes.
const PAUSE: Span = Span::millis(80);

/// The mean time for which the topic is there, or is not.
const LASTS: Span = Span::millis(1_500);

/// The mean time between two changes of its settings.
const ALTERS: Span = Span::millis(500);

/// The mean pause before something is asked again.
const AGAIN: Span = Span::millis(30);

/// What marks the records that are written here.
const MARK: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is to be made.
    Making,
    /// It is there, until then.
    There(SimTime),
    /// It is to go.
    Deleting,
    /// There is none, until then.
    Away(SimTime),
    /// It stays as it is.
    Final,
}

/// The topic, its maker and its writer.
#[derive(Debug)]
pub(super) struct Pebbles {
    stage: Stage,
    /// Whether there is one in the end.
    stays: bool,
    topic: Option<TopicId>,
    deleted: Vec<TopicId>,
    call: Option<u64>,
    /// What nodes were asked and have not answered, with their lives.
    open: BTreeMap<u64, (NodeId, u64)>,
    partitions: u32,
    records: u64,
    believed: Option<NodeId>,
    /// When the latest batch that is stored came to its node.
    stored: SimTime,
}

impl Pebbles {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self {
            stage: Stage::Making,
            stays: rng.below(2) == 0,
            topic: None,
            deleted: Vec::new(),
            call: None,
            open: BTreeMap::new(),
            partitions: 1,
            records: 0,
            believed: None,
            stored: SimTime::ZERO,
        }
    }

    /// A node is asked to change a topic.
    pub(super) fn asked(&mut self, call: u64, node: NodeId, life: u64) {
        self.open.insert(call, (node, life));
    }

    /// It has answered, in time or not.
    pub(super) fn answered(&mut self, call: u64) {
        self.open.remove(&call);
    }

    fn is_final(&self) -> bool {
        self.stage == Stage::Final
    }
}

/// Settings that a topic may be given at any time.
fn retention(rng: &mut Rng) -> TopicSettingsPatch {
    TopicSettingsPatch {
        retention_bytes: Some(rng.between(8, 64) << 10),
        segment_bytes: Some(rng.between(16, 48) << 10),
        segment_ms: Some(rng.between(200, 20_000)),
        ..TopicSettingsPatch::default()
    }
}

fn is_gone(error: &ControlError) -> bool {
    let unknown = |error: &TopicError| matches!(error, TopicError::Unknown { .. });
    matches!(error, ControlError::Refused(ControllerError::Topic(topic)) if unknown(topic))
}

fn exists(error: &ControlError) -> bool {
    let exists = |error: &TopicError| matches!(error, TopicError::Exists { .. });
    matches!(error, ControlError::Refused(ControllerError::Topic(topic)) if exists(topic))
}

impl NodeWorld {
    pub(super) fn begin_pebbles(&self, cx: &mut Cx) {
        cx.after(ELECTION_TIMEOUT, Timer::Client(Step::Topics));
        cx.after(ELECTION_TIMEOUT, Timer::Client(Step::Scatter));
    }

    fn plan_topics(cx: &mut Cx, mean: Span) {
        let wait = Span(1 + cx.rng().waiting(mean.0));
        cx.after(wait, Timer::Client(Step::Topics));
    }

    /// Whoever makes topics goes on.
    pub(super) fn go_on_with_topics(&mut self, cx: &mut Cx) {
        let pebbles = &self.clients.pebbles;
        if cx.are_clients_silent() || pebbles.is_final() || pebbles.call.is_some() {
            return;
        }
        let runs = |node: NodeId, life| self.in_life(node, life);
        let open = pebbles.open.iter();
        let open: BTreeMap<u64, (NodeId, u64)> = open
            .filter(|(_, (node, life))| runs(*node, *life))
            .map(|(call, asked)| (*call, *asked))
            .collect();
        let waits = !open.is_empty();
        self.clients.pebbles.open = open;
        // Nobody makes a topic before there is the one that all others use.
        if waits || self.topic().is_none() {
            return Self::plan_topics(cx, AGAIN);
        }
        let now = cx.now();
        let (stage, stays) = (self.clients.pebbles.stage, self.clients.pebbles.stays);
        match stage {
            Stage::There(_) if self.healed && stays => self.finish(cx),
            Stage::Away(_) if self.healed && !stays => self.finish(cx),
            Stage::There(until) if until <= now || self.healed => {
                self.clients.pebbles.stage = Stage::Deleting;
                Self::plan_topics(cx, AGAIN);
            }
            Stage::Away(until) if until <= now || self.healed => {
                self.clients.pebbles.stage = Stage::Making;
                Self::plan_topics(cx, AGAIN);
            }
            Stage::Away(_) => Self::plan_topics(cx, AGAIN),
            Stage::There(_) => self.alter(cx),
            Stage::Making => {
                let settings = TopicSettingsPatch {
                    partitions: Some(1),
                    replicas: Some(REPLICAS),
                    ..retention(cx.rng())
                };
                self.clients.pebbles.partitions = 1;
                let topic = NAME;
                self.ask_controller(cx, Ask::Create { topic, settings });
            }
            Stage::Deleting => self.ask_controller(cx, Ask::Delete),
            Stage::Final => {}
        }
    }

    fn alter(&mut self, cx: &mut Cx) {
        let mut settings = retention(cx.rng());
        let has_retention = self.settings.topic.retention_bytes.is_some();
        let topic = match has_retention && cx.rng().below(3) == 0 {
            true => TOPIC,
            false => NAME,
        };
        if topic == NAME && cx.rng().below(4) == 0 {
            settings.partitions = Some(PARTITIONS_MAX);
            self.clients.pebbles.partitions = PARTITIONS_MAX;
        }
        self.ask_controller(cx, Ask::Alter { topic, settings });
    }

    fn ask_controller(&mut self, cx: &mut Cx, ask: Ask) {
        let whom = self.controller(cx);
        let call = self.ask(cx, Who::Topics, whom, ask);
        self.clients.pebbles.call = Some(call);
    }

    /// What is asked has an answer, or none in time.
    pub(super) fn take_topic(&mut self, cx: &mut Cx, call: u64, told: &Told) {
        let now = cx.now();
        self.clients.pebbles.call.take_if(|known| *known == call);
        let lasts = now.plus(Span(cx.rng().waiting(LASTS.0)));
        let pebbles = &mut self.clients.pebbles;
        match (pebbles.stage, told) {
            (Stage::Making, Told::Topic(Ok(Some(id)))) => self.made(cx, *id, lasts),
            (Stage::Making, Told::Topic(Err(error))) if exists(error) => {
                // The answer that it was made is lost.
                if let Some(id) = self.pebbles_somewhere() {
                    self.made(cx, id, lasts);
                }
            }
            (Stage::Deleting, Told::Topic(Ok(_))) => self.gone(cx, lasts),
            (Stage::Deleting, Told::Topic(Err(error))) if is_gone(error) => self.gone(cx, lasts),
            (Stage::There(_), _) => return Self::plan_topics(cx, ALTERS),
            _ => {}
        }
        Self::plan_topics(cx, AGAIN);
    }

    /// The topic's id, as some node knows it that has heard of the latest deletion.
    fn pebbles_somewhere(&self) -> Option<TopicId> {
        let lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        let ids = lives.filter_map(|life| Some(life.node.topic(NAME).ok()?.id));
        let deleted = &self.clients.pebbles.deleted;
        ids.max().filter(|id| !deleted.contains(id))
    }

    /// How many partitions it has, as the nodes know it.
    fn pebbles_partitions(&self) -> u32 {
        let lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        let known = lives.filter_map(|life| life.node.topic(NAME).ok());
        let same = known.filter(|topic| Some(topic.id) == self.clients.pebbles.topic);
        same.map(|topic| topic.settings.partitions)
            .max()
            .unwrap_or(1)
    }

    fn made(&mut self, cx: &mut Cx, topic: TopicId, lasts: SimTime) {
        self.clients.pebbles.topic = Some(topic);
        self.clients.pebbles.stage = Stage::There(lasts);
        cx.record(&Event::Log(LogEvent::TopicMade { topic }));
    }

    fn gone(&mut self, cx: &mut Cx, lasts: SimTime) {
        self.clients.pebbles.stage = Stage::Away(lasts);
        if let Some(topic) = self.clients.pebbles.topic.take() {
            self.clients.pebbles.deleted.push(topic);
            cx.record(&Event::Log(LogEvent::TopicGone { topic }));
        }
    }

    /// The world has healed, and the topic is what it is to be in the end. If it is there, all of
    /// it is read.
    fn finish(&mut self, cx: &mut Cx) {
        self.clients.pebbles.stage = Stage::Final;
        let partitions = match self.clients.pebbles.stays {
            true => self.pebbles_partitions(),
            false => 0,
        };
        for partition in (0..partitions).map(PartitionId) {
            let place = self.clients.readers.len();
            let reader = Reader::auditor(place as u32, NAME, partition);
            self.clients.readers.push(reader);
            cx.after(ELECTION_TIMEOUT, Timer::Client(Step::Read(place)));
        }
    }

    /// The writer goes on: what it sends is sent once.
    pub(super) fn scatter(&mut self, cx: &mut Cx) {
        if cx.are_clients_silent() {
            return;
        }
        let wait = Span(1 + cx.rng().waiting(PAUSE.0));
        cx.after(wait, Timer::Client(Step::Scatter));
        let count = cx.rng().between(1, 3);
        let anybody = self.anybody(cx);
        let pebbles = &mut self.clients.pebbles;
        let numbers = pebbles.records..pebbles.records + count;
        pebbles.records += count;
        let records: Vec<RecordId> = numbers.map(|n| RecordId::unordered(MARK | n)).collect();
        let items: Vec<Item> = records.iter().copied().map(Item::produced).collect();
        let node = *pebbles.believed.get_or_insert(anybody);
        let partition = PartitionId(cx.rng().below(u64::from(pebbles.partitions)) as u32);
        if let Some(batch) = batch_of(&items, None) {
            let ask = Ask::Produce {
                topic: NAME,
                partition,
                batch,
                records,
            };
            self.ask(cx, Who::Scatterer, node, ask);
        }
    }

    pub(super) fn take_scattered(&mut self, asked: SimTime, told: &Told) {
        let pebbles = &mut self.clients.pebbles;
        pebbles.believed = match told {
            Told::Produced(Ok(_)) => {
                pebbles.stored = asked.max(pebbles.stored);
                return;
            }
            Told::Produced(Err(ProduceError::Partition(PartitionError::NotLeader {
                leader: Some(leader),
                ..
            }))) => Some(leader.node),
            _ => None,
        };
    }

    /// What keeps the topic from being what it is to be.
    pub(super) fn pebbles_unsettled(&self, healed: SimTime) -> Option<String> {
        let pebbles = &self.clients.pebbles;
        if !pebbles.is_final() {
            return Some(format!("topics are still made or deleted: {pebbles:?}"));
        }
        if pebbles.stays && pebbles.stored < healed {
            return Some(format!("nothing is stored in the new topic: {pebbles:?}"));
        }
        self.nodes.iter().find_map(|node| self.left_over(node))
    }

    /// What a node still has of a deleted topic.
    fn left_over(&self, node: &Node) -> Option<String> {
        let pebbles = &self.clients.pebbles;
        let (id, life) = (node.id, node.life.as_ref()?);
        match (life.node.topic(NAME), pebbles.topic) {
            (Ok(topic), Some(known)) if topic.id == known => {}
            (Err(PartitionError::UnknownTopic { .. }), None) => {}
            (told, known) => {
                return Some(format!(
                    "node {id} says {told:?} of topic {NAME}, not {known:?}"
                ));
            }
        }
        let is_deleted = |topic: u64| pebbles.deleted.contains(&TopicId(topic));
        let of = |GroupId(group): GroupId| group >> 32;
        let groups = life.parts().groups();
        if let Some(group) = groups.iter().find(|group| is_deleted(of(group.id()))) {
            let group = group.id();
            return Some(format!("node {id} hosts group {group} of a deleted topic"));
        }
        let dirs = node.disk.list(&Path::new(DATA).join("groups")).ok()?;
        let names = dirs.iter().filter_map(|dir| dir.path.file_name()?.to_str());
        let mut topics = names.filter_map(|name| name.split_once('.')?.0.parse().ok());
        let topic = topics.find(|topic| is_deleted(*topic))?;
        Some(format!(
            "node {id} has files of topic {topic}, which is deleted"
        ))
    }
}
