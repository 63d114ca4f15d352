//! Topics and their settings, as a client sees them.

use std::time::Duration;

use trilith_proto::v1;
use trilith_types::{NodeId, Offset, PartitionId, TopicId};

/// Settings to create a topic with or to change: what is `None` takes its default or stays.
///
/// ```
/// use trilith_client::TopicSettings;
///
/// let settings = TopicSettings { partitions: Some(4), ..TopicSettings::default() };
/// assert_eq!(settings.retention_bytes, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions; they can only be added. Default 1.
    pub partitions: Option<u32>,
    /// The oldest segments go while a partition is larger, in bytes; 0 keeps everything (the
    /// default).
    pub retention_bytes: Option<u64>,
    /// Segments go when their newest record was appended longer ago; zero keeps everything (the
    /// default).
    pub retention_age: Option<Duration>,
    /// A segment is closed when it reaches this size, in bytes. Default 64 MiB.
    pub segment_bytes: Option<u64>,
    /// A segment is closed when its first record is older. Default 7 days.
    pub segment_age: Option<Duration>,
    /// Largest record: key, value and headers together, in bytes. Default 1 MiB.
    pub record_bytes_max: Option<u32>,
    /// How many nodes keep each partition; fixed when the topic is made. Default 3, or 1 in a
    /// cluster of one node.
    pub replicas: Option<u32>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Never reused: a topic that was deleted and made again has another.
    pub id: TopicId,
    /// Every field is set.
    pub settings: TopicSettings,
}

/// A topic with the state of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The topic.
    pub topic: Topic,
    /// In order of their numbers.
    pub partitions: Vec<PartitionDescription>,
}

/// The state of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: PartitionId,
    /// The earliest record's offset.
    pub start: Offset,
    /// Behind the last record.
    pub end: Offset,
    /// On disk.
    pub bytes: u64,
    /// Files that hold it.
    pub segments: u32,
    /// Ranges of offsets that were found damaged on disk and are refused.
    pub damaged_ranges: u32,
    /// The node that leads it, as far as is known.
    pub leader: Option<NodeId>,
    /// The nodes that keep it; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Why the replica at the node that was asked is out of service, if it is.
    pub unavailable: Option<String>,
}

/// Where a partition starts and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// Its number.
    pub partition: PartitionId,
    /// The earliest record's offset.
    pub start: Offset,
    /// Behind the last record.
    pub end: Offset,
    /// The first record at or after the time that was asked for; `end` when there is none, `None`
    /// when no time was asked for.
    pub at_time: Option<Offset>,
}

impl From<TopicSettings> for v1::TopicSettings {
    fn from(settings: TopicSettings) -> Self {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            partitions: settings.partitions,
            retention_bytes: settings.retention_bytes,
            retention_ms: settings.retention_age.map(millis),
            segment_bytes: settings.segment_bytes,
            segment_ms: settings.segment_age.map(millis),
            record_bytes_max: settings.record_bytes_max,
            replicas: settings.replicas,
        }
    }
}

impl From<v1::TopicSettings> for TopicSettings {
    fn from(settings: v1::TopicSettings) -> Self {
        Self {
            partitions: settings.partitions,
            retention_bytes: settings.retention_bytes,
            retention_age: settings.retention_ms.map(Duration::from_millis),
            segment_bytes: settings.segment_bytes,
            segment_age: settings.segment_ms.map(Duration::from_millis),
            record_bytes_max: settings.record_bytes_max,
            replicas: settings.replicas,
        }
    }
}

impl From<v1::Topic> for Topic {
    fn from(topic: v1::Topic) -> Self {
        Self {
            name: topic.name,
            id: TopicId(topic.id),
            settings: topic.settings.unwrap_or_default().into(),
        }
    }
}

impl From<v1::PartitionDescription> for PartitionDescription {
    fn from(partition: v1::PartitionDescription) -> Self {
        Self {
            partition: PartitionId(partition.partition),
            start: Offset(partition.start_offset),
            end: Offset(partition.end_offset),
            bytes: partition.bytes,
            segments: partition.segments,
            damaged_ranges: partition.damaged_ranges,
            leader: (partition.leader != 0).then_some(NodeId(partition.leader)),
            replicas: partition.replicas.into_iter().map(NodeId).collect(),
            unavailable: Some(partition.unavailable).filter(|why| !why.is_empty()),
        }
    }
}

impl From<v1::PartitionOffsets> for PartitionOffsets {
    fn from(offsets: v1::PartitionOffsets) -> Self {
        Self {
            partition: PartitionId(offsets.partition),
            start: Offset(offsets.start_offset),
            end: Offset(offsets.end_offset),
            at_time: offsets.offset_at_time.map(Offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_travel_unchanged() {
        let settings = TopicSettings {
            partitions: Some(3),
            retention_age: Some(Duration::from_millis(1500)),
            segment_bytes: Some(7),
            ..TopicSettings::default()
        };
        assert_eq!(
            TopicSettings::from(v1::TopicSettings::from(settings)),
            settings
        );
    }
}
