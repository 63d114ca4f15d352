//! Where topics lie in the data directory: by id and never by name, so that a topic deleted and
//! made again never meets its old bytes, and names that differ only in case never meet.

use std::path::{Path, PathBuf};

use trilith_types::{GroupId, PartitionId, TopicId};

/// The directory of all topics.
#[must_use]
pub fn topics_dir(data: &Path) -> PathBuf {
    data.join("topics")
}

/// A topic's directory.
#[must_use]
pub fn topic_dir(data: &Path, topic: TopicId) -> PathBuf {
    topics_dir(data).join(topic.to_string())
}

/// A partition's directory: its log's.
#[must_use]
pub fn partition_dir(data: &Path, topic: TopicId, partition: PartitionId) -> PathBuf {
    topic_dir(data, topic).join(partition.to_string())
}

/// The group that a partition is. Unique and never reused, because topic ids are.
#[must_use]
pub const fn group_id(topic: TopicId, partition: PartitionId) -> GroupId {
    GroupId((topic.0 << 32) | partition.0 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_carry_ids() {
        let dir = partition_dir(Path::new("data"), TopicId(7), PartitionId(3));
        assert_eq!(dir, Path::new("data/topics/7/3"));
        assert_eq!(group_id(TopicId(7), PartitionId(3)), GroupId((7 << 32) + 3));
    }
}
