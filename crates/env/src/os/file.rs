//! Open files.

use std::{
    fs,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::{Errno, pwritev},
};

use super::{direct::Direct, map::OsMapping, pool::Pool};
use crate::{Completion, DurableWrites, File, Mapping, PathError};

/// Most parts that one system call takes: `IOV_MAX` of Linux and macOS.
const PARTS_PER_CALL_MAX: usize = 1024;

/// How much is written at once where space cannot be reserved, in bytes.
const ZEROS: usize = 64 << 10;

/// A file of the operating system.
///
/// Writes go to the page cache, which takes microseconds, so they complete where they are
/// submitted. Syncs wait for the device: submitted ones wait on a thread of the pool, and
/// [`File::sync`] on the caller's.
#[derive(Clone, Debug)]
pub(super) struct OsFile {
    inner: Arc<Inner>,
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: fs::File,
    direct: Direct,
}

impl Inner {
    fn fail(&self, operation: &'static str) -> impl Fn(io::Error) -> io::Error {
        move |e| PathError::wrap(operation, &self.path, e)
    }

    fn sync(&self) -> io::Result<()> {
        // On macOS this is F_FULLFSYNC, which also empties the drive's cache.
        self.file.sync_data().map_err(self.fail("sync"))
    }

    /// Past the page cache where that goes, else through it and with a sync.
    fn write_durable(&self, pos: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let direct = self.direct.write(&self.path, &self.file, pos, parts);
        if let Some(written) = direct {
            return written.map_err(self.fail("write to"));
        }
        write_full(&self.file, pos, parts).map_err(self.fail("write to"))?;
        self.sync()
    }
}

impl OsFile {
    pub(super) fn new(path: &Path, file: fs::File, pool: Arc<Pool>) -> Self {
        Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                file,
                direct: Direct::default(),
            }),
            pool,
        }
    }
}

impl File for OsFile {
    fn len(&self) -> io::Result<u64> {
        let metadata = self.inner.file.metadata();
        metadata
            .map(|m| m.len())
            .map_err(self.inner.fail("measure"))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner
            .file
            .set_len(len)
            .map_err(self.inner.fail("set the length of"))
    }

    fn allocate(&self, pos: u64, len: u64) -> io::Result<()> {
        reserve(&self.inner.file, pos, len).map_err(self.inner.fail("reserve space for"))
    }

    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_full(&self.inner.file, pos, buf).map_err(self.inner.fail("read from"))
    }

    fn submit_write(&self, pos: u64, parts: Vec<Bytes>) -> Completion<()> {
        let slices: Vec<_> = parts.iter().map(|p| IoSlice::new(p)).collect();
        Completion::ready(self.write_at(pos, &slices))
    }

    fn submit_sync(&self) -> Completion<()> {
        let (completer, completion) = Completion::pending();
        let inner = Arc::clone(&self.inner);
        self.pool.run(move || completer.complete(inner.sync()));
        completion
    }

    fn submit_write_durable(&self, pos: u64, parts: Vec<Bytes>) -> Completion<()> {
        let (completer, completion) = Completion::pending();
        let inner = Arc::clone(&self.inner);
        self.pool.run(move || {
            let slices: Vec<_> = parts.iter().map(|p| IoSlice::new(p)).collect();
            let written = inner.write_durable(pos, &slices);
            // Whoever lent the parts may want them back in the answer.
            drop(parts);
            completer.complete(written);
        });
        completion
    }

    fn durable_writes(&self) -> DurableWrites {
        self.inner.direct.mode(&self.inner.path, &self.inner.file)
    }

    fn write_at(&self, pos: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        write_full(&self.inner.file, pos, parts).map_err(self.inner.fail("write to"))
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn map(&self, pos: u64, len: usize) -> io::Result<Arc<dyn Mapping>> {
        let mapping = OsMapping::new(&self.inner.path, &self.inner.file, pos, len)
            .map_err(self.inner.fail("map"))?;
        Ok(Arc::new(mapping))
    }
}

