//! What the links ask of, and tell to, the node around them.

use trilith_types::{ClusterId, Incarnation, NodeId};

use crate::{handshake::Refusal, heartbeat::Progress, message::NodeMessage};

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster and its number there; `None` while it waits to be founded.
    pub member: Option<Membership>,
    /// The name it was given.
    pub name: String,
    /// Which start this is; from 1.
    pub incarnation: Incarnation,
}

/// A node's place in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number in it.
    pub node: NodeId,
}

/// A node to be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number; `None` for an address of which nothing else is known.
    pub node: Option<NodeId>,
    /// Where it listens, as `host:port`.
    pub address: String,
}

/// The start of a cluster, as it is handed to each of its first nodes; or a cluster that has begun,
/// as it is handed to a node that joins it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The new cluster.
    pub cluster: ClusterId,
    /// Its first nodes; at most [`FOUNDERS_MAX`](crate::FOUNDERS_MAX).
    pub members: Vec<Founder>,
    /// The cluster is there, and these are its nodes: who is handed this joins them.
    pub joins: bool,
}

/// One of a cluster's first nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// The number it gets.
    pub node: NodeId,
    /// The name by which it knows itself.
    pub name: String,
    /// Where it listens for other nodes, as `host:port`.
    pub peer_address: String,
    /// Where it listens for clients, as `host:port`.
    pub client_address: String,
}

/// What a link has learned of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// It is silent, makes no progress, or closed its connection. It may be well for all that.
    Suspect(NodeId),
    /// It is heard again.
    Alive(NodeId),
    /// It was started again. Said before the first message of the new life.
    Reset(NodeId, Incarnation),
}

/// The node around the links. Everything here is called while a connection is made, or from its
/// reading thread: nothing may block.
pub trait Registry: Send + Sync {
    /// Who this node is, now.
    fn identity(&self) -> Identity;

    /// Whom to dial: every other member, and addresses to look for some at.
    fn peers(&self) -> Vec<Peer>;

    /// That `node` was a member of this cluster and is none any more, in words for it; `None` when it
    /// is one, or nothing is known of it. Said only of what the cluster has decided: the other node
    /// gives up when it hears of it.
    fn removed(&self, node: NodeId) -> Option<String>;

    /// Whether to let in `node`, which calls itself `name` and is in its `incarnation`-th life,
    /// after the cluster was found to be the same. It must be a member of that name and not in an
    /// earlier life than was seen. From the return on this node's own life counts, durably: its
    /// next one has a higher number.
    ///
    /// # Errors
    /// What is wrong and what to do, for the other node's log and for this one's.
    fn admit(&self, node: NodeId, name: &str, incarnation: Incarnation) -> Result<(), String>;

    /// The highest incarnation in which that node is known, from earlier lives of this one too; 0
    /// for none.
    fn met(&self, node: NodeId) -> Incarnation;

    /// What to hand to a node of that name which belongs to no cluster yet; `None` when it is not
    /// one of the founders, or has registered before: an emptied directory is no new node.
    fn found_for(&self, name: &str) -> Option<Found>;

    /// Whether [`Registry::found_for`] can be answered yet: not while this node has still to learn
    /// who has registered. Who asks meanwhile is told to ask again.
    fn knows_members(&self) -> bool;

    /// This node, which belongs to no cluster yet, is made a member of one. It is one of the
    /// members (checked); from the return on [`Registry::identity`] says so, durably.
    ///
    /// # Errors
    /// Why not.
    fn found(&self, found: Found) -> Result<(), String>;

    /// The counters for the next heartbeat.
    fn progress(&self) -> Progress;

    /// What came from `from`, in order; everything that one read brought. `messages` is left
    /// empty. What there is no room for is dropped: nothing here may wait.
    fn deliver(&self, from: NodeId, messages: &mut Vec<NodeMessage>);

    /// News of a peer.
    fn peer_event(&self, event: PeerEvent);

    /// The node at `address` does not let this one in.
    fn refused(&self, address: &str, refusal: &Refusal);
}
