//! Randomness that differs from run to run.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    Rng,
    splitmix::{GAMMA, mix},
};

/// A generator seeded by the operating system; shared without a lock.
///
/// Identifiers that must never meet again are drawn from it, so the whole 64-bit seed is the
/// system's: it comes from the standard library's hash keys, which are seeded from the system's
/// entropy.
#[derive(Debug)]
pub struct OsRng {
    state: AtomicU64,
}

impl OsRng {
    /// A freshly seeded generator.
    #[must_use]
    pub fn new() -> Self {
        let seed = RandomState::new().hash_one(std::process::id());
        Self {
            state: AtomicU64::new(seed),
        }
    }
}

impl Default for OsRng {
    fn default() -> Self {
        Self::new()
    }
}

impl Rng for OsRng {
    fn next_u64(&self) -> u64 {
        mix(self
            .state
            .fetch_add(GAMMA, Ordering::Relaxed)
            .wrapping_add(GAMMA))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_generators_differ() {
        let (a, b) = (OsRng::new(), OsRng::default());
        let draw = |r: &OsRng| [r.next_u64(), r.next_u64(), r.next_u64()];
        assert_ne!(draw(&a), draw(&b));
        assert!(a.below(10) < 10);
    }
}
