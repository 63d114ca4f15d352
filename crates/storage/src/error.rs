//! What can go wrong, an enum for each operation.

use std::{
    io,
    path::{Path, PathBuf},
};

use trilith_types::{GroupId, LogIndex, Offset, Term};

use crate::{config::ConfigError, file_header::FormatError, mirrored::MirroredError};

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("cannot {what} {path}: {}", trilith_env::answer(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// A file of another kind or of a newer version.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] MirroredError),
    /// There are segments but no manifest that says which of them count.
    #[error(
        "{dir} holds segment files but no manifest; restore manifest.a or manifest.b, the log is not opened without one"
    )]
    ManifestMissing {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The directory belongs to another group.
    #[error("{dir} holds the log of group {found}, not of group {expected}")]
    WrongGroup {
        /// The log's directory.
        dir: PathBuf,
        /// Whose log was expected.
        expected: GroupId,
        /// Whose log was found.
        found: GroupId,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A sync failed while what was found was being made durable.
    #[error("cannot make what was recovered durable: {0}")]
    Sync(#[from] SyncError),
}

impl OpenError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Why an append failed. Nothing of the entry is in the log then.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// An earlier write or sync failed; nothing is appended until the log is opened again.
    #[error("the log was closed to writes by an earlier failure: {reason}")]
    Poisoned {
        /// The failure.
        reason: String,
    },
    /// No room: appends go on by themselves when there is space again.
    #[error(
        "disk full: {available} bytes free at {path}, {needed} needed with the reserve of {reserve} bytes; free some space or lower retention, appends then go on by themselves"
    )]
    DiskFull {
        /// The log's directory.
        path: PathBuf,
        /// Bytes that are free.
        available: u64,
        /// Bytes that must be free.
        needed: u64,
        /// How many of them are the reserve.
        reserve: u64,
    },
    /// The payload is larger than the setting allows.
    #[error("an entry of {bytes} bytes is larger than the {max} allowed")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The setting `payload_bytes_max`.
        max: u32,
    },
    /// More offsets than a segment may span.
    #[error(
        "an entry that takes {records} offsets is larger than the {max} that a segment may span"
    )]
    TooManyRecords {
        /// How many offsets it takes.
        records: u32,
        /// The setting `segment_offsets_max`.
        max: u32,
    },
    /// Not the next entry.
    #[error("entry {found} cannot follow: the next one is {expected}")]
    IndexOutOfOrder {
        /// The next index.
        expected: LogIndex,
        /// The entry's.
        found: LogIndex,
    },
    /// The offset was already given away.
    #[error("first offset {found} lies below the end of the log, {end}")]
    OffsetTaken {
        /// The log's end.
        end: Offset,
        /// The entry's first offset.
        found: Offset,
    },
    /// The term went backwards.
    #[error("term {found} cannot follow term {last}")]
    TermOutOfOrder {
        /// The last entry's term.
        last: Term,
        /// The entry's.
        found: Term,
    },
    /// The file system refused; the log is closed to writes.
    #[error("cannot {what} {path}: {}", trilith_env::answer(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
}

/// How far several appends came before one failed.
#[derive(Debug, thiserror::Error)]
#[error("{appended} entries were appended, the next one was not: {source}")]
pub struct PartialAppend {
    /// How many entries, counted from the first, are in the log.
    pub appended: usize,
    /// Why the next one is not.
    pub source: AppendError,
}

/// A sync failed. It is final: the log takes no more writes until it is opened again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a sync failed, so nothing after the last one that succeeded may be relied on: {reason}")]
pub struct SyncError {
    /// What the file system answered.
    pub reason: String,
}

/// Why entries were not taken back. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// They lie before the first entry of the log.
    #[error("entries from {from} on cannot be taken back: the log begins at {start}")]
    BelowStart {
        /// The first entry to go.
        from: LogIndex,
        /// The log's first.
        start: LogIndex,
    },
    /// Readers may have seen records of them: they were committed.
    #[error(
        "entries from {from} on cannot be taken back: readers may have seen offsets {end} up to {visible}"
    )]
    Visible {
        /// The first entry to go.
        from: LogIndex,
        /// The offset at which the log would end.
        end: Offset,
        /// The end of what readers may see.
        visible: Offset,
    },
    /// The entry before the first to go is damaged, so that its end is not known: begin the log
    /// anew from a snapshot.
    #[error("entries from {from} on cannot be taken back: the entry before is damaged in {path}")]
    Damaged {
        /// The segment's store.
        path: PathBuf,
        /// The first entry to go.
        from: LogIndex,
    },
    /// The file system refused.
    #[error("cannot read {path}: {}", trilith_env::answer(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// The segment's files could not be opened.
    #[error(transparent)]
    Open(#[from] ReadError),
    /// The log is closed to writes.
    #[error(transparent)]
    Closed(#[from] AppendError),
    /// The manifest could not be stored; the log is closed to writes.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention has removed what was asked for.
    #[error("offset {offset} is gone; the earliest is {earliest}")]
    OffsetGone {
        /// What was asked for.
        offset: Offset,
        /// The first offset that is still there.
        earliest: Offset,
    },
    /// Past the end of what may be seen.
    #[error("offset {offset} lies past the end, {end}")]
    Beyond {
        /// What was asked for.
        offset: Offset,
        /// The end.
        end: Offset,
    },
    /// These records were stored and can no longer be read; reading goes on at `next`.
    #[error(
        "{path} is damaged at bytes {position}..{position_end}: offsets {first} up to {next} cannot be read; reading can go on at {next}"
    )]
    Damaged {
        /// The segment's store.
        path: PathBuf,
        /// Where the damage begins.
        position: u64,
        /// Where it ends.
        position_end: u64,
        /// The first offset that is lost.
        first: Offset,
        /// The first offset after the damage.
        next: Offset,
    },
    /// The file system refused.
    #[error("cannot read {path}: {}", trilith_env::answer(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// A file of another kind or of a newer version: none of the segment's records can be read.
    #[error("offsets {first} up to {next} cannot be read: {found}")]
    Format {
        /// The file, what it claims to be, and what was expected.
        found: FormatError,
        /// The first offset of the segment.
        first: Offset,
        /// The first offset after it; `first` while the segment is being written.
        next: Offset,
    },
    /// The entry is not in the log: retention or a snapshot has taken its place.
    #[error("entry {index} is gone; the earliest is {earliest}")]
    EntryGone {
        /// What was asked for.
        index: LogIndex,
        /// The first entry that is still there.
        earliest: LogIndex,
    },
    /// The entry was not appended yet.
    #[error("entry {index} lies past the end; the last one is {last}")]
    EntryBeyond {
        /// What was asked for.
        index: LogIndex,
        /// The last entry.
        last: LogIndex,
    },
    /// The entry was stored and can no longer be read.
    #[error(
        "{path} is damaged at byte {position}: entries {index} up to {next} cannot be read; reading can go on at {next}"
    )]
    EntryDamaged {
        /// The segment's store.
        path: PathBuf,
        /// Where the damage begins.
        position: u64,
        /// The first entry that is lost.
        index: LogIndex,
        /// The first entry after the damage, as far as it is known.
        next: LogIndex,
    },
}
