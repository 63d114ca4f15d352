//! Which group a partition is.

use trilith_types::{GroupId, PartitionId, TopicId};

/// The group that a partition is. Unique and never reused, because topic ids are, which have 32
/// bits at most.
#[must_use]
pub const fn group_id(topic: TopicId, partition: PartitionId) -> GroupId {
    GroupId((topic.0 << 32) | partition.0 as u64)
}

/// The partition whose group that is; for one of the cluster's own groups, of no topic that there is.
#[must_use]
pub const fn partition_of(group: GroupId) -> (TopicId, PartitionId) {
    (TopicId(group.0 >> 32), PartitionId(group.0 as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_carries_the_topics_id_and_the_partitions_number() {
        let (topic, partition) = (TopicId(7), PartitionId(3));
        assert_eq!(group_id(topic, partition), GroupId((7 << 32) + 3));
        assert_eq!(partition_of(group_id(topic, partition)), (topic, partition));
    }
}
