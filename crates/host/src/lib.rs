//! Groups on shards: each group drives a consensus core, the node's journal, a log and a state
//! machine.
//!
//! A *group* is a replicated log and the machine that its entries are applied to. A node hosts many
//! of them, spread over a few *shards*; a shard is owned by one thread, takes events and does what
//! is due, and decides nothing by the time of day but through the clock that it is given. All
//! groups of a node share one journal, in which every entry is durable before it is acknowledged,
//! and one pair of files for terms and votes.
//!
//! ```text
//!   requests, messages, ticks, finished writes
//!        │
//!        ▼               one turn of a shard
//!   ┌─────────┐  step, propose ─▶ drain ─▶ log (page cache) ─▶ journal ─▶ messages, entries
//!   │ Replica │  persisted     ─▶ drain ─▶ apply ─▶ publish ─▶ answer
//!   └─────────┘
//! ```
//!
//! The crate starts no thread unless asked to ([`HostParts::start`]); a simulator owns the
//! [`Shard`]s and calls [`Shard::turn`] itself.

mod background;
mod config;
mod configuration_codec;
mod desk;
mod error;
mod event;
mod found;
mod fuzz;
mod group;
mod handle;
mod histogram;
mod host;
mod image;
#[doc(hidden)]
pub mod inbox;
mod machine;
mod metrics;
#[cfg(loom)]
mod model;
mod outbound;
mod pending;
mod pulse;
mod recent;
mod replica;
mod scrub;
mod shard;
mod shard_scrub;
mod shell;
mod waiters;

pub use config::{ConfigError, HostConfig};
pub use configuration_codec::{
    CONFIGURATION_BYTES_MAX, ConfigurationCodecError, decode_configuration, encode_configuration,
};
pub use error::{ChangeRefused, DiscardRefused, OpenGroupError, ReadRefused, TransferRefused};
pub use event::{Discard, GroupSpec, GroupStatus, PeerEvent};
pub use fuzz::fuzz_host;
pub use group::{Group, GroupView};
pub use handle::HostHandle;
pub use histogram::{Histogram, HistogramSnapshot};
pub use host::{HostOpenError, HostParts, HostReport, HostThreads, Workers, open};
pub use machine::{
    Decision, Draft, Effects, Fate, Leading, Machine, Refusal, StateError, UnknownEntry,
};
pub use metrics::{Counter, Gauge, Metrics};
pub use outbound::{Alarm, Observer, Outbound};
pub use shard::Shard;
pub use waiters::{GROUP_WAITERS_MAX, TooManyWaiters, Wait};
