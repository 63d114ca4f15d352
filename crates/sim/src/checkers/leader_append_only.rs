//! Leader append-only (Raft §5.3): a leader never removes or overwrites entries of its log.
//! One that still mends its log does not lead yet, and may discard.

use super::Checker;
use crate::{
    event::{Event, Role},
    view::View,
};

/// Has nothing to remember.
#[derive(Debug)]
pub(super) struct LeaderAppendOnly;

impl Checker for LeaderAppendOnly {
    fn name(&self) -> &'static str {
        "leader append-only"
    }

    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String> {
        let (node, what, at) = match *event {
            Event::Truncated { node, from } => (node, "truncated its log from", from),
            Event::Installed {
                node,
                last,
                kept_log: false,
                ..
            } => (node, "replaced its log by a snapshot to", last.0),
            _ => return Ok(()),
        };
        match before.node(node) {
            Some(n) if n.role == Role::Leader => Err(format!(
                "node {node} leads in term {} and {what} {at}",
                n.term
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::{LogIndex, NodeId, Term};

    use super::*;
    use crate::checkers::testing::Bench;

    #[test]
    fn a_follower_truncates_and_a_leader_does_not() {
        let mut bench = Bench::new(LeaderAppendOnly, 3);
        let node = NodeId(1);
        bench.append(1, 1, &[1, 1, 1]);
        bench.good(&Event::Truncated {
            node,
            from: LogIndex(3),
        });
        bench.role(1, 2, Role::Repairing);
        bench.good(&Event::Truncated {
            node,
            from: LogIndex(2),
        });
        bench.role(1, 2, Role::Leader);
        let what = bench.bad(&Event::Truncated {
            node,
            from: LogIndex(1),
        });
        assert!(what.contains("truncated its log from 1"), "{what}");
        let last = (LogIndex(5), Term(1));
        bench.bad(&Event::Installed {
            node,
            last,
            state: 0,
            kept_log: false,
        });
    }
}
