//! The network: every step takes a millisecond.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use trilith_raft::{Random, SplitMix64};
use trilith_types::{ClusterId, Incarnation, NodeId};

use crate::{
    Action, Agreed, Class, ConnId, Found, Handshake, Heartbeat, Identity, LinkConfig, Links,
    Membership, NodeMessage, Peer, PeerEvent, Progress, Refusal, Registry, Versions,
};

type Shared<T> = Arc<std::sync::Mutex<T>>;

/// What the node around the links knows.
#[derive(Debug)]
pub(super) struct Knowledge {
    pub(super) identity: Identity,
    pub(super) peers: Vec<Peer>,
    pub(super) founders: Option<Found>,
    pub(super) admits: bool,
    pub(super) removed: Option<NodeId>,
    pub(super) knows_members: bool,
    pub(super) is_stuck: bool,
    progress: u64,
}

#[derive(Clone, Debug)]
pub(super) struct TestRegistry(pub(super) Shared<Knowledge>);

impl TestRegistry {
    pub(super) fn know<T>(&self, with: impl FnOnce(&mut Knowledge) -> T) -> T {
        with(&mut self.0.lock().unwrap())
    }
}

impl Registry for TestRegistry {
    fn identity(&self) -> Identity {
        self.know(|k| k.identity.clone())
    }

    fn peers(&self) -> Vec<Peer> {
        self.know(|k| k.peers.clone())
    }

    fn removed(&self, node: NodeId) -> Option<String> {
        let removed = self.know(|k| k.removed == Some(node));
        removed.then(|| format!("node {node} was removed"))
    }

    fn admit(&self, node: NodeId, _: &str, _: Incarnation) -> Result<(), String> {
        match self.know(|k| k.admits) {
            true => Ok(()),
            false => Err(format!("node {node} is no member")),
        }
    }

    fn met(&self, _: NodeId) -> Incarnation {
        Incarnation(0)
    }

    fn found_for(&self, name: &str) -> Option<Found> {
        let found = self.know(|k| k.founders.clone())?;
        found
            .members
            .iter()
            .any(|m| m.name == name)
            .then_some(found)
    }

    fn knows_members(&self) -> bool {
        self.know(|k| k.knows_members)
    }

    fn found(&self, found: Found) -> Result<(), String> {
        self.know(|k| {
            let mine = found.members.iter().find(|m| m.name == k.identity.name);
            k.identity.member = mine.map(|member| Membership {
                cluster: found.cluster,
                node: member.node,
            });
        });
        Ok(())
    }

    fn progress(&self) -> Progress {
        self.know(|k| {
            k.progress += u64::from(!k.is_stuck);
            Progress {
                shards: vec![k.progress, 3 * k.progress],
                disk: k.progress,
            }
        })
    }

    fn deliver(&self, _: NodeId, messages: &mut Vec<NodeMessage>) {
        assert!(messages.is_empty(), "the network carries heartbeats alone");
    }

    fn peer_event(&self, _: PeerEvent) {}

    fn refused(&self, _: &str, _: &Refusal) {}
}

/// The `start`-th life of any node here.
pub(super) const fn life(start: u64) -> Incarnation {
    Incarnation::new(start, 1, start)
}

/// One end of a connection: whose, and its number there.
type End = (usize, ConnId);

#[derive(Debug)]
enum Parcel {
    Connected(ConnId),
    Failed(ConnId),
    Step(ConnId, Handshake),
    Beat(ConnId, Heartbeat),
    Closed(ConnId),
}

#[derive(Debug)]
pub(super) struct TestNode {
    pub(super) links: Links,
    pub(super) registry: TestRegistry,
    pub(super) events: Vec<(Duration, PeerEvent)>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) closes: Vec<String>,
    pub(super) dials: Vec<Duration>,
    pub(super) open: BTreeMap<(NodeId, Class), (ConnId, Agreed)>,
    /// Neither runs nor answers; its connections stay.
    pub(super) is_paused: bool,
}

#[derive(Debug)]
pub(super) struct Net {
    pub(super) now: Duration,
    pub(super) nodes: Vec<TestNode>,
    pub(super) config: LinkConfig,
    other_end: BTreeMap<End, End>,
    on_the_way: VecDeque<(Duration, usize, Parcel)>,
    /// What the first says does not reach the second.
    pub(super) cut: BTreeSet<(usize, usize)>,
    seed: u64,
}

pub(super) const CLUSTER: ClusterId = ClusterId(5);
const STEP: Duration = Duration::from_millis(1);

