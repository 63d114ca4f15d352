//! Which topics there are, as a value: every change is a decision from this state alone.

use std::collections::BTreeMap;

use trilith_types::{TopicId, TopicName};

use crate::{TopicError, TopicSettings, TopicSettingsPatch};

/// Most topics on a node.
pub const TOPICS_MAX: usize = 100_000;

/// Most partitions on a node, all topics together.
pub const PARTITIONS_MAX: u32 = 100_000;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Never reused: a topic that was deleted and made again has another.
    pub id: TopicId,
    /// Its settings.
    pub settings: TopicSettings,
    /// How many of its partitions, counted from the first, are known to have been made. The
    /// directory of such a partition must be there; that of a later one may be missing or half
    /// made, and holds no acknowledged record.
    pub ready: u32,
}

/// Which topics there are, and which directories of deleted ones are still to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogState {
    pub(crate) next_id: TopicId,
    pub(crate) topics: BTreeMap<TopicName, Topic>,
    /// Deleted topics whose directories are still to be removed.
    pub(crate) deleted: BTreeMap<TopicId, u32>,
}

impl Default for CatalogState {
    fn default() -> Self {
        Self {
            next_id: TopicId(1),
            topics: BTreeMap::new(),
            deleted: BTreeMap::new(),
        }
    }
}

impl CatalogState {
    /// The topics, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// The topic of that name.
    ///
    /// # Errors
    /// [`TopicError::Name`] for what cannot be a name, [`TopicError::Unknown`] for none.
    pub fn topic(&self, name: &str) -> Result<&Topic, TopicError> {
        let known = self.topics.get(&TopicName::new(name)?);
        known.ok_or_else(|| TopicError::Unknown {
            name: name.to_owned(),
        })
    }

    /// Deleted topics whose directories are still to be removed, and how many partitions they had.
    pub fn deleted(&self) -> impl Iterator<Item = (TopicId, u32)> {
        self.deleted
            .iter()
            .map(|(&id, &partitions)| (id, partitions))
    }

    /// Adds a topic with a new id. None of its partitions is ready.
    ///
    /// # Errors
    /// A bad name or setting, a topic of that name, or too many.
    pub fn create(&mut self, name: &str, patch: &TopicSettingsPatch) -> Result<Topic, TopicError> {
        let name = TopicName::new(name)?;
        let settings = TopicSettings {
            // A catalog of one node has one replica of everything.
            replicas: 1,
            ..TopicSettings::new(patch)?
        };
        if self.topics.contains_key(&name) {
            return Err(TopicError::Exists {
                name: name.to_string(),
            });
        }
        if self.topics.len() >= TOPICS_MAX {
            return Err(TopicError::TooManyTopics);
        }
        self.room_for(settings.partitions)?;
        let topic = Topic {
            name: name.clone(),
            id: self.next_id,
            settings,
            ready: 0,
        };
        self.next_id = TopicId(self.next_id.0 + 1);
        self.topics.insert(name, topic.clone());
        Ok(topic)
    }

    /// Changes a topic's settings. Partitions that are added are not ready.
    ///
    /// # Errors
    /// A bad setting, no topic of that name, or too many partitions.
    pub fn alter(&mut self, name: &str, patch: &TopicSettingsPatch) -> Result<Topic, TopicError> {
        let topic = self.topic(name)?;
        let settings = topic.settings.patched(patch)?;
        self.room_for(settings.partitions - topic.settings.partitions)?;
        let altered = Topic {
            settings,
            ..topic.clone()
        };
        self.topics.insert(altered.name.clone(), altered.clone());
        Ok(altered)
    }

    /// Takes a topic out. Its directories are still to be removed.
    ///
    /// # Errors
    /// No topic of that name.
    pub fn delete(&mut self, name: &str) -> Result<Topic, TopicError> {
        let topic = self.topic(name)?.clone();
        self.topics.remove(&topic.name);
        self.deleted.insert(topic.id, topic.settings.partitions);
        Ok(topic)
    }

    /// Notes that the directories of all of a topic's partitions have been made.
    pub fn mark_ready(&mut self, id: TopicId) {
        if let Some(topic) = self.topics.values_mut().find(|topic| topic.id == id) {
            topic.ready = topic.settings.partitions;
        }
    }

