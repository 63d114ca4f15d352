//! The syncs of many logs, with few calls of the file system.
//!
//! A node's journal asks hundreds of logs at a time to make their segments durable. One by one that
//! is a sync for each store, and two more for each manifest. A file system can be synced as a
//! whole: once for all stores, names and first copies of manifests, and once more for the second
//! copies.

use std::{io, mem, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use trilith_env::Disk;

use crate::{
    sync::{PendingSync, SyncOutcome},
    upkeep::Storing,
};

/// So few syncs are not worth the sync of a whole file system.
const APART_MAX: usize = 8;

/// Makes the syncs of many logs in rounds: while one is under way, the next one gathers.
#[derive(Debug)]
pub struct SyncRounds {
    disk: Arc<dyn Disk>,
    /// Where all the logs are.
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(PendingSync, Done)>,
    running: bool,
}

type Done = Box<dyn FnOnce(SyncOutcome) + Send>;

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} waiting)", self.waiting.len())
    }
}

impl SyncRounds {
    /// Rounds for logs below `dir`, all on one file system.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            disk,
            dir,
            state: Mutex::default(),
        })
    }

    /// Takes a sync from [`crate::Log::prepare_sync`] into the next round, and calls `done` when it
    /// is over, on a thread of the disk's. How many wait is for the caller to bound.
    pub fn submit(self: &Arc<Self>, pending: PendingSync, done: Done) {
        let mut state = self.state.lock();
        state.waiting.push((pending, done));
        if !mem::replace(&mut state.running, true) {
            drop(state);
            let this = Arc::clone(self);
            self.disk.run(Box::new(move || this.run()));
        }
    }

    fn run(&self) {
        loop {
            let mut state = self.state.lock();
            let round = mem::take(&mut state.waiting);
            state.running = !round.is_empty();
            drop(state);
            if round.is_empty() {
                return;
            }
            if round.len() <= APART_MAX {
                round
                    .into_iter()
                    .for_each(|(pending, done)| pending.then(done));
                continue;
            }
            let (pending, done): (Vec<_>, Vec<_>) = round.into_iter().unzip();
            let outcomes = sync_together(&*self.disk, &self.dir, pending);
            done.into_iter()
                .zip(outcomes)
                .for_each(|(done, outcome)| done(outcome));
        }
    }
}

/// Carries out syncs from [`crate::Log::prepare_sync`] of logs below `dir`, all together, and waits.
/// One by one where the file system cannot be synced as a whole. The outcomes are in the order of
/// the syncs.
pub fn sync_together(
    disk: &dyn Disk,
    dir: &std::path::Path,
    syncs: Vec<PendingSync>,
) -> Vec<SyncOutcome> {
    let round = Round {
        disk,
        dir,
        storing: syncs.iter().map(PendingSync::begin_storing).collect(),
    };
    let result = match round.run() {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => None,
        other => Some(other),
    };
    let finish = |sync: PendingSync| match &result {
        None => sync.wait(),
        Some(result) => sync.finish(result),
    };
    syncs.into_iter().map(finish).collect()
}

struct Round<'a> {
    disk: &'a dyn Disk,
    dir: &'a std::path::Path,
    /// Of each sync: the manifest that is being stored, if it is this one's to store.
    storing: Vec<io::Result<Option<Storing<'a>>>>,
}

impl Round<'_> {
    fn run(self) -> io::Result<()> {
        let storing: io::Result<Vec<_>> = self.storing.into_iter().collect();
        let mut storing: Vec<Storing<'_>> = storing?.into_iter().flatten().collect();
        for manifest in &mut storing {
            manifest.write_half()?;
        }
        if let Err(e) = self.disk.sync_all(self.dir) {
            // The copies that were not begun are the whole ones: the next attempt spares them too.
            storing.into_iter().for_each(Storing::undo);
            return Err(e);
        }
        if storing.is_empty() {
            return Ok(());
        }
        for manifest in &mut storing {
            manifest.write_half()?;
        }
        self.disk.sync_all(self.dir)?;
        storing.into_iter().for_each(Storing::stored);
        Ok(())
    }
}
