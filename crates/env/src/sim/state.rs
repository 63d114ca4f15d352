//! The whole disk as one value: every operation passes [`State::run`], where faults strike.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use super::{
    config::SimConfig,
    content::{Content, Ino, Stray},
    fault::{Failure, FaultCounts, Gone, Op},
    map::Slot,
    page::PAGE,
    queue::Queued,
    survive::{Freedom, survive},
    tree::Tree,
};
use crate::{PathError, splitmix::SplitMix};

/// Nameless files that are kept before the first search for those that nothing can bring back.
const ORPHANS_MIN: usize = 64;

#[derive(Debug)]
pub(super) struct State {
    pub(super) config: SimConfig,
    pub(super) rng: SplitMix,
    pub(super) powered: bool,
    /// Counts crashes; a handle of an earlier epoch is stale.
    pub(super) epoch: u64,
    /// Counts changes.
    pub(super) seq: u64,
    pub(super) next_ino: Ino,
    pub(super) tree: Tree,
    pub(super) files: BTreeMap<Ino, Inode>,
    pub(super) used_pages: u64,
    pub(super) orphans: usize,
    pub(super) orphans_max: usize,
    pub(super) maps: BTreeMap<Ino, Vec<Slot>>,
    pub(super) locks: BTreeSet<Ino>,
    pub(super) failures: Vec<Failure>,
    pub(super) cut_at: Option<u64>,
    pub(super) mutations: u64,
    pub(super) ops: [u64; Op::COUNT],
    pub(super) counts: FaultCounts,
    pub(super) queue: Vec<Queued>,
    /// The file whose next write goes elsewhere, and where.
    pub(super) misdirect: Option<(Ino, Ino, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    /// Shared with forks until it is changed.
    pub(super) content: Arc<Content>,
    pub(super) named: bool,
    pub(super) handles: usize,
}

impl Inode {
    /// Whether its pages take space: a file lives while it has a name or is open.
    pub(super) const fn is_live(&self) -> bool {
        self.named || self.handles > 0
    }
}

/// What happens to one operation.
enum Gate {
    Pass,
    Fail(io::ErrorKind),
    Cut,
}

impl State {
    pub(super) fn new(config: SimConfig) -> Self {
        Self {
            rng: SplitMix::new(config.seed),
            config,
            powered: true,
            epoch: 0,
            seq: 0,
            next_ino: 1,
            tree: Tree::new(),
            files: BTreeMap::new(),
            used_pages: 0,
            orphans: 0,
            orphans_max: ORPHANS_MIN,
            maps: BTreeMap::new(),
            locks: BTreeSet::new(),
            failures: Vec::new(),
            cut_at: None,
            mutations: 0,
            ops: [0; Op::COUNT],
            counts: FaultCounts::default(),
            queue: Vec::new(),
            misdirect: None,
        }
    }

    /// Carries out one operation, unless a fault strikes: then `broken` may leave something half
    /// done. An error names `path`.
    pub(super) fn run<T>(
        &mut self,
        op: Op,
        path: &Path,
        effect: impl FnOnce(&mut Self) -> io::Result<T>,
        broken: impl FnOnce(&mut Self),
    ) -> io::Result<T> {
        let result = match self.gate(op, path) {
            _ if !self.powered => Err(Gone::PowerCut.error()),
            Gate::Pass => effect(self),
            Gate::Fail(kind) => {
                broken(self);
                Err(io::Error::new(kind, "a simulated fault"))
            }
            Gate::Cut => {
                self.cut_during(op, effect, broken);
                Err(Gone::PowerCut.error())
            }
        };
        result.map_err(|e| PathError::wrap(op.verb(), path, e))
    }

    fn gate(&mut self, op: Op, path: &Path) -> Gate {
        if !self.powered {
            return Gate::Pass;
        }
        if let Some(n) = self.ops.get_mut(op as usize) {
            *n += 1;
        }
        self.mutations += u64::from(op.mutates());
        if op.mutates() && self.cut_at == Some(self.mutations) {
            return Gate::Cut;
        }
        let mut struck = None;
        for failure in &mut self.failures {
            if failure.strikes(op, path) {
                struck = Some(failure.kind);
            }
        }
        self.counts.failures += u64::from(struck.is_some());
        struck.map_or(Gate::Pass, Gate::Fail)
    }

