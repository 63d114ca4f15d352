//! Faults that a test asks for, and counts of those that happened.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

/// An operation on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// [`crate::Disk::open`] of a file that is there.
    Open,
    /// [`crate::Disk::open`] that makes the file.
    Create,
    /// One directory made by [`crate::Disk::create_dir_all`].
    CreateDir,
    /// [`crate::Disk::list`].
    List,
    /// [`crate::Disk::rename`].
    Rename,
    /// [`crate::Disk::remove_file`].
    RemoveFile,
    /// [`crate::Disk::remove_dir`].
    RemoveDir,
    /// [`crate::Disk::sync_dir`].
    SyncDir,
    /// [`crate::Disk::space`].
    Space,
    /// [`crate::Disk::lock`].
    Lock,
    /// [`crate::File::len`].
    Len,
    /// [`crate::File::set_len`].
    SetLen,
    /// [`crate::File::allocate`].
    Allocate,
    /// [`crate::File::read_at`].
    Read,
    /// [`crate::File::submit_write`], counted when it is carried out.
    Write,
    /// [`crate::File::submit_sync`], counted when it is carried out.
    Sync,
    /// [`crate::File::map`].
    Map,
    /// [`crate::Mapping::flush`].
    Flush,
    /// [`crate::File::submit_write_durable`], counted when it is carried out.
    WriteDurable,
}

impl Op {
    /// How many kinds there are.
    pub(super) const COUNT: usize = Self::WriteDurable as usize + 1;

    /// Whether it can change what is found after a power cut. Only these count towards
    /// [`super::SimDisk::power_cut_after`]: cutting power between two reads shows nothing new.
    #[must_use]
    pub const fn mutates(self) -> bool {
        !matches!(
            self,
            Self::Open | Self::List | Self::Space | Self::Len | Self::Read | Self::Map
        )
    }

    /// The verb for messages.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::CreateDir => "make directory",
            Self::List => "list",
            Self::Rename => "rename",
            Self::RemoveFile => "remove",
            Self::RemoveDir => "remove directory",
            Self::SyncDir => "sync directory",
            Self::Space => "measure the file system of",
            Self::Lock => "lock",
            Self::Len => "measure",
            Self::SetLen => "set the length of",
            Self::Allocate => "reserve space for",
            Self::Read => "read from",
            Self::Write => "write to",
            Self::Sync => "sync",
            Self::Map => "map",
            Self::Flush => "flush the mapping of",
            Self::WriteDurable => "write durably to",
        }
    }
}

/// A failure to come: "the third sync from now of anything under `/data/a` fails".
///
/// A failed write may have written a part. A failed durable write has reached the page cache
/// whole, and the device in parts: it reads back and is not there. A failed sync may have made some of the changes
/// durable, and marks all of them clean, so that no later sync tries them again. Other operations
/// fail without an effect.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(super) op: Op,
    pub(super) under: Option<PathBuf>,
    pub(super) skip: u64,
    pub(super) times: u64,
    pub(super) kind: io::ErrorKind,
}

impl Failure {
    /// The next `op` fails, once, with [`io::ErrorKind::Other`], anywhere.
    #[must_use]
    pub const fn of(op: Op) -> Self {
        Self {
            op,
            under: None,
            skip: 0,
            times: 1,
            kind: io::ErrorKind::Other,
        }
    }

