//! Where things lie in the data directory. Groups lie under their ids and never under names, so
//! that a topic deleted and made again never meets its old bytes.
//!
//! ```text
//! node.a node.b     the node's identity
//! journal/ votes.*  the host's: one journal and one pair of votes files for all groups
//! groups/controller the cluster's own state
//! groups/7.3        partition 3 of the topic with the id 7
//! ```

use std::path::{Path, PathBuf};

use trilith_types::{PartitionId, TopicId};

/// The directory of all groups.
#[must_use]
pub fn groups_dir(data: &Path) -> PathBuf {
    data.join("groups")
}

/// The directory of the controller's log.
#[must_use]
pub fn controller_dir(data: &Path) -> PathBuf {
    groups_dir(data).join("controller")
}

/// The directory of a partition's log.
#[must_use]
pub fn replica_dir(data: &Path, topic: TopicId, partition: PartitionId) -> PathBuf {
    groups_dir(data).join(format!("{topic}.{partition}"))
}

/// Which partition's log is in a directory of this path.
pub(crate) fn parse_replica_dir(dir: &Path) -> Option<(TopicId, PartitionId)> {
    let (topic, partition) = dir.file_name()?.to_str()?.split_once('.')?;
    Some((
        TopicId(topic.parse().ok()?),
        PartitionId(partition.parse().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_carry_ids() {
        let dir = replica_dir(Path::new("data"), TopicId(7), PartitionId(3));
        assert_eq!(dir, Path::new("data/groups/7.3"));
        assert_eq!(parse_replica_dir(&dir), Some((TopicId(7), PartitionId(3))));
        assert_eq!(parse_replica_dir(&controller_dir(Path::new("data"))), None);
    }
}
