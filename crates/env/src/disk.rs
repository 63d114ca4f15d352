//! The disk as the rest of the system sees it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;

use crate::Completion;

/// What the position of a mapping is a multiple of, in bytes: the page size of most machines.
pub const MAP_ALIGN: u64 = 4096;

/// A file system: a tree of directories and files under one root that the implementation knows.
///
/// Paths are given whole. A change of a directory (a file made, renamed or removed) survives a
/// power cut only after [`Disk::sync_dir`] on that directory.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` for [`OpenMode::Existing`], `AlreadyExists` for [`OpenMode::CreateNew`], and
    /// whatever the file system answers.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Makes a directory and its parents, and syncs every parent that was made.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes one directory whose parent is there, and syncs nothing: it survives a power cut after
    /// [`Disk::sync_dir`] on its parent. A directory that is there already is no error.
    ///
    /// # Errors
    /// `NotFound` without a parent, or whatever the file system answers.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Calls `work`, which may wait for the disk, on a thread that may wait: on one of the
    /// disk's own, or on this one where there is none to spare.
    fn run(&self, work: Box<dyn FnOnce() + Send>);

    /// The files and directories in `dir`, sorted by name.
    ///
    /// # Errors
    /// `NotFound`, or whatever the file system answers.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Renames a file, replacing what stands at `to`.
    ///
    /// # Errors
    /// `NotFound`, or whatever the file system answers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Handles that are open keep reading it.
    ///
    /// # Errors
    /// `NotFound`, or whatever the file system answers.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`, `DirectoryNotEmpty`, or whatever the file system answers.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes every earlier change of the entries of `dir` durable.
    ///
    /// # Errors
    /// Final: after a failed sync nothing that was not synced before may be relied on.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes everything durable that was written and every name that was changed before, on the
    /// whole file system that holds `dir`: for many files at once, cheaper than one by one.
    ///
    /// # Errors
    /// `Unsupported` where the system does not say whether that succeeded; sync one by one then.
    /// All else is final, as a failed [`File::sync`] is.
    fn sync_all(&self, dir: &Path) -> io::Result<()>;

    /// How full the file system that holds `path` is.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Takes the advisory lock on the file at `path`, which is made if missing, and writes
    /// `holder` into it for whoever finds it taken. The lock dies with its holder's process.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder's text while another holds it.
    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn FileLock>, LockError>;
}

/// How [`Disk::open`] treats a file that is missing or there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist.
    Existing,
    /// The file must exist and is only read.
    ReadOnly,
    /// The file must not exist.
    CreateNew,
    /// The file is made when missing.
    CreateIfMissing,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The whole path.
    pub path: PathBuf,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// How full a file system is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What an unprivileged process can still take.
    pub available: u64,
    /// The whole size.
    pub total: u64,
}

/// What positions, lengths and buffers of a durable write are multiples of, in bytes, so that it
/// can bypass the page cache.
pub const DIRECT_ALIGN: usize = 4096;

/// How [`File::submit_write_durable`] makes bytes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableWrites {
    /// By one write that bypasses the page cache and returns when the device has the bytes.
    Direct,
    /// By a write into the page cache and a sync after it: the file system refuses the other way.
    Buffered,
}

/// An open file. Reads are positional; there is no cursor.
///
/// A write that has completed is seen by every later read, and survives the end of the process;
/// it survives a power cut only after a sync that was submitted after the write had completed.
pub trait File: fmt::Debug + Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is zero.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file or extends it with a hole of zeros.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves disk space for `pos..pos + len` and extends the file to hold it. New bytes read
    /// as zeros, old bytes stay. A later write within the range cannot fail for want of space.
    ///
    /// # Errors
    /// `StorageFull` when there is no room; nothing has changed then.
    fn allocate(&self, pos: u64, len: u64) -> io::Result<()>;

    /// Reads into `buf` from `pos`; returns how many bytes were read, less than asked for only at
    /// the end of the file.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Submits a write of `parts`, one after another, from `pos`.
    fn submit_write(&self, pos: u64, parts: Vec<Bytes>) -> Completion<()>;

    /// Submits a sync of the file's bytes and of the metadata needed to read them (fdatasync).
    ///
    /// A failure is final: the kernel may have marked the lost pages clean, so a second sync that
    /// succeeds proves nothing.
    fn submit_sync(&self) -> Completion<()>;

    /// Submits a write of `parts`, one after another, from `pos`, that is durable when it
    /// completes, as far as these bytes and the metadata to read them go. Nothing is said about
    /// earlier writes.
    ///
    /// Fastest when `pos` and the address and length of each part are multiples of
    /// [`DIRECT_ALIGN`]. A failure is final, as a failed sync is. When power is cut before it
    /// completes, each block of [`DIRECT_ALIGN`] bytes may be there or not.
    fn submit_write_durable(&self, pos: u64, parts: Vec<Bytes>) -> Completion<()>;

    /// How durable writes of aligned parts are done. What the file system refuses shows with the
    /// first of them.
    fn durable_writes(&self) -> DurableWrites;

    /// Writes `parts` from `pos` and waits.
    ///
    /// # Errors
    /// As [`File::submit_write`] completes.
    fn write_at(&self, pos: u64, parts: &[io::IoSlice<'_>]) -> io::Result<()> {
        let owned = parts.iter().map(|p| Bytes::copy_from_slice(p)).collect();
        self.submit_write(pos, owned).wait()
    }

    /// Syncs and waits.
    ///
    /// # Errors
    /// As [`File::submit_sync`] completes.
    fn sync(&self) -> io::Result<()> {
        self.submit_sync().wait()
    }

    /// Maps `pos..pos + len` for shared reading and writing. `pos` is a multiple of 4096, `len` of
    /// 8 and not 0, and the range is allocated. What is stored in a mapping reaches the disk at any moment
    /// or never; after [`Mapping::flush`] has returned it is durable.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn map(&self, pos: u64, len: usize) -> io::Result<Arc<dyn Mapping>>;
}

/// A piece of a file as an array of 64-bit words, in the machine's byte order as seen through
/// [`AtomicU64`]; callers that fix an order on disk convert with `to_le`/`from_le`.
pub trait Mapping: fmt::Debug + Send + Sync {
    /// The words.
    fn words(&self) -> &[AtomicU64];

    /// Makes the words durable and waits.
    ///
    /// # Errors
    /// Final, as a failed sync is.
    fn flush(&self) -> io::Result<()>;
}

/// A held lock; dropped, it is free again.
pub trait FileLock: fmt::Debug + Send + Sync {}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{path} is locked by {holder}")]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it.
        holder: String,
    },
    /// The file system refused.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
}

/// Checks what [`File::map`] asks of a range, for a file of `file_len` bytes.
pub(crate) fn check_mapping(pos: u64, len: usize, file_len: u64) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !pos.is_multiple_of(MAP_ALIGN) || !len.is_multiple_of(size_of::<AtomicU64>()) || len == 0 {
        return refuse(format!(
            "a mapping starts at a multiple of {MAP_ALIGN} and has a positive multiple of 8 \
             bytes; asked for {len} bytes at {pos}"
        ));
    }
    match pos.checked_add(len as u64) {
        Some(end) if end <= file_len => Ok(()),
        _ => refuse(format!(
            "the file has {file_len} bytes and cannot be mapped at {pos} for {len} bytes: \
             allocate the range first"
        )),
    }
}

/// The name of a lock's holder from the text in the lock's file.
pub(crate) fn holder_name(text: &[u8]) -> String {
    match String::from_utf8_lossy(text).trim() {
        "" => "a process that has not given its name".to_owned(),
        name => name.to_owned(),
    }
}
