//! One node: a disk, a clock, and the real node while its process runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use trilith_env::{
    Env,
    sim::{SimClock, SimConfig, SimDisk, SimRng},
};
use trilith_host::Outbound;
use trilith_node::{Node as Handle, NodeParts};
use trilith_peer::{Class, ConnId, Links, NodeMessage};
use trilith_raft::{Role, SplitMix64};
use trilith_types::{GroupId, LogIndex, NodeId, Term, TimestampMs};

use super::{
    clients::Said,
    count::Counted,
    packet::Packet,
    plant::{self, OldFiles},
    settings::Settings,
    stranger::OldCopy,
};
use crate::{rng::Rng, time::SimTime};

/// Steps in a row; a node that goes on for longer gets its next one a little later.
const STEPS_MAX: usize = 200;

/// How much later.
const REST: Duration = Duration::from_millis(1);

/// Where the wall clocks start.
const WALL: TimestampMs = TimestampMs(1_700_000_000_000);

/// What a node wants to send.
type Letters = Arc<Mutex<Vec<(NodeId, NodeMessage)>>>;

/// What clients were told here, and nobody has looked at yet.
pub(super) type Ears = Arc<Mutex<Vec<Said>>>;

#[derive(Debug)]
struct Out(Letters);

impl Outbound for Out {
    fn send(&self, to: NodeId, message: NodeMessage) {
        self.0.lock().push((to, message));
    }

    fn flush(&self) {}

    fn has_room(&self, _: NodeId) -> bool {
        true
    }
}

/// A connection as one of its ends knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conn {
    pub(super) wire: u64,
    pub(super) peer: NodeId,
    /// What it is for, once the handshake is through.
    pub(super) class: Option<Class>,
}

/// A process.
pub(super) struct Life {
    parts: NodeParts,
    pub(super) node: Handle,
    pub(super) number: u64,
    pub(super) ears: Ears,
    letters: Letters,
    pub(super) paused: bool,
    /// What has come while it stood still.
    pub(super) inbox: Vec<(NodeId, Packet)>,
    pub(super) links: Links,
    /// When the links want their next turn.
    pub(super) links_at: Duration,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    peers_changed: Arc<AtomicBool>,
    pub(super) roles: BTreeMap<GroupId, (Role, Term)>,
    /// Up to here the log of each group was read.
    pub(super) read_upto: BTreeMap<GroupId, LogIndex>,
    /// Nodes that it was told to suspect though nothing shows it.
    pub(super) misled: BTreeSet<NodeId>,
    /// What it had counted of itself at the last look.
    pub(super) counted: Counted,
    /// Steps until the process dies.
    pub(super) doom: Option<u32>,
    /// It is on its way to a clean end.
    pub(super) is_closing: bool,
}

/// A node, running or not.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    seed: u64,
    pub(super) life: Option<Life>,
    pub(super) lives: u64,
    /// Restarts that were asked for; only the last one counts.
    pub(super) restarts: u64,
    pub(super) slow_until: SimTime,
    /// When it wants to be driven next, if that is planned.
    pub(super) wakes_at: Option<SimTime>,
    /// Operations of the disk whose end is planned.
    pub(super) planned: usize,
    old_files: OldFiles,
    /// A sync of a directory was made to fail.
    pub(super) names_fail: bool,
    /// Its own disk, while it runs on another one.
    pub(super) own_disk: Option<SimDisk>,
    pub(super) copy: Option<OldCopy>,
}

/// How a drive has ended.
pub(super) enum Driven {
    /// It wants to be driven again then.
    Until(SimTime),
    /// The process has died on the way.
    Died,
    /// It has closed everything and ends.
    Finished,
}

impl Node {
    pub(super) fn new(id: NodeId, rng: &mut Rng) -> Self {
        let seed = rng.next_u64();
        Self {
            id,
            disk: Self::new_disk(seed),
            clock: SimClock::new(WALL),
            seed,
            life: None,
            lives: 0,
            restarts: 0,
            slow_until: SimTime::ZERO,
            wakes_at: None,
            planned: 0,
            old_files: OldFiles::default(),
            names_fail: false,
            own_disk: None,
            copy: None,
        }
    }

    /// An empty disk.
    pub(super) fn new_disk(seed: u64) -> SimDisk {
        SimDisk::with(SimConfig {
            slow: true,
            ..SimConfig::new(seed)
        })
    }

