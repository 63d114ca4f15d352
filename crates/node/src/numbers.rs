//! Numbers for monitoring, taken without asking any shard.

use std::sync::Arc;

use trilith_raft::Role;
use trilith_storage::journal::JournalStats;
use trilith_types::{Offset, PartitionId};

use super::Node;

/// A replica on this node, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaNumbers {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
    /// Whether it leads.
    pub leads: bool,
    /// Its term.
    pub term: u64,
    /// The first offset.
    pub start: Offset,
    /// Behind the last record that readers see here.
    pub end: Offset,
    /// Entries that are known to be committed and are not applied yet.
    pub apply_lag: u64,
}

impl Node {
    /// What its groups count, once it belongs to a cluster.
    #[must_use]
    pub fn host_metrics(&self) -> Option<Arc<trilith_host::Metrics>> {
        let live = self.inner.live.get()?;
        Some(Arc::clone(live.host.metrics()))
    }

    /// What its journal has done and holds, once it belongs to a cluster.
    #[must_use]
    pub fn journal_stats(&self) -> Option<JournalStats> {
        let live = self.inner.live.get()?;
        Some(live.host.journal_stats())
    }

    /// The replicas of topics on this node, by topic and partition, `max` of them at most, and how
    /// many there are beyond those.
    #[must_use]
    pub fn replicas(&self, max: usize) -> (Vec<ReplicaNumbers>, usize) {
        let Some(live) = self.inner.live.get() else {
            return (Vec::new(), 0);
        };
        let directory = self.inner.directory.load();
        let all = directory.topics().flat_map(|served| {
            let here = served.partitions.iter().filter(|p| p.is_here);
            here.map(move |partition| (served, partition))
        });
        let mut numbers = Vec::new();
        let mut beyond = 0;
        for (served, partition) in all {
            if numbers.len() >= max {
                beyond += 1;
                continue;
            }
            let Some(group) = live.host.group(partition.group) else {
                continue;
            };
            let (view, reader) = (group.view(), group.reader());
            numbers.push(ReplicaNumbers {
                topic: served.topic.name.to_string(),
                partition: partition.partition,
                leads: view.role == Role::Leader,
                term: view.term.0,
                start: reader.start_offset(),
                end: reader.visible_upto(),
                apply_lag: group.commit().since(group.applied()).unwrap_or_default(),
            });
        }
        (numbers, beyond)
    }
}
