//! The only door to the outside: disk, clock and randomness.
//!
//! Everything below the server reaches the operating system through the traits here, so that the
//! same code runs over a real disk and over a simulated one that loses power between any two
//! operations. Nothing below the server calls `Instant::now`, `std::fs` or a global generator.
//!
//! Writes and syncs are **submitted** and complete later ([`Completion`]), so that one thread can
//! host many simulated nodes; blocking calls are helpers on top.

mod clock;
mod completion;
mod disk;
mod error;
pub mod os;
mod rng;
pub mod sim;
mod splitmix;

use std::{io, path::Path, sync::Arc};

pub use clock::Clock;
pub use completion::{Completer, Completion};
pub use disk::{
    DIRECT_ALIGN, DirEntry, Disk, DurableWrites, File, FileLock, LockError, MAP_ALIGN, Mapping,
    OpenMode, Space,
};
pub use error::{PathError, answer, is_out_of_files, raw_os_error};
pub use rng::Rng;

/// Removes a directory and everything in it. What is gone already is no error: somebody else may be
/// removing the same.
///
/// # Errors
/// What the file system answers.
pub fn remove_tree(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let gone_is_fine = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let entries = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        if entry.is_dir {
            remove_tree(disk, &entry.path)?;
        } else {
            gone_is_fine(disk.remove_file(&entry.path))?;
        }
    }
    gone_is_fine(disk.remove_dir(dir))
}

/// The outside world as one value, handed to whatever needs it.
#[derive(Clone, Debug)]
pub struct Env {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}