    /// It is the `n`-th from now that fails, counted from 1.
    #[must_use]
    pub const fn nth(mut self, n: u64) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// So many in a row fail.
    #[must_use]
    pub const fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Every one from there on fails, until [`super::SimDisk::clear_failures`].
    #[must_use]
    pub const fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// The error's kind.
    #[must_use]
    pub const fn with(mut self, kind: io::ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Only operations on `path` or on what lies in it count and fail.
    #[must_use]
    pub fn under(mut self, path: impl Into<PathBuf>) -> Self {
        self.under = Some(path.into());
        self
    }

    /// Counts one operation; says whether it fails.
    pub(super) fn strikes(&mut self, op: Op, path: &Path) -> bool {
        if self.op != op
            || self
                .under
                .as_ref()
                .is_some_and(|under| !path.starts_with(under))
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times == 0 {
            return false;
        }
        self.times = if self.times == u64::MAX {
            u64::MAX
        } else {
            self.times - 1
        };
        true
    }
}

/// What has happened on a disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Times the power was cut.
    pub power_cuts: u64,
    /// Unsynced writes of which nothing survived a power cut.
    pub writes_lost: u64,
    /// Unsynced writes of which only a part survived a power cut.
    pub writes_torn: u64,
    /// Unsynced changes of directories that did not survive a power cut.
    pub names_lost: u64,
    /// Operations that failed because a [`Failure`] said so.
    pub failures: u64,
    /// Unsynced writes that a failed sync marked clean.
    pub writes_marked_clean: u64,
    /// Operations that found no space.
    pub full: u64,
    /// Operations that were queued because the disk was slow.
    pub delayed: u64,
    /// Bits flipped.
    pub bits_flipped: u64,
    /// Writes that the device put elsewhere.
    pub writes_misdirected: u64,
    /// Times a process crashed.
    pub process_crashes: u64,
}

/// The error of every operation between a power cut and the restart, and of every handle that was
/// opened before a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The power is off.
    PowerCut,
    /// The handle belongs to a process that has crashed.
    StaleHandle,
}

impl Gone {
    pub(super) fn error(self) -> io::Error {
        io::Error::other(self)
    }

    /// Whether `error`, or what caused it, is the end of the simulated process.
    #[must_use]
    pub fn caused(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut at = Some(error);
        while let Some(error) = at {
            if let Some(gone) = error.downcast_ref::<Self>() {
                return Some(*gone);
            }
            // An `io::Error` shows what its content was caused by, but not its content.
            let content = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            at = match content {
                Some(content) => Some(content),
                None => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PowerCut => "the simulated power is off",
            Self::StaleHandle => "the simulated process that opened this has crashed",
        })
    }
}

impl Error for Gone {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PathError;

    #[test]
    fn a_failure_strikes_where_and_as_often_as_it_was_told() {
        let mut failure = Failure::of(Op::Sync).under("/a").nth(2).times(2);
        let mut hit = |op, path: &str| failure.strikes(op, Path::new(path));
        assert!(!hit(Op::Sync, "/a/x"));
        assert!(!hit(Op::Sync, "/b/x"));
        assert!(!hit(Op::Write, "/a/x"));
        assert!(hit(Op::Sync, "/a/x"));
        assert!(hit(Op::Sync, "/a"));
        assert!(!hit(Op::Sync, "/a"));
        let mut always = Failure::of(Op::Read).forever();
        assert!((0..100).all(|_| always.strikes(Op::Read, Path::new("/x"))));
    }

    #[test]
    fn a_crash_is_found_however_deep_it_lies() {
        let wrapped = PathError::wrap("sync", Path::new("/a"), Gone::PowerCut.error());
        assert_eq!(Gone::caused(&wrapped), Some(Gone::PowerCut));
        let twice = io::Error::other(wrapped);
        assert_eq!(Gone::caused(&twice), Some(Gone::PowerCut));
        assert_eq!(Gone::caused(&Gone::StaleHandle), Some(Gone::StaleHandle));
        assert_eq!(Gone::caused(&io::Error::other("else")), None);
        assert_eq!(
            Gone::caused(&io::Error::from(io::ErrorKind::NotFound)),
            None
        );
        assert!(twice.to_string().contains("/a: the simulated power is off"));
    }

    #[test]
    fn every_operation_has_a_verb_of_its_own() {
        let all = [
            Op::Open,
            Op::Create,
            Op::CreateDir,
            Op::List,
            Op::Rename,
            Op::RemoveFile,
            Op::RemoveDir,
            Op::SyncDir,
            Op::Space,
            Op::Lock,
            Op::Len,
            Op::SetLen,
            Op::Allocate,
            Op::Read,
            Op::Write,
            Op::Sync,
            Op::Map,
            Op::Flush,
            Op::WriteDurable,
        ];
        assert_eq!(all.len(), Op::COUNT);
        let verbs: std::collections::BTreeSet<_> = all.iter().map(|op| op.verb()).collect();
        assert_eq!(verbs.len(), Op::COUNT);
        assert_eq!(all.iter().filter(|op| op.mutates()).count(), 13);
    }
}
