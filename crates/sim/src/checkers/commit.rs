//! Commit never goes back: a node's commit index only rises while it runs; all nodes call the
//! same entries committed; no node gives up an entry that was committed; and what a leader
//! commits by counting copies ends with an entry of its own term (Raft §5.4.2, figure 8).

use trilith_types::{LogIndex, NodeId};

use super::Checker;
use crate::{
    event::{Event, Role},
    view::View,
};

/// Has nothing to remember.
#[derive(Debug)]
pub(super) struct Commit;

fn rises(node: NodeId, index: LogIndex, before: &View) -> Result<(), String> {
    let Some(n) = before.node(node) else {
        return Ok(());
    };
    if index < n.committed {
        return Err(format!(
            "the commit index of node {node} fell from {} to {index}",
            n.committed
        ));
    }
    if index > n.last() {
        return Err(format!(
            "node {node} commits to {index}; its log ends at {}",
            n.last()
        ));
    }
    let counted = n.role == Role::Leader && index > before.committed_last();
    if let Some(last) = n.entry(index).filter(|e| counted && e.term != n.term) {
        return Err(format!(
            "leader {node} commits up to {last} in its term {}",
            n.term
        ));
    }
    let mut next = n.committed.next();
    while next <= index {
        if let (Some(own), Some(known)) = (n.entry(next), before.committed(next))
            && own != known.entry
        {
            return Err(format!(
                "node {node} commits {own}; {} was committed there",
                known.entry
            ));
        }
        next = next.next();
    }
    Ok(())
}

/// Nothing from `from` to the end of the node's log was committed.
fn gives_up(node: NodeId, from: LogIndex, before: &View) -> Result<(), String> {
    let Some(n) = before.node(node) else {
        return Ok(());
    };
    let last = n.last().min(before.committed_last());
    let mut index = from.max(n.base.0.next());
    while index <= last {
        if let (Some(own), Some(known)) = (n.entry(index), before.committed(index))
            && own == known.entry
            // Who neither knows that it is committed nor has heard of the term in which it was may
            // lose it to an earlier leader, and gets it again: nobody counted its copy.
            && (index <= n.committed || n.term >= known.in_term)
        {
            return Err(format!("node {node} gives up {own}, which was committed"));
        }
        index = index.next();
    }
    Ok(())
}

impl Checker for Commit {
    fn name(&self) -> &'static str {
        "commit"
    }

    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String> {
        match *event {
            Event::Committed { node, index } => rises(node, index, before),
            Event::Truncated { node, from } => gives_up(node, from, before),
            Event::Installed {
                node,
                last,
                kept_log,
                ..
            } => {
                if before.node(node).is_some_and(|n| last.0 < n.applied) {
                    return Err(format!(
                        "node {node} installs a snapshot to {} behind its state",
                        last.0
                    ));
                }
                if kept_log {
                    Ok(())
                } else {
                    gives_up(node, last.0.next(), before)
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::Term;

    use super::*;
    use crate::checkers::testing::Bench;

    fn commit(node: u64, index: u64) -> Event<'static> {
        Event::Committed {
            node: NodeId(node),
            index: LogIndex(index),
        }
    }

    fn bench() -> Bench<Commit> {
        let mut bench = Bench::new(Commit, 3);
        bench.append(1, 1, &[1, 1, 2]);
        bench.append(2, 1, &[1, 1]);
        bench.append(3, 1, &[1, 3]);
        bench.good(&commit(1, 2));
        bench
    }

    #[test]
    fn a_commit_index_that_rises_on_equal_entries_passes() {
        let mut bench = bench();
        bench.good(&commit(2, 1));
        bench.good(&commit(2, 2));
        bench.good(&commit(1, 3));
        bench.good(&Event::Truncated {
            node: NodeId(3),
            from: LogIndex(2),
        });
    }

    #[test]
    fn falling_running_ahead_and_other_entries_are_seen() {
        let mut bench = bench();
        assert!(bench.bad(&commit(1, 1)).contains("fell from 2 to 1"));
        assert!(bench.bad(&commit(2, 3)).contains("ends at 2"));
        assert!(bench.bad(&commit(3, 2)).contains("was committed there"));
    }

    #[test]
    fn counting_copies_of_an_older_terms_entry_is_seen() {
        let mut bench = bench();
        bench.role(1, 3, crate::event::Role::Leader);
        assert!(bench.bad(&commit(1, 3)).contains("in its term 3"));
        bench.append(1, 4, &[3]);
        bench.good(&commit(1, 4));
    }

    #[test]
    fn giving_up_a_committed_entry_is_seen() {
        let mut bench = bench();
        assert!(
            bench
                .bad(&Event::Truncated {
                    node: NodeId(2),
                    from: LogIndex(1)
                })
                .contains("gives up")
        );
        // Neither an older term nor a later one is an excuse for who knows.
        let from_first = Event::Truncated {
            node: NodeId(1),
            from: LogIndex(1),
        };
        assert!(bench.bad(&from_first).contains("gives up"));
        let snapshot = |index| Event::Installed {
            node: NodeId(2),
            last: (LogIndex(index), Term(1)),
            state: 0,
            kept_log: false,
        };
        assert!(bench.bad(&snapshot(1)).contains("gives up"));
        bench.good(&snapshot(2));
        assert!(bench.bad(&snapshot(1)).contains("behind its state"));
    }

    #[test]
    fn who_has_not_heard_of_the_committing_term_may_lose_its_copy_until_it_has() {
        let mut bench = bench();
        bench.role(1, 3, crate::event::Role::Leader);
        bench.append(1, 4, &[3]);
        bench.append(2, 3, &[2]);
        bench.good(&commit(1, 4));
        let loses = |from| Event::Truncated {
            node: NodeId(2),
            from: LogIndex(from),
        };
        bench.good(&loses(3));
        bench.append(2, 3, &[2, 3]);
        bench.role(2, 3, crate::event::Role::Follower);
        assert!(bench.bad(&loses(3)).contains("gives up"));
    }
}
