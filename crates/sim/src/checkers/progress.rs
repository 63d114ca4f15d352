//! Progress after healing: once nothing new goes wrong, the group settles within a stated number
//! of election timeouts.

use trilith_types::LogIndex;

use crate::{
    history::{Action, History, Outcome},
    time::SimTime,
    view::View,
};

/// The name of this checker, which is asked again and again until the group has settled.
pub const PROGRESS: &str = "progress";

/// What still keeps the group from being settled; `None` when it is settled: it has a leader, it
/// has confirmed a write and a read that began after healing, every running member has applied
/// all that the leader had at the last look (up to `mark`), and no damage is left.
#[must_use]
pub fn unsettled(
    view: &View,
    history: &History,
    healed: SimTime,
    mark: LogIndex,
) -> Option<String> {
    let Some((id, leader)) = view.leader() else {
        return Some("there is no leader".to_owned());
    };
    let behind = view
        .nodes()
        .filter(|(node, n)| n.running && leader.configuration.1.contains(*node))
        .find(|(_, n)| n.applied < leader.applied.min(mark) || n.applied == LogIndex::ZERO);
    if let Some((node, n)) = behind {
        return Some(format!(
            "node {node} has applied {} of leader {id}'s {}",
            n.applied, leader.applied
        ));
    }
    let damaged = view.nodes().find(|(node, n)| {
        n.running && leader.configuration.1.contains(*node) && !n.damaged.is_empty()
    });
    if let Some((node, n)) = damaged {
        let first = n.damaged.first().copied().unwrap_or_default();
        return Some(format!("entry {first} of node {node} is still damaged"));
    }
    let (index, configuration) = &leader.configuration;
    if configuration.is_joint() {
        return Some(format!("leader {id} is still in a joint configuration"));
    }
    if leader.committed < *index || !configuration.is_voter(id) {
        return Some(format!(
            "leader {id} is still changing its configuration to {configuration}"
        ));
    }
    unconfirmed(history, healed)
}

/// Which kind of operation that began after healing is not confirmed yet.
#[must_use]
pub fn unconfirmed(history: &History, healed: SimTime) -> Option<String> {
    let confirmed = |read: bool| {
        history
            .operations()
            .iter()
            .rev()
            .take_while(|op| op.invoked >= healed)
            .any(|op| {
                (op.action == Action::Read) == read
                    && matches!(op.returned, Some((_, Outcome::Done(_))))
            })
    };
    if !confirmed(false) {
        return Some("no write that began after healing is confirmed".to_owned());
    }
    if !confirmed(true) {
        return Some("no read that began after healing is confirmed".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::testing::{entries, start},
        event::{Configuration, Event, Role},
        history::{Answer, Object},
    };
    use trilith_types::{NodeId, Term};

    fn settled() -> (View, History) {
        let mut view = View::new(2);
        let voters = vec![NodeId(1), NodeId(2)];
        let configuration = Configuration {
            voters,
            ..Configuration::default()
        };
        let log = entries(1, &[1]);
        for node in [1, 2].map(NodeId) {
            start(&mut view, node);
            view.apply(&Event::Appended {
                node,
                entries: &log,
            });
            view.apply(&Event::Applied {
                node,
                entry: log[0],
                state: 0,
            });
            let index = LogIndex::ZERO;
            view.apply(&Event::Configured {
                node,
                index,
                configuration: &configuration,
            });
        }
        view.apply(&Event::Role {
            node: NodeId(1),
            term: Term(1),
            role: Role::Leader,
        });
        let mut history = History::default();
        for action in [Action::Put(1), Action::Read] {
            let op = history.invoke(SimTime(10), Object::Register(0), action);
            history.ret(SimTime(11), op, Outcome::Done(Answer::Nothing));
        }
        (view, history)
    }

    #[test]
    fn a_settled_group_is_settled() {
        let (view, history) = settled();
        assert_eq!(unsettled(&view, &history, SimTime(10), LogIndex::MAX), None);
        let what = unsettled(&view, &history, SimTime(11), LogIndex::MAX).unwrap();
        assert!(what.contains("no write"), "{what}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let (mut view, history) = settled();
        let what = |view: &View| unsettled(view, &history, SimTime(10), LogIndex::MAX).unwrap();
        view.apply(&Event::Appended {
            node: NodeId(1),
            entries: &entries(2, &[1]),
        });
        view.apply(&Event::Applied {
            node: NodeId(1),
            entry: entries(2, &[1])[0],
            state: 0,
        });
        assert!(what(&view).contains("node 2 has applied 1 of leader 1's 2"));
        view.apply(&Event::Stopped {
            node: NodeId(2),
            why: crate::event::Down::Crash,
        });
        assert_eq!(unsettled(&view, &history, SimTime(10), LogIndex::MAX), None);
        view.apply(&Event::Role {
            node: NodeId(1),
            term: Term(2),
            role: Role::Follower,
        });
        assert!(what(&view).contains("no leader"));
    }

    #[test]
    fn a_joint_configuration_is_named() {
        let (mut view, history) = settled();
        let joint = Configuration {
            voters: vec![NodeId(1)],
            outgoing: vec![NodeId(2)],
            learners: vec![],
        };
        let index = LogIndex(1);
        view.apply(&Event::Configured {
            node: NodeId(1),
            index,
            configuration: &joint,
        });
        assert!(
            unsettled(&view, &history, SimTime(10), LogIndex::MAX)
                .unwrap()
                .contains("joint")
        );
    }
}
