//! The bounds on faults: how much may go wrong so that the group can still be asked to recover.
//!
//! - **Damage** (of known identity, of a log's end, or of a whole node that is gone for good)
//!   never hits a majority of the copies of an entry that may be committed: of the voters on
//!   which the entry was ever durable, at most half have lost it at any moment. Whatever can
//!   be committed then has an intact copy on a voter. Entries that are durable on no majority are
//!   free prey.
//! - **A node is gone for good** (lost vote, emptied or old directory) only while every
//!   configuration that any node goes by keeps a quorum without it, and no change of members is
//!   under way: the last voters of two configurations may deny each other for ever (Raft alone
//!   cannot help that). An operator replaces the node.
//! - **A state machine** that is lost counts as damage to the entries that only it still holds,
//!   those that its log was trimmed of, and is lost only while every configuration keeps a quorum
//!   that has its own.
//! - **An old directory** comes back only when every other voter has heard of a later start: a
//!   copy of the latest incarnation cannot be told from the original, and a peer that never heard
//!   of the later one cannot know. Nor does a copy from a time when the node was the only voter:
//!   it would lead without asking anybody. Nor does it, or an emptied one, start so often unheard that
//!   its number catches up: it starts when it is put in place, and once more after healing.
//! - What the only voter of a configuration ever synced is not damaged: it would be every copy. What a power cut
//!   leaves in doubt there waits for an operator, who discards it once the world is healed.
//! - In runs with nodes that are gone for good a power cut leaves nothing in doubt, and no log ends
//!   in the unknown: with one voter gone, what is in doubt on another waits for an operator.
//! - What was never synced is not bounded at all.

use trilith_types::{Incarnation, LogIndex, NodeId};

use super::{Cx, RaftWorld, replica::Replica};
use crate::{
    event::Configuration,
    view::{NodeView, View},
};

impl RaftWorld {
    /// Every configuration that some node goes by.
    fn configurations<'a>(&self, view: &'a View) -> Vec<&'a Configuration> {
        let mut all: Vec<&Configuration> = Vec::new();
        for (_, node) in view.nodes().filter(|(_, n)| n.incarnation.get() > 0) {
            let configuration = &node.configuration.1;
            if !configuration.voters.is_empty() && !all.contains(&configuration) {
                all.push(configuration);
            }
        }
        all
    }

    /// Whether every member of the latest configuration goes by it, and it is not joint.
    fn is_agreed(&self, view: &View) -> bool {
        let latest = view
            .nodes()
            .map(|(_, n)| &n.configuration)
            .max_by_key(|c| c.0);
        latest.is_some_and(|(_, latest)| {
            let members = view.nodes().filter(|(id, _)| latest.contains(*id));
            !latest.is_joint()
                && members
                    .into_iter()
                    .all(|(_, n)| n.configuration.1 == *latest)
        })
    }

    /// Whether the group can do without this node for ever.
    pub(super) fn can_lose(&self, cx: &Cx, node: NodeId) -> bool {
        let view = cx.recorder().checkers().view();
        let stays = |id: NodeId| id != node && self.replica(id).is_some_and(Replica::has_state);
        let quorums = self
            .configurations(view)
            .iter()
            .all(|c| c.has_quorum(stays));
        if !quorums || !self.is_agreed(view) {
            return false;
        }
        let Some(n) = view.node(node) else {
            return false;
        };
        self.can_damage(cx, node, LogIndex(1), n.last().max(n.base.0))
    }

    /// Whether a quorum keeps its state when this node loses its own.
    pub(super) fn can_lose_state(&self, cx: &Cx, node: NodeId) -> bool {
        let view = cx.recorder().checkers().view();
        let has = |id: NodeId| id != node && self.replica(id).is_some_and(Replica::has_state);
        let Some(n) = view.node(node) else {
            return false;
        };
        self.configurations(view).iter().all(|c| c.has_quorum(has))
            && self.can_damage(cx, node, LogIndex(1), n.base.0)
    }

    /// Whether the entries from `first` to `last` may be damaged on this node.
    pub(super) fn can_damage(
        &self,
        cx: &Cx,
        node: NodeId,
        first: LogIndex,
        last: LogIndex,
    ) -> bool {
        let view = cx.recorder().checkers().view();
        let configurations = self.configurations(view);
        let mut index = first;
        while index <= last {
            let safe = |c: &&Configuration| {
                let halves = [&c.voters, &c.outgoing];
                halves
                    .into_iter()
                    .all(|half| self.spares(view, half, node, index))
            };
            if !configurations.iter().all(safe) {
                return false;
            }
            index = index.next();
        }
        true
    }

    /// Whether these voters keep enough copies of the node's entry at `index` when it loses its.
    fn spares(&self, view: &View, voters: &[NodeId], node: NodeId, index: LogIndex) -> bool {
        let term = match (view.committed(index), view.node(node)) {
            (Some(committed), _) => committed.entry.term,
            (None, Some(n)) => match n.term_at(index) {
                Some(term) => term,
                None => return true,
            },
            (None, None) => return true,
        };
        let had = |n: &NodeView| n.once_had_durable(index, term);
        let copies: Vec<NodeId> = voters
            .iter()
            .copied()
            .filter(|id| view.node(*id).is_some_and(had))
            .collect();
        let may_be_committed = view.committed(index).is_some() || copies.len() > voters.len() / 2;
        if !may_be_committed {
            return true;
        }
        let lost = copies
            .iter()
            .filter(|id| **id == node || !self.holds_intact(**id, index, term))
            .count();
        2 * lost <= copies.len()
    }

    /// Whether the node's disk has the entry in good order, by itself or in its snapshot.
    fn holds_intact(&self, node: NodeId, index: LogIndex, term: trilith_types::Term) -> bool {
        let Some(replica) = self.replica(node).filter(|r| r.is_good()) else {
            return false;
        };
        let log = &replica.disk.log;
        let covered = index <= log.base().index && replica.has_state();
        covered
            || log
                .get(index)
                .is_some_and(|e| e.id.term == term && !e.damaged)
    }

    /// Whether every other voter has heard of a start of this node after `incarnation`.
    pub(super) fn is_passed(&self, cx: &Cx, node: NodeId, incarnation: Incarnation) -> bool {
        let view = cx.recorder().checkers().view();
        let knows = |id: NodeId| {
            id == node
                || self
                    .replica(id)
                    .and_then(|r| r.disk.peers.get(&node))
                    .is_some_and(|known| *known > incarnation)
        };
        self.configurations(view)
            .iter()
            .all(|c| c.voters.iter().chain(&c.outgoing).all(|id| knows(*id)))
    }
}