    /// Notes that the directories of a deleted topic are gone.
    pub fn mark_removed(&mut self, id: TopicId) {
        self.deleted.remove(&id);
    }

    fn room_for(&self, asked: u32) -> Result<(), TopicError> {
        let has = self
            .topics
            .values()
            .map(|topic| topic.settings.partitions)
            .sum::<u32>();
        if asked > PARTITIONS_MAX - has.min(PARTITIONS_MAX) {
            return Err(TopicError::TooManyPartitions { has, asked });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(n: u32) -> TopicSettingsPatch {
        TopicSettingsPatch {
            partitions: Some(n),
            ..TopicSettingsPatch::default()
        }
    }

    #[test]
    fn a_topic_made_again_has_another_id() {
        let mut state = CatalogState::default();
        let first = state.create("orders", &partitions(3)).unwrap();
        assert!(matches!(
            state.create("orders", &partitions(1)),
            Err(TopicError::Exists { .. })
        ));
        assert_eq!(state.delete("orders").unwrap().id, first.id);
        let second = state.create("orders", &partitions(1)).unwrap();
        assert!(second.id > first.id);
        assert_eq!(state.deleted().collect::<Vec<_>>(), [(first.id, 3)]);
        state.mark_removed(first.id);
        assert_eq!(state.deleted().count(), 0);
    }

    #[test]
    fn names_that_differ_in_case_are_two_topics() {
        let mut state = CatalogState::default();
        let lower = state.create("stone", &partitions(1)).unwrap();
        let upper = state.create("Stone", &partitions(1)).unwrap();
        assert_ne!(lower.id, upper.id);
        assert_eq!(
            state.topics().map(|t| t.name.as_str()).collect::<Vec<_>>(),
            ["Stone", "stone"]
        );
    }

    #[test]
    fn partitions_are_ready_once_they_were_made() {
        let mut state = CatalogState::default();
        let topic = state.create("a", &partitions(2)).unwrap();
        assert_eq!(topic.ready, 0);
        state.mark_ready(topic.id);
        assert_eq!(state.topic("a").unwrap().ready, 2);
        let altered = state.alter("a", &partitions(5)).unwrap();
        assert_eq!((altered.ready, altered.settings.partitions), (2, 5));
        state.mark_ready(TopicId(99));
        assert_eq!(state.topic("a").unwrap().ready, 2);
    }

    #[test]
    fn unknown_and_impossible_names_are_told_apart() {
        let mut state = CatalogState::default();
        assert!(matches!(
            state.topic("none"),
            Err(TopicError::Unknown { .. })
        ));
        assert!(matches!(
            state.delete("none"),
            Err(TopicError::Unknown { .. })
        ));
        assert!(matches!(
            state.alter("none", &partitions(1)),
            Err(TopicError::Unknown { .. })
        ));
        assert!(matches!(state.topic("no/ne"), Err(TopicError::Name(_))));
        assert!(matches!(
            state.create("__x", &partitions(1)),
            Err(TopicError::Name(_))
        ));
        assert!(matches!(
            state.create("x", &partitions(0)),
            Err(TopicError::Setting(_))
        ));
    }

    #[test]
    fn a_node_holds_a_bounded_number_of_partitions() {
        let mut state = CatalogState::default();
        for n in 0..10 {
            state.create(&format!("t{n}"), &partitions(10_000)).unwrap();
        }
        let refused = state.create("one-more", &partitions(1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a node holds at most 100000 partitions; it has 100000, and 1 more were asked for"
        );
        state.delete("t3").unwrap();
        state.create("one-more", &partitions(1)).unwrap();
        let grown = state.alter("one-more", &partitions(10_000)).unwrap();
        assert_eq!((grown.ready, grown.settings.partitions), (0, 10_000));
    }

    #[test]
    fn a_node_holds_a_bounded_number_of_topics() {
        let mut state = CatalogState::default();
        for n in 0..TOPICS_MAX {
            let name = TopicName::new(&format!("t{n}")).unwrap();
            let topic = Topic {
                name: name.clone(),
                id: TopicId(1),
                settings: TopicSettings::default(),
                ready: 0,
            };
            state.topics.insert(name, topic);
        }
        assert!(matches!(
            state.create("one-more", &partitions(1)),
            Err(TopicError::TooManyTopics)
        ));
    }
}
