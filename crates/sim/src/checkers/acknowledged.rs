//! An acknowledged proposal is never lost: what a leader calls committed is durable on a quorum
//! at that moment, what a client is told of was committed, and every node that takes part in the
//! end has it.

use trilith_types::{LogIndex, NodeId};

use super::Checker;
use crate::{
    event::{EntryId, Event, Role},
    history::History,
    view::View,
};

/// Remembers what clients were told.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    last: Option<EntryId>,
}

fn durable_on_quorum(node: NodeId, index: LogIndex, view: &View) -> Result<(), String> {
    let Some(n) = view.node(node) else {
        return Ok(());
    };
    if n.role != Role::Leader || index <= view.committed_last() {
        return Ok(());
    }
    let Some(entry) = n.entry(index) else {
        return Ok(());
    };
    let holds = |id| {
        view.node(id)
            .is_some_and(|n| n.once_had_durable(index, entry.term))
    };
    let configuration = &n.configuration.1;
    if configuration.has_quorum(holds) {
        return Ok(());
    }
    let members = configuration.voters.iter().chain(&configuration.outgoing);
    let holders: Vec<NodeId> = members.copied().filter(|id| holds(*id)).collect();
    Err(format!(
        "leader {node} commits {entry}, durable on {}, no quorum of {configuration}",
        crate::event::List(&holders)
    ))
}

impl Checker for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String> {
        match *event {
            Event::Committed { node, index } => durable_on_quorum(node, index, before),
            Event::Returned {
                op,
                entry: Some(entry),
                ..
            } => {
                let committed = before.committed(entry.index).map(|c| c.entry);
                if committed != Some(entry) {
                    return Err(format!(
                        "operation {op} was confirmed as {entry}, which is not committed"
                    ));
                }
                if self.last.is_none_or(|last| last.index < entry.index) {
                    self.last = Some(entry);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, view: &View, _: &History) -> Result<(), String> {
        // The leader of the end: by the other checkers, what it has applied is what all apply.
        let (Some(entry), Some((node, n))) = (self.last, view.leader()) else {
            return Ok(());
        };
        if view.is_healed() && n.applied < entry.index {
            return Err(format!(
                "{entry} was confirmed; leader {node} of the end has only applied {}",
                n.applied
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::testing::{Bench, entries},
        history::{Answer, OpId, Outcome},
    };

    fn leader() -> Bench<Acknowledged> {
        let mut bench = Bench::new(Acknowledged::default(), 3);
        bench.role(1, 1, Role::Leader);
        bench.append(1, 1, &[1, 1]);
        bench.append(2, 1, &[1]);
        bench
    }

    fn commit(index: u64) -> Event<'static> {
        Event::Committed {
            node: NodeId(1),
            index: LogIndex(index),
        }
    }

    const DONE: Outcome = Outcome::Done(Answer::Nothing);

    #[test]
    fn a_commit_needs_durable_copies_on_a_quorum() {
        let mut bench = leader();
        bench.good(&commit(1));
        let what = bench.bad(&commit(2));
        assert!(
            what.contains("durable on 1, no quorum of {1,2,3}"),
            "{what}"
        );
        bench.view.apply(&Event::Appended {
            node: NodeId(3),
            entries: &entries(1, &[1, 1]),
        });
        bench.bad(&commit(2));
        bench.good(&Event::Durable {
            node: NodeId(3),
            upto: LogIndex(2),
        });
        bench.good(&commit(2));
    }

    #[test]
    fn a_client_is_told_only_what_is_committed() {
        let mut bench = leader();
        let told = |index| Event::Returned {
            op: OpId(0),
            outcome: &DONE,
            entry: Some(entries(index, &[1])[0]),
        };
        bench.bad(&told(1));
        bench.good(&commit(1));
        bench.good(&told(1));
    }

    #[test]
    fn an_end_without_the_entry_is_seen() {
        let mut bench = leader();
        bench.good(&commit(1));
        let entry = entries(1, &[1])[0];
        bench.good(&Event::Returned {
            op: OpId(0),
            outcome: &DONE,
            entry: Some(entry),
        });
        bench.good(&Event::Healed);
        let history = History::default();
        assert!(
            bench
                .checker
                .finish(&bench.view, &history)
                .unwrap_err()
                .contains("only applied 0")
        );
        bench.good(&Event::Applied {
            node: NodeId(1),
            entry,
            state: 0,
        });
        bench.checker.finish(&bench.view, &history).unwrap();
    }
}
