//! The Rust client of Trilith: produce, consume and manage topics.
//!
//! Records travel in encoded batches, built and taken apart here, which the server stores and
//! serves as they are.
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use trilith_client::{Client, ConsumeOptions, PartitionId, ProducerConfig, Record, TopicSettings};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(["127.0.0.1:7400"]).await?;
//! client.create_topic("stones", TopicSettings::default()).await?;
//!
//! let producer = client.producer("stones", ProducerConfig::default()).await?;
//! let delivery = producer.send(Record::new("lintel").with_key("trilith")).await?;
//! let delivered = delivery.await?;
//! println!("offset {} of partition {}", delivered.offset, delivered.partition);
//! producer.close().await?;
//!
//! let mut records = client.consume("stones", PartitionId(0), ConsumeOptions::default()).await?;
//! while let Some(record) = records.try_next().await? {
//!     println!("{}: {:?}", record.offset, record.value);
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod connection;
mod consumer;
mod error;
mod producer;
mod record;
mod topic;

pub use client::Client;
pub use consumer::{ConsumeOptions, Consumer, Position};
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
pub use trilith_types::{Offset, PartitionId, TimestampMs, TopicId, limits};
