//! Which pages of a file have disk space.

use std::{collections::BTreeMap, ops::Range};

/// A set of page numbers as ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents {
    /// Start and end of each range.
    ranges: BTreeMap<u64, u64>,
    pages: u64,
}

impl Extents {
    /// How many pages are in the set.
    pub(super) const fn pages(&self) -> u64 {
        self.pages
    }

    /// How many pages of `wanted` are not in the set.
    pub(super) fn missing(&self, wanted: &Range<u64>) -> u64 {
        let len = wanted.end.saturating_sub(wanted.start);
        len - self
            .touching(wanted)
            .map(|r| overlap(&r, wanted))
            .sum::<u64>()
    }

    /// The first page at or after `wanted.start` that is not in the set, `wanted.end` at most.
    pub(super) fn first_missing(&self, wanted: &Range<u64>) -> u64 {
        match self.touching(wanted).find(|r| r.contains(&wanted.start)) {
            Some(range) => range.end.min(wanted.end),
            None => wanted.start,
        }
    }

    pub(super) fn insert(&mut self, added: Range<u64>) {
        if added.is_empty() {
            return;
        }
        if self.missing(&added) == 0 {
            return;
        }
        let mut whole = added;
        for old in self.touching(&whole).collect::<Vec<_>>() {
            self.ranges.remove(&old.start);
            self.pages -= old.end - old.start;
            whole = whole.start.min(old.start)..whole.end.max(old.end);
        }
        self.pages += whole.end - whole.start;
        self.ranges.insert(whole.start, whole.end);
    }

    /// Drops every page from `first` on.
    pub(super) fn cut(&mut self, first: u64) {
        let behind = self.ranges.split_off(&first);
        self.pages -= behind.iter().map(|(start, end)| end - start).sum::<u64>();
        if let Some((_, end)) = self.ranges.iter_mut().next_back()
            && *end > first
        {
            self.pages -= *end - first;
            *end = first;
        }
    }

    /// The ranges that overlap `wanted` or stand next to it, from the last to the first.
    fn touching<'a>(&'a self, wanted: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<'a> {
        let start = wanted.start;
        let near = self.ranges.range(..=wanted.end).rev();
        near.map(|(&from, &to)| from..to)
            .take_while(move |range| range.end >= start)
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> u64 {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_merge() {
        let mut set = Extents::default();
        set.insert(0..2);
        set.insert(4..6);
        set.insert(2..4);
        set.insert(3..3);
        assert_eq!(set.ranges, BTreeMap::from([(0, 6)]));
        assert_eq!(set.first_missing(&(1..9)), 6);
        assert_eq!(set.first_missing(&(1..3)), 3);
        assert_eq!(set.first_missing(&(7..9)), 7);
        assert_eq!(set.missing(&(4..9)), 3);
    }

    proptest! {
        #[test]
        fn it_counts_as_a_plain_set_does(
            steps in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 0..40),
        ) {
            let (mut set, mut model) = (Extents::default(), BTreeSet::new());
            for (insert, start, len) in steps {
                let range = start..start + len;
                let missing = range.clone().filter(|p| !model.contains(p)).count() as u64;
                prop_assert_eq!(set.missing(&range), missing);
                if insert {
                    set.insert(range.clone());
                    model.extend(range);
                } else {
                    set.cut(start);
                    model.retain(|&p| p < start);
                }
                prop_assert_eq!(set.pages(), model.len() as u64);
            }
        }
    }
}
