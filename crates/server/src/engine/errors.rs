//! The one place where the node's errors become what clients are told.

use trilith_node::{
    ControlError, DiscardError, DiscardRefused, Leader, NotMember, PartitionError, ProduceError,
    ReadError, SettingError, TopicError,
};
use trilith_storage::ReadError as LogError;
use trilith_topics::{controller::ControllerError, partition::ProduceRefusal};

use crate::{
    consume::out_of_range,
    error::{ApiError, Reason},
};

/// Names the leader, for clients that go there.
fn not_leader(message: String, leader: Option<Leader>) -> ApiError {
    let error = ApiError::new(Reason::NotLeader, message);
    let Some(Leader {
        node,
        client_address,
    }) = leader
    else {
        return error;
    };
    let error = error.with("leader", node);
    match client_address {
        Some(address) => error.with("address", address),
        None => error,
    }
}

impl From<NotMember> for ApiError {
    fn from(error: NotMember) -> Self {
        let reason = match error {
            NotMember::NotFounded(_) => Reason::NotFounded,
            NotMember::Removed(_) => Reason::NotMember,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<PartitionError> for ApiError {
    fn from(error: PartitionError) -> Self {
        let message = error.to_string();
        match error {
            PartitionError::NotMember(why) => why.into(),
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
            PartitionError::NotLeader { leader, .. } => not_leader(message, leader),
            PartitionError::Unavailable {
                topic, partition, ..
            } => Self::new(Reason::PartitionUnavailable, message)
                .with("topic", topic)
                .with("partition", partition),
        }
    }
}

impl From<DiscardError> for ApiError {
    fn from(error: DiscardError) -> Self {
        let message = error.to_string();
        match error {
            DiscardError::Partition(error) => error.into(),
            DiscardError::NoReplica { .. } => Self::new(Reason::NoReplica, message),
            DiscardError::Refused { refused, .. } => match refused {
                DiscardRefused::UnknownGroup => Self::new(Reason::NoReplica, message),
                DiscardRefused::Led { leader } => {
                    Self::new(Reason::CannotDiscard, message).with("leader", leader)
                }
                DiscardRefused::Stopped => Self::new(Reason::PartitionUnavailable, message),
            },
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
            ProduceError::Producer(refusal) => of_producer(&refusal, message),
            ProduceError::DiskFull { .. } => Self::new(Reason::DiskFull, message),
            ProduceError::OutOfFiles { .. } => Self::new(Reason::OutOfFiles, message),
            ProduceError::OutcomeUnknown => Self::new(Reason::OutcomeUnknown, message),
            ProduceError::TooMuchUncommitted { max, .. } => {
                Self::new(Reason::TooManyBytesInFlight, message).with("limit", max)
            }
            ProduceError::TooManyRequests { max } => {
                Self::new(Reason::TooManyRequests, message).with("limit", max)
            }
            ProduceError::NoRoom(room) => {
                Self::new(Reason::TooManyBytesInFlight, message).with("limit", room.max)
            }
            ProduceError::DeadlineExceeded => Self::new(Reason::DeadlineExceeded, message),
            ProduceError::ShuttingDown => Self::shutting_down(),
        }
    }
}

fn of_producer(refusal: &ProduceRefusal, message: String) -> ApiError {
    match refusal {
        ProduceRefusal::OutOfSequence { expected, .. } => {
            ApiError::new(Reason::OutOfSequence, message).with("expected", expected)
        }
        ProduceRefusal::StaleEpoch { current, .. } => {
            ApiError::new(Reason::StaleEpoch, message).with("epoch", current)
        }
        ProduceRefusal::UnknownProducer { .. } => ApiError::new(Reason::UnknownProducer, message),
        ProduceRefusal::Fields(_) => ApiError::new(Reason::MalformedBatch, message),
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::Partition(error) => error.into(),
            ReadError::NoQuorum { .. } => Self::new(Reason::NoQuorum, message),
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
            ReadError::Log(LogError::Format { first, next, .. }) => {
                Self::new(Reason::UnsupportedFormat, message)
                    .with("first", first)
                    .with("next", next)
            }
            ReadError::Log(LogError::Io { source, .. })
                if trilith_env::is_out_of_files(&source) =>
            {
                Self::new(Reason::OutOfFiles, message)
            }
            ReadError::Log(_) => Self::new(Reason::Internal, message),
            ReadError::TooManyWaiters(_) => Self::new(Reason::TooManyRequests, message),
            ReadError::ShuttingDown => Self::shutting_down(),
        }
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::NotMember(why) => why.into(),
            ControlError::NotLeader { leader } => not_leader(message, leader),
            ControlError::Refused(ControllerError::Topic(error)) => error.into(),
            ControlError::Refused(ControllerError::TooFewNodes { replicas, nodes }) => {
                Self::new(Reason::NotEnoughNodes, message)
                    .with("replicas", replicas)
                    .with("nodes", nodes)
            }
            ControlError::CannotReplace { .. }
            | ControlError::Refused(
                ControllerError::LevelTooLow { .. }
                | ControllerError::OnlyReplica { .. }
                | ControllerError::NameTaken { .. },
            ) => Self::new(Reason::CannotReplace, message),
            ControlError::Refused(_) => Self::new(Reason::InvalidArgument, message),
            ControlError::NoQuorum { .. } => Self::new(Reason::NoQuorum, message),
            ControlError::OutcomeUnknown => Self::new(Reason::OutcomeUnknown, message),
            ControlError::DiskFull { .. } => Self::new(Reason::DiskFull, message),
            ControlError::OutOfFiles { .. } => Self::new(Reason::OutOfFiles, message),
            ControlError::Overloaded => Self::new(Reason::TooManyRequests, message),
            ControlError::Stopped { .. } => Self::new(Reason::LogPoisoned, message),
            ControlError::ShuttingDown => Self::shutting_down(),
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
            TopicError::Setting(_)
            | TopicError::TooManyTopics
            | TopicError::TooManyPartitions { .. } => Self::new(Reason::InvalidSetting, message),
        }
    }
}
