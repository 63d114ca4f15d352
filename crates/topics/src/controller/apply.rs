//! Applying the controller's commands: what a command does, or why it does nothing.

use std::sync::Arc;

use trilith_types::{
    ClusterId, Incarnation, NodeId, ProducerId, Succession, TopicId, TopicName,
    planted::{self, Bug},
};

use super::{
    Controller, ControllerCommand, ControllerError, NODES_MAX, Node, Outcome, PRODUCER_IDS_MAX,
    Topic, UnknownCommand,
};
use crate::{PARTITIONS_MAX, TOPICS_MAX, TopicError, TopicSettings, TopicSettingsPatch};

/// The highest topic id: a partition's group has the id in its upper half.
const TOPIC_ID_MAX: TopicId = TopicId(u32::MAX as u64);

type Answer = Result<Outcome, ControllerError>;

impl Controller {
    /// Applies a COMMAND entry's payload. The inner result is the command's answer.
    ///
    /// # Errors
    /// A command that this version does not know: the replica must stop.
    pub fn apply(&mut self, payload: &[u8]) -> Result<Answer, UnknownCommand> {
        Ok(self.execute(ControllerCommand::decode(payload)?))
    }

    fn execute(&mut self, command: ControllerCommand) -> Answer {
        match command {
            ControllerCommand::Found {
                cluster,
                nodes,
                replicas_default,
            } => self.found(cluster, nodes, replicas_default),
            ControllerCommand::AddNode {
                name,
                peer_address,
                client_address,
                feature_level,
            } => self.add_node(Node {
                id: self.next_node,
                name,
                peer_address,
                client_address,
                incarnation: Incarnation(0),
                feature_level,
            }),
            ControllerCommand::RegisterNode(node) => self.register(node),
            ControllerCommand::RemoveNode { id } => self.remove_node(id),
            ControllerCommand::ReplaceNode {
                old,
                name,
                peer_address,
            } => self.replace_node(old, name, peer_address),
            ControllerCommand::CreateTopic {
                name,
                settings,
                allow_fewer,
            } => self.create_topic(&name, &settings, allow_fewer),
            ControllerCommand::AlterTopic { name, settings } => self.alter_topic(&name, &settings),
            ControllerCommand::DeleteTopic { name } => self.delete_topic(&name),
            ControllerCommand::TakeProducerIds { count } => self.take_producer_ids(count),
            ControllerCommand::RaiseFeatureLevel { level } => self.raise_feature_level(level),
            ControllerCommand::SetReplicasDefault { replicas } => {
                self.replicas_default = checked_replicas(replicas)?;
                Ok(Outcome::ReplicasDefault(replicas))
            }
        }
    }

    fn found(&mut self, cluster: ClusterId, nodes: Vec<Node>, replicas: u32) -> Answer {
        if let Some(known) = self.cluster {
            // Every founder may say it; the first to be committed counts.
            return if known == cluster {
                Ok(Outcome::Founded)
            } else {
                Err(ControllerError::AlreadyFounded { cluster: known })
            };
        }
        let replicas = checked_replicas(replicas)?;
        let mut founded = Self::default();
        for node in nodes {
            node.check()?;
            if node.id.0 == 0 || node.id.0 > u32::MAX.into() || founded.nodes.len() >= NODES_MAX {
                return Err(ControllerError::Founders);
            }
            founded.next_node = founded.next_node.max(NodeId(node.id.0 + 1));
            let named = founded.node_named(node.name.as_str()).is_some();
            if named || founded.nodes.insert(node.id, node).is_some() {
                return Err(ControllerError::Founders);
            }
        }
        if founded.nodes.is_empty() {
            return Err(ControllerError::Founders);
        }
        founded.cluster = Some(cluster);
        founded.replicas_default = replicas;
        *self = founded;
        Ok(Outcome::Founded)
    }

    fn add_node(&mut self, node: Node) -> Answer {
        node.check()?;
        if self.nodes.len() >= NODES_MAX {
            return Err(ControllerError::TooManyNodes);
        }
        if let Some(known) = self.node_named(node.name.as_str()) {
            return Err(ControllerError::NameTaken {
                name: node.name.to_string(),
                id: known.id,
            });
        }
        check_level(self.feature_level, &node)?;
        self.next_node = NodeId(node.id.0 + 1);
        self.nodes.insert(node.id, node.clone());
        Ok(Outcome::Added(node))
    }

    fn register(&mut self, node: Node) -> Answer {
        node.check()?;
        let id = node.id;
        let known = self
            .nodes
            .get(&id)
            .ok_or(ControllerError::UnknownNode { id })?;
        if known.name != node.name {
            return Err(ControllerError::NameTaken {
                name: known.name.to_string(),
                id,
            });
        }
        match known.incarnation.succession(node.incarnation) {
            Succession::Same | Succession::Later => {}
            Succession::Copy if planted::is_on(Bug::LivesAlike) => {}
            Succession::Earlier | Succession::Copy => {
                return Err(ControllerError::StaleIncarnation {
                    id,
                    known: known.incarnation,
                    found: node.incarnation,
                });
            }
            Succession::OtherDirectory => return Err(ControllerError::OtherDirectory { id }),
        }
        check_level(self.feature_level, &node)?;
        self.nodes.insert(id, node.clone());
        Ok(Outcome::Registered(node))
    }

