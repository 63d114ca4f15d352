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

use std::sync::Arc;

pub use clock::Clock;
pub use completion::{Completer, Completion};
pub use disk::{
    DIRECT_ALIGN, DirEntry, Disk, DurableWrites, File, FileLock, LockError, MAP_ALIGN, Mapping,
    OpenMode, Space,
};
pub use error::{PathError, answer, is_out_of_files, raw_os_error};
pub use rng::Rng;

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
