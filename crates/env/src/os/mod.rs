//! The operating system: real files, real time, real randomness.
//!
//! One file per subject: [`OsDisk`] opens, renames and locks; its files read and write through
//! the page cache; `pool` holds the threads that wait for syncs; `map` is the only module of the
//! workspace with `unsafe` code and argues for it there.

mod clock;
mod direct;
mod disk;
mod file;
mod lock;
mod map;
mod open_files;
mod pool;
mod rng;

use std::sync::Arc;

pub use clock::OsClock;
pub use disk::OsDisk;
pub use open_files::raise_open_files_max;
pub use pool::{IO_QUEUE_MAX, IO_THREADS};
pub use rng::OsRng;

use crate::Env;

/// The operating system's disk, clock and randomness.
#[must_use]
pub fn env() -> Env {
    Env {
        disk: Arc::new(OsDisk::new()),
        clock: Arc::new(OsClock::new()),
        rng: Arc::new(OsRng::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_real_world_answers() {
        let env = super::env();
        assert!(env.disk.space(Path::new("/")).unwrap().total > 0);
        assert!(env.clock.wall().get() > 0);
        assert_ne!(env.rng.next_u64(), env.rng.next_u64());
    }
}
