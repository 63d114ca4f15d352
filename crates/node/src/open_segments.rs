//! Which partitions hold files open for writing: a bounded number.

use std::{collections::BTreeSet, time::Duration};

use trilith_types::GroupId;

/// The partitions of a shard whose newest segment is open, least recently appended first.
#[derive(Debug)]
pub(crate) struct OpenSegments {
    max: usize,
    by_time: BTreeSet<(Duration, GroupId)>,
}

impl OpenSegments {
    /// At most `max` of them, and at least one.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            by_time: BTreeSet::new(),
        }
    }

    /// Whether one more would be one too many.
    pub(crate) fn is_full(&self) -> bool {
        self.by_time.len() >= self.max
    }

    /// The partitions, the one that has gone without an append for longest first.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = GroupId> {
        self.by_time.iter().map(|(_, group)| *group)
    }

    /// Notes when a partition was appended to last, or that it holds no file open. `noted` is what
    /// was noted of it before.
    pub(crate) fn note(
        &mut self,
        group: GroupId,
        noted: &mut Option<Duration>,
        last_append: Option<Duration>,
    ) {
        if *noted == last_append {
            return;
        }
        if let Some(before) = noted.take() {
            self.by_time.remove(&(before, group));
        }
        if let Some(now) = last_append {
            self.by_time.insert((now, group));
        }
        *noted = last_append;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_comes_first_and_what_is_closed_makes_room() {
        let second = |n| Some(Duration::from_secs(n));
        let mut open = OpenSegments::new(2);
        let [mut one, mut two] = [None, None];
        open.note(GroupId(1), &mut one, second(5));
        assert!(!open.is_full());
        open.note(GroupId(2), &mut two, second(6));
        open.note(GroupId(1), &mut one, second(7));
        assert!(open.is_full());
        let order: Vec<GroupId> = open.oldest_first().collect();
        assert_eq!(order, [GroupId(2), GroupId(1)]);
        open.note(GroupId(2), &mut two, None);
        assert!(!open.is_full());
        assert_eq!((one, two), (second(7), None));
    }
}
