//! The set of entries whose identity is known and whose bytes are lost.

use trilith_types::LogIndex;

/// Indices of damaged entries, as ranges that neither touch nor overlap, ascending. Empty on
/// nearly every node, and then it costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    ranges: Vec<(LogIndex, LogIndex)>,
}

impl Damage {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn first(&self) -> Option<LogIndex> {
        self.ranges.first().map(|&(first, _)| first)
    }

    /// The first damaged range at or after `from`, cut to start no earlier.
    pub(crate) fn range_from(&self, from: LogIndex) -> Option<(LogIndex, LogIndex)> {
        let at = self.ranges.partition_point(|&(_, last)| last < from);
        self.ranges
            .get(at)
            .map(|&(first, last)| (first.max(from), last))
    }

    pub(crate) fn contains(&self, index: LogIndex) -> bool {
        self.range_from(index)
            .is_some_and(|(first, _)| first == index)
    }

    /// The last index before which, from `from` on, nothing is damaged; at most `upto`.
    pub(crate) fn intact_to(&self, from: LogIndex, upto: LogIndex) -> LogIndex {
        self.range_from(from)
            .map_or(upto, |(first, _)| upto.min(first.prev()))
    }

    pub(crate) fn insert(&mut self, mut first: LogIndex, mut last: LogIndex) {
        let start = self.ranges.partition_point(|&(_, l)| l.next() < first);
        let end = self.ranges.partition_point(|&(f, _)| f <= last.next());
        for &(f, l) in self.ranges.iter().take(end).skip(start) {
            first = first.min(f);
            last = last.max(l);
        }
        self.ranges.splice(start..end.max(start), [(first, last)]);
    }

    pub(crate) fn remove(&mut self, first: LogIndex, last: LogIndex) {
        let start = self.ranges.partition_point(|&(_, l)| l < first);
        let end = self.ranges.partition_point(|&(f, _)| f <= last).max(start);
        let touched = self.ranges.get(start..end).unwrap_or_default();
        let before = touched.first().filter(|&&(f, _)| f < first);
        let before = before.map(|&(f, _)| (f, first.prev()));
        let after = touched.last().filter(|&&(_, l)| l > last);
        let after = after.map(|&(_, l)| (last.next(), l));
        self.ranges
            .splice(start..end, before.into_iter().chain(after));
    }

    pub(crate) fn truncate_from(&mut self, from: LogIndex) {
        if !self.ranges.is_empty() {
            self.remove(from, LogIndex::MAX);
        }
    }

    pub(crate) fn compact_to(&mut self, upto: LogIndex) {
        if !self.ranges.is_empty() {
            self.remove(LogIndex::ZERO, upto);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_say_what_a_set_of_indices_says(
            ops in prop::collection::vec((any::<bool>(), 1..30_u64, 0..8_u64), 0..20),
            from in 0..40_u64,
        ) {
            let mut damage = Damage::default();
            let mut naive = BTreeSet::new();
            for (insert, first, more) in ops {
                let (first, last) = (LogIndex(first), LogIndex(first + more));
                if insert {
                    damage.insert(first, last);
                    naive.extend(first.get()..=last.get());
                } else {
                    damage.remove(first, last);
                    naive.retain(|&i| i < first.get() || i > last.get());
                }
            }
            for index in 0..45 {
                prop_assert_eq!(damage.contains(LogIndex(index)), naive.contains(&index));
            }
            prop_assert_eq!(damage.is_empty(), naive.is_empty());
            prop_assert_eq!(damage.first().map(LogIndex::get), naive.first().copied());
            let next = naive.range(from..).next();
            let intact = damage.intact_to(LogIndex(from), LogIndex(44));
            prop_assert_eq!(intact.get(), next.map_or(44, |&i| i.saturating_sub(1)));
            let apart = damage.ranges.windows(2).all(|pair| pair[0].1.next() < pair[1].0);
            prop_assert!(apart);
        }
    }
}
