//! A node's connections to its peers: whom to dial and when, who is let in, who is suspected.
//!
//! [`Links`] is told what happened and says what to do. It reads no clock and owns no socket:
//! `now` is any monotonic time, and whoever carries out the [`Action`]s does so in their order.
//!
//! Each pair of nodes has two connections, one for each [`Class`], and either side may dial. When
//! both do so at once, the connection that the node with the lower number dialled stays.

mod accept;
mod check;
mod dial;
mod health;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use trilith_raft::Random;
use trilith_types::{Incarnation, NodeId};

pub use self::check::life as check_life;
use self::health::Health;
use crate::{
    config::LinkConfig,
    handshake::{Agreed, Handshake, Introduction, Refusal, Versions},
    heartbeat::Heartbeat,
    message::{Class, NodeMessage},
    registry::{Identity, PeerEvent, Registry},
};

/// A connection's number; never used twice in the life of a [`Links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect, and say [`Links::dialled`] or [`Links::closed`].
    Dial {
        /// The number of the connection that is to be.
        conn: ConnId,
        /// Where to.
        address: String,
    },
    /// Write a step of the handshake.
    Say {
        /// Where.
        conn: ConnId,
        /// What.
        step: Handshake,
    },
    /// The handshake is done: from now on what comes goes to [`Registry::deliver`], but for
    /// heartbeats, which go to [`Links::heartbeat`]; and what goes to this node in this class
    /// goes here.
    Open {
        /// The connection.
        conn: ConnId,
        /// Who is there.
        node: NodeId,
        /// What it is for.
        class: Class,
        /// How they go on.
        agreed: Agreed,
    },
    /// Write a message, before all that waits.
    Send {
        /// Where.
        conn: ConnId,
        /// What.
        message: NodeMessage,
    },
    /// Close it, once what was said has been written. No [`Links::closed`] is needed.
    Close {
        /// Which.
        conn: ConnId,
        /// Why, for the log.
        why: String,
        /// Whether somebody should look at it; else it is what happens between sound nodes.
        is_trouble: bool,
    },
    /// Hand it to [`Registry::peer_event`].
    Event(PeerEvent),
    /// Another node refused this one: for the log and for [`Registry::refused`].
    Refused {
        /// Where it listens, when this node dialled it.
        address: String,
        /// What it said.
        refusal: Refusal,
    },
}

/// All links of one node.
#[derive(Debug)]
pub struct Links {
    config: LinkConfig,
    versions: Versions,
    random: RandomBox,
    conns: BTreeMap<ConnId, Conn>,
    peers: BTreeMap<NodeId, Peer>,
    seeds: BTreeMap<String, Seed>,
    next_conn: u64,
}

struct RandomBox(Box<dyn Random + Send>);

impl std::fmt::Debug for RandomBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

/// One connection, from the dial or the accept to its end.
#[derive(Debug)]
struct Conn {
    phase: Phase,
    /// What was dialled; `None` when the other side did.
    dialled: Option<Target>,
    /// When the handshake is given up.
    deadline: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    AwaitWelcome,
    AwaitHello,
    /// This node belongs to no cluster and said so.
    AwaitFound,
    Open {
        node: NodeId,
        class: Class,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Member(NodeId, Class),
    Seed(String),
}

/// Another member.
#[derive(Debug)]
struct Peer {
    /// Where it listens; `None` when it only ever came by itself.
    address: Option<String>,
    control: Slot,
    bulk: Slot,
    /// The highest incarnation that was met.
    met: Incarnation,
    health: Health,
}

impl Peer {
    fn slot(&mut self, class: Class) -> &mut Slot {
        match class {
            Class::Control => &mut self.control,
            Class::Bulk => &mut self.bulk,
        }
    }
}

/// An address at which some member may be found.
#[derive(Debug)]
struct Seed {
    slot: Slot,
    /// Who answered there. It is not dialled while that node is connected.
    learned: Option<NodeId>,
}

/// The place of one connection.
#[derive(Debug, Default)]
struct Slot {
    conn: Option<ConnId>,
    opened: Option<Duration>,
    dial_at: Duration,
    failures: u32,
}

impl Slot {
    fn is_open(&self) -> bool {
        self.opened.is_some()
    }
}

/// What a link looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The other node.
    pub node: NodeId,
    /// Whether its control connection is open.
    pub is_connected: bool,
    /// Whether it is suspected.
    pub is_suspected: bool,
    /// The incarnation that was met last; 0 for none.
    pub incarnation: Incarnation,
}

