//! The world `raft`: the consensus core with a minimal replica around it.
//!
//! Each replica has a core, a log, term and vote, a small state machine and snapshots. Its disk
//! is a model of persisted state (see `disk.rs` for why), with every fault that the core's
//! [`Restored`](trilith_raft::Restored) can speak of: a crash at any step, also between a write
//! and the messages that wait for it; unsynced writes that are kept, lost, torn or reordered;
//! damaged entries of known identity; an unknown suffix; a lost vote; an emptied directory and
//! one of an earlier incarnation. The bounds under which recovery is demanded stand in
//! `bounds.rs`.

mod bounds;
mod carry;
mod comeback;
mod disk;
mod entry;
mod handle;
#[cfg(feature = "planted-bugs")]
mod host_bugs;
mod inject;
mod machine;
mod operator;
mod packet;
mod plant;
mod replica;
mod settings;
mod transfer;

use std::rc::Rc;

use trilith_raft::{Configuration, SendEntries, WriteSeq};
use trilith_types::NodeId;

#[cfg(feature = "planted-bugs")]
pub use host_bugs::HostBug;
pub use packet::Packet;
pub use settings::{LeaseMode, Options};

use self::{
    comeback::Comeback,
    machine::Snapshot,
    replica::{Input, Replica},
    settings::{DRIFT_BEYOND, DRIFT_SAFE, ELECTION_TIMEOUT, Settings},
};
use crate::{
    engine::Context,
    event::Down,
    faults::{FaultKind, FaultPlan, Shape},
    history::{Action, Object, OpId},
    rng::Rng,
    time::{SimTime, Span},
    world::World,
};

/// Ids beyond those of the first members, for nodes that join later.
const SPARES: u64 = 4;

/// The longest mean time of a sync once the world has healed.
const SYNC_MEAN_HEALED: Span = Span::millis(3);

type Cx = Context<RaftWorld>;

/// The replicas of a run.
pub struct RaftWorld {
    settings: Settings,
    replicas: Vec<Replica>,
    members: u64,
    healed: bool,
    /// The last look at the connections told nobody anything new.
    is_calm: bool,
    comeback: Option<Comeback>,
}

/// What a replica or the world waits for. A timer of an earlier life is void; lives are counted by
/// the world, since an emptied directory counts its incarnations from one again.
#[derive(Debug)]
pub enum Timer {
    /// The host's timer ticks.
    Tick {
        /// Whose.
        node: NodeId,
        /// In which life.
        life: u64,
    },
    /// The device is done with a write.
    Synced {
        /// Whose.
        node: NodeId,
        /// In which life.
        life: u64,
        /// Which write.
        seq: WriteSeq,
    },
    /// Entries have been read for a send.
    Send {
        /// Whose.
        node: NodeId,
        /// In which life.
        life: u64,
        /// The send.
        send: SendEntries,
    },
    /// A received snapshot is synced.
    Staged {
        /// Whose.
        node: NodeId,
        /// In which life.
        life: u64,
        /// The snapshot.
        snapshot: StagedSnapshot,
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
    /// A comeback goes on.
    Comeback,
    /// Hosts look at their connections.
    Detector,
    /// Somebody looks after the healed group.
    Operator,
}

/// A snapshot that has arrived whole.
#[derive(Debug)]
pub struct StagedSnapshot(Rc<Snapshot>);

impl RaftWorld {
    fn replica(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.get(node.get().checked_sub(1)? as usize)
    }

    fn replica_mut(&mut self, node: NodeId) -> Option<&mut Replica> {
        self.replicas.get_mut(node.get().checked_sub(1)? as usize)
    }

    /// The settings and one replica, to be used together.
    fn parts(&mut self, node: NodeId) -> (&Settings, Option<&mut Replica>) {
        let place = node.get().checked_sub(1).map(|n| n as usize);
        (&self.settings, place.and_then(|p| self.replicas.get_mut(p)))
    }

    fn start(&mut self, cx: &mut Cx, node: NodeId) {
        let (settings, replica) = self.parts(node);
        if let Some(replica) = replica {
            replica.start(cx, settings);
        }
    }

    fn own_timer(&mut self, cx: &mut Cx, node: NodeId, life: u64, timer: Timer) {
        let (settings, replica) = self.parts(node);
        let Some(replica) = replica else { return };
        if replica.life.as_ref().is_some_and(|l| l.number == life) {
            replica.own_timer(cx, settings, timer);
        }
    }

    fn restart(&mut self, cx: &mut Cx, node: NodeId, number: u64) {
        if self.replica(node).is_some_and(|r| r.restarts == number) {
            self.start(cx, node);
        }
    }
}

impl World for RaftWorld {
    type Message = Packet;
    type Timer = Timer;
    type Options = Options;

    fn shape(options: &Options) -> Shape {
        let drift_max = if options.leases == LeaseMode::DriftBeyond {
            DRIFT_BEYOND
        } else {
            DRIFT_SAFE
        };
        Shape {
            supported: inject::SUPPORTED,
            always: options.always.clone(),
            election_timeout: ELECTION_TIMEOUT,
            drift_max,
        }
    }

