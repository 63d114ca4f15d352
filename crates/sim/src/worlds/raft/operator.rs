//! What people and programs around the group do: changing members, handing over leadership,
//! watching connections, and replacing what is gone.

use trilith_raft::{Change, Configuration, Role, Transition};
use trilith_types::NodeId;

use super::{Cx, RaftWorld, Timer, replica::Replica, settings::ELECTION_TIMEOUT};
use crate::{
    event::Note,
    event::{Event, List},
    faults::FaultKind,
};

/// Most voters that random changes lead to.
const VOTERS_MAX: usize = 7;

fn name(change: &Change) -> String {
    match change {
        Change::AddVoter(node) => format!("+{node}"),
        Change::AddLearner(node) => format!("~{node}"),
        Change::Remove(node) => format!("-{node}"),
    }
}

impl RaftWorld {
    /// A node that holds itself for the leader.
    fn some_leader(&self, cx: &mut Cx) -> Option<NodeId> {
        let leaders: Vec<NodeId> = self
            .replicas
            .iter()
            .filter(|r| r.is_awake() && r.leads())
            .map(|r| r.id)
            .collect();
        cx.rng().pick(&leaders).copied()
    }

    pub(super) fn transfer(&mut self, cx: &mut Cx) {
        let Some(leader) = self.some_leader(cx) else {
            return;
        };
        let nodes: Vec<NodeId> = self.replicas.iter().map(|r| r.id).collect();
        let Some(to) = cx.rng().pick(&nodes).copied() else {
            return;
        };
        let (settings, replica) = self.parts(leader);
        let Some(replica) = replica else { return };
        let Some(life) = &mut replica.life else {
            return;
        };
        if life.core.transfer(to).is_ok() {
            cx.fault(FaultKind::Transfer, Some(leader), &format_args!("to {to}"));
            cx.record(&Event::Note {
                node: leader,
                kind: Note::TransferBegun,
            });
            replica.turn(cx, settings);
        }
    }

    pub(super) fn change_membership(&mut self, cx: &mut Cx) {
        let Some(leader) = self.some_leader(cx) else {
            return;
        };
        let Some(life) = self.replica(leader).and_then(|r| r.life.as_ref()) else {
            return;
        };
        let configuration = life.core.configuration().clone();
        if configuration.is_joint() {
            self.leave_joint(cx, leader);
            return;
        }
        let changes = self.draw_changes(cx, &configuration);
        let transition = match cx.rng().below(3) {
            0 => Transition::Auto,
            1 => Transition::JointAutoLeave,
            _ => Transition::JointExplicit,
        };
        if self.is_sound(&configuration, &changes, transition) {
            self.propose_changes(cx, leader, &changes, transition);
        }
    }

    fn draw_changes(&self, cx: &mut Cx, configuration: &Configuration) -> Vec<Change> {
        let count = cx.rng().between(1, 3) as usize;
        let mut nodes: Vec<NodeId> = self.replicas.iter().map(|r| r.id).collect();
        cx.rng().shuffle(&mut nodes);
        let voters = configuration.voters.incoming().len();
        let draw = |node: NodeId, cx: &mut Cx| {
            if configuration.is_voter(node) {
                // Large groups shrink more often than small ones.
                match cx.rng().below(4) {
                    0 => Change::AddLearner(node),
                    _ if cx.rng().below(5) < voters as u64 => Change::Remove(node),
                    _ => Change::AddVoter(node),
                }
            } else {
                match cx.rng().below(4) {
                    0 => Change::AddLearner(node),
                    1 if configuration.is_member(node) => Change::Remove(node),
                    _ => Change::AddVoter(node),
                }
            }
        };
        nodes
            .into_iter()
            .take(count)
            .map(|node| draw(node, cx))
            .collect()
    }

    /// Whether the group that comes out of a change can live: it is not too large, and most of it
    /// is not gone for good.
    fn is_sound(&self, from: &Configuration, changes: &[Change], transition: Transition) -> bool {
        let Ok(next) = from.changed(changes, transition) else {
            return false;
        };
        let after = if next.is_joint() {
            next.left().unwrap_or(next)
        } else {
            next
        };
        let voters = after.voters.incoming();
        let good = |id: NodeId| self.replica(id).is_some_and(Replica::has_state);
        let added_are_good = voters.iter().all(|id| from.is_voter(*id) || good(*id));
        let good = voters.iter().filter(|id| good(**id)).count();
        added_are_good && voters.len() <= VOTERS_MAX && good > voters.len() / 2
    }

    fn propose_changes(
        &mut self,
        cx: &mut Cx,
        leader: NodeId,
        changes: &[Change],
        transition: Transition,
    ) {
        for change in changes {
            self.start(cx, change.node());
        }
        let (settings, replica) = self.parts(leader);
        let Some(replica) = replica else { return };
        let Some(life) = &mut replica.life else {
            return;
        };
        if life.core.change_membership(changes, transition).is_ok() {
            let names: Vec<String> = changes.iter().map(name).collect();
            let detail = format!("{} {transition:?}", List(&names));
            cx.fault(FaultKind::Membership, Some(leader), &detail);
            replica.turn(cx, settings);
        }
    }