/// Why a connection is closed.
struct Why {
    text: String,
    is_trouble: bool,
}

impl Why {
    fn usual(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_trouble: false,
        }
    }

    fn trouble(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_trouble: true,
        }
    }

    /// This node refuses, or finds out that it must.
    fn refused(refusal: &Refusal) -> Self {
        Self {
            text: format!("refused: {}", refusal.message),
            is_trouble: !refusal.reason.passes(),
        }
    }

    fn close(self, conn: ConnId) -> Action {
        Action::Close {
            conn,
            why: self.text,
            is_trouble: self.is_trouble,
        }
    }
}

impl Links {
    /// Links to nobody yet: [`Links::refresh`] reads whom to dial.
    #[must_use]
    pub fn new(config: LinkConfig, random: Box<dyn Random + Send>) -> Self {
        Self {
            config,
            versions: Versions::OURS,
            random: RandomBox(random),
            conns: BTreeMap::new(),
            peers: BTreeMap::new(),
            seeds: BTreeMap::new(),
            next_conn: 0,
        }
    }

    /// Speaks other versions than this build does, to see that neighbouring ones get along.
    #[must_use]
    pub fn with_versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// Reads anew who the peers are. Links to nodes that are no members any more are closed.
    pub fn refresh(&mut self, now: Duration, registry: &dyn Registry, out: &mut Vec<Action>) {
        let wanted = registry.peers();
        let me = registry.identity().member.map(|member| member.node);
        let mut members = BTreeMap::new();
        let mut seeds = Vec::new();
        for peer in wanted {
            match peer.node {
                Some(node) if Some(node) != me => drop(members.insert(node, peer.address)),
                Some(_) => {}
                None => seeds.push(peer.address),
            }
        }
        let left: Vec<_> = self
            .peers
            .keys()
            .filter(|node| !members.contains_key(node))
            .copied()
            .collect();
        for node in left {
            self.forget(now, node, out);
        }
        for (node, address) in members {
            let peer = self.peer(now, node);
            if peer.address.as_ref() != Some(&address) {
                peer.address = Some(address);
                for slot in [&mut peer.control, &mut peer.bulk] {
                    (slot.dial_at, slot.failures) = (now, 0);
                }
            }
        }
        self.seeds.retain(|address, _| seeds.contains(address));
        for address in seeds {
            self.seeds.entry(address).or_insert_with(|| Seed {
                slot: Slot {
                    dial_at: now,
                    ..Slot::default()
                },
                learned: None,
            });
        }
    }

    /// A heartbeat came.
    pub fn heartbeat(
        &mut self,
        now: Duration,
        conn: ConnId,
        heartbeat: Heartbeat,
        out: &mut Vec<Action>,
    ) {
        let Some(Phase::Open { node, .. }) = self.conns.get(&conn).map(|conn| &conn.phase) else {
            return;
        };
        let node = *node;
        if let Some(peer) = self.peers.get_mut(&node)
            && peer.control.conn == Some(conn)
            && peer.health.hear(now, heartbeat, &self.config)
        {
            out.push(Action::Event(PeerEvent::Alive(node)));
        }
    }

    /// A connection ended, or could not be made.
    pub fn closed(&mut self, now: Duration, conn: ConnId, out: &mut Vec<Action>) {
        let Some(ended) = self.conns.remove(&conn) else {
            return;
        };
        match ended.phase {
            Phase::Open { node, class } => self.slot_ended(now, node, class, conn, out),
            _ => match ended.dialled {
                Some(Target::Member(node, class)) => self.slot_ended(now, node, class, conn, out),
                Some(Target::Seed(_)) | None => {}
            },
        }
        if let Some(Target::Seed(address)) = ended.dialled {
            self.seed_ended(now, &address, conn);
        }
    }

    /// Does what has become due, and says when something will be next.
    pub fn turn(
        &mut self,
        now: Duration,
        registry: &dyn Registry,
        out: &mut Vec<Action>,
    ) -> Option<Duration> {
        self.give_up_handshakes(now, out);
        self.mind_health(now, registry, out);
        self.dial_due(now, out);
        self.next_timer()
    }

