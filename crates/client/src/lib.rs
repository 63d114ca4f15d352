//! The Rust client of Trilith: produce, consume and manage topics.
//!
//! Records travel in encoded batches, built and taken apart here, which the server stores and
//! serves as they are.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/server.rs"));
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = ExampleServer::start().await?;
//! # let address = server.address.clone();
//! use futures::TryStreamExt;
//! use trilith_client::{Client, ConsumeOptions, PartitionId, ProducerConfig, Record, TopicSettings};
//!
//! let client = Client::connect([address]).await?; // for example "127.0.0.1:7400"
//! client.create_topic("stones", TopicSettings::default()).await?;
//!
//! let producer = client.producer("stones", ProducerConfig::default()).await?;
//! let delivery = producer.send(Record::new("lintel").with_key("trilith")).await?;
//! let delivered = delivery.await?;
//! assert_eq!((delivered.partition, delivered.offset.get()), (PartitionId(0), 0));
//! producer.close().await?;
//!
//! let mut records = client.consume("stones", PartitionId(0), ConsumeOptions::default()).await?;
//! while let Some(record) = records.try_next().await? {
//!     println!("{}: {:?}", record.offset, record.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//! An acknowledged record is as durable as its [`Delivered::durability`] says. A record that is
//! not acknowledged has a [`Fate`]: not stored, or unknown. Producers number their batches and send
//! them again to whoever leads then, and the leader stores each once; consumers go on where they
//! were. Other requests are sent again only when that can do no harm.

mod client;
mod cluster;
mod connection;
mod consumer;
mod discard;
mod error;
mod producer;
mod record;
mod topic;

pub use client::Client;
pub use cluster::{ClusterNode, NodeAnswer, NodeReport, NodeStatus};
pub use consumer::{ConsumeOptions, Consumer, Interruption, Position};
pub use discard::{Discard, ReplicaRole};
pub use error::{DeliveryError, Error, Fate, SendError, ServerError};
pub use producer::{
    Delivered, Delivery, Durability, PartitionReport, Producer, ProducerConfig, Report,
    Unacknowledged,
};
pub use record::{Record, StoredRecord};
pub use topic::{PartitionDescription, PartitionOffsets, Topic, TopicDescription, TopicSettings};

pub use bytes::Bytes;
pub use tonic::Code;
pub use trilith_batch::{Compression, Header, Text};
pub use trilith_types::{LogIndex, NodeId, Offset, PartitionId, TimestampMs, TopicId, limits};