    pub(super) fn leave_joint(&mut self, cx: &mut Cx, leader: NodeId) {
        let (settings, replica) = self.parts(leader);
        let Some(replica) = replica else { return };
        let Some(life) = &mut replica.life else {
            return;
        };
        if life.core.leave_joint().is_ok() {
            cx.fault(FaultKind::Membership, Some(leader), &"leave");
            replica.turn(cx, settings);
        }
    }

    /// Once healed: ends what was begun, and replaces voters that are gone for good.
    pub(super) fn operate(&mut self, cx: &mut Cx) {
        cx.after(ELECTION_TIMEOUT, Timer::Operator);
        self.decide_for_lone_voters(cx);
        let Some(leader) = self.some_leader(cx) else {
            return;
        };
        let Some(life) = self.replica(leader).and_then(|r| r.life.as_ref()) else {
            return;
        };
        let configuration = life.core.configuration().clone();
        if configuration.is_joint() {
            if !configuration.auto_leave {
                self.leave_joint(cx, leader);
            }
            return;
        }
        let lost = |id: &NodeId| self.replica(*id).is_none_or(|r| !r.is_good());
        let Some(bad) = configuration.members().find(lost) else {
            return;
        };
        let spare = self
            .replicas
            .iter()
            .find(|r| {
                !configuration.is_member(r.id) && !lost(&r.id) && r.disk.incarnation.get() == 0
            })
            .map(|r| r.id);
        let mut changes = vec![Change::Remove(bad)];
        changes.extend(spare.map(Change::AddVoter));
        self.propose_changes(cx, leader, &changes, Transition::Auto);
    }

    /// A voter that nobody shares its doubts with waits for an operator. What it doubts was never
    /// synced (see `bounds.rs`).
    fn decide_for_lone_voters(&mut self, cx: &mut Cx) {
        let in_doubt = |r: &Replica| {
            r.is_awake()
                && r.life.as_ref().is_some_and(|life| {
                    life.role == Role::Repairing && life.core.configuration().voters.is_only(r.id)
                })
        };
        let nodes = self.replicas.iter().filter(|r| in_doubt(r)).map(|r| r.id);
        for node in nodes.collect::<Vec<_>>() {
            let (settings, replica) = self.parts(node);
            let Some(replica) = replica else { continue };
            let Some(life) = &mut replica.life else {
                continue;
            };
            life.core.discard_doubtful();
            replica.turn(cx, settings);
        }
    }

    /// Each host watches its connections: this stands for the heartbeats between pairs of nodes.
    pub(super) fn watch_connections(&mut self, cx: &mut Cx) {
        cx.after(ELECTION_TIMEOUT, Timer::Detector);
        let nodes: Vec<NodeId> = self.replicas.iter().map(|r| r.id).collect();
        let mut news = false;
        for node in nodes.iter().copied() {
            for peer in nodes.iter().copied().filter(|peer| *peer != node) {
                let reachable = self.replica(peer).is_some_and(|r| r.is_awake())
                    && !cx.is_cut(node, peer)
                    && !cx.is_cut(peer, node);
                news |= self.tell_suspicion(cx, node, peer, !reachable);
            }
        }
        // Who was suspected until now is heard again only with its next heartbeat, and a majority
        // that suspected it may depose it until then.
        self.is_calm = !news;
    }

    /// Whether a host still takes a node for failed that runs: it has not looked at its connections
    /// since. A majority of such hosts may rightly depose a leader, so that until they have looked
    /// nobody can say that nothing is wrong.
    pub(super) fn is_anybody_suspected_in_vain(&self) -> bool {
        let runs = |peer: &NodeId| self.replica(*peer).is_some_and(Replica::is_awake);
        self.replicas
            .iter()
            .filter(|r| r.is_awake())
            .filter_map(|r| r.life.as_ref())
            .any(|life| life.suspected.iter().any(runs))
    }

    /// Whether that was news.
    pub(super) fn tell_suspicion(
        &mut self,
        cx: &mut Cx,
        node: NodeId,
        peer: NodeId,
        suspected: bool,
    ) -> bool {
        let (settings, replica) = self.parts(node);
        let Some(replica) = replica.filter(|r| r.is_awake()) else {
            return false;
        };
        let Some(life) = &mut replica.life else {
            return false;
        };
        if suspected == life.suspected.contains(&peer) {
            return false;
        }
        if suspected {
            life.suspected.insert(peer);
            life.core.peer_suspect(peer);
        } else {
            life.suspected.remove(&peer);
            life.core.peer_alive(peer);
        }
        replica.turn(cx, settings);
        true
    }
}
