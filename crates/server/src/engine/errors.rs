//! The one place where the node's errors become what clients are told.

use trilith_node::{PartitionError, ProduceError, ReadError, SettingError, TopicError};

use crate::{
    consume::out_of_range,
    error::{ApiError, Reason},
};

impl From<PartitionError> for ApiError {
    fn from(error: PartitionError) -> Self {
        let message = error.to_string();
        match error {
            PartitionError::UnknownTopic { topic } => {
                Self::new(Reason::UnknownTopic, message).with("topic", topic)
            }
            PartitionError::UnknownPartition {
                topic,
                partition,
                partitions,
            } => Self::new(Reason::UnknownPartition, message)
                .with("topic", topic)
                .with("partition", partition)
                .with("partitions", partitions),
            PartitionError::Unavailable {
                topic, partition, ..
            } => Self::new(Reason::PartitionUnavailable, message)
                .with("topic", topic)
                .with("partition", partition),
        }
    }
}

impl From<ProduceError> for ApiError {
    fn from(error: ProduceError) -> Self {
        let message = error.to_string();
        match error {
            ProduceError::Partition(error) => error.into(),
            ProduceError::BatchTooLarge { max, .. } => {
                Self::new(Reason::BatchTooLarge, message).with("limit", max)
            }
            ProduceError::RecordTooLarge { index, max, .. } => {
                Self::new(Reason::RecordTooLarge, message)
                    .with("record", index)
                    .with("limit", max)
            }
            ProduceError::UnsupportedCodec { name, .. } => {
                Self::new(Reason::UnsupportedCodec, message).with("codec", name)
            }
            ProduceError::Checksum { .. } => Self::new(Reason::ChecksumMismatch, message),
            ProduceError::Malformed(_) => Self::new(Reason::MalformedBatch, message),
            ProduceError::DiskFull { .. } => Self::new(Reason::DiskFull, message),
            ProduceError::Poisoned { .. } => Self::new(Reason::LogPoisoned, message),
            ProduceError::Io { .. } => Self::new(Reason::Internal, message),
            ProduceError::NoRoom(room) => {
                Self::new(Reason::TooManyBytesInFlight, message).with("limit", room.max)
            }
            ProduceError::DeadlineExceeded => Self::new(Reason::DeadlineExceeded, message),
            ProduceError::ShuttingDown => Self::shutting_down(),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::Partition(error) => error.into(),
            ReadError::OutOfRange {
                offset,
                earliest,
                end,
            } => out_of_range(offset, earliest, end),
            ReadError::Damaged { first, next, .. } => Self::new(Reason::DataDamaged, message)
                .with("first", first)
                .with("next", next),
            ReadError::Batch { offset, .. } => {
                Self::new(Reason::DataDamaged, message).with("first", offset)
            }
            ReadError::Log(_) => Self::new(Reason::Internal, message),
            ReadError::TooManyWaiters(_) => Self::new(Reason::TooManyRequests, message),
        }
    }
}

impl From<TopicError> for ApiError {
    fn from(error: TopicError) -> Self {
        let message = error.to_string();
        match error {
            TopicError::Name(_) => Self::new(Reason::InvalidTopicName, message),
            TopicError::Exists { name } => {
                Self::new(Reason::TopicExists, message).with("topic", name)
            }
            TopicError::Unknown { name } => {
                Self::new(Reason::UnknownTopic, message).with("topic", name)
            }
            TopicError::Setting(SettingError::OutOfBounds {
                setting,
                value,
                min,
                max,
            }) => Self::new(Reason::InvalidSetting, message)
                .with("setting", setting)
                .with("value", value)
                .with("min", min)
                .with("max", max),
            TopicError::Setting(
                SettingError::FewerPartitions { .. } | SettingError::ReplicasFixed { .. },
            )
            | TopicError::TooManyTopics
            | TopicError::TooManyPartitions { .. } => Self::new(Reason::InvalidSetting, message),
            TopicError::Catalog(_) | TopicError::Partition { .. } => {
                Self::new(Reason::Internal, message)
            }
            TopicError::ShuttingDown => Self::shutting_down(),
        }
    }
}
