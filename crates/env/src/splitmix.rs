//! The generator behind both random sources.
//!
//! SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA
//! 2014; the constants are those of the reference implementation by Vigna. It has 64 bits of
//! state, a period of 2^64 and passes `BigCrush`, which is plenty for choosing faults and jitter.
//! It is not for secrets.

/// What is added to the state at each step: 2^64 divided by the golden ratio, made odd.
pub(crate) const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output for one state.
pub(crate) const fn mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A generator with one owner.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix {
    state: u64,
}

impl SplitMix {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of Vigna's splitmix64.c from state 1234567, a widely published vector.
    #[test]
    fn it_agrees_with_the_reference_implementation() {
        let mut g = SplitMix::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!([g.next_u64(), g.next_u64(), g.next_u64()], expected);
    }

    #[test]
    fn numbers_below_a_bound_are_below_it_and_all_occur() {
        let mut g = SplitMix::new(1);
        let mut seen = [0u32; 5];
        for _ in 0..500 {
            seen[g.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 50), "{seen:?}");
        assert_eq!(g.below(0), 0);
        assert!(g.one_in(1));
    }
}
