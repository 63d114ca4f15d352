//! Faults strike.

use trilith_types::{Incarnation, LogIndex, NodeId};

use super::{Cx, RaftWorld, Timer, disk::Disk, settings::ELECTION_TIMEOUT};
use crate::{
    event::{Down, List},
    faults::FaultKind,
    time::Span,
};

/// The faults that this world knows: all that a disk of records can have.
pub(super) const SUPPORTED: &[FaultKind] = &[
    FaultKind::Loss,
    FaultKind::Duplicate,
    FaultKind::Reorder,
    FaultKind::Straggle,
    FaultKind::SlowLink,
    FaultKind::Partition,
    FaultKind::Crash,
    FaultKind::CrashInStep,
    FaultKind::PowerCut,
    FaultKind::PowerCutAll,
    FaultKind::Pause,
    FaultKind::ClockDrift,
    FaultKind::ClockJump,
    FaultKind::SlowDisk,
    FaultKind::DiskFailure,
    FaultKind::Damage,
    FaultKind::DamagedTail,
    FaultKind::LostState,
    FaultKind::LostVote,
    FaultKind::EmptiedDirectory,
    FaultKind::OldDirectory,
    FaultKind::Transfer,
    FaultKind::Membership,
    FaultKind::Compaction,
    FaultKind::Suspicion,
    FaultKind::Comeback,
];

/// What the sums know beside and this world has not: partitions, with their readers and producers;
/// manifests; disks that are measured in bytes; and senders of snapshots, of which only the
/// receivers are seen.
pub(super) const ABSENT: &[&str] = &[
    "snapshots-sent",
    "lost-logs",
    "full-logs",
    "batches-acknowledged",
    "records-fetched",
    "readers-overtaken",
    "partitions-audited",
    "damage-met",
    "topics-made",
    "topics-deleted",
];

/// Nothing to add to a fault's name.
const PLAIN: &str = "";

impl RaftWorld {
    pub(super) fn strike(&mut self, cx: &mut Cx, kind: FaultKind) {
        match kind {
            FaultKind::PowerCutAll => self.cut_power_of_all(cx),
            FaultKind::Membership => self.change_membership(cx),
            FaultKind::Transfer => self.transfer(cx),
            FaultKind::Comeback => self.begin_comeback(cx),
            _ => {
                if let Some(node) = self.victim(cx, kind) {
                    self.strike_node(cx, kind, node);
                }
            }
        }
    }

    /// A node to be hit: one that runs; mostly a leader when leaders are what hurts.
    fn victim(&self, cx: &mut Cx, kind: FaultKind) -> Option<NodeId> {
        let running = |leaders: bool| -> Vec<NodeId> {
            let all = self
                .replicas
                .iter()
                .filter(|r| r.is_awake() && (!leaders || r.leads()));
            all.map(|r| r.id).collect()
        };
        let hurts = matches!(
            kind,
            FaultKind::Crash
                | FaultKind::CrashInStep
                | FaultKind::PowerCut
                | FaultKind::Pause
                | FaultKind::SlowDisk
        );
        if hurts
            && cx.rng().below(2) == 0
            && let Some(leader) = cx.rng().pick(&running(true))
        {
            return Some(*leader);
        }
        cx.rng().pick(&running(false)).copied()
    }

    fn strike_node(&mut self, cx: &mut Cx, kind: FaultKind, node: NodeId) {
        match kind {
            FaultKind::Crash => self.take_down(cx, kind, node, Down::Crash),
            FaultKind::PowerCut => self.take_down(cx, kind, node, Down::PowerCut),
            FaultKind::CrashInStep => self.doom(cx, node),
            FaultKind::Pause => self.pause(cx, node),
            FaultKind::ClockJump => self.jump(cx, node),
            FaultKind::SlowDisk => self.slow_disk(cx, node),
            FaultKind::DiskFailure => {
                cx.fault(kind, Some(node), &PLAIN);
                if let Some(replica) = self.replica_mut(node) {
                    replica.sync_fails = true;
                }
            }
            FaultKind::Damage => self.damage(cx, node),
            FaultKind::DamagedTail => self.damage_tail(cx, node),
            FaultKind::LostState => self.lose_state(cx, node),
            FaultKind::LostVote => self.lose_vote(cx, node),
            FaultKind::EmptiedDirectory => self.empty_directory(cx, node),
            FaultKind::OldDirectory => self.old_directory(cx, node),
            FaultKind::Compaction => self.compact(cx, node),
            FaultKind::Suspicion => self.suspect(cx, node),
            _ => {}
        }
    }

