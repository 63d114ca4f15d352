//! State-machine safety (Raft §5.4.3): no two nodes apply different entries at one index; each
//! node applies without gaps; and equal entries lead to equal states.

use trilith_types::LogIndex;

use super::Checker;
use crate::{
    event::{EntryId, Event},
    view::View,
};

/// Remembers what was applied first at each index, and the state after it.
#[derive(Debug, Default)]
pub(super) struct StateMachineSafety {
    applied: Vec<(EntryId, u64)>,
}

impl StateMachineSafety {
    fn at(&self, index: LogIndex) -> Option<&(EntryId, u64)> {
        self.applied.get(index.get().checked_sub(1)? as usize)
    }
}

impl Checker for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state-machine safety"
    }

    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String> {
        match *event {
            Event::Applied { node, entry, state } => {
                let previous = before.node(node).map_or(LogIndex::ZERO, |n| n.applied);
                if entry.index != previous.next() {
                    return Err(format!(
                        "node {node} applies {entry} right after {previous}"
                    ));
                }
                match self.at(entry.index) {
                    Some((known, _)) if *known != entry => Err(format!(
                        "node {node} applies {entry}; {known} was applied elsewhere"
                    )),
                    Some((_, known)) if *known != state => Err(format!(
                        "node {node} has state {state:016x} after {entry}, and {known:016x} elsewhere"
                    )),
                    Some(_) => Ok(()),
                    None => {
                        self.applied.push((entry, state));
                        Ok(())
                    }
                }
            }
            Event::Installed {
                node, last, state, ..
            } => match self.at(last.0) {
                Some((entry, known)) if (entry.term, *known) != (last.1, state) => Err(format!(
                    "node {node} installs {}@{} state {state:016x}; {entry} led to {known:016x}",
                    last.0, last.1
                )),
                Some(_) => Ok(()),
                None if last.0 == LogIndex::ZERO => Ok(()),
                None => Err(format!(
                    "node {node} installs a snapshot to {}, which nobody applied",
                    last.0
                )),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::{NodeId, Term};

    use super::*;
    use crate::checkers::testing::{Bench, entries};

    fn apply(node: u64, index: u64, term: u64, state: u64) -> Event<'static> {
        Event::Applied {
            node: NodeId(node),
            entry: entries(index, &[term])[0],
            state,
        }
    }

    #[test]
    fn equal_sequences_and_a_true_snapshot_pass() {
        let mut bench = Bench::new(StateMachineSafety::default(), 3);
        for node in [1, 2] {
            bench.good(&apply(node, 1, 1, 11));
            bench.good(&apply(node, 2, 1, 12));
        }
        let last = (LogIndex(2), Term(1));
        bench.good(&Event::Installed {
            node: NodeId(3),
            last,
            state: 12,
            kept_log: false,
        });
        bench.good(&apply(3, 3, 2, 13));
    }

    #[test]
    fn other_entries_other_states_and_gaps_are_seen() {
        let mut bench = Bench::new(StateMachineSafety::default(), 3);
        bench.good(&apply(1, 1, 1, 11));
        assert!(
            bench
                .bad(&apply(2, 1, 2, 11))
                .contains("was applied elsewhere")
        );
        assert!(bench.bad(&apply(2, 1, 1, 99)).contains("elsewhere"));
        assert!(bench.bad(&apply(2, 2, 1, 12)).contains("right after 0"));
        let false_state = Event::Installed {
            node: NodeId(3),
            last: (LogIndex(1), Term(1)),
            state: 12,
            kept_log: false,
        };
        assert!(bench.bad(&false_state).contains("led to"));
        let unheard = Event::Installed {
            node: NodeId(3),
            last: (LogIndex(7), Term(1)),
            state: 12,
            kept_log: false,
        };
        assert!(bench.bad(&unheard).contains("nobody applied"));
    }
}
