//! What the controller is told, and what it answers.

use std::sync::Arc;

use trilith_types::{ClusterId, NodeId, ProducerId};

use super::{Node, NodeName, Topic};
use crate::TopicSettingsPatch;

/// An entry of the controller's group. Who a command comes from does not matter: its answer
/// depends on the state alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControllerCommand {
    /// The cluster begins. Said again with the same id, it changes nothing.
    Found {
        /// The cluster's id.
        cluster: ClusterId,
        /// Its first nodes.
        nodes: Vec<Node>,
        /// How many replicas a topic gets that says nothing.
        replicas_default: u32,
    },
    /// A node wants to join.
    AddNode {
        /// Its name.
        name: NodeName,
        /// As [`Node::peer_address`].
        peer_address: String,
        /// As [`Node::client_address`].
        client_address: String,
        /// As [`Node::feature_level`].
        feature_level: u32,
    },
    /// A node has started: its addresses, incarnation and feature level are these from now on.
    RegisterNode(Node),
    /// A node is gone for good.
    RemoveNode {
        /// Which.
        id: NodeId,
    },
    /// A node is gone for good, and a new one, which has never been started, takes its place: it gets
    /// an id of its own, and is where the old one was in every placement. Needs
    /// [`super::FEATURE_LEVEL_REPLACE`].
    ReplaceNode {
        /// Which goes.
        old: NodeId,
        /// The new one's name; it may be that of the old one.
        name: NodeName,
        /// As [`Node::peer_address`].
        peer_address: String,
    },
    /// A new topic. Its id and its placement are the controller's to find.
    CreateTopic {
        /// Its name, not checked yet.
        name: String,
        /// What is not given takes its default.
        settings: TopicSettingsPatch,
        /// With fewer nodes than replicas, as many replicas as nodes.
        allow_fewer: bool,
    },
    /// Other settings for a topic; added partitions are placed.
    AlterTopic {
        /// Its name.
        name: String,
        /// What is not given stays.
        settings: TopicSettingsPatch,
    },
    /// A topic goes, with its records.
    DeleteTopic {
        /// Its name.
        name: String,
    },
    /// Producer ids for a node to hand out.
    TakeProducerIds {
        /// How many.
        count: u64,
    },
    /// All nodes have this level: what needs it may be used.
    RaiseFeatureLevel {
        /// The level.
        level: u32,
    },
    /// How many replicas a topic gets that says nothing.
    SetReplicasDefault {
        /// How many.
        replicas: u32,
    },
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster is founded.
    Founded,
    /// The node has an id now.
    Added(Node),
    /// The node is known as this.
    Registered(Node),
    /// The node is known no longer.
    Removed(Node),
    /// This node is there instead of another one.
    Replaced(Node),
    /// The topic is there.
    Created(Arc<Topic>),
    /// The topic is so now.
    Altered(Arc<Topic>),
    /// The topic was so, and is gone.
    Deleted(Arc<Topic>),
    /// These ids are the taker's; nobody else gets them.
    ProducerIds {
        /// The first.
        first: ProducerId,
        /// How many follow one another.
        count: u64,
    },
    /// The feature level is this now.
    FeatureLevel(u32),
    /// The default is this now.
    ReplicasDefault(u32),
}

/// A command that this version does not know. The replica stops: to skip it would make it another
/// than the replicas that know it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the controller's command is {what}, which this version does not know; start a newer version on this node"
)]
pub struct UnknownCommand {
    /// What is not known.
    pub what: String,
}
