//! Why the controller refuses a command.

use trilith_types::{ClusterId, Incarnation, NodeId};

use super::{NODES_MAX, PRODUCER_IDS_MAX, node::NodeFieldError};
use crate::TopicError;

/// Why a command changed nothing. It is the command's answer, alike on every replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// A topic's name, settings or number.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A node's name or address.
    #[error(transparent)]
    Field(#[from] NodeFieldError),
    /// Fewer nodes than replicas were asked for.
    #[error(
        "a topic with {replicas} replicas needs as many nodes; the cluster has {nodes}: add nodes, set replicas to {nodes}, or allow fewer"
    )]
    TooFewNodes {
        /// How many were asked for.
        replicas: u32,
        /// How many nodes there are.
        nodes: u32,
    },
    /// The cluster was founded before, as another.
    #[error("this is cluster {cluster:032x}; it cannot be founded again", cluster = cluster.0)]
    AlreadyFounded {
        /// Its id.
        cluster: ClusterId,
    },
    /// A founding list without nodes, or with an id or a name twice.
    #[error(
        "a cluster is founded with 1 to {NODES_MAX} nodes of different ids, from 1 on, and names"
    )]
    Founders,
    /// No node has this id; it may have been removed.
    #[error(
        "the cluster has no node {id}; ids are never given twice, so a removed node joins as a new one"
    )]
    UnknownNode {
        /// The id.
        id: NodeId,
    },
    /// Another node has the name.
    #[error("node {id} is named {name:?}; give this one another name, or remove that node first")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: NodeId,
    },
    /// A later start of the node was heard of, or one of the same number with a copy of its directory.
    #[error(
        "node {id} says that this is its start number {found_start}, drawn {found_life:05x}, but number {known_start}, drawn {known_life:05x}, was seen; is its data directory an old copy?",
        found_start = found.start(), found_life = found.life(),
        known_start = known.start(), known_life = known.life()
    )]
    StaleIncarnation {
        /// The node.
        id: NodeId,
        /// The latest that was seen.
        known: Incarnation,
        /// What the node says.
        found: Incarnation,
    },
    /// The node comes with another data directory than the one that it had.
    #[error("node {id} comes with another data directory than the one it had; was it emptied?")]
    OtherDirectory {
        /// The node.
        id: NodeId,
    },
    /// Too many nodes.
    #[error("a cluster has at most {NODES_MAX} nodes")]
    TooManyNodes,
    /// The node holds replicas.
    #[error("node {id} holds replicas of {partitions} partitions; move or delete them first")]
    HoldsReplicas {
        /// The node.
        id: NodeId,
        /// Of how many partitions.
        partitions: u32,
    },
    /// A node's program cannot do a feature level.
    #[error("feature level {level} needs a newer program on node {node}, which can do level {has}")]
    FeatureLevel {
        /// The level.
        level: u32,
        /// The node.
        node: NodeId,
        /// The highest that it can do.
        has: u32,
    },
    /// What was asked for needs a higher feature level.
    #[error(
        "this needs feature level {needed}; the cluster is at {level} until every node runs a program that can do it"
    )]
    LevelTooLow {
        /// As it is.
        level: u32,
        /// What is needed.
        needed: u32,
    },
    /// A node that has what no other node has cannot be replaced.
    #[error(
        "node {id} holds the only replica of a partition of topic {topic:?}: with it the records would be lost; delete the topic first if that is meant"
    )]
    OnlyReplica {
        /// The node.
        id: NodeId,
        /// A topic.
        topic: String,
    },
    /// The feature level only rises.
    #[error("the feature level is {current} and only rises; {level} was asked for")]
    FeatureLevelFalls {
        /// As it is.
        current: u32,
        /// What was asked for.
        level: u32,
    },
    /// No, or too many, producer ids at once.
    #[error("producer ids are taken 1 to {PRODUCER_IDS_MAX} at a time; {count} were asked for")]
    ProducerIds {
        /// How many were asked for.
        count: u64,
    },
    /// Ids of a kind have run out.
    #[error("there are no more {of} to give")]
    OutOfIds {
        /// Ids of what.
        of: &'static str,
    },
}
