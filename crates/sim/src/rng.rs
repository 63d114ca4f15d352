//! The simulation's own generator: one seed, many independent streams.
//!
//! The network, the fault plan, the workload and each node draw from streams of their own, so
//! that one more draw in one of them does not change what the others do. It is a plain value
//! without locks, unlike the generator behind `trilith_env::Rng`, which threads share.

/// xoshiro256++ (Blackman and Vigna, 2019), seeded through SplitMix64. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream named `stream` of a seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut mix = seed;
        let mut key = split_mix(&mut mix) ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        let state = std::array::from_fn(|_| split_mix(&mut key));
        Self { state }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product is uniform up to 2^-64 (Lemire 2019).
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True with a probability of `per_million` in a million.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// One of `items`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// A random subset of `items`, possibly empty, possibly all.
    pub fn subset<T: Copy>(&mut self, items: &[T]) -> Vec<T> {
        items
            .iter()
            .copied()
            .filter(|_| self.next_u64() & 1 == 0)
            .collect()
    }

    /// A waiting time with the given mean, at least 1, drawn without floating point so that every
    /// build gives the same number: the sum of geometric pieces approximates an exponential.
    pub fn waiting(&mut self, mean: u64) -> u64 {
        // P(k leading ones) = 2^-k-1: each is one more half-life of ln 2 × mean.
        let half_life = mean.saturating_mul(693) / 1000;
        let lives = u64::from(self.next_u64().leading_ones().min(20));
        lives * half_life + self.below(half_life.max(1)) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, stream| Rng::new(seed, stream).next_u64();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut rng = Rng::new(7, 0);
        for bound in 1..50 {
            assert!(rng.below(bound) < bound);
            assert!((3..=3 + bound).contains(&rng.between(3, 3 + bound)));
        }
        assert_eq!(rng.below(0), 0);
        assert!(rng.pick::<u8>(&[]).is_none());
        assert!(!rng.chance(0));
        assert!(rng.chance(1_000_000));
    }

    #[test]
    fn a_waiting_time_has_about_its_mean() {
        let mut rng = Rng::new(1, 1);
        let sum: u64 = (0..10_000).map(|_| rng.waiting(1000)).sum();
        assert!(
            (800..1200).contains(&(sum / 10_000)),
            "mean {}",
            sum / 10_000
        );
    }

    #[test]
    fn a_shuffle_keeps_the_items() {
        let mut items: Vec<u32> = (0..20).collect();
        let mut rng = Rng::new(3, 9);
        rng.shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
