//! The journal's files: those that are needed, and those that are ready to be written.

use std::{
    collections::VecDeque,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use trilith_env::{Disk, File, OpenMode};

use super::{block::BLOCK_BYTES, buffer::AlignedPool, file};

/// How much of a new file is written with zeros at once. Frames share the disk with it, so it
/// must not take long; and every such write costs a flush of the device.
const ZERO_BYTES: u64 = 1 << 20;

/// How long after a new file was refused, for want of space or otherwise, the next is tried.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A file in one of its uses.
#[derive(Clone)]
pub(super) struct UsedFile {
    pub(super) slot: u32,
    /// Counts the files that were begun.
    pub(super) number: u32,
    pub(super) file: Arc<dyn File>,
}

/// A file that may be written from its beginning.
pub(super) struct ReadyFile {
    pub(super) slot: u32,
    pub(super) file: Arc<dyn File>,
}

#[derive(Default)]
pub(super) struct Files {
    /// In the order in which they were begun; the last one is written.
    pub(super) live: VecDeque<UsedFile>,
    /// In the order in which they are taken. Those that were needed last come last: when power is
    /// cut while one is begun, those behind it and the live ones are still a history without gap.
    pub(super) ready: VecDeque<ReadyFile>,
    /// The next free block of the file that is written.
    pub(super) next_block: u32,
    pub(super) next_slot: u32,
    /// The number of the next file that is begun.
    pub(super) next_number: u32,
    pub(super) making: bool,
    /// A frame waits for a file, whatever the limit says.
    pub(super) wanted: bool,
    pub(super) refused_at: Option<Duration>,
    pub(super) refused: u64,
}

impl Files {
    /// The number of the file that is written.
    pub(super) fn current(&self) -> u32 {
        self.live.back().map_or(0, |used| used.number)
    }

    pub(super) fn oldest(&self) -> u32 {
        self.live.front().map_or(0, |used| used.number)
    }

    /// Begins the next file; false when none is ready.
    pub(super) fn begin(&mut self) -> bool {
        let Some(ReadyFile { slot, file }) = self.ready.pop_front() else {
            return false;
        };
        let number = self.next_number;
        self.next_number += 1;
        self.live.push_back(UsedFile { slot, number, file });
        self.next_block = 1;
        true
    }

    /// Gives back the files before `needed` and `begun`, whose first frame is durable. Returns
    /// the slots of those that are too many.
    pub(super) fn recycle(&mut self, needed: Option<u32>, begun: u32, most: usize) -> Vec<u32> {
        let mut surplus = Vec::new();
        let free = |used: &UsedFile| {
            used.number < begun && needed.is_none_or(|needed| used.number < needed)
        };
        while self.live.len() > 1 && self.live.front().is_some_and(free) {
            let Some(UsedFile { slot, file, .. }) = self.live.pop_front() else {
                break;
            };
            if self.live.len() + self.ready.len() >= most {
                surplus.push(slot);
            } else {
                self.ready.push_back(ReadyFile { slot, file });
            }
        }
        surplus
    }

    /// Whether a file is to be made now; if so, it is under way.
    pub(super) fn start_making(&mut self, ahead: usize, most: usize, now: Duration) -> Option<u32> {
        let few = self.ready.len() < ahead && self.live.len() + self.ready.len() < most;
        let wanted = self.wanted && self.ready.is_empty();
        let soon = self
            .refused_at
            .is_some_and(|at| now < at.saturating_add(RETRY_AFTER));
        if self.making || soon || !(few || wanted) {
            return None;
        }
        self.making = true;
        let slot = self.next_slot;
        self.next_slot += 1;
        Some(slot)
    }

    pub(super) fn finish_making(&mut self, made: Option<ReadyFile>, now: Duration) {
        self.making = false;
        match made {
            Some(ready) => {
                self.ready.push_back(ready);
                self.wanted = false;
                self.refused_at = None;
            }
            None => {
                self.refused_at = Some(now);
                self.refused += 1;
            }
        }
    }
}

/// A file that is being written with zeros.
pub(super) struct Making {
    pub(super) slot: u32,
    path: PathBuf,
    dir: PathBuf,
    file: Arc<dyn File>,
    bytes: u64,
    zeros: Bytes,
}

impl Making {
    /// Makes the file and reserves its space.
    pub(super) fn start(
        disk: &dyn Disk,
        dir: &Path,
        slot: u32,
        bytes: u64,
        buffers: &Arc<AlignedPool>,
    ) -> io::Result<Self> {
        let path = file::path(dir, slot);
        let file = disk.open(&path, OpenMode::CreateNew)?;
        if let Err(e) = file.allocate(0, bytes) {
            // A file that stays behind is found by the next start.
            let _ = disk.remove_file(&path);
            return Err(e);
        }
        let mut zeros = buffers.take(ZERO_BYTES.min(bytes) as usize);
        zeros.bytes_mut().fill(0);
        Ok(Self {
            slot,
            path,
            dir: dir.to_owned(),
            file,
            bytes,
            zeros: zeros.share(),
        })
    }

    /// The write of zeros at `position`, and where the next one goes; `None` at the end.
    pub(super) fn step(&self, position: u64) -> Option<(trilith_env::Completion<()>, u64)> {
        let left = self.bytes.checked_sub(position).filter(|&left| left > 0)?;
        let n = left.min(self.zeros.len() as u64);
        let zeros = self.zeros.slice(..n as usize);
        let write = self.file.submit_write_durable(position, vec![zeros]);
        Some((write, position + n))
    }

    /// All of it is written: its name is made durable.
    pub(super) fn finish(self, disk: &dyn Disk) -> io::Result<ReadyFile> {
        disk.sync_dir(&self.dir)?;
        Ok(ReadyFile {
            slot: self.slot,
            file: self.file,
        })
    }

    /// It is of no use.
    pub(super) fn abandon(self, disk: &dyn Disk) {
        // One that stays behind is found by the next start.
        let _ = disk.remove_file(&self.path);
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("live", &self.live.len())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

/// Where a block lies in its file.
pub(super) const fn position(block: u32) -> u64 {
    block as u64 * BLOCK_BYTES as u64
}
