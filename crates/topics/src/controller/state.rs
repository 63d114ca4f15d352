//! What the cluster is, as a value that only commands change.

use std::{collections::BTreeMap, sync::Arc};

use trilith_types::{ClusterId, NodeId, TopicId, TopicName};

use super::{Node, Placement, placement::Loads};
use crate::{TopicError, TopicSettings};

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Never reused: a topic that was deleted and made again has another.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its settings.
    pub settings: TopicSettings,
    /// The replicas of each partition, the partitions in order.
    pub placements: Vec<Placement>,
}

/// The cluster's own state: a function of the controller group's entries alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub(super) cluster: Option<ClusterId>,
    pub(super) feature_level: u32,
    /// How many replicas a topic gets that says nothing.
    pub(super) replicas_default: u32,
    pub(super) next_node: NodeId,
    pub(super) next_topic: TopicId,
    pub(super) next_producer: u64,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) topics: BTreeMap<TopicName, Arc<Topic>>,
    /// Where a node took the place of another one: of a topic's first partitions, so many, which may
    /// have been there before it came.
    pub(super) taken_over: BTreeMap<(TopicId, NodeId), u32>,
    /// Another index of the same topics.
    pub(super) by_id: BTreeMap<TopicId, Arc<Topic>>,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            cluster: None,
            feature_level: super::FEATURE_LEVEL_FIRST,
            replicas_default: TopicSettings::default().replicas,
            next_node: NodeId(1),
            next_topic: TopicId(1),
            next_producer: 1,
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            taken_over: BTreeMap::new(),
            by_id: BTreeMap::new(),
        }
    }
}

impl Controller {
    /// The cluster's id, once it is founded.
    #[must_use]
    pub const fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// What all nodes can do and may use.
    #[must_use]
    pub const fn feature_level(&self) -> u32 {
        self.feature_level
    }

    /// The id that the next topic gets. A topic with a lower id that is not there was deleted:
    /// what is left of it on disk is to be removed.
    #[must_use]
    pub const fn next_topic_id(&self) -> TopicId {
        self.next_topic
    }

    /// The nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The node of that id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Whether a node was in the cluster and is no longer: an id that was given and is not there is
    /// never given again.
    #[must_use]
    pub fn was_removed(&self, id: NodeId) -> bool {
        self.cluster.is_some() && id < self.next_node && !self.nodes.contains_key(&id)
    }

    /// The node of that name.
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes.values().find(|node| node.name.as_str() == name)
    }

    /// The topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topic of that name.
    ///
    /// # Errors
    /// [`TopicError::Name`] for what cannot be a name, [`TopicError::Unknown`] for none.
    pub fn topic(&self, name: &str) -> Result<&Arc<Topic>, TopicError> {
        let known = self.topics.get(&TopicName::new(name)?);
        known.ok_or_else(|| TopicError::Unknown {
            name: name.to_owned(),
        })
    }

    /// The topic of that id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The highest level that every node can do; the present one without nodes.
    #[must_use]
    pub fn feature_level_possible(&self) -> u32 {
        let levels = self.nodes.values().map(|node| node.feature_level);
        levels.min().unwrap_or(self.feature_level)
    }

    pub(super) fn insert(&mut self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.topics.insert(topic.name.clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id, Arc::clone(&topic));
        topic
    }

    pub(super) fn loads(&self) -> Loads {
        let placements = self.topics.values().flat_map(|topic| &topic.placements);
        Loads::new(self.nodes.keys().copied(), placements)
    }

    pub(super) fn partitions(&self) -> u32 {
        self.topics
            .values()
            .map(|topic| topic.settings.partitions)
            .sum()
    }
}
