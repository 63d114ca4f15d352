//! Records in batches: Kafka's v2 record batch, which is what Trilith stores and serves.
//!
//! A batch is built once, by the producer ([`BatchBuilder`]), checked once, by the server that
//! takes it ([`check`]), and from there on handed along as it is, down to the consumer that takes
//! it apart ([`decode`]). The server sets two fields that lie outside the producer's checksum,
//! both within the first [`PREFIX_BYTES`] bytes ([`prefix`]).
//!
//! The bytes are described in `docs/format-batch.md`; why they are Kafka's, in
//! `docs/adr/0001-kafka-v2-batch.md`.
//!
//! ```
//! use trilith_batch::{BatchBuilder, BatchLimits, Compression, Record, check, decode};
//! use trilith_types::TimestampMs;
//!
//! let mut builder = BatchBuilder::new(Compression::Lz4);
//! builder.push(&Record {
//!     key: Some("stone".into()),
//!     value: Some("lintel".into()),
//!     headers: Vec::new(),
//!     timestamp: TimestampMs(1_700_000_000_000),
//! })?;
//! let batch = builder.build().expect("one record was pushed");
//!
//! let header = check(&batch, &BatchLimits::default())?;
//! assert_eq!(header.record_count, 1);
//! for item in decode(batch)? {
//!     let (offset, record) = item?;
//!     println!("{offset}: {:?}", record.value);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod check;
mod codec;
mod decode;
mod error;
mod fuzz;
mod header;
mod lz4;
mod partitioner;
mod producer;
mod reader;
mod record;
mod varint;

pub use builder::{BatchBuilder, PushError};
pub use check::{BatchLimits, check, verify_checksum};
pub use codec::{Attributes, Compression};
pub use decode::{Records, decode};
pub use error::{BatchError, RecordProblem};
pub use fuzz::fuzz_batch;
pub use header::{
    BatchHeader, CHECKED_FROM, HEADER_BYTES, MAGIC, PREFIX_BYTES, prefix, set_base_offset,
};
pub use partitioner::{murmur2, partition_for_key};
pub use producer::{ProducerStamp, Sequence, restamp};
pub use record::{Header, Record, Text, TextError};