    /// The power goes while `op` is under way: it has reached the page cache wholly, in part or
    /// not at all. What a sync has done by then is a matter of what survives.
    fn cut_during<T>(
        &mut self,
        op: Op,
        effect: impl FnOnce(&mut Self) -> io::Result<T>,
        broken: impl FnOnce(&mut Self),
    ) {
        let syncs = matches!(op, Op::Sync | Op::Flush | Op::SyncDir);
        match self.rng.below(3) {
            _ if syncs => {}
            0 => {}
            1 => broken(self),
            _ => drop(effect(self)),
        }
        self.cut_power();
    }

    pub(super) fn cut_power(&mut self) {
        if self.powered {
            self.end_process();
            self.powered = false;
            self.cut_at = None;
            self.counts.power_cuts += 1;
        }
    }

    /// The process ends without warning. The page cache stays: mapped pages are part of it.
    pub(super) fn end_process(&mut self) {
        self.fold_all();
        self.settle_queued();
        self.epoch += 1;
        self.maps.clear();
        self.locks.clear();
        for inode in self.files.values_mut() {
            inode.handles = 0;
        }
        self.count_space();
    }

    /// The machine starts again: the cache is gone, and what was not synced has survived or not.
    pub(super) fn power_on(&mut self) {
        let freedom = Freedom {
            cut_seq: self.draw_cut(),
            ..self.config.freedom()
        };
        self.counts.names_lost += self.tree.restart(freedom, &mut self.rng);
        let mut strays = Vec::new();
        for inode in self.files.values_mut() {
            if inode.content.is_clean() {
                continue;
            }
            let outcome = survive(&inode.content, freedom, &mut self.rng);
            self.counts.writes_lost += outcome.lost;
            self.counts.writes_torn += outcome.torn;
            strays.extend(outcome.strays);
            Arc::make_mut(&mut inode.content).forget_pending(outcome.image);
        }
        self.land(strays);
        let named = self.tree.named();
        self.files.retain(|ino, _| named.contains(ino));
        for inode in self.files.values_mut() {
            inode.named = true;
            if !inode.content.is_clean() {
                Arc::make_mut(&mut inode.content).drop_cache();
            }
        }
        (self.orphans, self.orphans_max) = (0, ORPHANS_MIN);
        self.count_space();
        self.powered = true;
    }

    /// A moment between the oldest unsynced change and now.
    fn draw_cut(&mut self) -> u64 {
        let pending = self
            .files
            .values()
            .filter_map(|inode| inode.content.pending.first());
        let oldest = pending.map(|p| p.seq).chain(self.tree.oldest()).min();
        let (from, to) = (oldest.unwrap_or(self.seq), self.seq + 1);
        from + self.rng.below(to - from + 1)
    }

    /// Puts misdirected bytes where the device put them: the cache of that file knows nothing.
    pub(super) fn land(&mut self, strays: Vec<Stray>) {
        for Stray { ino, pos, data } in strays {
            if let Some(inode) = self.files.get_mut(&ino) {
                let content = Arc::make_mut(&mut inode.content);
                content.diverged = true;
                let durable = &mut content.durable;
                let room = durable.len.saturating_sub(pos).min(data.len() as u64);
                durable.put(pos, data.slice(..room as usize).as_ref());
            }
        }
    }

    /// A copy of the disk without any process, with a future of its own.
    pub(super) fn fork(&mut self, seed: u64) -> Self {
        self.fold_all();
        let mut fork = Self {
            config: SimConfig {
                seed,
                ..self.config.clone()
            },
            rng: SplitMix::new(seed),
            tree: self.tree.clone(),
            files: self.files.clone(),
            maps: BTreeMap::new(),
            locks: BTreeSet::new(),
            failures: self.failures.clone(),
            queue: self.queue.iter().map(Queued::unanswered).collect(),
            ..*self
        };
        if fork.powered {
            fork.end_process();
        }
        fork.queue.clear();
        fork
    }

    /// Counts the pages in use anew.
    fn count_space(&mut self) {
        let live = self.files.values().filter(|inode| inode.is_live());
        self.used_pages = live.map(|inode| inode.content.cached.space.pages()).sum();
    }

