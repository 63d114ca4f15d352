//! Advisory locks that die with their holder.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::{FileLock, LockError, disk::holder_name};

/// The longest holder's text that is read back, in bytes.
const HOLDER_BYTES_MAX: usize = 4096;

/// A lock after flock(2): it belongs to the open file, so the kernel frees it when the process
/// ends, however it ends. The file itself stays: removing it would let two processes hold locks
/// on two files of one name.
#[derive(Debug)]
struct OsLock {
    file: File,
}

impl FileLock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // The text is for whoever finds the lock taken; a stale one misleads people who look at
        // the file. Closing the file, which follows, is what frees the lock.
        let _ = self.file.set_len(0);
    }
}

pub(super) fn lock(path: &Path, holder: &str) -> Result<Box<dyn FileLock>, LockError> {
    let failed = |source| LockError::Io {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
            let holder = holder_of(&file);
            return Err(LockError::Held {
                path: path.to_owned(),
                holder,
            });
        }
        Err(e) => return Err(failed(e.into())),
    }
    let lock = OsLock { file };
    lock.sign(holder).map_err(failed)?;
    Ok(Box::new(lock))
}

impl OsLock {
    fn sign(&self, holder: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(holder.as_bytes(), 0)
    }
}

/// What the holder wrote; it may not have come to writing yet.
fn holder_of(file: &File) -> String {
    let mut text = vec![0; HOLDER_BYTES_MAX];
    let n = file.read_at(&mut text, 0).unwrap_or(0);
    text.truncate(n);
    holder_name(&text)
}
