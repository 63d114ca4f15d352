//! A segmented commit log on disk.
//!
//! The layers, from the bottom: [`Store`](store) holds checksummed frames in one file, [`index`]
//! finds them by an array read, [`Segment`](segment) is a store with its indexes, and [`Log`] is
//! the ordered segments, listed in a manifest that is the truth. One thread writes; any number of
//! readers follow without a lock: what they may see is published through one atomic number.
//!
//! Payloads are opaque here. How the bytes lie on disk is described in `docs/FORMAT.md`, with the
//! reasons in `docs/adr/0002-storage-frames-and-indexes.md`.

mod append;
mod buffer;
mod cache;
mod codec;
mod committer;
mod config;
mod cursor;
mod data_dir;
mod entries;
mod entry;
mod error;
mod fetch;
pub mod file_header;
pub mod frame;
mod gather;
pub mod index;
pub mod inspect;
pub mod journal;
mod layout;
mod locate;
mod log;
mod lookup;
pub mod manifest;
pub mod meta;
pub mod mirrored;
mod park;
mod poison;
pub mod publish;
mod reader;
mod recovery;
mod replicated;
mod retention;
mod rewrite;
mod rotate;
mod round;
pub mod scan;
pub mod segment;
mod space;
pub mod store;
mod sync;
mod sync_policy;
mod sync_together;
pub mod terms;
mod truncate;
mod upkeep;
pub mod verify;
pub mod votes;

pub use cache::FileCache;
pub use committer::{CommitError, Committed, Committer, NewEntry, Submitted};
pub use config::{ConfigError, LogConfig, PAYLOAD_BYTES_MAX, SEGMENT_BYTES_MAX};
pub use cursor::LogCursor;
pub use data_dir::{DataDir, DataDirError, LOCK_FILE};
pub use entries::StoredEntry;
pub use entry::{Entry, EntryKind};
pub use error::{AppendError, OpenError, PartialAppend, ReadError, SyncError, TruncateError};
pub use log::Log;
pub use meta::{Damage, SegmentId};
pub use reader::{LogReader, ReadChunk, ReadFrame};
pub use recovery::{Recovery, Torn};
pub use replicated::Opened;
pub use retention::{RetentionPolicy, Retired};
pub use rewrite::RewriteError;
pub use sync::{MarkPart, PendingSync, SyncOutcome, SyncPoint};
pub use sync_policy::{Durability, ParseSyncPolicyError, SyncPolicy};
pub use sync_together::{SyncRounds, sync_together};
pub use terms::TermRun;