    fn remove_node(&mut self, id: NodeId) -> Answer {
        let placements = self.topics.values().flat_map(|topic| &topic.placements);
        let partitions = placements.filter(|nodes| nodes.contains(&id)).count() as u32;
        if partitions > 0 {
            return Err(ControllerError::HoldsReplicas { id, partitions });
        }
        let removed = self.nodes.remove(&id);
        removed
            .map(Outcome::Removed)
            .ok_or(ControllerError::UnknownNode { id })
    }

    fn create_topic(
        &mut self,
        name: &str,
        patch: &TopicSettingsPatch,
        allow_fewer: bool,
    ) -> Answer {
        let name = TopicName::new(name).map_err(TopicError::from)?;
        if self.topics.contains_key(&name) {
            let name = name.to_string();
            return Err(TopicError::Exists { name }.into());
        }
        if self.topics.len() >= TOPICS_MAX {
            return Err(TopicError::TooManyTopics.into());
        }
        if self.next_topic > TOPIC_ID_MAX {
            return Err(ControllerError::OutOfIds { of: "topic ids" });
        }
        let patch = TopicSettingsPatch {
            replicas: Some(patch.replicas.unwrap_or(self.replicas_default)),
            ..*patch
        };
        let mut settings = TopicSettings::new(&patch).map_err(TopicError::from)?;
        self.room_for(settings.partitions)?;
        settings.replicas = self.replicas_possible(settings.replicas, allow_fewer)?;
        let mut loads = self.loads();
        let places = (0..settings.partitions).map(|_| loads.place(settings.replicas));
        let topic = Topic {
            id: self.next_topic,
            name,
            settings,
            placements: places.collect(),
        };
        self.next_topic = TopicId(topic.id.0 + 1);
        Ok(Outcome::Created(self.insert(topic)))
    }

    fn alter_topic(&mut self, name: &str, patch: &TopicSettingsPatch) -> Answer {
        let topic = Arc::clone(self.topic(name)?);
        let settings = topic.settings.patched(patch).map_err(TopicError::from)?;
        let added = settings.partitions - topic.settings.partitions;
        let mut placements = topic.placements.clone();
        if added > 0 {
            self.room_for(added)?;
            let replicas = self.replicas_possible(settings.replicas, false)?;
            let mut loads = self.loads();
            placements.extend((0..added).map(|_| loads.place(replicas)));
        }
        let altered = Topic {
            id: topic.id,
            name: topic.name.clone(),
            settings,
            placements,
        };
        Ok(Outcome::Altered(self.insert(altered)))
    }

    fn delete_topic(&mut self, name: &str) -> Answer {
        let topic = Arc::clone(self.topic(name)?);
        self.topics.remove(&topic.name);
        self.by_id.remove(&topic.id);
        self.taken_over.retain(|(of, _), _| *of != topic.id);
        if planted::is_on(Bug::TopicIdsTwice) && topic.id.0 + 1 == self.next_topic.0 {
            self.next_topic = topic.id;
        }
        Ok(Outcome::Deleted(topic))
    }

    fn take_producer_ids(&mut self, count: u64) -> Answer {
        if !(1..=PRODUCER_IDS_MAX).contains(&count) {
            return Err(ControllerError::ProducerIds { count });
        }
        // A batch's field has a sign.
        let next = self.next_producer + count;
        if i64::try_from(next).is_err() {
            return Err(ControllerError::OutOfIds { of: "producer ids" });
        }
        let first = ProducerId(self.next_producer);
        if planted::is_on(Bug::ProducerIdsTwice) {
            return Ok(Outcome::ProducerIds { first, count });
        }
        self.next_producer = next;
        Ok(Outcome::ProducerIds { first, count })
    }

    fn raise_feature_level(&mut self, level: u32) -> Answer {
        if level < self.feature_level {
            return Err(ControllerError::FeatureLevelFalls {
                current: self.feature_level,
                level,
            });
        }
        self.nodes
            .values()
            .try_for_each(|node| check_level(level, node))?;
        self.feature_level = level;
        Ok(Outcome::FeatureLevel(level))
    }

    fn replicas_possible(&self, replicas: u32, allow_fewer: bool) -> Result<u32, ControllerError> {
        let nodes = self.nodes.len() as u32;
        if replicas > nodes && !(allow_fewer && nodes > 0) {
            return Err(ControllerError::TooFewNodes { replicas, nodes });
        }
        Ok(replicas.min(nodes))
    }

    fn room_for(&self, asked: u32) -> Result<(), TopicError> {
        let has = self.partitions();
        if asked > PARTITIONS_MAX - has.min(PARTITIONS_MAX) {
            return Err(TopicError::TooManyPartitions { has, asked });
        }
        Ok(())
    }
}

pub(super) const fn check_level(level: u32, node: &Node) -> Result<(), ControllerError> {
    if node.feature_level < level {
        return Err(ControllerError::FeatureLevel {
            level,
            node: node.id,
            has: node.feature_level,
        });
    }
    Ok(())
}

fn checked_replicas(replicas: u32) -> Result<u32, TopicError> {
    let settings = TopicSettings {
        replicas,
        ..TopicSettings::default()
    };
    settings.check()?;
    Ok(replicas)
}