fn read_full(file: &fs::File, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, pos + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes every byte of `parts`, without copying them. The kernel may take less than it was
/// given; the rest is then offered again.
pub(super) fn write_full(file: &fs::File, pos: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
    let mut pos = pos;
    for parts in parts.chunks(PARTS_PER_CALL_MAX) {
        let wanted: u64 = parts.iter().map(|p| p.len() as u64).sum();
        let written = write_some(file, pos, parts)?;
        pos += written;
        if written < wanted {
            pos = write_rest(file, pos, parts, written)?;
        }
    }
    Ok(())
}

/// Goes on after a short write of `parts` that ended at `pos`; returns where it ends.
#[cold]
fn write_rest(
    file: &fs::File,
    mut pos: u64,
    parts: &[IoSlice<'_>],
    written: u64,
) -> io::Result<u64> {
    let mut owned = parts.to_vec();
    let mut rest = owned.as_mut_slice();
    let mut written = written;
    loop {
        IoSlice::advance_slices(&mut rest, written as usize);
        if rest.iter().all(|p| p.is_empty()) {
            return Ok(pos);
        }
        written = write_some(file, pos, rest)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        pos += written;
    }
}

fn write_some(file: &fs::File, pos: u64, parts: &[IoSlice<'_>]) -> io::Result<u64> {
    loop {
        match pwritev(file, parts, pos) {
            Ok(n) => return Ok(n as u64),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reserves `pos..pos + len` and extends the file over it.
fn reserve(file: &fs::File, pos: u64, len: u64) -> io::Result<()> {
    let old_len = file.metadata()?.len();
    let end = pos.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    if len == 0 {
        return Ok(());
    }
    let result = match fallocated(file, old_len, pos, end) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => write_zeros(file, old_len, end),
        other => other,
    };
    // A file system may have extended the file before it ran full. The caller is promised that
    // nothing has changed, and the blocks past the old end are worth having back.
    if result.is_err() && file.metadata()?.len() > old_len {
        file.set_len(old_len)?;
    }
    result
}

#[cfg(not(target_vendor = "apple"))]
fn fallocated(file: &fs::File, _old_len: u64, pos: u64, end: u64) -> io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), pos, end - pos) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Apple's call reserves only past the end, and cuts a file that is longer than the range.
#[cfg(target_vendor = "apple")]
fn fallocated(file: &fs::File, old_len: u64, _pos: u64, end: u64) -> io::Result<()> {
    if end <= old_len {
        return Ok(());
    }
    fallocate(file, FallocateFlags::empty(), old_len, end - old_len).map_err(io::Error::from)
}

/// Where the file system cannot reserve, zeros are written past the end. Holes within the old
/// length stay holes: filling them could race with another writer.
fn write_zeros(file: &fs::File, old_len: u64, end: u64) -> io::Result<()> {
    let zeros = [0u8; ZEROS];
    let mut pos = old_len;
    while pos < end {
        let n = usize::try_from(end - pos).unwrap_or(ZEROS).min(ZEROS);
        file.write_all_at(zeros.get(..n).unwrap_or(&zeros), pos)?;
        pos += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(file: &fs::File) -> Vec<u8> {
        let mut found = vec![0; file.metadata().unwrap().len() as usize];
        read_full(file, 0, &mut found).unwrap();
        found
    }

    /// The kernel hardly ever writes short, so the way on is tried from every place it could stop.
    #[test]
    fn a_short_write_goes_on_where_it_stopped() {
        let parts = [&b"one "[..], b"", b"two ", b"three"];
        let whole = parts.concat();
        let slices = parts.map(IoSlice::new);
        for written in 0..=whole.len() {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&whole[..written], 10).unwrap();
            let end = write_rest(&file, 10 + written as u64, &slices, written as u64).unwrap();
            assert_eq!(end, 10 + whole.len() as u64);
            assert_eq!(content(&file)[10..], whole);
        }
    }

    #[test]
    fn where_space_cannot_be_reserved_zeros_are_written() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        write_zeros(&file, 3, 2 * ZEROS as u64 + 7).unwrap();
        let mut expected = b"abc".to_vec();
        expected.resize(2 * ZEROS + 7, 0);
        assert_eq!(content(&file), expected);
    }

    /// Fails at the first byte, past the largest file that any system has.
    #[test]
    fn a_refused_reservation_leaves_the_length() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        assert!(reserve(&file, 1 << 62, 4096).is_err());
        assert_eq!(content(&file), b"abc");
    }
}
