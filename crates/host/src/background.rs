//! Work that may wait for the disk and that no shard should wait for: reading old entries for
//! peers, removing files.

use std::{path::PathBuf, sync::Arc};

use trilith_env::{Disk, remove_tree};

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
        self.run(move || {
            if let Err(error) = remove_tree(&*disk, &dir) {
                tracing::warn!(dir = %dir.display(), %error, "files that are not needed stay");
            }
        });
    }
}
