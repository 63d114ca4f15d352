//! Directories, names and opening.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    file::OsFile,
    lock,
    pool::{IO_QUEUE_MAX, IO_THREADS, Pool},
};
use crate::{DirEntry, Disk, File, FileLock, LockError, OpenMode, PathError, Space};

/// The operating system's file systems. Paths are used as they are given.
///
/// Every error names its path; see [`PathError`].
#[derive(Debug)]
pub struct OsDisk {
    pool: Arc<Pool>,
    /// Directories whose file systems were synced as a whole. They stay open: a descriptor is told
    /// of every failure since it was opened.
    roots: Mutex<Vec<(PathBuf, Arc<fs::File>)>>,
}

/// Most directories that stay open for the sync of their file systems.
const ROOTS_MAX: usize = 16;

impl OsDisk {
    /// A disk with its own [`IO_THREADS`] threads, which start when they are first needed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pool: Arc::new(Pool::new(IO_THREADS, IO_QUEUE_MAX)),
            roots: Mutex::default(),
        }
    }

    fn root(&self, dir: &Path) -> io::Result<Arc<fs::File>> {
        let mut roots = self.roots.lock();
        if let Some((_, root)) = roots.iter().find(|(path, _)| path == dir) {
            return Ok(Arc::clone(root));
        }
        let opened = fs::File::open(dir).map_err(|e| PathError::wrap("open", dir, e))?;
        let root = Arc::new(opened);
        if roots.len() < ROOTS_MAX {
            roots.push((dir.to_owned(), Arc::clone(&root)));
        }
        Ok(root)
    }
}

impl Default for OsDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::ReadOnly);
        match mode {
            OpenMode::Existing | OpenMode::ReadOnly => {}
            OpenMode::CreateNew => {
                options.create_new(true);
            }
            OpenMode::CreateIfMissing => {
                options.create(true);
            }
        }
        let file = options
            .open(path)
            .map_err(|e| PathError::wrap("open", path, e))?;
        Ok(Arc::new(OsFile::new(path, file, Arc::clone(&self.pool))))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        make_dirs(path).map_err(|e| PathError::wrap("make directory", path, e))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other.map_err(|e| PathError::wrap("make directory", path, e)),
        }
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        self.pool.run(work);
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        entries(dir).map_err(|e| PathError::wrap("list", dir, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|e| PathError::wrap_two("rename", from, Some(to), e))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|e| PathError::wrap("remove", path, e))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path).map_err(|e| PathError::wrap("remove directory", path, e))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir(dir).map_err(|e| PathError::wrap("sync directory", dir, e))
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        let root = self.root(dir)?;
        sync_file_system(&root).map_err(|e| PathError::wrap("sync the file system of", dir, e))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)
            .map_err(|e| PathError::wrap("measure the file system of", path, e.into()))?;
        Ok(Space {
            available: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn FileLock>, LockError> {
        lock::lock(path, holder)
    }
}

/// Since Linux 5.8 this tells of failures.
#[cfg(target_os = "linux")]
fn sync_file_system(root: &fs::File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(root)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_root: &fs::File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A directory is as durable as its entry in its parent, so each parent is synced before the next
/// level is made. The standard library's `create_dir_all` cannot say which levels it made.
fn make_dirs(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    make_dirs(parent)?;
    match fs::create_dir(path) {
        Ok(()) => {}
        // Another process may have been faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(e) => return Err(e),
    }
    sync_dir(parent)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    fs::File::open(dir)?.sync_all()
}

fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_dir = path.is_dir();
        found.push(DirEntry { path, is_dir });
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_bare_name_is_the_working_directory() {
        let parent = Path::new("name").parent().unwrap();
        sync_dir(parent).unwrap();
        assert!(sync_dir(Path::new("no-such-directory")).is_err());
    }
}
