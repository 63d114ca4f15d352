//! A node: one process with one data directory that hosts partitions.
//!
//! Callers hand in encoded batches and a function to call ([`Node::produce`]); shards, each a
//! thread that owns some partitions, append what waits, sync once for all of it, and call back.
//! Readers go to the logs directly and never wait for a shard ([`Node::reader`]). There is no async
//! runtime here.
//!
//! ```
//! use std::sync::mpsc;
//! use trilith_batch::{BatchBuilder, Compression};
//! use trilith_node::{Node, NodeConfig, Produce};
//! use trilith_types::{Offset, PartitionId, TimestampMs};
//!
//! # let dir = tempfile::tempdir()?;
//! # let data = dir.path();
//! let (node, report) = Node::open(&trilith_env::os::env(), NodeConfig::new(data))?;
//! assert!(report.unavailable.is_empty());
//! node.create_topic("stones", &Default::default())?;
//!
//! let mut builder = BatchBuilder::new(Compression::None);
//! builder.push_parts(None, Some(b"lintel"), &[], TimestampMs(0))?;
//! let batch = builder.build().expect("a record was pushed");
//! let produce = Produce { topic: "stones", partition: PartitionId(0), batch, deadline: None, permit: None };
//! let (tx, rx) = mpsc::channel();
//! node.produce(produce, move |result| tx.send(result).expect("somebody waits"));
//! let appended = rx.recv()??;
//!
//! let read = node.reader("stones", PartitionId(0))?.read(appended.first_offset, 1 << 20)?;
//! assert_eq!((read.batches.len(), read.next), (1, Offset(1)));
//! node.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod chores;
pub mod cluster;
mod config;
mod directory;
mod error;
mod event;
mod histogram;
mod host;
mod hosted;
mod inbox;
mod metrics;
mod node;
mod open;
mod open_segments;
mod partition;
mod reader;
mod shard;
mod shell;
mod sweeper;
mod topics;
mod waiters;
#[cfg(test)]
mod world;

pub use admission::{ADMISSION_WAITERS_MAX, Admission, NoRoom, Permit, REQUEST_BYTES};
pub use config::NodeConfig;
pub use error::{OpenError, PartitionError, ProduceError, ReadError};
pub use event::{Appended, PartitionStats};
pub use histogram::{Histogram, HistogramSnapshot};
pub use metrics::{Counter, Gauge, Metrics};
pub use node::{Deadline, Node, Produce};
pub use open::{OpenReport, RecoveredPartition, UnavailablePartition};
pub use reader::{Batches, PartitionCursor, PartitionReader, StoredBatch};
pub use topics::{PartitionDescription, TopicDescription};
pub use trilith_storage::{Durability, SyncPolicy};
pub use trilith_topics::{SettingError, Topic, TopicError, TopicSettings, TopicSettingsPatch};
pub use waiters::{PARTITION_WAITERS_MAX, TooManyWaiters, Wait};
