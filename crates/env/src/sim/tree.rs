//! Directories: the names that are seen, and those that survive.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Component, Path},
    sync::Arc,
};

use super::{content::Ino, survive::Freedom};
use crate::splitmix::SplitMix;

/// Changes of directories that nobody has synced; at the limit the oldest is made durable, as a
/// journal's commit does in time.
const PENDING_MAX: usize = 4096;

/// The root directory.
const ROOT: Ino = 0;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) ino: Ino,
    pub(super) is_dir: bool,
}

type Names = BTreeMap<OsString, Child>;

#[derive(Clone, Debug, Default)]
struct Dir {
    cached: Names,
    durable: Names,
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    dir: Ino,
    name: OsString,
}

/// A change of one or two names that was made at once. It is journaled as one, so it becomes
/// durable as a whole when either of its directories is synced.
#[derive(Clone, Debug)]
struct Change {
    seq: u64,
    names: Vec<(Place, Option<Child>)>,
}

impl Change {
    /// The file or directory that is made or moved.
    fn child(&self) -> Option<Ino> {
        self.names
            .iter()
            .find_map(|(_, child)| child.map(|c| c.ino))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tree {
    dirs: BTreeMap<Ino, Arc<Dir>>,
    pending: Vec<Change>,
    /// A failed sync has left durable names that differ from the cached ones without a pending
    /// change.
    diverged: bool,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            dirs: BTreeMap::from([(ROOT, Arc::default())]),
            pending: Vec::new(),
            diverged: false,
        }
    }

    /// What `path` stands for; the root is a directory.
    pub(super) fn find(&self, path: &Path) -> io::Result<Child> {
        let mut at = Child {
            ino: ROOT,
            is_dir: true,
        };
        for component in path.components() {
            if let Some(name) = name_of(component)? {
                let names = self.names(at)?;
                at = *names.get(name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(at)
    }

    /// The place of `path`, whose directory must exist, and what stands there.
    pub(super) fn place(&self, path: &Path) -> io::Result<(Place, Option<Child>)> {
        let name = path
            .file_name()
            .ok_or(io::ErrorKind::InvalidInput)?
            .to_owned();
        let dir = self.find(path.parent().unwrap_or(Path::new("")))?;
        let child = self.names(dir)?.get(&name).copied();
        Ok((Place { dir: dir.ino, name }, child))
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, bool)>> {
        let names = self.names(self.find(dir)?)?;
        Ok(names
            .iter()
            .map(|(name, child)| (name.clone(), child.is_dir))
            .collect())
    }

    pub(super) fn is_empty(&self, ino: Ino) -> bool {
        self.dirs.get(&ino).is_none_or(|dir| dir.cached.is_empty())
    }

    fn names(&self, child: Child) -> io::Result<&Names> {
        let dir = self.dirs.get(&child.ino).filter(|_| child.is_dir);
        dir.map(|dir| &dir.cached)
            .ok_or(io::ErrorKind::NotADirectory.into())
    }

    /// Changes names in the cache, all at once.
    pub(super) fn change(&mut self, seq: u64, names: Vec<(Place, Option<Child>)>) {
        for (place, child) in &names {
            self.set(place, *child, |dir| &mut dir.cached);
            if let Some(Child { ino, is_dir: true }) = child {
                self.dirs.entry(*ino).or_default();
            }
        }
        self.pending.push(Change { seq, names });
        if self.pending.len() > PENDING_MAX {
            let oldest = self.pending.remove(0);
            self.commit(&oldest.names);
        }
    }

    fn set(&mut self, place: &Place, child: Option<Child>, side: impl Fn(&mut Dir) -> &mut Names) {
        let names = side(Arc::make_mut(self.dirs.entry(place.dir).or_default()));
        match child {
            Some(child) => names.insert(place.name.clone(), child),
            None => names.remove(&place.name),
        };
    }

    fn commit(&mut self, names: &[(Place, Option<Child>)]) {
        for (place, child) in names {
            if let Some(child) = child.filter(|_| self.diverged) {
                self.forget_durable(child.ino);
            }
            self.set(place, *child, |dir| &mut dir.durable);
        }
    }

    /// Nothing has two names: where the device missed that a file was moved, its move onwards
    /// leaves the place that the device knows.
    fn forget_durable(&mut self, ino: Ino) {
        for dir in self.dirs.values_mut() {
            Arc::make_mut(dir)
                .durable
                .retain(|_, child| child.ino != ino);
        }
    }

    /// Makes the changes of one directory's names durable, in order.
    pub(super) fn sync(&mut self, dir: Ino) {
        let durable = self.take_pending(dir);
        durable.iter().for_each(|change| self.commit(&change.names));
    }

    /// Makes every change durable, in order.
    pub(super) fn sync_all(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.commit(&change.names);
        }
    }

    /// A failed sync: some changes are durable, and none will be tried again.
    pub(super) fn fail_sync(&mut self, dir: Ino, rng: &mut SplitMix) {
        let changes = self.take_pending(dir);
        self.diverged = true;
        for change in survivors(changes, |_| rng.one_in(2)) {
            self.commit(&change.names);
        }
    }

    /// Takes the pending changes of names in `dir`, and the earlier ones of the files that they
    /// moved.
    fn take_pending(&mut self, dir: Ino) -> Vec<Change> {
        let mut moved = BTreeSet::new();
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            let child = change.child();
            let wanted = change.names.iter().any(|(place, _)| place.dir == dir)
                || child.is_some_and(|ino| moved.contains(&ino));
            if wanted {
                moved.extend(child);
                taken.push(change);
            } else {
                left.push(change);
            }
        }
        left.reverse();
        taken.reverse();
        self.pending = left;
        taken
    }

    /// After a power cut: some pending changes have survived. Returns how many were lost.
    pub(super) fn restart(&mut self, freedom: Freedom, rng: &mut SplitMix) -> u64 {
        let pending = std::mem::take(&mut self.pending);
        let n = pending.len();
        let survivors = draw(pending, freedom, rng);
        survivors
            .iter()
            .for_each(|change| self.commit(&change.names));
        self.diverged = false;
        for dir in self.dirs.values_mut() {
            let dir = Arc::make_mut(dir);
            dir.cached.clone_from(&dir.durable);
        }
        let live = self.named();
        self.forget_all_but(&live);
        (n - survivors.len()) as u64
    }

    /// When the oldest pending change was made.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.pending.first().map(|change| change.seq)
    }

