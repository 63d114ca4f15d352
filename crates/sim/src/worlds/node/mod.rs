//! The world `node`: whole nodes, as they run in production, over a simulated disk of bytes, a
//! simulated clock, and connections that carry frames.
//!
//! Nothing of a node is a model here: its keeper and its controller make a topic and place it, its
//! partitions' machines know producers again, its links shake hands and suspect each other. Around
//! it are clients (`clients`) and what looks on (`watch`): the roles that nodes report, what
//! their logs and machines hold, and what clients are told.

mod availability;
mod bounds;
mod clients;
mod count;
mod damage;
mod inject;
mod packet;
mod plant;
mod process;
mod records;
mod settings;
mod stranger;
mod watch;
mod wires;

use std::collections::BTreeMap;

use trilith_peer::FrameReader;
use trilith_topics::{controller::CONTROLLER_GROUP, group_id};
use trilith_types::{GroupId, LogIndex, NodeId, TopicId};

pub use availability::Account;
pub use clients::Step;
pub use packet::Packet;
pub use plant::{Bug, NodeBug};
pub use settings::Options;

use self::{
    availability::Probing,
    clients::{Clients, partition_of},
    process::{Driven, Node},
    settings::{ELECTION_TIMEOUT, Settings},
};
use crate::{
    engine::Context,
    event::{Down, Event},
    faults::{FaultKind, FaultPlan, Shape},
    history::{Action, Object, OpId},
    recorder::Recorder,
    rng::Rng,
    time::{SimTime, Span},
    world::World,
};

/// The group that the checkers of roles look at: the cluster's own state.
const FIRST: GroupId = CONTROLLER_GROUP;

/// The longest that an operation of the disk takes.
const DISK_MAX: Span = Span::secs(1);

/// How much longer an operation takes on a slow disk.
const SLOWER: u64 = 30;

/// The longest mean time of an operation of the disk once the world has healed.
const DISK_MEAN_HEALED: Span = Span::millis(2);

/// One restart in so many takes long.
const LONG_ONE_IN: u64 = 10;

type Cx = Context<NodeWorld>;

/// The nodes of a run.
pub struct NodeWorld {
    settings: Settings,
    nodes: Vec<Node>,
    members: Vec<NodeId>,
    clients: Clients,
    reader: FrameReader,
    next_wire: u64,
    healed: bool,
    topic_id: Option<TopicId>,
    /// What the topic keeps was said.
    has_promised: bool,
    /// How far each group had applied somewhere at the last look.
    marks: BTreeMap<GroupId, LogIndex>,
    /// The same at the look before.
    reached: BTreeMap<GroupId, LogIndex>,
    /// Nodes whose disks have lost something that was durable.
    damaged: Vec<NodeId>,
    probing: Option<Probing>,
}

/// What a node or the world waits for. What is meant for an earlier life is void.
#[derive(Debug)]
pub enum Timer {
    /// A node wants to be driven.
    Wake {
        /// Who.
        node: NodeId,
        /// In which life.
        life: u64,
        /// When; void when an earlier moment was planned since.
        at: SimTime,
    },
    /// The disk is done with an operation.
    Disk {
        /// Whose.
        node: NodeId,
        /// In which life.
        life: u64,
    },
    /// A pause is over.
    Resume {
        /// Whose.
        node: NodeId,
        /// In which life.
        life: u64,
    },
    /// A process is started again.
    Restart {
        /// Whose.
        node: NodeId,
        /// Which restart; only the last one that was asked for counts.
        number: u64,
    },
    /// A full disk has room again.
    Room {
        /// Whose.
        node: NodeId,
    },
    /// A client goes on.
    Client(Step),
    /// Somebody looks at all nodes.
    Detector,
    /// A process in a strange directory is killed.
    StrangerEnds {
        /// Whose.
        node: NodeId,
        /// In which life.
        life: u64,
    },
    /// A node gets its own directory again.
    OwnDirectory {
        /// Who.
        node: NodeId,
    },
    /// A write is offered.
    Offer,
    /// Some try of an offered write is due, or its time is up.
    Try {
        /// Which write.
        write: u64,
    },
    /// A node gets into trouble, or out of it.
    Trouble,
}