pub(super) fn member(node: u64) -> Option<Membership> {
    Some(Membership {
        cluster: CLUSTER,
        node: NodeId(node),
    })
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            nodes: Vec::new(),
            config: LinkConfig::default(),
            other_end: BTreeMap::new(),
            on_the_way: VecDeque::new(),
            cut: BTreeSet::new(),
            seed,
        }
    }

    /// Members 1 to `count`, all of which know each other.
    pub(super) fn cluster(count: u64, seed: u64) -> Self {
        let mut net = Self::new(seed);
        for n in 1..=count {
            let others = (1..=count).filter(|&other| other != n);
            let peers: Vec<_> = others.map(|o| (Some(o), o as usize - 1)).collect();
            net.add(member(n), &format!("n{n}"), 1, &peers);
        }
        net
    }

    /// Adds a node that knows `peers`: their numbers, if known, and which of the nodes here
    /// listens at their address.
    pub(super) fn add(
        &mut self,
        member: Option<Membership>,
        name: &str,
        incarnation: u64,
        peers: &[(Option<u64>, usize)],
    ) -> usize {
        let knowledge = Knowledge {
            identity: Identity {
                member,
                name: name.to_owned(),
                incarnation: life(incarnation),
            },
            peers: peers
                .iter()
                .map(|&(node, at)| Peer {
                    node: node.map(NodeId),
                    address: at.to_string(),
                })
                .collect(),
            founders: None,
            admits: true,
            removed: None,
            knows_members: true,
            is_stuck: false,
            progress: 0,
        };
        self.seed += 1;
        let links = Links::new(self.config, Box::new(SplitMix64(self.seed)));
        self.nodes.push(TestNode {
            links,
            registry: TestRegistry(Shared::new(knowledge.into())),
            events: Vec::new(),
            refusals: Vec::new(),
            closes: Vec::new(),
            dials: Vec::new(),
            open: BTreeMap::new(),
            is_paused: false,
        });
        let at = self.nodes.len() - 1;
        self.refresh(at);
        at
    }

    pub(super) fn speak(&mut self, at: usize, versions: Versions) {
        let links = Links::new(self.config, Box::new(SplitMix64(self.seed)));
        self.nodes[at].links = links.with_versions(versions);
        self.refresh(at);
    }

    pub(super) fn refresh(&mut self, at: usize) {
        self.decide(at, |links, now, registry, out| {
            links.refresh(now, registry, out);
        });
    }

    /// Ends a node: its connections close, and nobody listens at its address until
    /// [`Net::restart`].
    pub(super) fn kill(&mut self, at: usize) {
        let ends: Vec<_> = self
            .other_end
            .keys()
            .filter(|end| end.0 == at)
            .copied()
            .collect();
        for end in ends {
            self.hang_up(end);
        }
        self.nodes[at].is_paused = true;
        self.on_the_way.retain(|(_, to, _)| *to != at);
        self.nodes[at].open.clear();
        let links = Links::new(self.config, Box::new(SplitMix64(self.seed)));
        self.nodes[at].links = links;
    }

    pub(super) fn restart(&mut self, at: usize) {
        self.nodes[at].is_paused = false;
        self.nodes[at]
            .registry
            .know(|k| k.identity.incarnation = life(k.identity.incarnation.start() + 1));
        self.refresh(at);
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.deliver();
            for at in 0..self.nodes.len() {
                if !self.nodes[at].is_paused {
                    self.decide(at, |links, now, registry, out| {
                        links.turn(now, registry, out);
                    });
                }
            }
        }
    }

    pub(super) fn accept(&mut self, at: usize) -> Option<ConnId> {
        let now = self.now;
        self.nodes[at].links.accepted(now)
    }

    /// A step of a handshake from nowhere.
    pub(super) fn shake(&mut self, at: usize, conn: ConnId, step: Handshake) {
        self.decide(at, |links, now, registry, out| {
            links.handshake(now, conn, step, registry, out);
        });
    }

    fn deliver(&mut self) {
        while let Some(&(due, to, _)) = self.on_the_way.front()
            && due <= self.now
        {
            let Some((_, _, parcel)) = self.on_the_way.pop_front() else {
                return;
            };
            if self.nodes[to].is_paused {
                // It waits in the socket.
                let later = self.now + STEP;
                self.on_the_way.push_back((later, to, parcel));
                continue;
            }
            self.decide(to, |links, now, registry, out| match parcel {
                Parcel::Connected(conn) => links.dialled(conn, registry, out),
                Parcel::Failed(conn) | Parcel::Closed(conn) => links.closed(now, conn, out),
                Parcel::Step(conn, step) => links.handshake(now, conn, step, registry, out),
                Parcel::Beat(conn, heartbeat) => links.heartbeat(now, conn, heartbeat, out),
            });
        }
    }

    fn decide(
        &mut self,
        at: usize,
        decision: impl FnOnce(&mut Links, Duration, &dyn Registry, &mut Vec<Action>),
    ) {
        let mut actions = Vec::new();
        let node = &mut self.nodes[at];
        let registry = node.registry.clone();
        decision(&mut node.links, self.now, &registry, &mut actions);
        for action in actions {
            self.carry_out(at, action);
        }
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        match action {
            Action::Dial { conn, address } => self.dial(at, conn, &address),
            Action::Say { conn, step } => {
                self.send((at, conn), |conn| Parcel::Step(conn, step));
            }
            Action::Open {
                conn,
                node,
                class,
                agreed,
            } => drop(self.nodes[at].open.insert((node, class), (conn, agreed))),
            Action::Send { conn, message } => {
                let NodeMessage::Heartbeat(heartbeat) = message else {
                    panic!("links send heartbeats alone");
                };
                self.send((at, conn), |conn| Parcel::Beat(conn, heartbeat));
            }
            Action::Close { conn, why, .. } => {
                self.nodes[at].closes.push(why);
                self.nodes[at].open.retain(|_, open| open.0 != conn);
                self.hang_up((at, conn));
            }
            Action::Event(event) => self.nodes[at].events.push((self.now, event)),
            Action::Refused { refusal, .. } => self.nodes[at].refusals.push(refusal),
        }
    }

    fn dial(&mut self, at: usize, conn: ConnId, address: &str) {
        let now = self.now;
        self.nodes[at].dials.push(now);
        let to: usize = address.parse().unwrap();
        let is_cut = self.cut.contains(&(at, to)) || self.cut.contains(&(to, at));
        if is_cut {
            return;
        }
        let accepted = match self.nodes.get_mut(to) {
            Some(node) if !node.is_paused => node.links.accepted(now),
            _ => None,
        };
        let due = now + STEP;
        let parcel = match accepted {
            Some(other) => {
                self.other_end.insert((at, conn), (to, other));
                self.other_end.insert((to, other), (at, conn));
                Parcel::Connected(conn)
            }
            None => Parcel::Failed(conn),
        };
        self.on_the_way.push_back((due, at, parcel));
    }

    fn send(&mut self, from: End, parcel: impl FnOnce(ConnId) -> Parcel) {
        if let Some(&(to, conn)) = self.other_end.get(&from)
            && !self.cut.contains(&(from.0, to))
        {
            let due = self.now + STEP;
            self.on_the_way.push_back((due, to, parcel(conn)));
        }
    }

    fn hang_up(&mut self, end: End) {
        self.send(end, Parcel::Closed);
        if let Some(other) = self.other_end.remove(&end) {
            self.other_end.remove(&other);
            self.nodes[other.0].open.retain(|_, open| open.0 != other.1);
        }
    }

    /// The events of one node about another, without their times.
    pub(super) fn events(&self, at: usize, node: u64) -> Vec<PeerEvent> {
        let about = |event: &PeerEvent| match *event {
            PeerEvent::Suspect(n) | PeerEvent::Alive(n) | PeerEvent::Reset(n, _) => {
                n == NodeId(node)
            }
        };
        let events = self.nodes[at].events.iter().map(|&(_, event)| event);
        events.filter(about).collect()
    }

    /// When a node last said that of another.
    pub(super) fn when(&self, at: usize, event: PeerEvent) -> Option<Duration> {
        let mut events = self.nodes[at].events.iter().rev();
        events.find(|&&(_, e)| e == event).map(|&(when, _)| when)
    }

    /// Whether both connections of the pair are open and the same at both ends.
    pub(super) fn is_paired(&self, a: usize, b: usize) -> bool {
        let (na, nb) = (NodeId(a as u64 + 1), NodeId(b as u64 + 1));
        Class::ALL.iter().all(|&class| {
            let ours = self.nodes[a].open.get(&(nb, class)).map(|open| (a, open.0));
            let theirs = self.nodes[b].open.get(&(na, class)).map(|open| (b, open.0));
            ours.is_some_and(|ours| self.other_end.get(&ours) == theirs.as_ref())
        })
    }
}

pub(super) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A generator that always gives the least.
pub(super) struct Least;

impl Random for Least {
    fn below(&mut self, _: u64) -> u64 {
        0
    }
}
