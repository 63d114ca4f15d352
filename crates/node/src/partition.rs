//! A partition as everybody but its shard sees it.

use std::sync::Arc;

use trilith_storage::LogReader;
use trilith_topics::group_id;
use trilith_types::{GroupId, PartitionId, TopicId, TopicName};

use crate::{PartitionError, waiters::Waiters};

/// What a partition's shard, its producers and its readers share.
#[derive(Debug)]
pub(crate) struct PartitionShared {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    /// Which shard owns its log.
    pub(crate) shard: usize,
    pub(crate) reader: LogReader,
    pub(crate) waiters: Arc<Waiters>,
}

impl PartitionShared {
    pub(crate) const fn group(&self) -> GroupId {
        group_id(self.topic_id, self.partition)
    }

    /// An error once the partition's topic was deleted.
    pub(crate) fn still_there(&self) -> Result<(), PartitionError> {
        if self.waiters.is_gone() {
            return Err(PartitionError::UnknownTopic {
                topic: self.topic.to_string(),
            });
        }
        Ok(())
    }
}
