//! Randomness that a seed decides.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    Rng,
    splitmix::{GAMMA, mix},
};

/// A seeded generator (SplitMix64). Clones draw from one sequence, so that the order of draws is
/// part of what the seed decides; [`SimRng::split`] gives an independent one.
#[derive(Clone, Debug)]
pub struct SimRng {
    state: Arc<AtomicU64>,
}

impl SimRng {
    /// The generator of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(AtomicU64::new(seed)),
        }
    }

    /// A generator of its own, seeded from this one.
    #[must_use]
    pub fn split(&self) -> Self {
        Self::new(self.next_u64())
    }
}

impl Rng for SimRng {
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

    fn draw(rng: &SimRng) -> [u64; 4] {
        std::array::from_fn(|_| rng.next_u64())
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        assert_eq!(draw(&SimRng::new(7)), draw(&SimRng::new(7)));
        assert_ne!(draw(&SimRng::new(7)), draw(&SimRng::new(8)));
    }

    #[test]
    fn clones_share_a_sequence_and_splits_do_not() {
        let (shared, alone) = (SimRng::new(1), SimRng::new(1));
        let clone = shared.clone();
        assert_eq!(
            [shared.next_u64(), clone.next_u64()],
            [alone.next_u64(), alone.next_u64()]
        );
        let split = shared.split();
        let before = draw(&SimRng::new(2));
        assert_ne!(draw(&split), before);
        assert_ne!(draw(&split), draw(&shared));
    }
}
