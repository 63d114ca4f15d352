//! How many proposed payload bytes wait to be committed.

use std::collections::VecDeque;

use trilith_types::LogIndex;

/// What every entry counts for besides its payload, so that empty ones are bounded too.
pub(crate) const ENTRY_COST_BYTES: u64 = 32;

/// The bytes are kept in at most about this many portions; a portion is given back when its last
/// entry is committed. So the count is exact at the limit and a little late below it.
const PORTIONS: u64 = 64;

/// A leader's proposed and uncommitted bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uncommitted {
    portions: VecDeque<(LogIndex, u64)>,
    bytes: u64,
}

impl Uncommitted {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `bytes` for the entries up to `last`, or refuses. With nothing waiting, a proposal
    /// of any size passes, since it would never pass otherwise.
    pub(crate) fn try_add(&mut self, last: LogIndex, bytes: u64, limit: u64) -> bool {
        let sum = self.bytes.saturating_add(bytes);
        if sum > limit && self.bytes > 0 {
            return false;
        }
        self.bytes = sum;
        match self.portions.back_mut() {
            Some(portion) if portion.1.saturating_add(bytes) <= limit / PORTIONS => {
                portion.0 = last;
                portion.1 = portion.1.saturating_add(bytes);
            }
            _ => self.portions.push_back((last, bytes)),
        }
        true
    }

    pub(crate) fn release_to(&mut self, commit: LogIndex) {
        while let Some(&(last, bytes)) = self.portions.front() {
            if last > commit {
                break;
            }
            self.portions.pop_front();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.portions.clear();
        self.bytes = 0;
    }

    /// Gives the memory back; for groups that go quiet.
    pub(crate) fn release_memory(&mut self) {
        if self.portions.is_empty() {
            self.portions = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_small_proposals_take_a_bounded_number_of_portions() {
        let mut waiting = Uncommitted::default();
        for index in 1..=1_000_000 {
            assert!(waiting.try_add(LogIndex(index), 32, 64 << 20));
        }
        assert!(waiting.portions.len() <= 2 * PORTIONS as usize);
        assert_eq!(waiting.bytes(), 32_000_000);
        waiting.release_to(LogIndex(1_000_000));
        waiting.release_memory();
        assert_eq!(waiting.bytes(), 0);
    }

    #[test]
    fn the_limit_refuses_except_when_nothing_waits() {
        let mut waiting = Uncommitted::default();
        assert!(waiting.try_add(LogIndex(1), 500, 100));
        assert!(!waiting.try_add(LogIndex(2), 1, 100));
        waiting.release_to(LogIndex(1));
        assert!(waiting.try_add(LogIndex(2), 60, 100) && waiting.try_add(LogIndex(3), 40, 100));
        assert!(!waiting.try_add(LogIndex(4), 1, 100));
        waiting.clear();
        assert_eq!(waiting.bytes(), 0);
    }
}
