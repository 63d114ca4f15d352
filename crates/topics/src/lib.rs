//! Topics: their settings, what a partition makes of the batches that come in, and the state of the
//! cluster that holds them.
//!
//! Nothing here has a thread or a file. A partition is a [`partition::PartitionMachine`], and the
//! cluster's own state a [`controller::Controller`]: values that entries change, alike on every
//! replica.

pub mod controller;
mod error;
mod layout;
pub mod partition;
mod settings;
mod wire;

pub use error::{SettingError, StateError, TopicError};
pub use layout::{group_id, partition_of};
pub use settings::{TopicSettings, TopicSettingsPatch, bounds};

/// Most topics in a cluster.
pub const TOPICS_MAX: usize = 100_000;

/// Most partitions in a cluster, all topics together.
pub const PARTITIONS_MAX: u32 = 100_000;
