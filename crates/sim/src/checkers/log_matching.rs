//! Log matching (Raft §5.3): where two logs hold an entry of one index and term, it is the same
//! entry, and so is everything before it. And a log has no gaps, and its terms never fall.

use trilith_types::{LogIndex, NodeId, Term};

use super::Checker;
use crate::{
    event::{EntryId, Event},
    view::View,
};

/// Remembers every entry ever seen, with the term of the one before it. If each entry always has
/// the same bytes and the same predecessor, logs that agree in one place agree before it.
#[derive(Debug, Default)]
pub(super) struct LogMatching {
    // By index; few terms ever write to one index.
    seen: Vec<Vec<Seen>>,
}

#[derive(Debug)]
struct Seen {
    term: Term,
    digest: u64,
    previous: Term,
    node: NodeId,
}

impl LogMatching {
    fn see(&mut self, node: NodeId, previous: Term, entry: &EntryId) -> Result<(), String> {
        let index = entry.index.get() as usize;
        if self.seen.len() <= index {
            self.seen.resize_with(index + 1, Vec::new);
        }
        let Some(seen) = self.seen.get_mut(index) else {
            return Ok(());
        };
        let Some(first) = seen.iter().find(|s| s.term == entry.term) else {
            seen.push(Seen {
                term: entry.term,
                digest: entry.digest,
                previous,
                node,
            });
            return Ok(());
        };
        if first.digest != entry.digest {
            return Err(format!(
                "entry {entry} of node {node} has other bytes than node {}'s",
                first.node
            ));
        }
        if first.previous != previous {
            let (a, b) = (previous, first.previous);
            return Err(format!(
                "entry {entry} follows term {a} on node {node} and {b} on {}",
                first.node
            ));
        }
        Ok(())
    }

    fn see_all(
        &mut self,
        node: NodeId,
        base: (LogIndex, Term),
        log: &[EntryId],
    ) -> Result<(), String> {
        let (mut index, mut previous) = base;
        for entry in log {
            if entry.index != index.next() {
                return Err(format!("node {node} has {entry} right after index {index}"));
            }
            if entry.term < previous {
                return Err(format!("node {node} has {entry} after term {previous}"));
            }
            self.see(node, previous, entry)?;
            (index, previous) = (entry.index, entry.term);
        }
        Ok(())
    }
}

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String> {
        match *event {
            Event::Started {
                node, base, log, ..
            } => self.see_all(node, base, log),
            Event::Appended { node, entries } => {
                let Some(n) = before.node(node) else {
                    return Ok(());
                };
                let last = n.last();
                let term = n.term_at(last).unwrap_or(Term::ZERO);
                self.see_all(node, (last, term), entries)
            }
            Event::Repaired { node, entry } => {
                match before.node(node).and_then(|n| n.entry(entry.index)) {
                    Some(lost) if lost != entry => {
                        Err(format!("node {node} lost {lost} and got {entry} for it"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{Bench, entries};

    #[test]
    fn equal_logs_and_different_terms_pass() {
        let mut bench = Bench::new(LogMatching::default(), 3);
        bench.append(1, 1, &[1, 1, 2]);
        bench.append(2, 1, &[1, 1, 2]);
        bench.append(3, 1, &[1, 3]);
        bench.good(&Event::Truncated {
            node: NodeId(3),
            from: LogIndex(2),
        });
        bench.append(3, 2, &[1, 2]);
    }

    #[test]
    fn other_bytes_and_other_predecessors_are_seen() {
        let mut bench = Bench::new(LogMatching::default(), 2);
        bench.append(1, 1, &[1, 1, 2]);
        let mut forged = entries(1, &[1]);
        forged[0].digest += 1;
        let what = bench.bad(&Event::Appended {
            node: NodeId(2),
            entries: &forged,
        });
        assert!(what.contains("other bytes"), "{what}");
        let mut bench = Bench::new(LogMatching::default(), 2);
        bench.append(1, 1, &[1, 1, 2]);
        let what = bench.bad(&Event::Appended {
            node: NodeId(2),
            entries: &entries(1, &[1, 2, 2]),
        });
        assert!(what.contains("follows term"), "{what}");
    }

    #[test]
    fn gaps_falling_terms_and_false_repairs_are_seen() {
        let node = NodeId(1);
        let mut bench = Bench::new(LogMatching::default(), 1);
        bench.append(1, 1, &[3]);
        bench.bad(&Event::Appended {
            node,
            entries: &entries(3, &[3]),
        });
        bench.bad(&Event::Appended {
            node,
            entries: &entries(2, &[2]),
        });
        bench.good(&Event::Repaired {
            node,
            entry: entries(1, &[3])[0],
        });
        bench.bad(&Event::Repaired {
            node,
            entry: entries(1, &[2])[0],
        });
    }
}