/// Whether a node could not start because its disk refused something just now.
fn is_faulty(error: &str) -> bool {
    ["a simulated fault", "disk full", "disk is full"]
        .iter()
        .any(|words| error.contains(words))
}

impl NodeWorld {
    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.get().checked_sub(1)? as usize)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.get().checked_sub(1)? as usize)
    }

    fn in_life(&self, id: NodeId, life: u64) -> bool {
        let now = self.node(id).and_then(|node| node.life.as_ref());
        now.is_some_and(|now| now.number == life)
    }

    /// Starts a node's process.
    fn start(&mut self, cx: &mut Cx, id: NodeId) {
        let settings = self.settings.clone();
        let Some(node) = self.node_mut(id).filter(|node| node.life.is_none()) else {
            return;
        };
        if !node.disk.is_on() {
            node.disk.restart();
        }
        let now = cx.now();
        node.clock
            .advance_to(std::time::Duration::from_micros(now.0));
        (node.wakes_at, node.planned) = (None, 0);
        if let Err(error) = node.start(&settings) {
            if !node.disk.is_on() || is_faulty(&error) {
                // The power went again while it started, or the disk failed.
                if node.names_fail {
                    node.disk.power_cut();
                } else {
                    node.disk.crash_process();
                }
                self.restart_later(cx, id);
            } else {
                cx.fail("start", format!("node {id} does not start: {error}"));
            }
            return;
        }
        self.tell_start(cx, id);
        self.end_stranger_later(cx, id);
        self.drive(cx, id);
    }

    fn restart_later(&mut self, cx: &mut Cx, id: NodeId) {
        // Now and then it is away until the others have removed what it has.
        let is_long = !self.healed && cx.rng().below(LONG_ONE_IN) == 0;
        let mean = ELECTION_TIMEOUT.times(if is_long { 20 } else { 2 });
        let wait = Span(cx.rng().waiting(mean.0));
        let Some(node) = self.node_mut(id) else {
            return;
        };
        node.restarts += 1;
        let number = node.restarts;
        cx.after(wait, Timer::Restart { node: id, number });
    }

    /// Lets a node do what there is to do, and carries away what it says.
    fn drive(&mut self, cx: &mut Cx, id: NodeId) {
        let now = cx.now();
        let Some(node) = self.node_mut(id).filter(|node| node.is_awake()) else {
            return;
        };
        let next = match node.drive(now) {
            Driven::Until(next) => next,
            Driven::Died => {
                let is_on = node.disk.is_on();
                let why = if is_on { Down::Crash } else { Down::PowerCut };
                self.stop(cx, id, why);
                return;
            }
            Driven::Finished => {
                self.carry_away(cx, id);
                self.stop(cx, id, Down::Crash);
                return;
            }
        };
        self.turn_links(cx, id);
        let links = self.node(id).and_then(|node| node.life.as_ref());
        let links = links.map_or(SimTime::MAX, |life| {
            SimTime(u64::try_from(life.links_at.as_micros()).unwrap_or(u64::MAX))
        });
        self.plan(cx, id, next.min(links));
        self.carry_away(cx, id);
        self.plan_disk(cx, id);
    }

    /// Plans the next time that a node is driven.
    fn plan(&mut self, cx: &mut Cx, id: NodeId, next: SimTime) {
        let now = cx.now();
        let Some(node) = self.node_mut(id) else {
            return;
        };
        let life = node.lives;
        let next = next.max(now.plus(Span(1)));
        if node.wakes_at.is_none_or(|at| next < at || at <= now) {
            node.wakes_at = Some(next);
            let timer = Timer::Wake {
                node: id,
                life,
                at: next,
            };
            cx.after(next.since(now), timer);
        }
    }

    /// Plans when the disk is done with what it was given.
    fn plan_disk(&mut self, cx: &mut Cx, id: NodeId) {
        let (now, mean) = (cx.now(), self.settings.sync_mean);
        let Some(node) = self.node_mut(id) else {
            return;
        };
        let (life, slow) = (node.lives, now < node.slow_until);
        while node.planned < node.disk.queued() {
            node.planned += 1;
            let mean = if slow { mean.times(SLOWER) } else { mean };
            let takes = Span(cx.rng().waiting(mean.0)).min(DISK_MAX);
            cx.after(takes, Timer::Disk { node: id, life });
        }
    }

    /// Ends a process; it comes back after a while.
    fn stop(&mut self, cx: &mut Cx, id: NodeId, why: Down) {
        let Some(node) = self.node_mut(id) else {
            return;
        };
        if node.life.is_none() {
            return;
        }
        self.count(cx, id);
        let Some(node) = self.node_mut(id) else {
            return;
        };
        let Some(life) = node.life.take() else { return };
        // A file system that cannot store its names any more does not live on.
        let why = match why {
            Down::DiskFailed if node.names_fail => Down::PowerCut,
            why => why,
        };
        match why {
            Down::PowerCut => node.disk.power_cut(),
            _ => node.disk.crash_process(),
        }
        if why != Down::PowerCut {
            Self::hang_up(cx, id, &life);
        }
        drop(life);
        self.drop_readers(id);
        cx.record(&Event::Stopped { node: id, why });
        self.restart_later(cx, id);
    }

    fn own_timer(&mut self, cx: &mut Cx, id: NodeId, timer: &Timer) {
        let Some(node) = self.node_mut(id) else {
            return;
        };
        match timer {
            Timer::Wake { at, .. } if node.wakes_at != Some(*at) => return,
            Timer::Wake { .. } => node.wakes_at = None,
            Timer::Disk { .. } => {
                node.planned = node.planned.saturating_sub(1);
                node.disk.complete_next();
            }
            Timer::Resume { .. } => self.resume(cx, id),
            _ => {}
        }
        self.drive(cx, id);
    }

    fn resume(&mut self, cx: &mut Cx, id: NodeId) {
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        if std::mem::take(&mut life.paused) {
            let inbox = std::mem::take(&mut life.inbox);
            for (from, packet) in inbox {
                self.take_packet(cx, id, from, packet);
            }
            cx.record(&Event::Paused {
                node: id,
                still: false,
            });
        }
    }

    /// A node to ask about an object: the one that was meant, or one that holds itself for the
    /// leader of its partition.
    fn whom(&self, cx: &mut Cx, meant: NodeId, object: Object) -> NodeId {
        let Some(topic) = self.topic_id.filter(|_| cx.rng().below(4) > 0) else {
            return meant;
        };
        let group = group_id(topic, partition_of(object));
        let leads = |node: &&Node| node.role(group) == Some(trilith_raft::Role::Leader);
        let leaders: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(leads)
            .map(|node| node.id)
            .collect();
        cx.rng().pick(&leaders).copied().unwrap_or(meant)
    }
}

