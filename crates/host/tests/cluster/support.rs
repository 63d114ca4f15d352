//! The cluster.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use trilith_env::{
    Env,
    sim::{SimClock, SimDisk, SimRng},
};
use trilith_host::{
    Alarm, Group, GroupSpec, GroupStatus, HostConfig, HostHandle, HostParts, Observer, Outbound,
    PeerEvent, Shard, Workers,
};
use trilith_peer::NodeMessage;
use trilith_raft::{Body, Configuration, Role, RoleChange};
use trilith_storage::{LogConfig, journal::JournalConfig};
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, Offset, TimestampMs};

use crate::machine::{List, Put, Ticket};

pub(crate) const GROUP: GroupId = GroupId(7);

const TICK: Duration = Duration::from_millis(20);

/// Rounds of work without the clock going on; a cluster that needs more is in a loop.
const ROUNDS_MAX: usize = 100_000;

/// Messages under way, and links that are cut.
#[derive(Default)]
pub(crate) struct Net {
    queue: VecDeque<(NodeId, NodeId, NodeMessage)>,
    cut: BTreeSet<(NodeId, NodeId)>,
    pub(crate) chunks: usize,
    /// Requests for lost bytes, and answers that bring some.
    pub(crate) repairs: (usize, usize),
}

struct Wire {
    from: NodeId,
    net: Arc<Mutex<Net>>,
}

impl Outbound for Wire {
    fn send(&self, to: NodeId, message: NodeMessage) {
        let mut net = self.net.lock();
        if matches!(message, NodeMessage::SnapshotChunk(_)) {
            net.chunks += 1;
        }
        if let NodeMessage::Group(message) = &message {
            match message.message.body {
                Body::RepairRequest(_) => net.repairs.0 += 1,
                Body::Repair(_) => net.repairs.1 += 1,
                _ => {}
            }
        }
        if !net.cut.contains(&(self.from, to)) {
            net.queue.push_back((self.from, to, message));
        }
    }

    fn flush(&self) {}

    fn has_room(&self, _to: NodeId) -> bool {
        true
    }
}

/// What an observer has heard.
#[derive(Default)]
pub(crate) struct Ears {
    pub(crate) alarms: Mutex<Vec<Alarm>>,
    pub(crate) fatal: Mutex<Vec<String>>,
    pub(crate) roles: Mutex<Vec<RoleChange>>,
}

impl Observer for Ears {
    fn role(&self, _group: GroupId, role: &RoleChange, _members: &Configuration) {
        self.roles.lock().push(*role);
    }

    fn alarm(&self, _group: GroupId, alarm: &Alarm) {
        self.alarms.lock().push(alarm.clone());
    }

    fn fatal(&self, reason: &str) {
        self.fatal.lock().push(reason.to_owned());
    }
}

pub(crate) struct SimNode {
    pub(crate) disk: SimDisk,
    incarnation: u64,
    /// Nothing that its disk was given is ever done.
    pub(crate) is_stuck: bool,
    pub(crate) ears: Arc<Ears>,
    running: Option<(HostHandle<List>, Vec<Shard<List>>)>,
}

pub(crate) struct Cluster {
    pub(crate) clock: SimClock,
    pub(crate) net: Arc<Mutex<Net>>,
    pub(crate) nodes: BTreeMap<NodeId, SimNode>,
    seed: u64,
    pub(crate) log: LogConfig,
    pub(crate) settings: HostConfig,
    pub(crate) first_members: Vec<u64>,
    pub(crate) state_is_all: bool,
    /// A shard's turn takes all messages that are under way, not one.
    pub(crate) in_batches: bool,
    next_value: u64,
}

pub(crate) fn node(id: u64) -> NodeId {
    NodeId(id)
}

impl Cluster {
    /// `count` nodes, all members, none of them started.
    pub(crate) fn new(seed: u64, count: u64) -> Self {
        let nodes = (1..=count).map(|id| {
            let node = SimNode {
                disk: SimDisk::new(seed * 100 + id),
                incarnation: 0,
                is_stuck: false,
                ears: Arc::default(),
                running: None,
            };
            (NodeId(id), node)
        });
        let mut settings = HostConfig::new(NodeId(1), Incarnation(1), "/data");
        settings.journal = JournalConfig {
            file_bytes: 1 << 20,
            files_max: 4,
            ..JournalConfig::default()
        };
        Self {
            clock: SimClock::new(TimestampMs(1_000_000)),
            net: Arc::default(),
            nodes: nodes.collect(),
            seed,
            log: LogConfig {
                segment_bytes: 64 << 10,
                reserve_bytes: 0,
                resume_bytes: 64 << 10,
                preallocate_bytes_max: 64 << 10,
                ..LogConfig::of_many()
            },
            settings,
            first_members: (1..=count).collect(),
            state_is_all: false,
            in_batches: false,
            next_value: 0,
        }
    }

