//! A partition as everybody but its shard sees it.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use trilith_storage::LogReader;
use trilith_topics::group_id;
use trilith_types::{GroupId, Offset, PartitionId, TopicId, TopicName};

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
    pub(crate) damage_met: DamageMet,
}

/// Damage that readers met, by its first offset. Recovery finds what it scans; a log that was
/// closed cleanly is not scanned, and its damage shows when it is read.
#[derive(Debug, Default)]
pub(crate) struct DamageMet(Mutex<BTreeSet<Offset>>);

impl DamageMet {
    /// Most ranges that are remembered; more are neither told nor counted.
    const RANGES_MAX: usize = 256;

    /// Whether this is the first time that anybody met it.
    pub(crate) fn is_new(&self, first: Offset) -> bool {
        let mut met = self.0.lock();
        met.len() < Self::RANGES_MAX && met.insert(first)
    }

    /// How many ranges there are beside those that are `known` otherwise.
    pub(crate) fn beside(&self, known: impl Fn(Offset) -> bool) -> usize {
        self.0.lock().iter().filter(|first| !known(**first)).count()
    }
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
