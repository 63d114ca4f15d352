//! Faults strike.

use std::{path::Path, sync::Arc};

use trilith_env::{
    Disk,
    sim::{Failure, Op},
};
use trilith_raft::Role;
use trilith_types::{GroupId, NodeId};

use super::{Cx, NodeWorld, Timer, clients::Said, settings::ELECTION_TIMEOUT};
use crate::{
    event::{Down, Event},
    faults::FaultKind,
    time::Span,
};

/// The faults that this world knows.
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
    FaultKind::ClockJump,
    FaultKind::SlowDisk,
    FaultKind::DiskFailure,
    FaultKind::DiskFull,
    FaultKind::Damage,
    FaultKind::EmptiedDirectory,
    FaultKind::OldDirectory,
    FaultKind::Transfer,
    FaultKind::Suspicion,
];

/// Nothing to add to a fault's name.
const PLAIN: &str = "";

/// Most changes of the disk until the power goes in the middle of them.
const MUTATIONS_MAX: u64 = 60;

/// Of the processes that end, one in so many is asked to and takes its time.
const CLOSES_ONE_IN: u64 = 3;

impl NodeWorld {
    pub(super) fn strike(&mut self, cx: &mut Cx, kind: FaultKind) {
        if kind == FaultKind::PowerCutAll {
            cx.fault(kind, None, &PLAIN);
            for id in self.members.clone() {
                self.stop(cx, id, Down::PowerCut);
            }
            return;
        }
        let awake = self.nodes.iter().filter(|node| node.is_awake());
        let ids: Vec<NodeId> = awake.map(|node| node.id).collect();
        if let Some(id) = cx.rng().pick(&ids).copied() {
            self.strike_node(cx, kind, id);
            self.drive(cx, id);
        }
    }

    fn strike_node(&mut self, cx: &mut Cx, kind: FaultKind, id: NodeId) {
        match kind {
            FaultKind::Crash | FaultKind::PowerCut => {
                cx.fault(kind, Some(id), &PLAIN);
                if kind == FaultKind::PowerCut {
                    self.stop(cx, id, Down::PowerCut);
                } else if cx.rng().below(CLOSES_ONE_IN) > 0 {
                    self.stop(cx, id, Down::Crash);
                } else if let Some(life) = self.node_mut(id).and_then(|n| n.life.as_mut()) {
                    life.close();
                }
            }
            FaultKind::CrashInStep => self.doom(cx, id),
            FaultKind::Pause => self.pause(cx, id),
            FaultKind::ClockJump => self.jump(cx, id),
            FaultKind::SlowDisk => {
                let lasts = Span(cx.rng().waiting(ELECTION_TIMEOUT.times(4).0));
                cx.fault(kind, Some(id), &lasts);
                let until = cx.now().plus(lasts);
                if let Some(node) = self.node_mut(id) {
                    node.slow_until = until;
                }
            }
            FaultKind::DiskFailure => self.fail_disk(cx, id),
            FaultKind::DiskFull => self.fill_disk(cx, id),
            FaultKind::Damage => self.damage(cx, id),
            FaultKind::EmptiedDirectory => self.empty_directory(cx, id),
            FaultKind::OldDirectory => self.take_old_directory(cx, id),
            FaultKind::Transfer => self.transfer(cx, id),
            FaultKind::Suspicion => self.suspect(cx, id),
            _ => {}
        }
    }

    fn doom(&mut self, cx: &mut Cx, id: NodeId) {
        let (steps, power) = (cx.rng().below(MUTATIONS_MAX), cx.rng().below(2) == 0);
        let detail = format!("after {steps} {}", if power { "changes" } else { "turns" });
        cx.fault(FaultKind::CrashInStep, Some(id), &detail);
        let Some(node) = self.node_mut(id) else {
            return;
        };
        if power {
            node.disk.power_cut_after(steps + 1);
        } else if let Some(life) = &mut node.life {
            life.doom = Some(steps as u32);
        }
    }

    fn pause(&mut self, cx: &mut Cx, id: NodeId) {
        let lasts = Span(cx.rng().waiting(ELECTION_TIMEOUT.times(3).0));
        cx.fault(FaultKind::Pause, Some(id), &lasts);
        let Some(node) = self.node_mut(id) else {
            return;
        };
        let number = node.lives;
        if let Some(life) = &mut node.life {
            life.paused = true;
            cx.record(&Event::Paused {
                node: id,
                still: true,
            });
            cx.after(
                lasts,
                Timer::Resume {
                    node: id,
                    life: number,
                },
            );
        }
    }

    fn jump(&mut self, cx: &mut Cx, id: NodeId) {
        let by = cx.rng().between(1, 20_000) as i64 - 10_000;
        cx.fault(FaultKind::ClockJump, Some(id), &format_args!("{by} ms"));
        if let Some(node) = self.node(id) {
            node.clock.jump_wall(by);
        }
    }

    fn fail_disk(&mut self, cx: &mut Cx, id: NodeId) {
        let ops = [Op::WriteDurable, Op::Sync, Op::Write, Op::SyncDir];
        let op = cx.rng().pick(&ops).copied().unwrap_or(Op::Sync);
        let nth = cx.rng().between(1, 20);
        cx.fault(
            FaultKind::DiskFailure,
            Some(id),
            &format_args!("{op:?}, the {nth}."),
        );
        if let Some(node) = self.node_mut(id) {
            node.names_fail |= op == Op::SyncDir;
            node.disk.fail(Failure::of(op).nth(nth));
        }
    }

    fn fill_disk(&mut self, cx: &mut Cx, id: NodeId) {
        let lasts = Span(cx.rng().waiting(ELECTION_TIMEOUT.times(6).0));
        let more = cx.rng().between(0, 400) << 10;
        let Some(node) = self.node(id) else { return };
        let Ok(space) = node.disk.space(Path::new("/")) else {
            return;
        };
        let used = space.total.saturating_sub(space.available);
        cx.fault(FaultKind::DiskFull, Some(id), &lasts);
        node.disk
            .configure(|config| config.capacity = Some(used + more));
        cx.after(lasts, Timer::Room { node: id });
    }

    /// A disk has room again.
    pub(super) fn make_room(&mut self, id: NodeId) {
        if let Some(node) = self.node(id) {
            node.disk.configure(|config| config.capacity = None);
        }
    }

    fn transfer(&mut self, cx: &mut Cx, id: NodeId) {
        let to = cx.rng().pick(&self.members).copied();
        let Some(life) = self.node(id).and_then(|node| node.life.as_ref()) else {
            return;
        };
        let leads = |group: &&GroupId| {
            let role = life.roles.get(*group);
            role.is_some_and(|(role, _)| *role == Role::Leader)
        };
        let led: Vec<GroupId> = life.roles.keys().filter(leads).copied().collect();
        if let (Some(to), Some(group)) = (to, cx.rng().pick(&led)) {
            cx.fault(
                FaultKind::Transfer,
                Some(id),
                &format_args!("of {group} to {to}"),
            );
            let ears = Arc::clone(&life.ears);
            life.parts().transfer(*group, to, move |has_begun| {
                if has_begun {
                    ears.lock().push(Said::Transfers);
                }
            });
        }
    }

    fn suspect(&mut self, cx: &mut Cx, id: NodeId) {
        let peers: Vec<NodeId> = self.members.iter().copied().filter(|p| *p != id).collect();
        if let Some(peer) = cx.rng().pick(&peers).copied() {
            cx.fault(FaultKind::Suspicion, Some(id), &format_args!("of {peer}"));
            if let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) {
                life.mislead(peer);
            }
        }
    }
}
