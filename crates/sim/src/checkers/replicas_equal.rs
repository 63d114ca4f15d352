//! Replicas are equal as far as they are committed: they hold the same entries, and their machines
//! are in the same states. One node leads a group in a term.

use std::collections::BTreeMap;

use trilith_types::{GroupId, LogIndex, NodeId, Term};

use super::Checker;
use crate::{event::Event, log_event::LogEvent, view::View};

/// The name of this checker.
pub(super) const NAME: &str = "replicas equal";

/// What is known of one group, and from whom.
#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<LogIndex, (u64, NodeId)>,
    states: BTreeMap<LogIndex, (u64, NodeId)>,
    leaders: BTreeMap<Term, NodeId>,
}

/// Remembers what was seen first.
#[derive(Debug, Default)]
pub(super) struct ReplicasEqual {
    groups: BTreeMap<GroupId, Known>,
}

fn compare(
    known: &mut BTreeMap<LogIndex, (u64, NodeId)>,
    (node, group, index): (NodeId, GroupId, LogIndex),
    digest: u64,
    what: &str,
) -> Result<(), String> {
    let (first, other) = *known.entry(index).or_insert((digest, node));
    if first == digest {
        return Ok(());
    }
    Err(format!(
        "node {node} and node {other} differ in {what} {index} of group {group}"
    ))
}

impl Checker for ReplicasEqual {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        let Event::Log(event) = *event else {
            return Ok(());
        };
        match event {
            LogEvent::Holds {
                node,
                group,
                index,
                digest,
            } => {
                let known = &mut self.groups.entry(group).or_default().entries;
                compare(known, (node, group, index), digest, "entry")
            }
            LogEvent::State {
                node,
                group,
                index,
                digest,
            } => {
                let known = &mut self.groups.entry(group).or_default().states;
                compare(known, (node, group, index), digest, "the state after entry")
            }
            LogEvent::Leads { node, group, term } => {
                let leaders = &mut self.groups.entry(group).or_default().leaders;
                let first = *leaders.entry(term).or_insert(node);
                if first == node {
                    return Ok(());
                }
                Err(format!(
                    "node {node} leads group {group} in term {term}, and so does node {first}"
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::Bench;

    fn holds(node: u64, index: u64, digest: u64) -> Event<'static> {
        Event::Log(LogEvent::Holds {
            node: NodeId(node),
            group: GroupId(4),
            index: LogIndex(index),
            digest,
        })
    }

    fn state(node: u64, index: u64, digest: u64) -> Event<'static> {
        Event::Log(LogEvent::State {
            node: NodeId(node),
            group: GroupId(4),
            index: LogIndex(index),
            digest,
        })
    }

    fn leads(node: u64, term: u64) -> Event<'static> {
        Event::Log(LogEvent::Leads {
            node: NodeId(node),
            group: GroupId(4),
            term: Term(term),
        })
    }

    #[test]
    fn equal_replicas_pass() {
        let mut bench = Bench::new(ReplicasEqual::default(), 2);
        for node in [1, 2] {
            bench.good(&holds(node, 1, 11));
            bench.good(&state(node, 1, 12));
        }
        bench.good(&leads(1, 1));
        bench.good(&leads(1, 1));
        bench.good(&leads(2, 2));
    }

    #[test]
    fn every_difference_is_seen() {
        let mut bench = Bench::new(ReplicasEqual::default(), 2);
        bench.good(&holds(1, 1, 11));
        bench.good(&state(1, 1, 12));
        bench.good(&leads(1, 1));
        assert!(bench.bad(&holds(2, 1, 12)).contains("in entry 1"));
        assert!(bench.bad(&state(2, 1, 11)).contains("the state"));
        assert!(bench.bad(&leads(2, 1)).contains("so does node 1"));
    }
}
