//! The simulated world.

mod clock;
mod config;
mod content;
mod disk;
mod extents;
mod fault;
mod files;
mod handle;
mod map;
mod names;
mod page;
mod queue;
mod rng;
mod state;
mod survive;
mod tree;

pub use clock::{DRIFT_PPM_MAX, SimClock};
pub use config::SimConfig;
pub use disk::{FlipIn, SimDisk};
pub use fault::{Failure, FaultCounts, Gone, Op};
pub use queue::SLOW_QUEUE_MAX;
pub use rng::SimRng;
