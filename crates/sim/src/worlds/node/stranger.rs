//! Nodes that come with another directory than the one they had: an empty one, or an old copy. No
//! other node may let them in. After a while an operator gives them their own again.

use trilith_env::sim::SimDisk;
use trilith_peer::Registry;
use trilith_types::NodeId;

use super::{Cx, NodeWorld, Timer, process::Node, settings::ELECTION_TIMEOUT};
use crate::{event::Down, faults::FaultKind, time::Span};

/// An old copy of a node's directory.
pub(super) struct OldCopy {
    disk: SimDisk,
    /// The start that was the latest when it was made.
    start: u64,
}

impl NodeWorld {
    /// Whether all others have met this node, in a start after `start` if one is given. Of a
    /// directory that nobody has met nobody can tell that it is another one.
    fn is_known_to_all(&self, id: NodeId, start: Option<u64>) -> bool {
        self.nodes.iter().filter(|node| node.id != id).all(|other| {
            let life = other.life.as_ref().filter(|_| other.own_disk.is_none());
            let met = life.and_then(|life| life.node.identity().peers.get(&id).copied());
            met.is_some_and(|met| start.is_none_or(|start| met.start() > start))
        })
    }

    fn has_stranger(&self) -> bool {
        self.nodes.iter().any(|node| node.own_disk.is_some())
    }

    pub(super) fn empty_directory(&mut self, cx: &mut Cx, id: NodeId) {
        if self.has_stranger() || !self.is_known_to_all(id, None) {
            return;
        }
        let seed = cx.rng().next_u64();
        cx.fault(FaultKind::EmptiedDirectory, Some(id), &"");
        self.become_stranger(cx, id, Node::new_disk(seed));
    }

    /// A node that runs and whose old copy is history: all others have met it in a later start. The
    /// copy's next start may have the number of that one.
    fn has_history(&self) -> Option<NodeId> {
        let nodes = self.nodes.iter().filter(|node| node.is_awake());
        let copies = nodes.filter_map(|node| Some((node.id, node.copy.as_ref()?.start)));
        let mut old = copies.filter(|(id, start)| self.is_known_to_all(*id, Some(*start)));
        old.next().map(|(id, _)| id)
    }

    /// Starts a node with the copy that was made of its directory, or makes one of this node's.
    pub(super) fn take_old_directory(&mut self, cx: &mut Cx, id: NodeId) {
        if self.has_stranger() {
            return;
        }
        if let Some(id) = self.has_history() {
            let copy = self.node_mut(id).and_then(|node| node.copy.take());
            if let Some(OldCopy { disk, start }) = copy {
                let detail = format_args!("of start {start}");
                cx.fault(FaultKind::OldDirectory, Some(id), &detail);
                self.become_stranger(cx, id, disk);
            }
            return;
        }
        let seed = cx.rng().next_u64();
        let Some(node) = self.node_mut(id) else {
            return;
        };
        if node.copy.is_none() {
            let start = node
                .life
                .as_ref()
                .map(|life| life.node.identity().incarnation);
            node.copy = start.map(|incarnation| OldCopy {
                disk: node.disk.fork(seed),
                start: incarnation.start(),
            });
        }
    }

    fn become_stranger(&mut self, cx: &mut Cx, id: NodeId, disk: SimDisk) {
        self.stop(cx, id, Down::Crash);
        let lasts = Span(cx.rng().waiting(ELECTION_TIMEOUT.times(8).0));
        let Some(node) = self.node_mut(id).filter(|node| node.life.is_none()) else {
            return;
        };
        let own = std::mem::replace(&mut node.disk, disk);
        node.own_disk = Some(own);
        cx.after(lasts, Timer::OwnDirectory { node: id });
    }

    /// Whoever is refused is tried again: half of the starts in a strange directory end soon, and
    /// are followed by another.
    pub(super) fn end_stranger_later(&self, cx: &mut Cx, id: NodeId) {
        let stranger = self.node(id).filter(|node| node.own_disk.is_some());
        let Some(life) = stranger.and_then(|node| node.life.as_ref()) else {
            return;
        };
        if cx.rng().chance(500_000) {
            let lasts = Span(cx.rng().waiting(ELECTION_TIMEOUT.0));
            let life = life.number;
            cx.after(lasts, Timer::StrangerEnds { node: id, life });
        }
    }

    /// A node gets its own directory again.
    pub(super) fn give_back(&mut self, cx: &mut Cx, id: NodeId) {
        if self.node(id).is_none_or(|node| node.own_disk.is_none()) {
            return;
        }
        self.stop(cx, id, Down::Refused);
        if let Some(node) = self.node_mut(id)
            && let Some(own) = node.own_disk.take()
        {
            node.disk = own;
        }
        self.restart_later(cx, id);
    }

    /// A node holds a connection with a peer for good. A node in another directory may think so
    /// for a moment; the others may not.
    pub(super) fn opened(&self, cx: &mut Cx, id: NodeId, peer: NodeId, wire: u64) {
        let is_stranger = |node: &&Node| node.own_disk.is_some();
        if self.node(id).filter(is_stranger).is_some() {
            return;
        }
        let stranger = self.node(peer).filter(is_stranger);
        let Some(life) = stranger.and_then(|node| node.life.as_ref()) else {
            return;
        };
        // Else it is left from the life before.
        if life.conn(wire).is_some() {
            let incarnation = Registry::identity(&life.node).incarnation;
            let what = format!("node {id} lets in node {peer} with {incarnation:?}");
            cx.fail("refused", what);
        }
    }
}
