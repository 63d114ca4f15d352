//! Removing files that nothing refers to any more, on a thread of its own: it may take long and
//! nobody waits for it. What a crash leaves behind is found again at the next start.

use std::{io, path::Path, sync::Arc};

use parking_lot::Mutex;
use trilith_env::Disk;
use trilith_storage::Retired;
use trilith_topics::{Catalog, topic_dir, topics_dir};
use trilith_types::TopicId;

use crate::inbox::Inbox;

/// Something to remove.
pub(crate) enum Sweep {
    /// Segments that retention took out of a log.
    Files(Retired),
    /// The directory of a deleted topic.
    Topic(TopicId),
    /// Nothing more: end.
    Close,
}

/// Removes what it is told to.
pub(crate) struct Sweeper {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data: std::path::PathBuf,
    pub(crate) catalog: Arc<Mutex<Catalog>>,
    pub(crate) inbox: Arc<Inbox<Sweep>>,
}

impl Sweeper {
    /// Removes things until told to end.
    pub(crate) fn run(&self) {
        let mut waiting = Vec::new();
        loop {
            self.inbox.wait(&mut waiting, None);
            for sweep in waiting.drain(..) {
                if !self.sweep(sweep) {
                    return;
                }
            }
        }
    }

    /// Removes one thing; false when there is nothing more to come.
    pub(crate) fn sweep(&self, sweep: Sweep) -> bool {
        match sweep {
            Sweep::Files(retired) => {
                if let Err(error) = retired.remove_files()
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(%error, "files of removed segments stay until the next start");
                }
            }
            Sweep::Topic(id) => self.sweep_topic(id),
            Sweep::Close => return false,
        }
        true
    }

    fn sweep_topic(&self, id: TopicId) {
        let removed = remove_tree(&*self.disk, &topic_dir(&self.data, id))
            .and_then(|()| self.disk.sync_dir(&topics_dir(&self.data)));
        if let Err(error) = removed {
            tracing::warn!(topic_id = %id, %error, "files of a deleted topic stay until the next start");
            return;
        }
        // Only now may the catalog forget that there was anything to remove.
        if let Err(error) = self.catalog.lock().mark_removed(id) {
            tracing::warn!(topic_id = %id, %error, "a removed topic is looked for again at the next start");
        }
    }
}

/// Removes a directory and what is in it; one that is missing is removed already.
fn remove_tree(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let entries = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        if entry.is_dir {
            remove_tree(disk, &entry.path)?;
        } else {
            disk.remove_file(&entry.path)?;
        }
    }
    disk.remove_dir(dir)
}