    fn take_down(&mut self, cx: &mut Cx, kind: FaultKind, node: NodeId, why: Down) {
        cx.fault(kind, Some(node), &PLAIN);
        self.stop(cx, node, why);
    }

    pub(super) fn stop(&mut self, cx: &mut Cx, node: NodeId, why: Down) {
        let (settings, replica) = self.parts(node);
        if let Some(replica) = replica {
            replica.stop(cx, settings, why);
        }
    }

    fn cut_power_of_all(&mut self, cx: &mut Cx) {
        cx.fault(FaultKind::PowerCutAll, None, &PLAIN);
        let nodes: Vec<NodeId> = self.replicas.iter().map(|r| r.id).collect();
        for node in nodes {
            self.stop(cx, node, Down::PowerCut);
        }
    }

    fn doom(&mut self, cx: &mut Cx, node: NodeId) {
        let why = if cx.rng().below(2) == 0 {
            Down::Crash
        } else {
            Down::PowerCut
        };
        let steps = cx.rng().below(12) as u32;
        cx.fault(
            FaultKind::CrashInStep,
            Some(node),
            &format_args!("after {steps}: {why}"),
        );
        if let Some(life) = self.replica_mut(node).and_then(|r| r.life.as_mut()) {
            life.doom = Some((steps, why));
        }
    }

    fn pause(&mut self, cx: &mut Cx, node: NodeId) {
        let lasts = Span(cx.rng().waiting(ELECTION_TIMEOUT.times(3).0));
        cx.fault(FaultKind::Pause, Some(node), &lasts);
        if let Some(replica) = self.replica_mut(node) {
            replica.pause(cx, true);
            let life = replica.lives;
            cx.after(lasts, Timer::Resume { node, life });
        }
    }

    fn jump(&mut self, cx: &mut Cx, node: NodeId) {
        let ticks = cx.rng().between(1, 25);
        cx.fault(
            FaultKind::ClockJump,
            Some(node),
            &format_args!("by {ticks} ticks"),
        );
        let (settings, replica) = self.parts(node);
        let Some(replica) = replica else { return };
        if settings.jumps_reach_leases {
            replica
                .clock
                .jump(cx.now(), super::settings::TICK.times(ticks));
        }
        replica.tick(cx, settings, ticks);
    }

    fn slow_disk(&mut self, cx: &mut Cx, node: NodeId) {
        let lasts = Span(cx.rng().waiting(ELECTION_TIMEOUT.times(4).0));
        cx.fault(FaultKind::SlowDisk, Some(node), &lasts);
        let until = cx.now().plus(lasts);
        if let Some(replica) = self.replica_mut(node) {
            replica.slow_until = until;
        }
    }

    /// The power goes, and some of what was durable comes back wrong.
    fn damage(&mut self, cx: &mut Cx, node: NodeId) {
        let Some(replica) = self.replica(node) else {
            return;
        };
        let (base, last) = (replica.disk.log.base().index, replica.disk.log.last());
        let mut hit = Vec::new();
        for _ in 0..cx.rng().between(1, 6) {
            // Mostly near the end, where entries still matter.
            let back = cx.rng().below(20);
            let index = LogIndex(last.get().saturating_sub(back));
            if index > base && !hit.contains(&index) && self.can_damage(cx, node, index, index) {
                hit.push(index);
            }
        }
        if hit.is_empty() || !self.settings.ambiguous {
            return;
        }
        cx.fault(FaultKind::Damage, Some(node), &List(&hit));
        self.stop(cx, node, Down::PowerCut);
        let Some(replica) = self.replica_mut(node) else {
            return;
        };
        for index in hit {
            if let Some(entry) = replica.disk.log.get_mut(index) {
                entry.damaged = true;
            }
        }
    }

