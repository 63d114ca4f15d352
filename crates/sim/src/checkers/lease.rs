//! Lease safety: a node that answers a read on the strength of its lease has not been replaced by
//! a leader of a later term. It holds while clocks drift no further apart than the lease allows
//! for; a run with more drift than that shows what the checker is for.

use trilith_types::Term;

use super::Checker;
use crate::{
    event::{Event, Role},
    view::View,
};

/// Remembers the highest term that has had a leader.
#[derive(Debug, Default)]
pub struct LeaseSafety {
    led: Term,
}

impl Checker for LeaseSafety {
    fn name(&self) -> &'static str {
        "lease safety"
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        match *event {
            Event::Role {
                term,
                role: Role::Leader,
                ..
            } => {
                self.led = self.led.max(term);
                Ok(())
            }
            Event::LeaseRead { node, term } if term < self.led => Err(format!(
                "node {node} read by its lease of term {term}; term {} has a leader",
                self.led
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::NodeId;

    use super::*;
    use crate::checkers::testing::Bench;

    #[test]
    fn a_lease_holds_until_the_next_leader() {
        let mut bench = Bench::new(LeaseSafety::default(), 3);
        bench.role(1, 1, Role::Leader);
        let read = Event::LeaseRead {
            node: NodeId(1),
            term: Term(1),
        };
        bench.good(&read);
        bench.role(2, 2, Role::Candidate);
        bench.good(&read);
        bench.role(2, 2, Role::Leader);
        assert!(bench.bad(&read).contains("term 2 has a leader"));
    }
}
