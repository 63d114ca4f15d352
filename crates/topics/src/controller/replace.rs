//! A node that is gone for good, and another one in its place.

use std::sync::Arc;

use trilith_types::{Incarnation, NodeId, PartitionId, TopicId};

use super::{Controller, ControllerError, FEATURE_LEVEL_REPLACE, Node, NodeName, Outcome, Topic};

impl Controller {
    /// Whether a node's replica took the place of another node's: then its group may have been there
    /// before it, and who its members are is for the group to tell.
    #[must_use]
    pub fn takes_over(&self, topic: TopicId, partition: PartitionId, node: NodeId) -> bool {
        let taken = self.taken_over.get(&(topic, node));
        taken.is_some_and(|&partitions| partition.get() < partitions)
    }

    pub(super) fn replace_node(
        &mut self,
        old: NodeId,
        name: NodeName,
        peer_address: String,
    ) -> Result<Outcome, ControllerError> {
        // Who goes has no say: it may be gone since before it said what it can do.
        let stay = self.nodes.values().filter(|node| node.id != old);
        let possible = stay.map(|node| node.feature_level).min();
        let level = self.feature_level.max(possible.unwrap_or_default());
        if level < FEATURE_LEVEL_REPLACE {
            return Err(ControllerError::LevelTooLow {
                level,
                needed: FEATURE_LEVEL_REPLACE,
            });
        }
        if !self.nodes.contains_key(&old) {
            return Err(ControllerError::UnknownNode { id: old });
        }
        if let Some(known) = self.node_named(name.as_str())
            && known.id != old
        {
            return Err(ControllerError::NameTaken {
                name: name.to_string(),
                id: known.id,
            });
        }
        let new = Node {
            id: self.next_node,
            name,
            peer_address,
            client_address: String::new(),
            incarnation: Incarnation(0),
            // What it can do it says itself; until then the level does not rise.
            feature_level: self.feature_level,
        };
        new.check()?;
        let alone = |topic: &&Arc<Topic>| topic.placements.iter().any(|place| place[..] == [old]);
        if let Some(topic) = self.topics.values().find(alone) {
            return Err(ControllerError::OnlyReplica {
                id: old,
                topic: topic.name.to_string(),
            });
        }
        self.next_node = NodeId(new.id.0 + 1);
        self.nodes.remove(&old);
        self.nodes.insert(new.id, new.clone());
        let holds = |topic: &&Arc<Topic>| topic.placements.iter().any(|p| p.contains(&old));
        let held: Vec<Arc<Topic>> = self.topics.values().filter(holds).cloned().collect();
        for topic in held {
            self.take_over(&topic, old, new.id);
        }
        self.taken_over.retain(|(_, node), _| *node != old);
        Ok(Outcome::Replaced(new))
    }

    fn take_over(&mut self, topic: &Topic, old: NodeId, new: NodeId) {
        let mut changed = topic.clone();
        let places = changed.placements.iter_mut().flat_map(|p| p.iter_mut());
        places
            .filter(|node| **node == old)
            .for_each(|node| *node = new);
        let partitions = topic.settings.partitions;
        self.taken_over.insert((topic.id, new), partitions);
        self.insert(changed);
    }
}
