//! Leader completeness (Raft §5.4): what was committed in a term is in the log of the leader of
//! every later term. A damaged entry of known identity is in the log.

use super::Checker;
use crate::{event::Event, view::View};

/// Has nothing to remember: logs that match at the last committed entry match before it.
#[derive(Debug)]
pub(super) struct LeaderCompleteness;

impl Checker for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String> {
        let Event::Role { node, term, role } = *event else {
            return Ok(());
        };
        if !role.is_elected() {
            return Ok(());
        }
        let (Some(n), Some(committed)) = (before.node(node), before.committed_before(term)) else {
            return Ok(());
        };
        let entry = committed.entry;
        // What lies before the base is in a snapshot, and only applied entries get there.
        if entry.index < n.base.0 || n.term_at(entry.index) == Some(entry.term) {
            return Ok(());
        }
        let found = n.term_at(entry.index).map_or_else(
            || format!("ends at {}", n.last()),
            |term| format!("has an entry of term {term} there"),
        );
        Err(format!(
            "node {node} leads in term {term}; {entry} was committed in term {}, and its log {found}",
            committed.in_term
        ))
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::{LogIndex, NodeId, Term};

    use super::*;
    use crate::{checkers::testing::Bench, event::Role};

    fn committed() -> Bench<LeaderCompleteness> {
        let mut bench = Bench::new(LeaderCompleteness, 3);
        bench.role(1, 2, Role::Leader);
        bench.append(1, 1, &[1, 2]);
        bench.append(2, 1, &[1, 2]);
        bench.append(3, 1, &[1]);
        bench.good(&Event::Committed {
            node: NodeId(1),
            index: LogIndex(2),
        });
        bench
    }

    #[test]
    fn a_later_leader_with_the_entry_passes_and_so_does_an_earlier_one_without() {
        let mut bench = committed();
        bench.role(2, 3, Role::Leader);
        bench.role(3, 1, Role::Leader);
    }

    #[test]
    fn a_later_leader_without_the_entry_is_seen() {
        let mut bench = committed();
        let elected = Event::Role {
            node: NodeId(3),
            term: Term(3),
            role: Role::Repairing,
        };
        let what = bench.bad(&elected);
        assert!(what.contains("ends at 1"), "{what}");
        bench.append(3, 2, &[1]);
        let what = bench.bad(&elected);
        assert!(what.contains("an entry of term 1"), "{what}");
    }
}
