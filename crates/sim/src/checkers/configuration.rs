//! Configuration safety (Raft §6; dissertation §4): a leader begins a change only when the last
//! one is committed and it has committed in its own term; each step keeps a common node in every
//! pair of quorums; and a node goes by a configuration that is in its log.

use std::collections::BTreeMap;

use trilith_types::{LogIndex, NodeId, Term};

use super::Checker;
use crate::{
    event::{Configuration, Event, Role},
    view::{NodeView, View},
};

/// Remembers the term of the entry that brought each node its configuration.
#[derive(Debug, Default)]
pub(super) struct ConfigurationSafety {
    terms: BTreeMap<NodeId, (LogIndex, Option<Term>)>,
}

/// Whether every quorum of `old` shares a node with every quorum of `new`, by the rules of the
/// two ways of changing: one voter at a time, or through a joint configuration.
fn overlap(old: &Configuration, new: &Configuration) -> bool {
    let missing = |a: &[NodeId], b: &[NodeId]| a.iter().filter(|n| !b.contains(n)).count();
    match (old.is_joint(), new.is_joint()) {
        (false, false) => {
            missing(&old.voters, &new.voters) + missing(&new.voters, &old.voters) <= 1
        }
        (false, true) => new.outgoing == old.voters,
        (true, false) => new.voters == old.voters,
        (true, true) => (&new.voters, &new.outgoing) == (&old.voters, &old.outgoing),
    }
}

fn leader_step(
    node: NodeId,
    n: &NodeView,
    index: LogIndex,
    new: &Configuration,
) -> Result<(), String> {
    let (old_index, old) = &n.configuration;
    if index <= *old_index {
        return Err(format!(
            "leader {node} goes back from the configuration of {old_index} to {index}"
        ));
    }
    if n.committed < *old_index {
        return Err(format!(
            "leader {node} changes to {new} while the configuration of {old_index} is not committed"
        ));
    }
    if n.term_at(n.committed) != Some(n.term) {
        return Err(format!(
            "leader {node} changes to {new} before it has committed in its term {}",
            n.term
        ));
    }
    if !overlap(old, new) {
        return Err(format!(
            "leader {node} changes from {old} to {new}, whose quorums need not meet"
        ));
    }
    Ok(())
}

impl Checker for ConfigurationSafety {
    fn name(&self) -> &'static str {
        "configuration safety"
    }

    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String> {
        match *event {
            Event::Configured {
                node,
                index,
                configuration,
            } => {
                let Some(n) = before.node(node) else {
                    return Ok(());
                };
                if index > n.last() {
                    return Err(format!(
                        "node {node} goes by {configuration} of {index}, not in its log"
                    ));
                }
                self.terms.insert(node, (index, n.term_at(index)));
                if n.role == Role::Leader && index != n.configuration.0 {
                    return leader_step(node, n, index, configuration);
                }
                Ok(())
            }
            Event::Role { node, .. } | Event::Committed { node, .. } => {
                let Some(n) = before.node(node) else {
                    return Ok(());
                };
                match self.terms.get(&node) {
                    Some((index, term)) if *index > n.base.0 && n.term_at(*index) != *term => {
                        Err(format!(
                            "node {node} still goes by {} of {index}, which its log lost",
                            n.configuration.1
                        ))
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
    use crate::checkers::testing::Bench;

    fn of(voters: &[u64], outgoing: &[u64]) -> Configuration {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        Configuration {
            voters: nodes(voters),
            outgoing: nodes(outgoing),
            learners: Vec::new(),
        }
    }

    fn configured(index: u64, configuration: &Configuration) -> Event<'_> {
        Event::Configured {
            node: NodeId(1),
            index: LogIndex(index),
            configuration,
        }
    }

    /// Node 1 leads three and has committed in its term.
    fn leader() -> Bench<ConfigurationSafety> {
        let mut bench = Bench::new(ConfigurationSafety::default(), 3);
        bench.role(1, 1, Role::Leader);
        bench.append(1, 1, &[1]);
        bench.good(&Event::Committed {
            node: NodeId(1),
            index: LogIndex(1),
        });
        bench
    }

    #[test]
    fn single_and_joint_steps_pass() {
        let mut bench = leader();
        for (index, step) in (2..).zip([
            of(&[1, 2, 3, 4], &[]),
            of(&[5, 6, 7], &[1, 2, 3, 4]),
            of(&[5, 6, 7], &[]),
        ]) {
            bench.append(1, index, &[1]);
            bench.good(&configured(index, &step));
            bench.good(&Event::Committed {
                node: NodeId(1),
                index: LogIndex(index),
            });
        }
    }

    #[test]
    fn steps_without_common_quorums_are_seen() {
        let mut bench = leader();
        bench.append(1, 2, &[1]);
        for bad in [of(&[1, 2, 3, 4, 5], &[]), of(&[4, 5, 6], &[1, 2])] {
            assert!(bench.bad(&configured(2, &bad)).contains("need not meet"));
        }
        assert!(
            bench
                .bad(&configured(3, &of(&[1, 2], &[])))
                .contains("not in its log")
        );
    }

    #[test]
    fn a_second_change_in_flight_and_a_change_before_the_own_term_are_seen() {
        let mut bench = leader();
        bench.append(1, 2, &[1, 1]);
        bench.good(&configured(2, &of(&[1, 2], &[])));
        assert!(
            bench
                .bad(&configured(3, &of(&[1], &[])))
                .contains("is not committed")
        );
        let mut bench = leader();
        bench.role(1, 2, Role::Leader);
        bench.append(1, 2, &[2]);
        assert!(
            bench
                .bad(&configured(2, &of(&[1, 2], &[])))
                .contains("committed in its term")
        );
    }

    #[test]
    fn a_configuration_that_outlives_its_entry_is_seen() {
        let mut bench = leader();
        bench.append(1, 2, &[1]);
        bench.good(&configured(2, &of(&[1, 2], &[])));
        bench.role(1, 2, Role::Follower);
        bench.good(&Event::Truncated {
            node: NodeId(1),
            from: LogIndex(2),
        });
        bench.view.apply(&Event::Appended {
            node: NodeId(1),
            entries: &crate::checkers::testing::entries(2, &[2]),
        });
        assert!(
            bench
                .bad(&Event::Committed {
                    node: NodeId(1),
                    index: LogIndex(2)
                })
                .contains("log lost")
        );
        bench.good(&configured(0, &of(&[1, 2, 3], &[])));
        bench.good(&Event::Committed {
            node: NodeId(1),
            index: LogIndex(2),
        });
    }
}
