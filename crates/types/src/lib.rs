//! The words of Trilith that every layer shares: identifiers that are never reused, numbers that
//! have a meaning, and the limits that go with them.
//!
//! Every number that crosses a function boundary has a type of its own here, so that an offset
//! can never be passed where a log index is meant.

mod entry;
mod id;
mod incarnation;
pub mod limits;
mod name;
mod number;
mod payload;
pub mod planted;

pub use entry::{ENTRY_META_BYTES, EntryKind, EntryMeta};
pub use id::{ClusterId, GroupId, Incarnation, NodeId, PartitionId, ProducerId, TopicId};
pub use incarnation::Succession;
pub use name::{NameError, TopicName};
pub use number::{LogIndex, Offset, Term, TimestampMs};
pub use payload::{EntryPayload, JOIN_FROM_BYTES, join_checksums};