    /// The links as they are.
    #[must_use]
    pub fn status(&self) -> Vec<LinkStatus> {
        let status = |(&node, peer): (&NodeId, &Peer)| LinkStatus {
            node,
            is_connected: peer.control.is_open(),
            is_suspected: peer.health.is_suspected(),
            incarnation: peer.met,
        };
        self.peers.iter().map(status).collect()
    }

    fn introduction(&self, me: &Identity) -> Introduction {
        Introduction {
            member: me.member,
            name: me.name.clone(),
            incarnation: me.incarnation,
            versions: self.versions,
            features: crate::handshake::Features::OURS,
        }
    }

    fn new_conn(&mut self, conn: Conn) -> ConnId {
        self.next_conn += 1;
        let id = ConnId(self.next_conn);
        self.conns.insert(id, conn);
        id
    }

    fn peer(&mut self, now: Duration, node: NodeId) -> &mut Peer {
        self.peers.entry(node).or_insert_with(|| Peer {
            address: None,
            control: Slot::default(),
            bulk: Slot::default(),
            met: Incarnation(0),
            health: Health::new(now),
        })
    }

    /// Closes a connection from this side.
    fn close(&mut self, now: Duration, conn: ConnId, why: Why, out: &mut Vec<Action>) {
        out.push(why.close(conn));
        self.closed(now, conn, out);
    }

    fn forget(&mut self, now: Duration, node: NodeId, out: &mut Vec<Action>) {
        let Some(mut peer) = self.peers.remove(&node) else {
            return;
        };
        for class in Class::ALL {
            if let Some(conn) = peer.slot(class).conn {
                let why = Why::usual(format!("node {node} is no member any more"));
                self.close(now, conn, why, out);
            }
        }
    }

    /// The connection in a slot ended: it is dialled again after a pause, and a peer without its
    /// control connection is suspected at once.
    fn slot_ended(
        &mut self,
        now: Duration,
        node: NodeId,
        class: Class,
        conn: ConnId,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let slot = peer.slot(class);
        if slot.conn != Some(conn) {
            return;
        }
        let was_open = slot.is_open();
        slot.end(now, &self.config, &mut *self.random.0);
        if was_open && class == Class::Control && peer.health.cut() {
            out.push(Action::Event(PeerEvent::Suspect(node)));
        }
    }

    fn give_up_handshakes(&mut self, now: Duration, out: &mut Vec<Action>) {
        let late = |conn: &Conn| !matches!(conn.phase, Phase::Open { .. }) && conn.deadline <= now;
        let late: Vec<_> = self
            .conns
            .iter()
            .filter_map(|(&id, conn)| late(conn).then_some(id))
            .collect();
        for conn in late {
            let why = Why::trouble(format!(
                "no handshake within {:?}",
                self.config.handshake_max
            ));
            self.close(now, conn, why, out);
        }
    }

    /// Heartbeats that are due go out, who is silent is suspected, who is silent for long is
    /// given up.
    fn mind_health(&mut self, now: Duration, registry: &dyn Registry, out: &mut Vec<Action>) {
        let mut progress = None;
        let mut silent = Vec::new();
        for (&node, peer) in &mut self.peers {
            if peer.health.suspect_if_due(now, &self.config) {
                out.push(Action::Event(PeerEvent::Suspect(node)));
            }
            let Some(conn) = peer.control.conn.filter(|_| peer.control.is_open()) else {
                continue;
            };
            if peer.health.is_lost(now, &self.config) {
                silent.push(conn);
            } else if peer.health.is_beat_due(now, &self.config) {
                let progress = progress.get_or_insert_with(|| registry.progress()).clone();
                let message = NodeMessage::Heartbeat(peer.health.beat(now, progress));
                out.push(Action::Send { conn, message });
            }
        }
        for conn in silent {
            let why = Why::trouble(format!("nothing came for {:?}", self.config.close_after));
            self.close(now, conn, why, out);
        }
    }

    /// When [`Links::turn`] has something to do.
    #[must_use]
    pub fn next_timer(&self) -> Option<Duration> {
        let handshakes = self
            .conns
            .values()
            .filter(|conn| !matches!(conn.phase, Phase::Open { .. }))
            .map(|conn| conn.deadline);
        let health = self
            .peers
            .values()
            .filter_map(|peer| peer.health.next_timer(peer.control.is_open(), &self.config));
        handshakes.chain(health).chain(self.dials_due()).min()
    }
}