    /// Every file and directory that has a name now.
    pub(super) fn named(&self) -> BTreeSet<Ino> {
        reachable(|ino| {
            let dir = self.dirs.get(&ino);
            dir.into_iter()
                .flat_map(|dir| dir.cached.values().copied())
                .collect()
        })
    }

    /// Every file and directory that has a name now or may have one after a power cut.
    pub(super) fn mentioned(&self) -> BTreeSet<Ino> {
        let mut pending: BTreeMap<Ino, Vec<Child>> = BTreeMap::new();
        for (place, child) in self.pending.iter().flat_map(|change| &change.names) {
            pending.entry(place.dir).or_default().extend(child);
        }
        reachable(|ino| {
            let mut children = pending.remove(&ino).unwrap_or_default();
            if let Some(dir) = self.dirs.get(&ino) {
                children.extend(dir.cached.values().chain(dir.durable.values()));
            }
            children
        })
    }

    /// Forgets the directories that are not in `mentioned`, which nothing can bring back, and what
    /// was done in them.
    pub(super) fn forget_all_but(&mut self, mentioned: &BTreeSet<Ino>) {
        self.dirs.retain(|ino, _| mentioned.contains(ino));
        let is_known = |(place, _): &(Place, _)| mentioned.contains(&place.dir);
        self.pending
            .retain(|change| change.names.iter().any(is_known));
    }

    /// How many directories are known.
    #[cfg(test)]
    pub(super) fn dirs(&self) -> usize {
        self.dirs.len()
    }
}

/// Everything below the root, given what is in a directory.
fn reachable(mut children: impl FnMut(Ino) -> Vec<Child>) -> BTreeSet<Ino> {
    let mut found = BTreeSet::from([ROOT]);
    let mut todo = vec![ROOT];
    while let Some(dir) = todo.pop() {
        for child in children(dir) {
            if found.insert(child.ino) && child.is_dir {
                todo.push(child.ino);
            }
        }
    }
    found
}

/// Which pending changes survive. Each does or does not: only a directory's sync orders them.
fn draw(pending: Vec<Change>, freedom: Freedom, rng: &mut SplitMix) -> Vec<Change> {
    if !freedom.lose {
        return pending;
    }
    if !freedom.reorder {
        return survivors(pending, |change| change.seq < freedom.cut_seq);
    }
    match rng.below(4) {
        0 => Vec::new(),
        1 => pending,
        _ => survivors(pending, |_| rng.one_in(2)),
    }
}

/// The changes that are kept, but for those of a file of which an earlier change is lost: a file
/// is never found in two places.
fn survivors(changes: Vec<Change>, mut keep: impl FnMut(&Change) -> bool) -> Vec<Change> {
    let mut lost = BTreeSet::new();
    let survives = |change: &Change| {
        let kept = keep(change) && change.child().is_none_or(|ino| !lost.contains(&ino));
        if !kept {
            lost.extend(change.child());
        }
        kept
    };
    changes.into_iter().filter(survives).collect()
}

/// The name that a component adds to a path, if any.
fn name_of(component: Component<'_>) -> io::Result<Option<&std::ffi::OsStr>> {
    match component {
        Component::Normal(name) => Ok(Some(name)),
        Component::RootDir | Component::CurDir => Ok(None),
        Component::ParentDir | Component::Prefix(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}
