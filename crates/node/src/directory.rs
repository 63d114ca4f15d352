//! Which topics and partitions there are, as producers and readers look them up.

use std::{collections::BTreeMap, sync::Arc};

use trilith_topics::controller::Topic;
use trilith_types::{PartitionId, TopicId};

use super::{PartitionError, partition::PartitionShared};

/// A topic with its partitions.
#[derive(Clone, Debug)]
pub(crate) struct ServedTopic {
    pub(crate) topic: Topic,
    pub(crate) partitions: Vec<Arc<PartitionShared>>,
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

    /// Takes a topic out, unless another one has its name by now.
    pub(crate) fn remove(&mut self, name: &str, id: TopicId) {
        if self
            .topics
            .get(name)
            .is_some_and(|served| served.topic.id == id)
        {
            self.topics.remove(name);
        }
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
        self.partitions
            .get(partition.0 as usize)
            .ok_or_else(|| PartitionError::UnknownPartition {
                topic: self.topic.name.to_string(),
                partition,
                partitions: u32::try_from(self.partitions.len()).unwrap_or(u32::MAX),
            })
    }
}
