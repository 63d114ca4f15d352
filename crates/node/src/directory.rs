//! Which topics and partitions a node serves, as producers and readers look them up.

use std::{collections::BTreeMap, sync::Arc};

use trilith_topics::Topic;
use trilith_types::{PartitionId, TopicName};

use crate::{PartitionError, partition::PartitionShared};

/// A topic that is served.
#[derive(Clone, Debug)]
pub(crate) struct ServedTopic {
    pub(crate) topic: Topic,
    pub(crate) partitions: Vec<Slot>,
}

/// A partition, in service or not.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Open(Arc<PartitionShared>),
    /// Its log could not be opened; the reason.
    Unavailable(Arc<str>),
}

/// All topics. A change makes a new directory; lookups take no lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    topics: BTreeMap<Box<str>, Arc<ServedTopic>>,
}

impl Directory {
    pub(crate) fn insert(&mut self, served: ServedTopic) {
        self.topics
            .insert(served.topic.name.as_str().into(), Arc::new(served));
    }

    pub(crate) fn remove(&mut self, name: &TopicName) -> Option<Arc<ServedTopic>> {
        self.topics.remove(name.as_str())
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<ServedTopic>> {
        self.topics.values()
    }

    pub(crate) fn topic(&self, name: &str) -> Result<&Arc<ServedTopic>, PartitionError> {
        self.topics
            .get(name)
            .ok_or_else(|| PartitionError::UnknownTopic {
                topic: name.to_owned(),
            })
    }
}

impl ServedTopic {
    pub(crate) fn partition(
        &self,
        partition: PartitionId,
    ) -> Result<&Arc<PartitionShared>, PartitionError> {
        let topic = || self.topic.name.to_string();
        match self.partitions.get(partition.0 as usize) {
            Some(Slot::Open(shared)) => Ok(shared),
            Some(Slot::Unavailable(reason)) => Err(PartitionError::Unavailable {
                topic: topic(),
                partition,
                reason: reason.to_string(),
            }),
            None => {
                let partitions = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
                Err(PartitionError::UnknownPartition {
                    topic: topic(),
                    partition,
                    partitions,
                })
            }
        }
    }
}
