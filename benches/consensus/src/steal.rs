//! How much processor time the hypervisor took.

use std::time::Instant;

/// A moment to count from.
pub struct Steal {
    ticks: u64,
    at: Instant,
}

impl Steal {
    pub fn now() -> Self {
        Self {
            ticks: ticks(),
            at: Instant::now(),
        }
    }

    /// The share of all processors' time that was taken since, in percent; ticks are 10 ms.
    pub fn percent(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        (ticks() - self.ticks) as f64 / self.at.elapsed().as_secs_f64() / cores
    }
}

fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.split_whitespace()
        .nth(8)
        .and_then(|t| t.parse().ok())
        .unwrap_or(0)
}
