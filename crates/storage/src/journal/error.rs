//! What can go wrong with the journal.

use std::{
    io,
    path::{Path, PathBuf},
};

use trilith_types::GroupId;

use super::JournalConfigError;
use crate::file_header::FormatError;

/// Why the journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalOpenError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] JournalConfigError),
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
    /// The files are of different journals.
    #[error(
        "{path} belongs to another journal than {other}; move the file that does not belong here away"
    )]
    Mixed {
        /// A file.
        path: PathBuf,
        /// Another one.
        other: PathBuf,
    },
    /// A frame that is whole and that this version does not understand.
    #[error(
        "{path} has a frame at byte {position} that was written by a newer version; use that version, the journal is left as it is"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Where the frame begins.
        position: u64,
    },
    /// The marks of all groups do not fit the files any more.
    #[error(transparent)]
    Failed(#[from] JournalFailed),
}

impl JournalOpenError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Why a submission is not known to be durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalFailed {
    /// A write failed. It is final: whether what was submitted is durable is not known, and the
    /// journal takes nothing more. The process must stop.
    #[error(
        "a write of the journal failed, so nothing after the last one that succeeded may be relied on; stop this node and see to its disk: {reason}"
    )]
    Write {
        /// What the file system answered.
        reason: String,
    },
    /// One operation is too large for a journal file. Nothing of the submission was taken.
    #[error(
        "an operation of group {group} has {bytes} bytes, and the journal takes {max} at most; raise the setting file_bytes or send less at once"
    )]
    TooLarge {
        /// Whose.
        group: GroupId,
        /// Its length.
        bytes: u64,
        /// The most that is taken.
        max: u64,
    },
    /// The marks of all groups together are too large for a journal file. Nothing of the
    /// submission was taken.
    #[error(
        "the marks of all groups would take {bytes} bytes, and the journal keeps {max} at most; raise the setting file_bytes"
    )]
    MarksTooLarge {
        /// What they would take.
        bytes: u64,
        /// The most that is taken.
        max: u64,
    },
    /// The journal was closed before.
    #[error("the journal is closed")]
    Closed,
}
