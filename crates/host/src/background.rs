//! Work that may wait for the disk and that no shard should wait for: reading old entries for
//! peers, removing files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::Disk;

use crate::inbox::{Inbox, Limits, Weight};

/// Most jobs that wait. Cores ask again for what is not done; files that stay are removed at the
/// next start.
const JOBS_MAX: usize = 4096;

/// Something to do.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Who does it.
#[derive(Clone)]
pub(crate) enum Background {
    /// Whoever asks, at once: for a world with one thread.
    AtOnce,
    /// Threads of its own.
    Threads(Arc<Inbox<Job>>),
}

impl Background {
    pub(crate) fn threads() -> (Self, Arc<Inbox<Job>>) {
        let inbox = Inbox::new(Limits {
            requests: JOBS_MAX,
            bytes: u64::MAX,
        });
        (Self::Threads(Arc::clone(&inbox)), inbox)
    }

    /// Does a job, now or later; not at all when too many wait.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        match self {
            Self::AtOnce => {
                job();
                true
            }
            Self::Threads(inbox) => inbox.send(Box::new(job), Weight::Request).is_ok(),
        }
    }

    /// Removes a directory and everything in it.
    pub(crate) fn remove_dir(&self, disk: &Arc<dyn Disk>, dir: PathBuf) {
        let disk = Arc::clone(disk);
        self.run(move || match remove_all(&*disk, &dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(dir = %dir.display(), %error, "files that are not needed stay");
            }
            _ => {}
        });
    }
}

fn remove_all(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for entry in disk.list(dir)? {
        if entry.is_dir {
            remove_all(disk, &entry.path)?;
        } else {
            disk.remove_file(&entry.path)?;
        }
    }
    disk.remove_dir(dir)
}
