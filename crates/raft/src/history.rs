//! The configurations along the log.

use trilith_types::LogIndex;

use crate::configuration::Configuration;

/// The configuration as of the log's base, and every later one in the log, ascending. The last
/// one is in force, committed or not (Raft §6).
#[derive(Clone, Debug)]
pub(crate) struct History {
    base: (LogIndex, Configuration),
    later: Vec<(LogIndex, Configuration)>,
}

impl History {
    pub(crate) fn new(
        base: (LogIndex, Configuration),
        later: Vec<(LogIndex, Configuration)>,
    ) -> Self {
        Self { base, later }
    }

    pub(crate) fn active(&self) -> &Configuration {
        &self.last().1
    }

    pub(crate) fn active_index(&self) -> LogIndex {
        self.last().0
    }

    /// The configuration before the one in force, if the log still has it.
    pub(crate) fn previous(&self) -> Option<&Configuration> {
        let before = self.later.len().checked_sub(1)?;
        let previous = before.checked_sub(1).and_then(|at| self.later.get(at));
        Some(&previous.unwrap_or(&self.base).1)
    }

    fn last(&self) -> &(LogIndex, Configuration) {
        self.later.last().unwrap_or(&self.base)
    }

    /// Adds a configuration, at the end or in place of one that was lost with its entry.
    pub(crate) fn insert(&mut self, index: LogIndex, configuration: Configuration) {
        match self.later.binary_search_by_key(&index, |entry| entry.0) {
            Ok(_) => {}
            Err(at) => self.later.insert(at, (index, configuration)),
        }
    }

    /// Rolls back to before `from`; says whether another configuration is in force now.
    pub(crate) fn truncate_from(&mut self, from: LogIndex) -> bool {
        let keep = self.later.partition_point(|entry| entry.0 < from);
        let changed = keep < self.later.len();
        self.later.truncate(keep);
        changed
    }

    /// Puts earlier ones in front, the first of them as of an earlier base.
    pub(crate) fn prepend(
        &mut self,
        base: (LogIndex, Configuration),
        mut later: Vec<(LogIndex, Configuration)>,
    ) {
        later.append(&mut self.later);
        *self = Self { base, later };
    }

    pub(crate) fn compact_to(&mut self, upto: LogIndex) {
        let gone = self.later.partition_point(|entry| entry.0 <= upto);
        if let Some(base) = self.later.drain(..gone).next_back() {
            self.base = base;
        }
    }

    /// The configurations among the entries `first..=last`. Nearly always none, and then it takes
    /// no memory.
    pub(crate) fn among(&self, first: LogIndex, last: LogIndex) -> Vec<(LogIndex, Configuration)> {
        let inside = |entry: &&(LogIndex, Configuration)| (first..=last).contains(&entry.0);
        self.later.iter().filter(inside).cloned().collect()
    }

    /// The configuration in force at `index`.
    pub(crate) fn at(&self, index: LogIndex) -> &Configuration {
        let upto = self.later.partition_point(|entry| entry.0 <= index);
        upto.checked_sub(1)
            .and_then(|i| self.later.get(i))
            .map_or(&self.base.1, |entry| &entry.1)
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::NodeId;

    use super::*;

    fn of(id: u64) -> Configuration {
        Configuration::of_voters([NodeId(id)])
    }

    #[test]
    fn the_last_one_is_in_force_and_truncation_brings_the_one_before_back() {
        let mut history = History::new((LogIndex(2), of(1)), vec![(LogIndex(5), of(2))]);
        history.insert(LogIndex(8), of(3));
        assert_eq!(
            (history.active_index(), history.active()),
            (LogIndex(8), &of(3))
        );
        assert_eq!(
            history.among(LogIndex(5), LogIndex(7)),
            [(LogIndex(5), of(2))]
        );
        assert!(!history.truncate_from(LogIndex(9)) && history.truncate_from(LogIndex(8)));
        assert_eq!(history.active(), &of(2));
        assert!(history.truncate_from(LogIndex(3)));
        assert_eq!(history.active(), &of(1));
    }

    #[test]
    fn compaction_keeps_the_one_that_holds_at_the_new_base() {
        let later = vec![(LogIndex(5), of(2)), (LogIndex(8), of(3))];
        let mut history = History::new((LogIndex(2), of(1)), later);
        history.compact_to(LogIndex(6));
        assert_eq!(history.at(LogIndex(6)), &of(2));
        assert_eq!(history.at(LogIndex(8)), &of(3));
        history.truncate_from(LogIndex(7));
        assert_eq!(history.active(), &of(2));
    }

    #[test]
    fn a_lost_configuration_is_put_back_in_its_place() {
        let mut history = History::new((LogIndex(0), of(1)), vec![(LogIndex(8), of(3))]);
        history.insert(LogIndex(5), of(2));
        history.insert(LogIndex(5), of(9));
        assert_eq!(history.active(), &of(3));
        assert_eq!(history.previous(), Some(&of(2)));
        assert_eq!(history.at(LogIndex(5)), &of(2));
    }
}