    /// The same, started, with a leader.
    pub(crate) fn started(seed: u64, count: u64) -> Self {
        let mut cluster = Self::new(seed, count);
        cluster.start_all();
        cluster.await_leader();
        cluster
    }

    pub(crate) fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id);
        }
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        self.start_host(id);
        self.open_group(id);
    }

    /// Starts a node whose group cannot be opened; says why.
    pub(crate) fn start_refused(&mut self, id: NodeId) -> String {
        self.start_host(id);
        let refused = self.try_open(id);
        refused.unwrap_err()
    }

    fn start_host(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(node.running.is_none());
        node.incarnation += 1;
        let env = Env {
            disk: Arc::new(node.disk.clone()),
            clock: Arc::new(self.clock.clone()),
            rng: Arc::new(SimRng::new(
                self.seed * 1000 + id.0 * 100 + node.incarnation,
            )),
        };
        let mut config = self.settings.clone();
        config.node = id;
        config.incarnation = Incarnation(node.incarnation);
        config.shards = 2;
        let wire = Wire {
            from: id,
            net: Arc::clone(&self.net),
        };
        let ears = Arc::clone(&node.ears) as Arc<dyn Observer>;
        let parts: HostParts<List> =
            trilith_host::open(&env, config, Workers::None, Arc::new(wire), ears).unwrap();
        node.running = Some((parts.handle, parts.shards));
    }

    pub(crate) fn open_group(&mut self, id: NodeId) {
        self.try_open(id).unwrap();
        let others: Vec<NodeId> = self
            .ids()
            .into_iter()
            .filter(|&other| other != id)
            .collect();
        for other in others {
            // Every life is announced, as links do.
            if let Some((handle, _)) = &self.nodes[&other].running {
                handle.peer_event(PeerEvent::Alive(id));
            }
        }
    }

    fn try_open(&mut self, id: NodeId) -> Result<(), String> {
        let members = self.first_members.iter().map(|&id| NodeId(id));
        let members = if self.first_members.contains(&id.0) {
            Configuration::of_voters(members)
        } else {
            Configuration::default()
        };
        let mut machine = List::default();
        machine.state_is_all = self.state_is_all;
        let mut spec = GroupSpec::new(GROUP, PathBuf::from("/data/group-7"), members, machine);
        spec.log = self.log.clone();
        let opened = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&opened);
        self.handle(id).open_group(spec, move |result| {
            *tell.lock() = Some(result.map(drop).map_err(|error| error.to_string()));
        });
        self.settle();
        let opened = opened.lock().take();
        opened.expect("it is answered")
    }

    pub(crate) fn handle(&self, id: NodeId) -> &HostHandle<List> {
        &self.nodes[&id].running.as_ref().unwrap().0
    }

    pub(crate) fn group(&self, id: NodeId) -> Arc<Group> {
        self.handle(id).group(GROUP).unwrap()
    }

    pub(crate) fn is_running(&self, id: NodeId) -> bool {
        self.nodes[&id].running.is_some()
    }

    fn suspect(&mut self, id: NodeId) {
        for other in self.ids() {
            if other != id
                && let Some((handle, _)) = &self.nodes[&other].running
            {
                handle.peer_event(PeerEvent::Suspect(id));
            }
        }
    }

    /// The power of one node goes; it comes back when it is started.
    pub(crate) fn power_cut(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.disk.power_cut();
        node.running = None;
        node.disk.restart();
        self.drop_messages_of(id);
        self.suspect(id);
    }

    /// The process is killed: what it wrote stays in the page cache.
    pub(crate) fn kill(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.disk.crash_process();
        node.running = None;
        self.drop_messages_of(id);
        self.suspect(id);
    }

    fn drop_messages_of(&mut self, id: NodeId) {
        let mut net = self.net.lock();
        net.queue.retain(|(from, to, _)| *from != id && *to != id);
    }

    /// Stops a node cleanly, and waits for it.
    pub(crate) fn stop(&mut self, id: NodeId) {
        self.handle(id).shutdown();
        for _ in 0..500 {
            self.settle();
            let (_, shards) = self.nodes[&id].running.as_ref().unwrap();
            if shards.iter().all(Shard::is_finished) {
                let node = self.nodes.get_mut(&id).unwrap();
                node.running = None;
                node.disk.crash_process();
                self.suspect(id);
                return;
            }
            self.tick();
        }
        panic!("node {id} does not stop");
    }

    pub(crate) fn cut_off(&mut self, id: NodeId) {
        for other in self.ids() {
            self.cut(id, other);
            self.cut(other, id);
        }
    }

    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.net.lock().cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.net.lock().cut.clear();
    }

    /// Works until nothing moves while the clock stands.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for node in self.nodes.values_mut() {
                let Some((_, shards)) = &mut node.running else {
                    continue;
                };
                for shard in shards {
                    if shard.has_events() {
                        shard.turn();
                        moved = true;
                    }
                }
                moved |= !node.is_stuck && node.disk.complete_next();
            }
            let mut net = self.net.lock();
            let count = if self.in_batches { net.queue.len() } else { 1 };
            let count = count.min(net.queue.len());
            let next: Vec<_> = net.queue.drain(..count).collect();
            drop(net);
            for (from, to, message) in next {
                moved = true;
                if let Some((handle, _)) = &self.nodes[&to].running {
                    assert!(handle.deliver(from, message).is_none());
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the cluster never comes to rest");
    }

    /// Lets a tick's time pass.
    pub(crate) fn tick(&mut self) {
        self.settle();
        self.clock.advance(TICK);
        for node in self.nodes.values_mut() {
            if let Some((_, shards)) = &mut node.running {
                for shard in shards {
                    shard.turn();
                }
            }
        }
        self.settle();
    }

    pub(crate) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// Lets time pass until `done`.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..2_000 {
            if done(self) {
                return;
            }
            self.tick();
        }
        for id in self.ids() {
            if self.is_running(id) {
                eprintln!("{id}: {:?}", self.status(id));
            }
        }
        panic!("never: {what}");
    }

    /// The leader that takes requests, in the highest term.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let running = self.ids().into_iter().filter(|&id| self.is_running(id));
        let leading = running.filter_map(|id| {
            let view = self.handle(id).group(GROUP)?.view();
            (view.role == Role::Leader).then_some((view.term, id))
        });
        leading.max().map(|(_, id)| id)
    }

    #[track_caller]
    pub(crate) fn await_leader(&mut self) -> NodeId {
        self.until("somebody leads", |cluster| cluster.leader().is_some());
        self.leader().unwrap()
    }

    pub(crate) fn put_at(&mut self, id: NodeId, bytes: usize) -> (u64, Ticket) {
        self.next_value += 1;
        let (value, ticket) = (self.next_value, Ticket::default());
        let put = Put {
            value,
            bytes,
            once: false,
            ticket: ticket.clone(),
        };
        self.handle(id).request(GROUP, put);
        (value, ticket)
    }

    pub(crate) fn request(&mut self, id: NodeId, value: u64, once: bool) -> Ticket {
        let ticket = Ticket::default();
        let put = Put {
            value,
            bytes: 8,
            once,
            ticket: ticket.clone(),
        };
        self.handle(id).request(GROUP, put);
        ticket
    }

    /// Stores `count` values of `bytes` each, one after the other, and waits for all.
    #[track_caller]
    pub(crate) fn store(&mut self, count: usize, bytes: usize) -> Vec<u64> {
        let mut stored = Vec::new();
        for _ in 0..count {
            let leader = self.await_leader();
            let (value, ticket) = self.put_at(leader, bytes);
            self.until("a value is stored", |_| ticket.outcome().is_some());
            assert!(ticket.is_stored(), "{:?}", ticket.outcome());
            stored.push(value);
        }
        stored
    }

    pub(crate) fn values(&mut self, id: NodeId) -> Vec<u64> {
        let values = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&values);
        self.handle(id).instruct(GROUP, move |list, _| {
            *tell.lock() = Some(list.values.clone());
        });
        self.settle();
        let values = values.lock().take();
        values.unwrap()
    }

    pub(crate) fn status(&mut self, id: NodeId) -> GroupStatus {
        let status = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&status);
        self.handle(id).status(GROUP, move |s| *tell.lock() = s);
        self.settle();
        let status = status.lock().take();
        status.unwrap()
    }

    /// Waits until every running node has applied everything, and all hold the same.
    #[track_caller]
    pub(crate) fn agree(&mut self) -> Vec<u64> {
        self.await_leader();
        let ids: Vec<NodeId> = self
            .ids()
            .into_iter()
            .filter(|&id| self.is_running(id))
            .collect();
        self.until("all have applied the same", |cluster| {
            let applied: BTreeSet<LogIndex> =
                ids.iter().map(|&id| cluster.group(id).applied()).collect();
            let last: BTreeSet<LogIndex> = ids
                .iter()
                .map(|&id| cluster.status(id).core.last.index)
                .collect();
            applied.len() == 1 && applied == last
        });
        let all: BTreeSet<Vec<u64>> = ids.iter().map(|&id| self.values(id)).collect();
        assert_eq!(all.len(), 1, "replicas differ");
        all.into_iter().next().unwrap()
    }

    /// What readers of a node see, from the log's start.
    pub(crate) fn read_log(&mut self, id: NodeId) -> Vec<u64> {
        let reader = self.group(id).reader();
        let mut values = Vec::new();
        let mut next = reader.start_offset();
        while next < reader.visible_upto() {
            let chunk = reader.read(next, 1 << 20).unwrap();
            for frame in &chunk.frames {
                let value = frame.payload[..8].try_into().unwrap();
                values.push(u64::from_le_bytes(value));
            }
            next = chunk.next.max(Offset(next.0));
        }
        values
    }

    pub(crate) fn alarms(&self, id: NodeId) -> Vec<Alarm> {
        self.nodes[&id].ears.alarms.lock().clone()
    }
}
