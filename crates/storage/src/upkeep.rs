//! What a log of a replicated group has to make durable beside its entries: names, the manifest,
//! and only then what the manifest no longer lists goes.
//!
//! A log on its own stores its manifest before it writes to a new segment. A replicated group has
//! its entries in a journal as well, so its manifest may be late, and is stored together with the
//! next sync, away from the thread that appends.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use trilith_env::{Disk, OpenMode};

use crate::{
    log::Log, meta::SegmentMeta, mirrored::MirroredFile, retention::remove_segment_files,
    segment::Place,
};

/// Directories above a log's own whose names are synced with its first sync: a generation lies in a
/// group, a group among the groups, and those in the data directory.
const DOUBTED_LEVELS: usize = 3;

/// What has changed since the manifest was last handed out to be stored.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Whether this log's manifest may be late.
    pub(crate) lazy: bool,
    /// The manifest says more than its file.
    pub(crate) manifest: bool,
    /// The segment that the file lists as open, which therefore may be written again.
    pub(crate) open_on_disk: Option<crate::meta::SegmentId>,
    /// Whether the log's directory is there.
    pub(crate) has_dir: bool,
    /// Directories with names that are not durable.
    dirs: Vec<PathBuf>,
    /// Stores to be cut, and where.
    cuts: Vec<(PathBuf, u64)>,
    /// Segments whose files go.
    gone: Vec<SegmentMeta>,
    handed_out: u64,
    keeper: Arc<Keeper>,
}

/// The manifest's file as several syncs under way share it.
#[derive(Debug)]
pub(crate) struct Keeper(Mutex<(MirroredFile, u64)>);

/// Work that waits for the disk and belongs to a sync.
#[derive(Debug)]
pub(crate) struct Upkeep {
    place: Place,
    dirs: Vec<PathBuf>,
    number: u64,
    content: Vec<u8>,
    keeper: Arc<Keeper>,
    cuts: Vec<(PathBuf, u64)>,
    gone: Vec<SegmentMeta>,
}

impl Pending {
    pub(crate) fn new(file: MirroredFile, lazy: bool) -> Self {
        Self {
            lazy,
            manifest: false,
            open_on_disk: None,
            has_dir: false,
            dirs: Vec::new(),
            cuts: Vec::new(),
            gone: Vec::new(),
            handed_out: 0,
            keeper: Arc::new(Keeper(Mutex::new((file, 0)))),
        }
    }

    /// The names on the way to the log's directory may not be durable, whoever made them: another
    /// log that has not synced yet, or a process that died before it had. The first sync sees to
    /// it.
    pub(crate) fn doubt_names_of(&mut self, dir: &Path) {
        let above = dir.ancestors().skip(1).take(DOUBTED_LEVELS);
        self.dirs = above.map(Path::to_owned).collect();
        self.dirs.retain(|dir| !dir.as_os_str().is_empty());
        self.dirs.reverse();
    }

    /// Cuts a store behind `position` once the manifest says that it ends there.
    pub(crate) fn cut(&mut self, store: PathBuf, position: u64) {
        self.cuts.push((store, position));
    }

    /// Removes a segment's files once the manifest does not list it.
    pub(crate) fn remove(&mut self, meta: SegmentMeta) {
        self.gone.push(meta);
    }

    /// Makes the log's directory, and notes what has to be synced for it to stay.
    pub(crate) fn make_dir(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        match disk.create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parent = dir.parent().ok_or(e)?;
                self.make_dir(disk, parent)?;
                disk.create_dir(dir)?;
            }
            other => other?,
        }
        let parent = dir.parent().unwrap_or(Path::new("")).to_owned();
        if !self.dirs.contains(&parent) {
            self.dirs.push(parent);
        }
        Ok(())
    }

    /// Stores `content` now, on this thread.
    pub(crate) fn store(&mut self, content: &[u8]) -> Result<(), crate::mirrored::MirroredError> {
        self.handed_out += 1;
        self.manifest = false;
        self.keeper.store(self.handed_out, content)
    }

    /// The work that has gathered, with the manifest's content as it is to be.
    pub(crate) fn take(&mut self, place: &Place, content: Vec<u8>) -> Upkeep {
        self.handed_out += 1;
        self.manifest = false;
        let mut dirs = std::mem::take(&mut self.dirs);
        dirs.push(place.dir.clone());
        Upkeep {
            place: place.clone(),
            dirs,
            number: self.handed_out,
            content,
            keeper: Arc::clone(&self.keeper),
            cuts: std::mem::take(&mut self.cuts),
            gone: std::mem::take(&mut self.gone),
        }
    }
}