impl World for NodeWorld {
    type Message = Packet;
    type Timer = Timer;
    type Options = Options;

    fn shape(options: &Options) -> Shape {
        Shape {
            supported: inject::SUPPORTED,
            always: options.always.clone(),
            election_timeout: ELECTION_TIMEOUT,
            drift_max: 0,
        }
    }

    fn absent() -> Vec<&'static str> {
        let faults = FaultKind::names_beside(inject::SUPPORTED);
        faults.chain(count::ABSENT.iter().copied()).collect()
    }

    fn nodes_max(nodes: u64) -> u64 {
        nodes
    }

    fn new(plan: &FaultPlan, options: &Options, rng: &mut Rng) -> Self {
        #[cfg(feature = "planted-bugs")]
        trilith_types::planted::set(options.bug.and_then(NodeBug::in_code));
        let members: Vec<NodeId> = (1..=plan.nodes).map(NodeId).collect();
        Self {
            settings: match options.availability {
                true => Settings::usual(plan.nodes),
                false => Settings::draw(plan, options, rng),
            },
            nodes: members.iter().map(|id| Node::new(*id, rng)).collect(),
            members,
            clients: Clients::draw(plan, rng),
            reader: FrameReader::default(),
            next_wire: 1,
            healed: false,
            topic_id: None,
            has_promised: false,
            marks: BTreeMap::new(),
            reached: BTreeMap::new(),
            damaged: Vec::new(),
            probing: options.availability.then(Probing::default),
        }
    }

    fn boot(&mut self, cx: &mut Cx) {
        for id in self.members.clone() {
            self.start(cx, id);
        }
        cx.after(ELECTION_TIMEOUT, Timer::Detector);
        self.begin_clients(cx);
        self.begin_probing(cx);
    }

    fn receive(&mut self, cx: &mut Cx, id: u64, to: NodeId, from: NodeId, packet: Packet) {
        let Some(life) = self.node_mut(to).and_then(|node| node.life.as_mut()) else {
            self.refuse_packet(cx, id, to, from, &packet);
            return;
        };
        cx.record(&Event::Received { id, from, to });
        if life.paused {
            life.inbox.push((from, packet));
            return;
        }
        self.take_packet(cx, to, from, packet);
        self.drive(cx, to);
    }

    fn timer(&mut self, cx: &mut Cx, timer: Timer) {
        match timer {
            Timer::Client(step) => self.client_step(cx, step),
            Timer::Detector => self.look_around(cx),
            Timer::Offer => self.offer(cx),
            Timer::Try { write } => self.try_write(cx, write),
            Timer::Trouble => self.trouble(cx),
            Timer::Restart { node, number } => {
                if self.node(node).is_some_and(|n| n.restarts == number) {
                    self.start(cx, node);
                }
            }
            Timer::Room { node } => self.make_room(node),
            Timer::OwnDirectory { node } => self.give_back(cx, node),
            Timer::StrangerEnds { node, life } => {
                if self.in_life(node, life) {
                    self.stop(cx, node, Down::Crash);
                }
            }
            Timer::Wake { node, life, .. }
            | Timer::Disk { node, life }
            | Timer::Resume { node, life } => {
                if self.in_life(node, life) {
                    self.own_timer(cx, node, &timer);
                }
            }
        }
    }

    fn inject(&mut self, cx: &mut Cx, kind: FaultKind) {
        if !self.healed {
            self.strike(cx, kind);
        }
    }

    fn heal(&mut self, cx: &mut Cx) {
        self.healed = true;
        self.settings.sync_mean = self.settings.sync_mean.min(DISK_MEAN_HEALED);
        for id in self.members.clone() {
            self.give_back(cx, id);
            self.make_room(id);
            let now = cx.now();
            let Some(node) = self.node_mut(id) else {
                continue;
            };
            node.slow_until = now;
            node.disk.clear_failures();
            if let Some(life) = &mut node.life {
                life.doom = None;
            } else {
                self.restart_later(cx, id);
            }
            self.resume(cx, id);
            self.drive(cx, id);
        }
        self.heal_clients(cx);
    }

    fn is_whole(&self) -> bool {
        self.nodes.iter().all(Node::is_awake)
    }

    fn unsettled(&mut self, recorder: &Recorder, healed: SimTime, _: LogIndex) -> Option<String> {
        self.whole_unsettled(recorder, healed)
    }

    fn disturb(&mut self, cx: &mut Cx) {
        let leads = |node: &&Node| node.role(FIRST) == Some(trilith_raft::Role::Leader);
        let leader = self.nodes.iter().find(leads).map(|node| node.id);
        let others: Vec<NodeId> = self
            .members
            .iter()
            .copied()
            .filter(|id| Some(*id) != leader)
            .collect();
        let other = cx.rng().pick(&others).copied();
        if let (Some(leader), Some(other)) = (leader, other) {
            if let Some(life) = self.node_mut(other).and_then(|node| node.life.as_mut()) {
                life.mislead(leader);
            }
            self.drive(cx, other);
        }
    }

    fn fail_leader(&mut self, cx: &mut Cx) -> bool {
        let Some(leader) = cx.recorder().checkers().view().leader().map(|(id, _)| id) else {
            return false;
        };
        self.stop(cx, leader, Down::Crash);
        // The restart that it asked for is void.
        if let Some(node) = self.node_mut(leader) {
            node.restarts += 1;
        }
        self.members.len() > 2
    }

    fn invoke(&mut self, cx: &mut Cx, op: OpId, node: NodeId, object: Object, action: Action) {
        let id = self.whom(cx, node, object);
        self.do_plainly(cx, (op, id), object, action);
    }
}
