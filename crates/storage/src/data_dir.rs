//! The data directory: one process at a time.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, FileLock, LockError};

/// The name of the lock file.
pub const LOCK_FILE: &str = "lock";

/// A data directory that this process holds. Dropped, or when the process dies, it is free.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Box<dyn FileLock>,
}

/// Why a data directory was not had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds it.
    #[error("{path} is in use by {holder}; stop that process or choose another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the other process says about itself.
        holder: String,
    },
    /// The file system refused.
    #[error("cannot use {path} as data directory: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
}

impl DataDir {
    /// Makes the directory if it is missing, and takes it. `holder` says who took it, for the
    /// message that others get, for example "process 4711".
    ///
    /// # Errors
    /// [`DataDirError::InUse`] while another process holds it.
    pub fn take(disk: &Arc<dyn Disk>, path: &Path, holder: &str) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        disk.create_dir_all(path).map_err(io)?;
        match disk.lock(&path.join(LOCK_FILE), holder) {
            Ok(lock) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(LockError::Held { holder, .. }) => Err(DataDirError::InUse {
                path: path.to_owned(),
                holder,
            }),
            Err(LockError::Io { source, .. }) => Err(io(source)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
