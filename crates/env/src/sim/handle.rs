//! Open files, mappings and locks of a simulated disk.

use std::{
    fmt, io,
    io::IoSlice,
    path::Path,
    sync::{Arc, Weak, atomic::AtomicU64},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    content::Ino,
    fault::Op,
    map::Share,
    queue::{Queued, SLOW_QUEUE_MAX, Work},
    state::State,
};
use crate::{Completion, DurableWrites, File, FileLock, Mapping, PathError};

/// A disk that handles and the host share.
pub(super) type Shared = Mutex<State>;

/// What every handle knows: which file, of which life of the process.
pub(super) struct Handle {
    pub(super) disk: Arc<Shared>,
    pub(super) ino: Ino,
    pub(super) epoch: u64,
    pub(super) path: Arc<Path>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// Does something with the disk, unless the handle has outlived its process.
    fn with<T>(&self, op: Op, f: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock();
        match state.gone(self.epoch) {
            Some(gone) => Err(PathError::wrap(op.verb(), &self.path, gone.error())),
            None => f(&mut state),
        }
    }

    /// Gives something back, unless the process's end has done so already.
    fn give_back(&self, f: impl FnOnce(&mut State)) {
        let mut state = self.disk.lock();
        if state.epoch == self.epoch {
            f(&mut state);
        }
    }
}

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) handle: Handle,
    pub(super) read_only: bool,
}

impl SimFile {
    fn writable(&self, op: Op) -> io::Result<()> {
        if self.read_only {
            let refused = io::Error::new(io::ErrorKind::PermissionDenied, "it was opened to read");
            return Err(PathError::wrap(op.verb(), &self.handle.path, refused));
        }
        Ok(())
    }

    fn submit(&self, work: Work) -> Completion<()> {
        let Handle {
            disk,
            ino,
            epoch,
            path,
        } = &self.handle;
        let mut state = disk.lock();
        if !state.config.slow || state.gone(*epoch).is_some() {
            drop(state);
            return Completion::ready(self.carry_out(&work));
        }
        let answer = if state.queue.len() >= SLOW_QUEUE_MAX {
            state.complete_one()
        } else {
            None
        };
        let (completer, completion) = Completion::driven(driver(Arc::downgrade(disk)));
        let path = Arc::clone(path);
        state.enqueue(Queued {
            ino: *ino,
            epoch: *epoch,
            path,
            work,
            completer: Some(completer),
        });
        drop(state);
        if let Some(answer) = answer {
            answer.give();
        }
        completion
    }

    fn carry_out(&self, work: &Work) -> io::Result<()> {
        let Handle { ino, path, .. } = &self.handle;
        match work {
            Work::Write { pos, data } => self
                .handle
                .with(Op::Write, |s| s.write(*ino, path, *pos, data)),
            Work::WriteDurable { pos, data } => self.handle.with(Op::WriteDurable, |s| {
                s.write_durable(*ino, path, *pos, data)
            }),
            Work::Sync => self.handle.with(Op::Sync, |s| s.sync(*ino, path, Op::Sync)),
        }
    }
}

fn joined(parts: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(parts) {
        Ok([whole]) => whole,
        Err(parts) => parts.concat().into(),
    }
}

/// Carries out queued operations for whoever waits. The queue holds the completers, and they hold
/// this: a strong reference would keep a forgotten disk for ever.
fn driver(disk: Weak<Shared>) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        let answer = disk.upgrade().and_then(|disk| disk.lock().complete_one());
        match answer {
            Some(answer) => answer.give(),
            // Another thread has taken the operation and is about to answer it.
            None => std::thread::yield_now(),
        }
    })
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let Handle { ino, path, .. } = &self.handle;
        let len = |s: &mut State| Ok(s.content(*ino).cached.len);
        self.handle
            .with(Op::Len, |s| s.run(Op::Len, path, len, |_| ()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable(Op::SetLen)?;
        self.handle.with(Op::SetLen, |s| {
            s.set_len(self.handle.ino, &self.handle.path, len)
        })
    }

    fn allocate(&self, pos: u64, len: u64) -> io::Result<()> {
        self.writable(Op::Allocate)?;
        self.handle.with(Op::Allocate, |s| {
            s.allocate(self.handle.ino, &self.handle.path, pos, len)
        })
    }

    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.handle.with(Op::Read, |s| {
            s.read(self.handle.ino, &self.handle.path, pos, buf)
        })
    }

    fn submit_write(&self, pos: u64, parts: Vec<Bytes>) -> Completion<()> {
        if let Err(refused) = self.writable(Op::Write) {
            return Completion::ready(Err(refused));
        }
        self.submit(Work::Write {
            pos,
            data: joined(parts),
        })
    }

    fn submit_write_durable(&self, pos: u64, parts: Vec<Bytes>) -> Completion<()> {
        if let Err(refused) = self.writable(Op::WriteDurable) {
            return Completion::ready(Err(refused));
        }
        // Copied: on a real disk the parts are free again when the write completes, and here
        // pages that share them would keep them for ever.
        let data = Bytes::copy_from_slice(&joined(parts));
        self.submit(Work::WriteDurable { pos, data })
    }

    fn durable_writes(&self) -> DurableWrites {
        DurableWrites::Direct
    }

    fn submit_sync(&self) -> Completion<()> {
        self.submit(Work::Sync)
    }

    fn write_at(&self, pos: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut data = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
        parts.iter().for_each(|p| data.extend_from_slice(p));
        self.submit_write(pos, vec![data.into()]).wait()
    }

    fn map(&self, pos: u64, len: usize) -> io::Result<Arc<dyn Mapping>> {
        self.writable(Op::Map)?;
        let Handle {
            disk,
            ino,
            epoch,
            path,
        } = &self.handle;
        let map = |s: &mut State| s.map(*ino, pos, len);
        let share = self.handle.with(Op::Map, |s| {
            let share = s.run(Op::Map, path, map, |_| ())?;
            s.hold(*ino);
            Ok(share)
        })?;
        let (disk, path) = (Arc::clone(disk), Arc::clone(path));
        let handle = Handle {
            disk,
            ino: *ino,
            epoch: *epoch,
            path,
        };
        Ok(Arc::new(SimMapping { handle, share }))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.handle
            .give_back(|state| state.release(self.handle.ino));
    }
}

#[derive(Debug)]
struct SimMapping {
    handle: Handle,
    share: Share,
}

impl Mapping for SimMapping {
    fn words(&self) -> &[AtomicU64] {
        let Share { words, range, .. } = &self.share;
        words
            .get(range.clone())
            .expect("a share lies within its slot")
    }

    fn flush(&self) -> io::Result<()> {
        let Handle { ino, path, .. } = &self.handle;
        self.handle
            .with(Op::Flush, |s| s.sync(*ino, path, Op::Flush))
    }
}

impl Drop for SimMapping {
    fn drop(&mut self) {
        self.handle.give_back(|state| {
            state.unmap(self.handle.ino, self.share.slot);
            state.release(self.handle.ino);
        });
    }
}

#[derive(Debug)]
pub(super) struct SimLock {
    pub(super) handle: Handle,
}

impl FileLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.handle.give_back(|state| state.unlock(self.handle.ino));
    }
}