    pub(super) fn free_pages(&self) -> u64 {
        let capacity = self.config.capacity.unwrap_or(u64::MAX) / PAGE;
        capacity.saturating_sub(self.used_pages)
    }

    /// Changes a file's content and keeps the count of used pages.
    pub(super) fn edit<T>(&mut self, ino: Ino, f: impl FnOnce(&mut Content, u64) -> T) -> T {
        self.seq += 1;
        let seq = self.seq;
        let inode = self.inode(ino);
        let live = inode.is_live();
        let content = Arc::make_mut(&mut inode.content);
        let before = content.cached.space.pages();
        let result = f(content, seq);
        let after = content.cached.space.pages();
        if live {
            self.used_pages = self.used_pages + after - before;
        }
        result
    }

    pub(super) fn inode(&mut self, ino: Ino) -> &mut Inode {
        self.files
            .get_mut(&ino)
            .expect("a file stays while a handle or a name points to it")
    }

    pub(super) fn content(&mut self, ino: Ino) -> &Content {
        &self.inode(ino).content
    }

    /// One handle more on a file.
    pub(super) fn hold(&mut self, ino: Ino) {
        self.inode(ino).handles += 1;
    }

    /// One handle less.
    pub(super) fn release(&mut self, ino: Ino) {
        self.change_life(ino, |inode| inode.handles -= 1);
    }

    /// A file has lost its name.
    pub(super) fn unname(&mut self, ino: Ino) {
        self.change_life(ino, |inode| inode.named = false);
        self.orphans += 1;
        if self.orphans > self.orphans_max {
            self.sweep();
        }
    }

    fn change_life(&mut self, ino: Ino, f: impl FnOnce(&mut Inode)) {
        let inode = self.inode(ino);
        let was_live = inode.is_live();
        f(inode);
        let pages = inode.content.cached.space.pages();
        if was_live && !inode.is_live() {
            self.used_pages -= pages;
        }
    }

    /// Forgets files that no handle, no name and no power cut can bring back. The next sweep
    /// comes when there are twice as many candidates as were left, so sweeps stay cheap.
    fn sweep(&mut self) {
        let mentioned = self.tree.mentioned();
        self.files
            .retain(|ino, inode| inode.is_live() || mentioned.contains(ino));
        self.tree.forget_all_but(&mentioned);
        self.orphans = self.files.values().filter(|inode| !inode.named).count();
        self.orphans_max = ORPHANS_MIN.max(2 * self.orphans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenMode;

    /// A disk that has made and removed a thousand files and directories keeps few of them.
    #[test]
    fn what_nothing_can_bring_back_is_forgotten() {
        let mut state = State::new(SimConfig::new(1));
        let (dir, file) = (Path::new("/d"), Path::new("/d/f"));
        for _ in 0..1000 {
            state.create_dir_all(dir).unwrap();
            let ino = state.open(file, OpenMode::CreateNew).unwrap();
            state.release(ino);
            state.remove_file(file).unwrap();
            state.remove_dir(dir).unwrap();
            state.sync_dir(Path::new("/")).unwrap();
        }
        assert!(
            state.files.len() <= 2 * ORPHANS_MIN,
            "{}",
            state.files.len()
        );
        assert!(
            state.tree.dirs() <= 2 * ORPHANS_MIN,
            "{}",
            state.tree.dirs()
        );
    }

    /// What an unsynced removal may yet bring back is kept, however much of it there is.
    #[test]
    fn what_a_power_cut_may_bring_back_is_kept() {
        let mut state = State::new(SimConfig {
            lose: false,
            ..SimConfig::new(1)
        });
        let names: Vec<_> = (0..300).map(|n| format!("/{n}")).collect();
        for name in &names {
            let ino = state.open(Path::new(name), OpenMode::CreateNew).unwrap();
            state.release(ino);
        }
        state.sync_dir(Path::new("/")).unwrap();
        for name in &names {
            state.remove_file(Path::new(name)).unwrap();
        }
        assert_eq!(state.files.len(), 300);
        state.cut_power();
        state.config.lose = true;
        state.config.reorder = false;
        state.power_on();
        assert!(!state.files.is_empty());
    }
}