/// A manifest that is being stored together with others: each half is written, then all are
/// synced.
pub(crate) struct Storing<'a> {
    held: MutexGuard<'a, (MirroredFile, u64)>,
    number: u64,
    content: &'a [u8],
}

impl Storing<'_> {
    /// Writes the next copy.
    pub(crate) fn write_half(&mut self) -> io::Result<()> {
        let file = &mut self.held.0;
        file.write_half(self.content).map_err(io::Error::other)
    }

    /// The first copy was written, and may not be on disk: it goes first again.
    pub(crate) fn undo(mut self) {
        self.held.0.turn_back();
    }

    /// Both copies were synced, and so was their directory.
    pub(crate) fn stored(mut self) {
        self.held.0.is_listed();
        self.held.0.is_stored();
        self.held.1 = self.number;
    }
}

impl Keeper {
    /// Stores `content` unless a later one was stored already.
    fn store(&self, number: u64, content: &[u8]) -> Result<(), crate::mirrored::MirroredError> {
        let mut held = self.0.lock();
        let (file, stored) = &mut *held;
        if number > *stored {
            file.store(content)?;
            *stored = number;
        }
        Ok(())
    }
}

impl Upkeep {
    /// Does it all, and waits for the disk.
    pub(crate) fn run(self) -> io::Result<()> {
        let disk = &*self.place.disk;
        // What the manifest lists is found before it is listed, and so is the manifest.
        self.keeper.0.lock().0.make().map_err(io::Error::other)?;
        for dir in &self.dirs {
            disk.sync_dir(dir)?;
        }
        self.keeper.0.lock().0.is_listed();
        self.keeper
            .store(self.number, &self.content)
            .map_err(io::Error::other)?;
        self.clear()
    }

    /// Begins to store the manifest for [`crate::sync_together`]; `None` when a later one is
    /// stored, or another sync of the log is at it: [`Upkeep::finish`] does it then.
    pub(crate) fn begin(&self) -> io::Result<Option<Storing<'_>>> {
        let Some(held) = self.keeper.0.try_lock() else {
            return Ok(None);
        };
        if self.number <= held.1 {
            return Ok(None);
        }
        held.0.make().map_err(io::Error::other)?;
        let (number, content) = (self.number, &self.content[..]);
        Ok(Some(Storing {
            held,
            number,
            content,
        }))
    }

    /// All was synced: stores the manifest if that was not done, and clears away what it no longer
    /// lists.
    pub(crate) fn finish(self) -> io::Result<()> {
        let stored = self.keeper.0.lock().1;
        if stored < self.number {
            return self.run();
        }
        self.clear()
    }

    fn clear(self) -> io::Result<()> {
        let disk = &*self.place.disk;
        for (store, position) in &self.cuts {
            match disk.open(store, OpenMode::Existing) {
                Ok(file) if file.len()? > *position => file.set_len(*position)?,
                // What lies behind is no part of the log, cut or not: it is as if the process had
                // died here. A sync that failed would stop the node.
                Err(e) if trilith_env::is_out_of_files(&e) => {}
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        for meta in &self.gone {
            remove_segment_files(disk, &self.place.dir, meta)?;
        }
        Ok(())
    }
}

impl Log {
    /// The manifest has changed: stores it now, or notes that the next sync has to.
    pub(crate) fn manifest_changed(&mut self) -> Result<(), crate::mirrored::MirroredError> {
        if self.pending.lazy {
            self.pending.manifest = true;
            return Ok(());
        }
        self.store_manifest()
    }

    /// As [`Log::manifest_changed`], with files to be cut or removed.
    pub(crate) fn list_changes(&mut self) -> io::Result<()> {
        self.pending.manifest = true;
        match self.pending.lazy {
            true => Ok(()),
            false => self.take_upkeep().map_or(Ok(()), Upkeep::run),
        }
    }

    /// The manifest's bytes, with the mark of what is known to be synced.
    pub(crate) fn manifest_content(&mut self) -> Vec<u8> {
        let synced = self.synced();
        // What retention has removed need not be synced any more.
        let start = self.manifest.start;
        self.manifest.durable = (
            synced.index.next().max(start.index),
            synced.next_offset.max(start.offset),
        );
        self.pending.open_on_disk = self
            .manifest
            .segments
            .last()
            .filter(|meta| meta.state == crate::meta::SegmentState::Open)
            .map(|meta| meta.id);
        self.manifest.encode()
    }

    /// What has to be done with the next sync besides, if anything.
    pub(crate) fn take_upkeep(&mut self) -> Option<Upkeep> {
        if !self.pending.manifest {
            return None;
        }
        let content = self.manifest_content();
        Some(self.pending.take(&self.place, content))
    }
}
