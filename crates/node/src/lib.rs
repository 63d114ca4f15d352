//! A node: one process with one data directory, alone or one of a cluster.
//!
//! Every topic's partitions are replicated groups, and so is the cluster's own state: which nodes
//! and topics there are, and where partitions are placed. The groups run in crate `host`; here are
//! their state machines, and what a node is beside them:
//!
//! - its identity, and how a cluster begins ([`Node::init`], [`Node::found`]);
//! - the keeper, which hosts what the cluster's state places here, registers the node, and gives
//!   leadership back to where it belongs;
//! - what clients ask: [`Node::produce`], [`Node::reader`], topics, [`Node::metadata`],
//!   [`Node::status`];
//! - what an operator orders: [`Node::replace_node`], [`Node::discard_doubtful`].
//!
//! Nothing here blocks but opening, founding and [`Node::shutdown`]; answers come through
//! functions that are called once. There is no async runtime here.
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use trilith_batch::{BatchBuilder, Compression};
//! use trilith_node::{NoPeers, Node, NodeConfig, Produce};
//! use trilith_types::{Offset, PartitionId, TimestampMs};
//!
//! # let dir = tempfile::tempdir()?;
//! # let data = dir.path();
//! // Without other nodes it is a cluster of its own.
//! let (node, report) = Node::open(&trilith_env::os::env(), NodeConfig::new(data), Arc::new(NoPeers))?;
//! assert!(report.is_founded);
//! let (tx, rx) = mpsc::channel();
//! node.create_topic("stones", &Default::default(), false, move |made| tx.send(made).expect("somebody waits"));
//! rx.recv()??;
//!
//! let mut builder = BatchBuilder::new(Compression::None);
//! builder.push_parts(None, Some(b"lintel"), &[], TimestampMs(0))?;
//! let batch = builder.build().expect("a record was pushed");
//! let produce = Produce { topic: "stones", partition: PartitionId(0), batch, deadline: None, permit: None };
//! let (tx, rx) = mpsc::channel();
//! node.produce(produce, move |result| tx.send(result).expect("somebody waits"));
//! let appended = rx.recv()??;
//!
//! let (tx, rx) = mpsc::channel();
//! node.reader("stones", PartitionId(0), move |reader| tx.send(reader).expect("somebody waits"));
//! let read = rx.recv()??.read(appended.first_offset, 1 << 20)?;
//! assert_eq!((read.batches.len(), read.next), (1, Offset(1)));
//! node.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod book;
mod config;
mod controller_replica;
mod directory;
mod discard;
mod error;
mod founding;
mod identity;
mod inbox;
mod keeper;
pub mod layout;
mod machine;
mod metrics;
mod node;
mod numbers;
mod observer;
mod open;
mod partition;
mod partition_replica;
mod produce;
mod reader;
mod ready;
mod registry;
mod replace;
mod shell;
mod status;
mod topics;
#[cfg(test)]
mod world;

pub use admission::{ADMISSION_WAITERS_MAX, Admission, NoRoom, Permit, REQUEST_BYTES};
pub use book::NodeInfo;
pub use config::{Addresses, NodeConfig};
pub use error::{
    ControlError, DiscardError, Leader, NotFounded, NotMember, OpenError, PartitionError,
    ProduceError, ReadError, Removed,
};
pub use founding::{FoundError, Member, Start, check, found_of_list};
pub use identity::{
    DEFAULT_NAME, DIRECTORY_FORMAT, IDENTITY, Identity, IdentityError, fuzz_identity,
    inspect_identity,
};
pub use metrics::Metrics;
pub use node::{FEATURE_LEVEL, Node};
pub use numbers::ReplicaNumbers;
pub use observer::{AlarmCounts, NoPeers};
pub use open::{NodeParts, OpenReport};
pub use produce::{Appended, Deadline, Produce};
pub use reader::{Batches, PartitionCursor, PartitionReader, StoredBatch};
pub use ready::NotReady;
pub use status::{Metadata, NodeStatus, PartitionMetadata, TopicMetadata};
pub use topics::{PartitionDescription, PartitionStats, TopicDescription};
pub use trilith_host::{Discard, DiscardRefused, TooManyWaiters, Wait};
pub use trilith_peer::{Found, Founder};
pub use trilith_raft::{Doubtful, Role};
pub use trilith_storage::{Durability, SyncPolicy};
pub use trilith_topics::controller::Topic;
pub use trilith_topics::{SettingError, TopicError, TopicSettings, TopicSettingsPatch};
