//! The simulated disk as its users and its host see it.

use std::{fmt, io, path::Path, sync::Arc};

use super::{
    config::SimConfig,
    content::Ino,
    fault::{Failure, FaultCounts, Op},
    handle::{Handle, Shared, SimFile, SimLock},
    page::PAGE,
    state::State,
};
use crate::{DirEntry, Disk, File, FileLock, LockError, OpenMode, PathError, Space};

/// What [`Disk::space`] reports as the size of a disk without end.
const ENDLESS: u64 = 1 << 50;

/// An in-memory file system whose faults a seed decides; see the [module](super) for its model.
///
/// Clones are handles on one disk. The [`Disk`] implementation is what the system under test
/// uses; the methods here are for the host, the test or the simulator.
#[derive(Clone)]
pub struct SimDisk {
    disk: Arc<Shared>,
}

/// Which copy of a byte [`SimDisk::flip_bit`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlipIn {
    /// The one on the device and the one in the cache: damage that shows at once and stays.
    Both,
    /// The one in the cache: it goes with the cache, unless its page is written back.
    Cache,
    /// The one on the device: it shows when the cache has gone.
    Device,
}

impl SimDisk {
    /// An endless, fast disk with every freedom at a power cut; see [`SimConfig::new`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(SimConfig::new(seed))
    }

    /// A disk that behaves as `config` says. Its root directory exists.
    #[must_use]
    pub fn with(config: SimConfig) -> Self {
        Self {
            disk: Arc::new(Shared::new(State::new(config))),
        }
    }

    /// Changes how the disk behaves from now on. The seed has been used and changes nothing.
    pub fn configure(&self, change: impl FnOnce(&mut SimConfig)) {
        change(&mut self.disk.lock().config);
    }

    /// A copy of the disk as it is now, unsynced changes and all, with a future that `seed`
    /// decides. No process is on it: there are no handles and no locks, and operations that were
    /// queued have reached the cache or have not.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        Self {
            disk: Arc::new(Shared::new(self.disk.lock().fork(seed))),
        }
    }

    /// How many operations that can change the disk were carried out or tried; see
    /// [`Op::mutates`].
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.disk.lock().mutations
    }

    /// How many operations of one kind were carried out or tried.
    #[must_use]
    pub fn count(&self, op: Op) -> u64 {
        self.disk.lock().ops.get(op as usize).copied().unwrap_or(0)
    }

    /// Which faults have happened.
    #[must_use]
    pub fn fault_counts(&self) -> FaultCounts {
        self.disk.lock().counts
    }

    /// Cuts the power at the `n`-th changing operation from now, counted from 1: it fails, with
    /// [`super::Gone::PowerCut`], and so does everything after it until [`SimDisk::restart`]. It
    /// may have had its effect. 0 cuts the power at once.
    pub fn power_cut_after(&self, n: u64) {
        let mut state = self.disk.lock();
        state.cut_at = Some(state.mutations + n);
        if n == 0 {
            state.cut_power();
        }
    }

    /// Cuts the power now.
    pub fn power_cut(&self) {
        self.power_cut_after(0);
    }

    /// Whether the power is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.disk.lock().powered
    }

    /// Starts the machine again. What was not synced when the power was cut survives or not; with
    /// the power on, the process ends as by [`SimDisk::crash_process`]. Every handle is stale
    /// afterwards, and operations still queued are answered with an error.
    pub fn restart(&self) {
        if self.is_on() {
            self.crash_process();
        } else {
            self.disk.lock().power_on();
            self.run_until_idle();
        }
    }

    /// Ends the process that uses the disk: its locks are free, its handles stale, and what it
    /// wrote stays in the cache, synced or not. Nothing happens while the power is off.
    pub fn crash_process(&self) {
        {
            let mut state = self.disk.lock();
            if state.powered {
                state.end_process();
                state.counts.process_crashes += 1;
            }
        }
        self.run_until_idle();
    }

    /// Adds a failure to come.
    pub fn fail(&self, failure: Failure) {
        self.disk.lock().failures.push(failure);
    }

    /// Takes back every failure that has not happened.
    pub fn clear_failures(&self) {
        self.disk.lock().failures.clear();
    }

    /// How many submitted operations wait on a slow disk.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.disk.lock().queue.len()
    }

    /// Carries out one queued operation that the seed chooses, and answers it on this thread.
    /// False when there is none.
    pub fn complete_next(&self) -> bool {
        let answer = self.disk.lock().complete_one();
        let any = answer.is_some();
        if let Some(answer) = answer {
            answer.give();
        }
        any
    }

    /// Carries out queued operations until there are none, those included that the answers submit.
    pub fn run_until_idle(&self) {
        while self.complete_next() {}
    }

    /// Flips bit `bit` (0 to 7) of the byte at `pos` of a file.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidInput` past the end of the file.
    pub fn flip_bit(&self, path: &Path, pos: u64, bit: u8, copy: FlipIn) -> io::Result<()> {
        let mut state = self.disk.lock();
        let ino = find(&state, path)?;
        state.fold(ino);
        if pos >= state.content(ino).cached.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        state.edit(ino, |content, _| {
            content.diverged |= copy != FlipIn::Both;
            if copy != FlipIn::Device {
                content.cached.pages.flip(pos, bit);
            }
            if copy != FlipIn::Cache {
                content.durable.pages.flip(pos, bit);
            }
        });
        state.unfold(ino, pos..pos + 1);
        state.counts.bits_flipped += 1;
        Ok(())
    }

    /// Makes the device put the next write to `from`, when it is written back, at `to_pos` of
    /// `to`. The cache shows it where it belongs until it goes.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn misdirect_next_write(&self, from: &Path, to: &Path, to_pos: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let (from, to) = (find(&state, from)?, find(&state, to)?);
        state.misdirect = Some((from, to, to_pos));
        Ok(())
    }

    /// Drops every cached page that has no unsynced change, as a kernel does when memory is
    /// short: what was lost without a trace shows.
    pub fn drop_clean_cache(&self) {
        let mut state = self.disk.lock();
        state.fold_all();
        let files: Vec<_> = state.files.keys().copied().collect();
        for ino in files {
            state.edit(ino, |content, _| content.drop_clean());
            let len = state.content(ino).cached.len;
            state.unfold(ino, 0..len);
        }
    }

    /// What the device holds of a file, as if the power were cut and nothing unsynced survived.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn on_device(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.disk.lock();
        let ino = find(&state, path)?;
        let durable = &state.content(ino).durable;
        let mut bytes = vec![0; durable.len as usize];
        durable.pages.read(0, &mut bytes);
        Ok(bytes)
    }

    fn handle(&self, state: &State, ino: Ino, path: &Path) -> Handle {
        Handle {
            disk: Arc::clone(&self.disk),
            ino,
            epoch: state.epoch,
            path: path.into(),
        }
    }
}

