//! A whole cluster on one thread: nodes over simulated disks, a network that is a queue, and a
//! clock that stands still until a test lets time pass.

mod consuming;
mod discarding;
mod failover;
mod founding;
mod replacing;
mod three;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use trilith_batch::{BatchBuilder, Compression, ProducerStamp, decode};
use trilith_env::{
    Env,
    sim::{SimClock, SimDisk, SimRng},
};
use trilith_host::{Outbound, PeerEvent};
use trilith_peer::{NodeMessage, Registry};
use trilith_storage::{LogConfig, journal::JournalConfig};
use trilith_topics::TopicSettingsPatch;
use trilith_types::{NodeId, Offset, PartitionId, TimestampMs};

use super::{
    Addresses, ControlError, Member, Node, NodeConfig, NodeParts, OpenError, PartitionReader,
    ProduceError, ReadError, Start, Topic,
};
use crate::{Appended, Produce};

/// How much time passes at a step.
const STEP: Duration = Duration::from_millis(5);

/// What any test waits for comes by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// Messages on their way.
#[derive(Default)]
pub(super) struct Wire {
    queue: Mutex<VecDeque<(NodeId, NodeId, NodeMessage)>>,
    /// From the first to the second nothing gets through.
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
}

/// One node's way to the others.
struct Port {
    from: NodeId,
    wire: Arc<Wire>,
}

impl Outbound for Port {
    fn send(&self, to: NodeId, message: NodeMessage) {
        self.wire.queue.lock().push_back((self.from, to, message));
    }

    fn flush(&self) {}

    fn has_room(&self, _to: NodeId) -> bool {
        true
    }
}

/// One node's machine.
pub(super) struct Machine {
    pub(super) disk: SimDisk,
    pub(super) config: NodeConfig,
    pub(super) parts: Option<NodeParts>,
    starts: u64,
}

pub(super) struct World {
    pub(super) clock: SimClock,
    pub(super) wire: Arc<Wire>,
    pub(super) machines: Vec<Machine>,
}

/// An answer that may have come.
pub(super) struct Answer<T>(mpsc::Receiver<T>);

