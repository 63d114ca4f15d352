//! Commit never goes back: a node's commit index only rises while it runs; all nodes call the
//! same entries committed; no node gives up an entry that was committed; and what a leader
//! commits by counting copies ends with an entry of its own term (Raft §5.4.2, figure 8).

use std::collections::BTreeMap;

use trilith_types::{Incarnation, LogIndex, NodeId, Term};

use super::Checker;
use crate::{
    event::{Event, Role},
    view::View,
};

/// Remembers which terms were durable on a node. What it acknowledged in one of them counts even
/// if a later life has forgotten the term, so that no such life may lose it.
#[derive(Debug, Default)]
pub(super) struct Commit {
    saved: BTreeMap<NodeId, Saved>,
}

/// The latest directory of a node, and the highest term that was durable in it.
#[derive(Debug, Default)]
struct Saved {
    incarnation: Incarnation,
    term: Term,
}

impl Commit {
    /// A directory that was emptied, or one of an earlier incarnation, is another one: what it
    /// lost is within the bounds on what may be gone for good.
    fn started(&mut self, node: NodeId, incarnation: Incarnation, term: Term) {
        let saved = self.saved.entry(node).or_default();
        if incarnation < saved.incarnation {
            saved.term = Term::ZERO;
        }
        saved.incarnation = incarnation;
        saved.term = saved.term.max(term);
    }

    fn save(&mut self, node: NodeId, term: Term) {
        let saved = self.saved.entry(node).or_default();
        saved.term = saved.term.max(term);
    }

    fn saved_term(&self, node: NodeId) -> Term {
        self.saved.get(&node).map_or(Term::ZERO, |saved| saved.term)
    }
}

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
///
/// With one exception, which Raft allows: a copy that nobody counted. A leader of term `t` counts
/// what is acknowledged in `t`, and who acknowledges in `t` has `t` on its disk before. So a node
/// that has not saved the committing term, is not in it, and does not know of the commit may still
/// follow a leader of an earlier term that lacks the entry, lose its copy to that leader, and get
/// it again from a later one. In or past the committing term every leader has the entry (Raft
/// §5.4.3), and nothing excuses the loss.
fn gives_up(node: NodeId, from: LogIndex, saved: Term, before: &View) -> Result<(), String> {
    let Some(n) = before.node(node) else {
        return Ok(());
    };
    let last = n.last().min(before.committed_last());
    let mut index = from.max(n.base.0.next());
    while index <= last {
        if let (Some(own), Some(known)) = (n.entry(index), before.committed(index))
            && own == known.entry
            && (index <= n.committed || n.term.max(saved) >= known.in_term)
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
            Event::Started {
                node,
                incarnation,
                vote: (term, _),
                ..
            } => {
                self.started(node, incarnation, term);
                Ok(())
            }
            Event::VoteSaved { node, term, .. } => {
                self.save(node, term);
                Ok(())
            }
            Event::Truncated { node, from } => gives_up(node, from, self.saved_term(node), before),
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
                    gives_up(node, last.0.next(), self.saved_term(node), before)
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
    use crate::checkers::testing::{Bench, entries};

    fn commit(node: u64, index: u64) -> Event<'static> {
        Event::Committed {
            node: NodeId(node),
            index: LogIndex(index),
        }
    }

    fn bench() -> Bench<Commit> {
        let mut bench = Bench::new(Commit::default(), 3);
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

    #[test]
    fn a_term_that_was_saved_and_forgotten_is_no_excuse_but_in_another_directory() {
        let mut bench = bench();
        bench.append(2, 3, &[2]);
        bench.good(&Event::VoteSaved {
            node: NodeId(2),
            term: Term(3),
            vote: None,
        });
        bench.role(1, 3, crate::event::Role::Leader);
        bench.append(1, 4, &[3]);
        bench.good(&commit(1, 4));
        let third = Event::Truncated {
            node: NodeId(2),
            from: LogIndex(3),
        };
        let log = entries(1, &[1, 1, 2]);
        let starts = |incarnation| Event::Started {
            node: NodeId(2),
            incarnation: Incarnation(incarnation),
            base: (LogIndex::ZERO, Term::ZERO),
            applied: LogIndex::ZERO,
            log: &log,
            damaged: &[],
            unknown_suffix: false,
            lost_vote: false,
            vote: (Term(2), None),
        };
        bench.good(&starts(5));
        assert!(bench.bad(&third).contains("gives up"));
        bench.good(&starts(3));
        bench.good(&third);
    }
}