fn find(state: &State, path: &Path) -> io::Result<Ino> {
    let found = state.tree.find(path).and_then(|child| {
        if child.is_dir {
            Err(io::ErrorKind::IsADirectory.into())
        } else {
            Ok(child.ino)
        }
    });
    found.map_err(|e| PathError::wrap("find", path, e))
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.disk.lock();
        let ino = state.open(path, mode)?;
        let handle = self.handle(&state, ino, path);
        Ok(Arc::new(SimFile {
            handle,
            read_only: mode == OpenMode::ReadOnly,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().create_one_dir(path)
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.lock().list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.lock().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.lock().sync_dir(dir)
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.lock().sync_all(dir)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let measure = |state: &mut State| {
            state.tree.find(path)?;
            let total = state.config.capacity.unwrap_or(ENDLESS);
            let available = state.free_pages().saturating_mul(PAGE).min(total);
            Ok(Space { available, total })
        };
        self.disk.lock().run(Op::Space, path, measure, |_| ())
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn FileLock>, LockError> {
        let mut state = self.disk.lock();
        match state.lock(path, holder) {
            Ok(Ok(ino)) => Ok(Box::new(SimLock {
                handle: self.handle(&state, ino, path),
            })),
            Ok(Err(holder)) => Err(LockError::Held {
                path: path.to_owned(),
                holder,
            }),
            Err(source) => Err(LockError::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }
}
