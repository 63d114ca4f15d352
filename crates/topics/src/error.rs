//! What can go wrong with topics.

use trilith_types::NameError;

use crate::{PARTITIONS_MAX, TOPICS_MAX};

/// A setting that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Too low or too high.
    #[error("{setting} is {value}, but must lie between {min} and {max}")]
    OutOfBounds {
        /// The setting's name.
        setting: &'static str,
        /// What was asked for.
        value: u64,
        /// The lowest value allowed.
        min: u64,
        /// The highest value allowed.
        max: u64,
    },
    /// A record of that size could not be written to the journal.
    #[error(
        "record_bytes_max is {asked}, but the journal's files of {journal_file} bytes take records \
         of {max} at most: raise journal_file on every node, or lower record_bytes_max"
    )]
    JournalTooSmall {
        /// What was asked for.
        asked: u32,
        /// The most that fits.
        max: u32,
        /// The node's setting.
        journal_file: u64,
    },
    /// Partitions cannot be taken away: their records would be.
    #[error("the topic has {has} partitions; partitions can only be added, not reduced to {asked}")]
    FewerPartitions {
        /// How many there are.
        has: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// Replicas are placed when the topic is created.
    #[error(
        "the topic has {has} replicas, and that is decided when a topic is made: for {asked} make another \
         one (trilith topic create NEW --replicas {asked}) and copy its records there (trilith consume \
         TOPIC | trilith produce NEW)"
    )]
    ReplicasFixed {
        /// How many there are.
        has: u32,
        /// How many were asked for.
        asked: u32,
    },
}

/// Why a topic was not created, altered, deleted or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The name breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is one of that name.
    #[error("topic {name:?} exists already")]
    Exists {
        /// The name.
        name: String,
    },
    /// There is none of that name.
    #[error("there is no topic {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A setting is not allowed.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Too many topics.
    #[error("a cluster holds at most {TOPICS_MAX} topics; delete one first")]
    TooManyTopics,
    /// Too many partitions in all topics together.
    #[error(
        "a cluster holds at most {PARTITIONS_MAX} partitions; it has {has}, and {asked} more were asked for"
    )]
    TooManyPartitions {
        /// How many there are.
        has: u32,
        /// How many more were asked for.
        asked: u32,
    },
}

/// A machine's state that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by a newer version.
    #[error(
        "the state of a {of} is of version {version}, which this version does not know; start a newer version on this node"
    )]
    Version {
        /// Of what.
        of: &'static str,
        /// The version found.
        version: u8,
    },
    /// No state at all.
    #[error("{bytes} bytes that should be the state of a {of} are none")]
    Nonsense {
        /// Of what.
        of: &'static str,
        /// How many bytes.
        bytes: usize,
    },
}