    pub(super) fn is_awake(&self) -> bool {
        self.life.as_ref().is_some_and(|life| !life.paused)
    }

    pub(super) fn role(&self, group: GroupId) -> Option<Role> {
        let life = self.life.as_ref()?;
        life.roles.get(&group).map(|(role, _)| *role)
    }

    /// Starts the process.
    ///
    /// # Errors
    /// What the node says when it does not open.
    pub(super) fn start(&mut self, settings: &Settings) -> Result<(), String> {
        let bug = settings.bug;
        plant::before_start(&self.disk, bug, &mut self.old_files);
        self.lives += 1;
        let env = Env {
            disk: plant::disk(&self.disk, bug),
            clock: Arc::new(self.clock.clone()),
            rng: Arc::new(SimRng::new(self.seed ^ self.lives)),
        };
        let letters = Letters::default();
        let out = Arc::new(Out(Arc::clone(&letters)));
        let parts = Handle::assemble(&env, settings.node(self.id), out)
            .map_err(|error| error.to_string())?;
        let node = parts.node.clone();
        let peers_changed = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&peers_changed);
        node.on_peers_changed(move || flag.store(true, Ordering::Relaxed));
        let random = Box::new(SplitMix64(self.seed ^ self.lives << 32));
        self.life = Some(Life {
            parts,
            node,
            number: self.lives,
            ears: Ears::default(),
            letters,
            paused: false,
            inbox: Vec::new(),
            links: Links::new(settings.links, random),
            links_at: Duration::ZERO,
            conns: BTreeMap::new(),
            peers_changed,
            roles: BTreeMap::new(),
            read_upto: BTreeMap::new(),
            misled: BTreeSet::new(),
            counted: Counted::default(),
            doom: None,
            is_closing: false,
        });
        Ok(())
    }

    /// Lets the node do what there is to do at `now`.
    pub(super) fn drive(&mut self, now: SimTime) -> Driven {
        let now = Duration::from_micros(now.0);
        self.clock.advance_to(now);
        let Some(life) = self.life.as_mut().filter(|life| !life.paused) else {
            return Driven::Until(SimTime::MAX);
        };
        for _ in 0..STEPS_MAX {
            let next = life.parts.step();
            if !self.disk.is_on() || life.dies() {
                return Driven::Died;
            }
            if life.is_closing && life.parts.is_finished() {
                return Driven::Finished;
            }
            if !life.parts.has_more() {
                let next = next.unwrap_or(now + REST);
                return Driven::Until(SimTime(next.as_micros() as u64));
            }
        }
        Driven::Until(SimTime((now + REST).as_micros() as u64))
    }
}

impl Life {
    /// A step that a doomed process may not survive.
    fn dies(&mut self) -> bool {
        match self.doom {
            Some(0) => true,
            Some(steps) => {
                self.doom = Some(steps - 1);
                false
            }
            None => false,
        }
    }

    /// The node, to look at from outside.
    pub(super) const fn parts(&self) -> &NodeParts {
        &self.parts
    }

    /// Begins a clean end.
    pub(super) fn close(&mut self) {
        if !std::mem::replace(&mut self.is_closing, true) {
            self.parts.begin_stop();
        }
    }

    /// Why it must stop, if it must.
    pub(super) fn failure(&self) -> Option<String> {
        self.parts.failure().map(str::to_owned)
    }

    /// What it wants to send, by the connections that there are.
    pub(super) fn take_letters(&mut self) -> Vec<(u64, NodeId, NodeMessage)> {
        let letters = std::mem::take(&mut *self.letters.lock());
        let wire = |to: NodeId, class: Class| {
            let mut conns = self.conns.values();
            conns
                .rfind(|conn| conn.peer == to && conn.class == Some(class))
                .map(|conn| conn.wire)
        };
        letters
            .into_iter()
            .filter_map(|(to, message)| Some((wire(to, message.class())?, to, message)))
            .collect()
    }

    /// Whether there may be other peers than at the last look.
    pub(super) fn take_peers_changed(&self) -> bool {
        self.peers_changed.swap(false, Ordering::Relaxed)
    }

    /// The connection of this number, as it is known here.
    pub(super) fn conn(&self, wire: u64) -> Option<(ConnId, Conn)> {
        let found = self.conns.iter().find(|(_, conn)| conn.wire == wire);
        found.map(|(id, conn)| (*id, *conn))
    }
}