impl<T> Answer<T> {
    pub(super) fn poll(&self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

pub(super) fn answer<T>() -> (impl FnOnce(T) + Send + 'static, Answer<T>)
where
    T: Send + 'static,
{
    let (tx, rx) = mpsc::channel();
    (move |value| drop(tx.send(value)), Answer(rx))
}

pub(super) fn batch_of(values: &[&str], producer: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.set_producer(producer);
    for value in values {
        builder
            .push_parts(None, Some(value.as_bytes()), &[], TimestampMs(7))
            .unwrap();
    }
    builder.build().unwrap()
}

/// Small segments, so that a test meets their borders.
fn config(number: usize, members: &[Member]) -> NodeConfig {
    let log = LogConfig {
        segment_entries_max: 1 << 10,
        segment_offsets_max: 1 << 16,
        preallocate_bytes_max: 64 << 10,
        reserve_bytes: 64 << 10,
        resume_bytes: 64 << 10,
        ..LogConfig::of_many()
    };
    NodeConfig {
        name: Some(format!("n{number}")),
        addresses: Addresses {
            client: format!("n{number}:7400"),
            peer: format!("n{number}:7401"),
        },
        start: Start::With(members.to_vec()),
        shards: 2,
        log,
        journal: JournalConfig {
            file_bytes: 1 << 20,
            frame_bytes: 64 << 10,
            ..JournalConfig::default()
        },
        ..NodeConfig::new("/data")
    }
}

impl World {
    /// Nodes 1, 2, … that found a cluster from one list.
    pub(super) fn new(nodes: usize) -> Self {
        let mut world = Self::unstarted(nodes);
        for node in 1..=nodes {
            world.start(node).unwrap();
        }
        world
    }

    pub(super) fn unstarted(nodes: usize) -> Self {
        let member = |number| Member {
            name: format!("n{number}"),
            peer_address: format!("n{number}:7401"),
        };
        let members: Vec<Member> = (1..=nodes).map(member).collect();
        let machine = |number| Machine {
            disk: SimDisk::new(number as u64),
            config: config(number, &members),
            parts: None,
            starts: 0,
        };
        Self {
            clock: SimClock::new(TimestampMs(1_000_000)),
            wire: Arc::default(),
            machines: (1..=nodes).map(machine).collect(),
        }
    }

    pub(super) fn machine(&mut self, number: usize) -> &mut Machine {
        &mut self.machines[number - 1]
    }

    pub(super) fn node(&self, number: usize) -> Node {
        let parts = self.machines[number - 1].parts.as_ref();
        parts.expect("the node runs").node.clone()
    }

    /// The numbers of the nodes that run.
    pub(super) fn running(&self) -> Vec<usize> {
        let runs = |number: &usize| self.machines[number - 1].parts.is_some();
        (1..=self.machines.len()).filter(runs).collect()
    }

    pub(super) fn start(&mut self, number: usize) -> Result<(), OpenError> {
        self.start_unheard(number)?;
        self.introduce(number);
        Ok(())
    }

    /// Starts a node that no other one lets in.
    pub(super) fn start_unheard(&mut self, number: usize) -> Result<(), OpenError> {
        let clock = self.clock.clone();
        let port = Port {
            from: NodeId(number as u64),
            wire: Arc::clone(&self.wire),
        };
        let machine = self.machine(number);
        machine.starts += 1;
        let env = Env {
            disk: Arc::new(machine.disk.clone()),
            clock: Arc::new(clock),
            rng: Arc::new(SimRng::new(number as u64 * 1000 + machine.starts)),
        };
        let parts = Node::assemble(&env, machine.config.clone(), Arc::new(port))?;
        machine.parts = Some(parts);
        Ok(())
    }

    /// What the handshake does: the new node and each other one meet.
    pub(super) fn introduce(&self, number: usize) {
        let new = self.node(number);
        for other in self.running().into_iter().filter(|&other| other != number) {
            let node = self.node(other);
            for (host, guest) in [(&new, &node), (&node, &new)] {
                let identity = Registry::identity(guest);
                let (Some(member), Some(_)) = (identity.member, Registry::identity(host).member)
                else {
                    continue;
                };
                host.admit(member.node, &identity.name, identity.incarnation)
                    .unwrap();
                host.peer_event(PeerEvent::Reset(member.node, identity.incarnation));
                host.peer_event(PeerEvent::Alive(member.node));
            }
        }
    }

    /// Ends a node without closing anything. The others see its sockets close.
    pub(super) fn kill(&mut self, number: usize) {
        let machine = self.machine(number);
        drop(machine.parts.take());
        machine.disk.crash_process();
        self.wire
            .queue
            .lock()
            .retain(|(from, _, _)| *from != NodeId(number as u64));
        for other in self.running() {
            self.node(other)
                .peer_event(PeerEvent::Suspect(NodeId(number as u64)));
        }
    }

    pub(super) fn power_cut(&mut self, number: usize) {
        self.kill(number);
        let machine = self.machine(number);
        machine.disk.power_cut();
        machine.disk.restart();
    }

    /// Closes a node in order.
    pub(super) fn stop(&mut self, number: usize) {
        self.machine(number).parts.as_mut().unwrap().begin_stop();
        let is_finished = |world: &Self| {
            world.machines[number - 1]
                .parts
                .as_ref()
                .unwrap()
                .is_finished()
        };
        self.until("the node is closed", is_finished);
        self.kill(number);
    }

    pub(super) fn cut(&self, from: usize, to: usize) {
        self.wire
            .cut
            .lock()
            .insert((NodeId(from as u64), NodeId(to as u64)));
    }

    pub(super) fn heal(&self) {
        self.wire.cut.lock().clear();
    }

    /// Everything that happens without time passing, then a little time.
    pub(super) fn step(&mut self) {
        while self.settle() {}
        self.clock.advance(STEP);
    }

    /// One round: each node's turn, its disk's answers, and the network's messages.
    fn settle(&mut self) -> bool {
        let mut any = false;
        for machine in &mut self.machines {
            if let Some(parts) = &mut machine.parts {
                let _next = parts.turn();
                while machine.disk.complete_next() {
                    any = true;
                }
            }
        }
        let sent = std::mem::take(&mut *self.wire.queue.lock());
        any |= !sent.is_empty();
        for (from, to, message) in sent {
            let is_cut = self.wire.cut.lock().contains(&(from, to));
            let machine = self.machines.get(to.0 as usize - 1);
            if let Some(parts) = machine.and_then(|m| m.parts.as_ref()).filter(|_| !is_cut) {
                parts.node.deliver(from, &mut vec![message]);
            }
        }
        any
    }

    pub(super) fn run(&mut self, time: Duration) {
        let steps = time.as_millis() / STEP.as_millis();
        (0..steps).for_each(|_| self.step());
    }

    /// Lets time pass until something is so.
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let patience = self.clock_now() + PATIENCE;
        while !is_so(self) {
            assert!(self.clock_now() < patience, "never came: {what}");
            self.step();
        }
    }

    fn clock_now(&self) -> Duration {
        use trilith_env::Clock;
        self.clock.monotonic()
    }

    /// Lets time pass until an answer has come.
    pub(super) fn wait<T>(&mut self, answer: &Answer<T>) -> T {
        let patience = self.clock_now() + PATIENCE;
        loop {
            if let Some(value) = answer.poll() {
                return value;
            }
            assert!(self.clock_now() < patience, "no answer came");
            self.step();
        }
    }

    /// Who leads the cluster's own state.
    pub(super) fn controller(&mut self) -> usize {
        let leads = |world: &Self, number: usize| world.node(number).inner.controller.leads();
        self.until("somebody leads the cluster", |world| {
            world
                .running()
                .into_iter()
                .any(|number| leads(world, number))
        });
        self.running()
            .into_iter()
            .rfind(|&number| leads(self, number))
            .unwrap()
    }

    /// Who leads a partition.
    pub(super) fn leader(&mut self, topic: &str, partition: u32) -> usize {
        let leads = |world: &Self, number: usize| {
            let shared = world
                .node(number)
                .inner
                .partition(topic, PartitionId(partition));
            shared.is_ok_and(|shared| shared.is_led_here())
        };
        self.until("somebody leads the partition", |world| {
            world
                .running()
                .into_iter()
                .any(|number| leads(world, number))
        });
        self.running()
            .into_iter()
            .rfind(|&number| leads(self, number))
            .unwrap()
    }

    pub(super) fn create(&mut self, name: &str, partitions: u32) -> Arc<Topic> {
        let patch = TopicSettingsPatch {
            partitions: Some(partitions),
            ..Default::default()
        };
        self.create_with(name, &patch)
    }

    pub(super) fn create_with(&mut self, name: &str, patch: &TopicSettingsPatch) -> Arc<Topic> {
        loop {
            let controller = self.controller();
            let (done, created) = answer();
            self.node(controller).create_topic(name, patch, false, done);
            match self.wait(&created) {
                Ok(topic) => return topic,
                Err(ControlError::NotLeader { .. } | ControlError::NoQuorum { .. }) => self.step(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn delete(&mut self, name: &str) {
        let controller = self.controller();
        let (done, deleted) = answer();
        self.node(controller).delete_topic(name, done);
        self.wait(&deleted).unwrap();
    }

    /// Sends a batch to a node, whoever leads.
    pub(super) fn send(
        &self,
        number: usize,
        (topic, partition): (&str, u32),
        batch: Bytes,
    ) -> Answer<Result<Appended, ProduceError>> {
        let (done, sent) = answer();
        let produce = Produce {
            topic,
            partition: PartitionId(partition),
            batch,
            deadline: None,
            permit: None,
        };
        self.node(number).produce(produce, done);
        sent
    }

    /// Sends a batch to the leader until it is acknowledged, as a client does that knows of
    /// refusals only.
    pub(super) fn produce(&mut self, topic: &str, partition: u32, values: &[&str]) -> Appended {
        loop {
            let leader = self.leader(topic, partition);
            let sent = self.send(leader, (topic, partition), batch_of(values, None));
            match self.wait(&sent) {
                Ok(appended) => return appended,
                Err(ProduceError::Partition(super::PartitionError::NotLeader { .. })) => {
                    self.step()
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn reader(&mut self, topic: &str, partition: u32) -> PartitionReader {
        loop {
            let leader = self.leader(topic, partition);
            let (done, given) = answer();
            self.node(leader)
                .reader(topic, PartitionId(partition), done);
            match self.wait(&given) {
                Ok(reader) => return reader,
                Err(ReadError::Partition(_) | ReadError::NoQuorum { .. }) => self.step(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// All values of a partition that readers see at its leader, with their offsets.
    pub(super) fn values(&mut self, topic: &str, partition: u32) -> Vec<(Offset, String)> {
        let reader = self.reader(topic, partition);
        let end = reader.end();
        let mut cursor = reader.cursor(reader.earliest());
        let mut values = Vec::new();
        while cursor.position() < end {
            let read = cursor.read(10_000).unwrap();
            for batch in read.batches {
                for item in decode(batch.bytes).unwrap() {
                    let (offset, record) = item.unwrap();
                    let value = String::from_utf8(record.value.unwrap().into()).unwrap();
                    values.push((offset, value));
                }
            }
        }
        values
    }
}

/// Values with the offsets 0, 1, …
pub(super) fn numbered(values: &[&str]) -> Vec<(Offset, String)> {
    let numbered = values.iter().zip(0..);
    numbered
        .map(|(value, n)| (Offset(n), (*value).to_owned()))
        .collect()
}