    fn absent() -> Vec<&'static str> {
        let faults = FaultKind::names_beside(inject::SUPPORTED);
        faults.chain(inject::ABSENT.iter().copied()).collect()
    }

    fn nodes_max(nodes: u64) -> u64 {
        nodes + SPARES
    }

    fn new(plan: &FaultPlan, options: &Options, rng: &mut Rng) -> Self {
        let members = Configuration::of_voters((1..=plan.nodes).map(NodeId));
        let replica = |id| {
            let member = id <= plan.nodes;
            let configuration = if member {
                members.clone()
            } else {
                Configuration::default()
            };
            Replica::new(NodeId(id), configuration)
        };
        let mut replicas: Vec<Replica> = (1..=Self::nodes_max(plan.nodes)).map(replica).collect();
        for replica in &mut replicas {
            let drift = i64::from(plan.drift);
            let drawn = if options.leases == LeaseMode::DriftBeyond {
                // Half of the clocks as slow as can be and half as fast.
                let far = i64::from(DRIFT_BEYOND);
                if rng.below(2) == 0 { far } else { -far }
            } else {
                rng.between(0, 2 * u64::from(plan.drift)) as i64 - drift
            };
            replica.clock.set_drift(SimTime::ZERO, drawn);
        }
        let settings = Settings::draw(plan, options, rng);
        Self {
            settings,
            replicas,
            members: plan.nodes,
            healed: false,
            is_calm: false,
            comeback: None,
        }
    }

    fn boot(&mut self, cx: &mut Cx) {
        for node in (1..=self.members).map(NodeId) {
            self.start(cx, node);
        }
        cx.after(ELECTION_TIMEOUT, Timer::Detector);
    }

    fn receive(&mut self, cx: &mut Cx, id: u64, to: NodeId, from: NodeId, packet: Packet) {
        let (settings, replica) = self.parts(to);
        if let Some(replica) = replica {
            replica.input(cx, settings, Input::Packet { id, from, packet });
        }
    }

    fn timer(&mut self, cx: &mut Cx, timer: Timer) {
        match timer {
            Timer::Detector => self.watch_connections(cx),
            Timer::Operator => self.operate(cx),
            Timer::Comeback => self.go_on_with_comeback(cx),
            Timer::Restart { node, number } => self.restart(cx, node, number),
            Timer::Tick { node, life }
            | Timer::Synced { node, life, .. }
            | Timer::Send { node, life, .. }
            | Timer::Staged { node, life, .. }
            | Timer::Resume { node, life } => self.own_timer(cx, node, life, timer),
        }
    }

    fn inject(&mut self, cx: &mut Cx, kind: FaultKind) {
        if !self.healed {
            self.strike(cx, kind);
        }
    }

    fn heal(&mut self, cx: &mut Cx) {
        self.healed = true;
        self.comeback = None;
        // A disk so slow that a leader rightly gives up is a fault too.
        self.settings.sync_mean = self.settings.sync_mean.min(SYNC_MEAN_HEALED);
        for replica in &mut self.replicas {
            replica.clock.set_drift(cx.now(), 0);
            replica.slow_until = cx.now();
            replica.sync_fails = false;
            if let Some(life) = &mut replica.life {
                life.doom = None;
            }
            if replica.life.as_ref().is_some_and(|l| l.paused) {
                replica.resume(cx, &self.settings);
            }
            if replica.life.is_none() && replica.disk.incarnation.get() > 0 {
                let wait = Span(cx.rng().waiting(ELECTION_TIMEOUT.0));
                replica.restart_after(cx, wait);
            }
        }
        cx.after(ELECTION_TIMEOUT, Timer::Operator);
    }

    fn is_whole(&self) -> bool {
        let runs = |r: &Replica| r.life.is_some() || r.refused || r.disk.incarnation.get() == 0;
        self.replicas.iter().all(runs) && self.is_calm && !self.is_anybody_suspected_in_vain()
    }

    fn disturb(&mut self, cx: &mut Cx) {
        let leader = cx.recorder().checkers().view().leader().map(|(id, _)| id);
        let followers: Vec<NodeId> = self
            .replicas
            .iter()
            .filter(|r| r.is_awake() && !r.leads())
            .map(|r| r.id)
            .collect();
        let follower = cx.rng().pick(&followers).copied();
        if let (Some(leader), Some(follower)) = (leader, follower) {
            self.tell_suspicion(cx, follower, leader, true);
        }
    }

    fn fail_leader(&mut self, cx: &mut Cx) -> bool {
        let view = cx.recorder().checkers().view();
        let Some((leader, n)) = view.leader() else {
            return false;
        };
        let stays = |id: NodeId| id != leader && self.replica(id).is_some_and(Replica::is_awake);
        if !n.configuration.1.has_quorum(stays) {
            return false;
        }
        self.stop(cx, leader, Down::Crash);
        // The restart that it asked for is void.
        if let Some(replica) = self.replica_mut(leader) {
            replica.restarts += 1;
        }
        true
    }

    fn invoke(&mut self, cx: &mut Cx, op: OpId, node: NodeId, object: Object, action: Action) {
        let (settings, replica) = self.parts(node);
        if let Some(replica) = replica {
            replica.input(cx, settings, Input::Client { op, object, action });
        }
    }
}
