//! Topics: their settings, the durable catalog of them, and what a partition decides about the
//! batches that come in.
//!
//! Nothing here has a thread. A replicated partition is a [`partition::PartitionMachine`], and the
//! cluster's own state a [`controller::Controller`]: values that entries change, alike on every
//! replica. [`Partition`], [`CatalogState`] and [`Catalog`] are those of a node on its own.

mod catalog;
mod catalog_codec;
pub mod controller;
mod error;
mod layout;
pub mod partition;
mod settings;
mod state;
mod wire;

pub use catalog::{CATALOG, Catalog, CatalogError};
pub use catalog_codec::fuzz_catalog;
pub use error::{SettingError, StateError, TopicError};
pub use layout::{group_id, partition_dir, topic_dir, topics_dir};
pub use partition::{Assigned, Partition};
pub use settings::{TopicSettings, TopicSettingsPatch, bounds};
pub use state::{CatalogState, PARTITIONS_MAX, TOPICS_MAX, Topic};
