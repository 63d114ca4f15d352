//! What is done with names: opening, making, renaming, removing, locking.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    content::{Change, Ino},
    fault::Op,
    state::{Inode, State},
    tree::{Child, Place},
};
use crate::{DirEntry, OpenMode, PathError, disk::holder_name};

impl State {
    /// Opens a file and counts the handle.
    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<Ino> {
        let may_make = matches!(mode, OpenMode::CreateNew | OpenMode::CreateIfMissing);
        let makes = may_make && self.tree.find(path).is_err();
        let op = if makes { Op::Create } else { Op::Open };
        let effect = |state: &mut Self| {
            state.may_open()?;
            let (place, found) = state.tree.place(path)?;
            let ino = match found {
                Some(Child { is_dir: true, .. }) => {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Some(_) if mode == OpenMode::CreateNew => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Some(child) => child.ino,
                None if may_make => state.make_file(place),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
            state.hold(ino);
            Ok(ino)
        };
        self.run(op, path, effect, |_| ())
    }

    /// Whether another file may be open.
    fn may_open(&self) -> io::Result<()> {
        let Some(max) = self.config.open_files_max else {
            return Ok(());
        };
        let open: usize = self.files.values().map(|inode| inode.handles).sum();
        if open < max {
            return Ok(());
        }
        Err(rustix::io::Errno::MFILE.into())
    }

    fn make_file(&mut self, place: Place) -> Ino {
        let ino = self.make(place, false);
        let inode = Inode {
            content: Arc::default(),
            named: true,
            handles: 0,
        };
        self.files.insert(ino, inode);
        ino
    }

    fn make(&mut self, place: Place, is_dir: bool) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        self.rename_all(vec![(place, Some(Child { ino, is_dir }))]);
        ino
    }

    fn rename_all(&mut self, names: Vec<(Place, Option<Child>)>) {
        self.seq += 1;
        self.tree.change(self.seq, names);
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let levels: Vec<_> = path
            .ancestors()
            .filter(|p| p.file_name().is_some())
            .collect();
        for level in levels.into_iter().rev() {
            match self.tree.find(level) {
                Ok(child) if child.is_dir => continue,
                _ => self.create_dir(level)?,
            }
        }
        Ok(())
    }

    /// Makes one directory without a sync.
    pub(super) fn create_one_dir(&mut self, path: &Path) -> io::Result<()> {
        if self.tree.find(path).is_ok_and(|child| child.is_dir) {
            return Ok(());
        }
        let make = |state: &mut Self| state.make_dir(path);
        self.run(Op::CreateDir, path, make, |_| ())
    }

    fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        match self.tree.place(path)? {
            (_, Some(_)) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            (place, None) => {
                self.make(place, true);
                Ok(())
            }
        }
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let make = |state: &mut Self| state.make_dir(path);
        let effect = |state: &mut Self| {
            make(state)?;
            let parent = state.tree.find(path.parent().unwrap_or(Path::new("")))?;
            state.tree.sync(parent.ino);
            Ok(())
        };
        self.run(Op::CreateDir, path, effect, |state| drop(make(state)))
    }

    pub(super) fn list(&mut self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let effect = |state: &mut Self| {
            let names = state.tree.list(dir)?.into_iter();
            Ok(names
                .map(|(name, is_dir)| DirEntry {
                    path: dir.join(name),
                    is_dir,
                })
                .collect())
        };
        self.run(Op::List, dir, effect, |_| ())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let effect = |state: &mut Self| {
            let (source, moved) = state.tree.place(from)?;
            let moved = moved.ok_or(io::ErrorKind::NotFound)?;
            let (target, replaced) = state.tree.place(to)?;
            if replaced == Some(moved) {
                return Ok(());
            }
            if moved.is_dir && to.starts_with(from) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            if let Some(replaced) = replaced {
                state.check_replacing(moved, replaced)?;
            }
            state.rename_all(vec![(source, None), (target, Some(moved))]);
            if let Some(Child { ino, is_dir: false }) = replaced {
                state.unname(ino);
            }
            Ok(())
        };
        self.run(Op::Rename, from, effect, |_| ())
            .map_err(|e| match e.downcast::<PathError>() {
                Ok(e) => PathError::wrap_two(e.operation, from, Some(to), e.source),
                Err(e) => e,
            })
    }

    fn check_replacing(&self, moved: Child, replaced: Child) -> io::Result<()> {
        match (moved.is_dir, replaced.is_dir) {
            (false, true) => Err(io::ErrorKind::IsADirectory.into()),
            (true, false) => Err(io::ErrorKind::NotADirectory.into()),
            (true, true) if !self.tree.is_empty(replaced.ino) => {
                Err(io::ErrorKind::DirectoryNotEmpty.into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let effect = |state: &mut Self| {
            let (place, found) = state.tree.place(path)?;
            let found = found.ok_or(io::ErrorKind::NotFound)?;
            if found.is_dir {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            state.rename_all(vec![(place, None)]);
            state.unname(found.ino);
            Ok(())
        };
        self.run(Op::RemoveFile, path, effect, |_| ())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let effect = |state: &mut Self| {
            let (place, found) = state.tree.place(path)?;
            let found = found.ok_or(io::ErrorKind::NotFound)?;
            if !found.is_dir {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            if !state.tree.is_empty(found.ino) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            state.rename_all(vec![(place, None)]);
            Ok(())
        };
        self.run(Op::RemoveDir, path, effect, |_| ())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let find = |state: &mut Self| match state.tree.find(dir)? {
            Child { ino, is_dir: true } => Ok(ino),
            _ => Err(io::Error::from(io::ErrorKind::NotADirectory)),
        };
        let effect = |state: &mut Self| {
            let ino = find(state)?;
            state.tree.sync(ino);
            Ok(())
        };
        let broken = |state: &mut Self| {
            if let Ok(ino) = find(state) {
                state.tree.fail_sync(ino, &mut state.rng);
            }
        };
        self.run(Op::SyncDir, dir, effect, broken)
    }

    /// Takes a lock: the file's number, or the holder's text when it is taken.
    pub(super) fn lock(&mut self, path: &Path, holder: &str) -> io::Result<Result<Ino, String>> {
        let effect = |state: &mut Self| {
            let (place, found) = state.tree.place(path)?;
            let ino = match found {
                Some(Child { is_dir: true, .. }) => {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Some(child) => child.ino,
                None => state.make_file(place),
            };
            if state.locks.contains(&ino) {
                let cached = &state.content(ino).cached;
                let mut text = vec![0; cached.len as usize];
                cached.pages.read(0, &mut text);
                return Ok(Err(holder_name(&text)));
            }
            state.locks.insert(ino);
            state.hold(ino);
            state.sign(ino, holder);
            Ok(Ok(ino))
        };
        self.run(Op::Lock, path, effect, |_| ())
    }

    /// Replaces a lock file's text.
    fn sign(&mut self, ino: Ino, holder: &str) {
        self.edit(ino, |content, seq| {
            content.change(seq, Change::Len { len: 0, cut: true })
        });
        // A lock is had on a full disk too; only its text is missing then.
        drop(self.put(ino, 0, &Bytes::copy_from_slice(holder.as_bytes())));
    }

    pub(super) fn unlock(&mut self, ino: Ino) {
        self.locks.remove(&ino);
        self.sign(ino, "");
        self.release(ino);
    }
}