    fn damage_tail(&mut self, cx: &mut Cx, node: NodeId) {
        let Some(replica) = self.replica(node) else {
            return;
        };
        let (base, last) = (replica.disk.log.base().index, replica.disk.log.last());
        let from = LogIndex(last.get().saturating_sub(cx.rng().below(6)));
        // What the state machine has applied and saved is not in doubt.
        let keep = base.max(replica.disk.snapshot.last.index);
        if from <= keep || !self.settings.ambiguous || !self.can_damage(cx, node, from, last) {
            return;
        }
        cx.fault(
            FaultKind::DamagedTail,
            Some(node),
            &format_args!("from {from}"),
        );
        self.stop(cx, node, Down::PowerCut);
        let Some(replica) = self.replica_mut(node) else {
            return;
        };
        // The power cut may have cut deeper than this, or added entries that were not bounded.
        if from <= replica.disk.log.last() {
            replica.disk.damage_tail(from, cx.rng());
        }
    }

    fn lose_state(&mut self, cx: &mut Cx, node: NodeId) {
        // Without a compaction the log alone makes the state again.
        let compacted = self
            .replica(node)
            .is_some_and(|r| r.disk.log.base().index > LogIndex::ZERO);
        if !compacted || !self.can_lose_state(cx, node) {
            return;
        }
        cx.fault(FaultKind::LostState, Some(node), &PLAIN);
        self.stop(cx, node, Down::PowerCut);
        if let Some(replica) = self.replica_mut(node) {
            replica.disk.state_lost = true;
        }
    }

    fn lose_vote(&mut self, cx: &mut Cx, node: NodeId) {
        if !self.can_lose(cx, node) {
            return;
        }
        cx.fault(FaultKind::LostVote, Some(node), &PLAIN);
        self.stop(cx, node, Down::PowerCut);
        if let Some(replica) = self.replica_mut(node) {
            replica.disk.hard_state = None;
        }
    }

    fn empty_directory(&mut self, cx: &mut Cx, node: NodeId) {
        // An emptied directory counts its starts from one again.
        if self.is_passed(cx, node, Incarnation(2)) && self.can_lose(cx, node) {
            cx.fault(FaultKind::EmptiedDirectory, Some(node), &PLAIN);
            self.stop(cx, node, Down::PowerCut);
            self.replace_disk(node, Disk::new(trilith_raft::Configuration::default()));
        }
    }

    fn old_directory(&mut self, cx: &mut Cx, node: NodeId) {
        let Some(copy) = self.replica(node).and_then(|r| r.old_copy.clone()) else {
            return;
        };
        let comes_as = Incarnation(copy.incarnation.get() + 1);
        let again = Incarnation(comes_as.get() + 1);
        // Where it was alone once, it would ask nobody.
        let asks = copy.members().voters.incoming().len() > 1;
        if asks && self.is_passed(cx, node, again) && self.can_lose(cx, node) {
            cx.fault(
                FaultKind::OldDirectory,
                Some(node),
                &format_args!("comes as #{comes_as}"),
            );
            self.stop(cx, node, Down::PowerCut);
            self.replace_disk(node, copy);
        }
    }

    /// From here on the node is gone for good, whether it has noticed or not.
    fn replace_disk(&mut self, node: NodeId, disk: Disk) {
        if let Some(replica) = self.replica_mut(node) {
            replica.gone = true;
            replica.disk = disk;
            replica.old_copy = None;
        }
    }

    fn compact(&mut self, cx: &mut Cx, node: NodeId) {
        let (settings, replica) = self.parts(node);
        if let Some(replica) = replica
            && replica.compact(cx, settings)
        {
            cx.fault(FaultKind::Compaction, Some(node), &PLAIN);
        }
    }

    fn suspect(&mut self, cx: &mut Cx, node: NodeId) {
        let nodes: Vec<NodeId> = self
            .replicas
            .iter()
            .map(|r| r.id)
            .filter(|id| *id != node)
            .collect();
        let Some(peer) = cx.rng().pick(&nodes).copied() else {
            return;
        };
        cx.fault(FaultKind::Suspicion, Some(node), &format_args!("of {peer}"));
        self.tell_suspicion(cx, node, peer, true);
    }
}
