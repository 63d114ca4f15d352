//! Shared mappings of files. The only module of the workspace with `unsafe` code: one expression,
//! which makes a slice of atomic words out of mapped memory.
//!
//! # Why it is sound
//!
//! **The pointer is valid for the whole slice, for as long as the slice lives.** [`MmapRaw`] owns
//! `len` mapped bytes from its pointer on and unmaps them when it is dropped. The slice borrows
//! the [`OsMapping`] that owns it and never moves out of it, so no word can be reached after the
//! mapping has gone. The kernel keeps the file's pages alive by itself: closing or removing the
//! file does not take them away.
//!
//! **It is aligned.** [`OsMapping::new`] refuses a position that is not a multiple of
//! [`crate::MAP_ALIGN`] (4096). The kernel places mappings on page boundaries and pages are at least
//! that large; where they are larger, `memmap2` maps from the page before and adds the
//! difference, a multiple of 4096. So the pointer is a multiple of 4096 and thus of 8, the
//! alignment of `AtomicU64` on every supported target. `len` is a multiple of 8, so no word
//! reaches past the end. Both are checked again where the slice is made.
//!
//! **Every bit pattern is a value, and nothing is uninitialised.** `AtomicU64` has the layout of
//! `u64`. Mapped bytes are file contents or zeros.
//!
//! **Aliasing.** Nobody ever has a plain `&[u8]` or `&mut` to this memory. All of this process's
//! accesses through any number of mappings of the same bytes go through shared references to
//! atomics, which may be written while they are shared. What reaches the same pages by
//! `read_at` and `write_at`, here or in another process, is the kernel's access, outside the
//! memory model, as a device's is: a word may then be seen half old and half new, which is a
//! wrong number and never undefined behaviour. Callers treat words as hints and check what they
//! find, or keep other writers away by the directory's lock.
//!
//! **The memory is writable.** Files that were opened read-only are refused by the kernel
//! (`EACCES`), because the mapping asks for both rights; so a store never faults, and a load is
//! never an atomic access to read-only memory.
//!
//! # What is not undefined behaviour, but fatal
//!
//! The kernel sends `SIGBUS`, which ends the process, when a mapped page cannot be had:
//!
//! - *past the end of the file.* [`OsMapping::new`] refuses a range that the file does not hold,
//!   but a later `set_len` below it brings this back. Whoever maps a file does not cut it while
//!   the mapping lives; the log never shortens a file that has an index mapped.
//! - *a hole on a full disk*, where the first store finds no block. This is why ranges must be
//!   allocated ([`crate::File::allocate`]) before they are mapped.
//! - *a page that the device cannot read.* What may be damaged and must be survived is read with
//!   `read_at`, which gives an error. Mapped files can be rebuilt, so ending the process and
//!   starting again is a fair answer to a broken device.
//!
//! # Durability
//!
//! [`Mapping::flush`] is `msync(MS_SYNC)`, which on Linux is an `fdatasync` of the range. Apple's
//! does not empty the drive's cache, so there the file is synced as well.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
};

use memmap2::{MmapOptions, MmapRaw};

use crate::{Mapping, PathError, disk::check_mapping};

/// A piece of a file in memory.
#[derive(Debug)]
pub(super) struct OsMapping {
    path: PathBuf,
    raw: MmapRaw,
    #[cfg(target_vendor = "apple")]
    file: File,
}

impl OsMapping {
    /// Maps `pos..pos + len` of `file`, which has to hold all of it.
    pub(super) fn new(path: &Path, file: &File, pos: u64, len: usize) -> io::Result<Self> {
        check_mapping(pos, len, file.metadata()?.len())?;
        let raw = MmapOptions::new().offset(pos).len(len).map_raw(file)?;
        Ok(Self {
            path: path.to_owned(),
            raw,
            #[cfg(target_vendor = "apple")]
            file: file.try_clone()?,
        })
    }
}

impl Mapping for OsMapping {
    fn words(&self) -> &[AtomicU64] {
        let start = self.raw.as_ptr().cast::<AtomicU64>();
        let words = self.raw.len() / size_of::<AtomicU64>();
        assert!(start.is_aligned(), "a mapping starts on a page");
        // SAFETY: `start` is aligned, `words` whole words from it on are mapped readable and
        // writable until `self.raw` is dropped, and the returned borrow cannot outlive it, every
        // pattern is a valid `AtomicU64`, and nobody has anything but shared references to
        // atomics into this memory. The module's documentation argues each point.
        unsafe { std::slice::from_raw_parts(start, words) }
    }

    fn flush(&self) -> io::Result<()> {
        let flushed = self.raw.flush();
        #[cfg(target_vendor = "apple")]
        let flushed = flushed.and_then(|()| self.file.sync_data());
        flushed.map_err(|e| PathError::wrap("flush the mapping of", &self.path, e))
    }
}
