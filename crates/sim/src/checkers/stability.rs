//! Stability: once a healed group has settled, nobody deposes its leader, neither a server that
//! was removed nor one that was away (dissertation §4.2.3, §9.6).

use super::Checker;
use crate::{event::Event, view::View};

/// Remembers whether the group has settled.
#[derive(Debug, Default)]
pub(super) struct Stability {
    settled: bool,
}

impl Checker for Stability {
    fn name(&self) -> &'static str {
        "stability"
    }

    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String> {
        match *event {
            Event::Settled => self.settled = true,
            // Whoever wants the office of a dead leader disturbs nobody.
            Event::Stopped { .. } => self.settled = false,
            Event::Role { node, term, role } if self.settled && !role.is_elected() => {
                return match before.leader() {
                    Some((leader, n)) if leader == node => Err(format!(
                        "leader {node} of term {} became {role} in term {term} though nothing was wrong",
                        n.term
                    )),
                    _ => Ok(()),
                };
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::{NodeId, Term};

    use super::*;
    use crate::{checkers::testing::Bench, event::Role};

    #[test]
    fn a_settled_leader_stays() {
        let mut bench = Bench::new(Stability::default(), 3);
        bench.role(1, 1, Role::Leader);
        bench.role(1, 2, Role::Follower);
        bench.role(2, 2, Role::Leader);
        bench.good(&Event::Settled);
        bench.role(3, 3, Role::Candidate);
        let deposed = Event::Role {
            node: NodeId(2),
            term: Term(3),
            role: Role::Follower,
        };
        assert!(bench.bad(&deposed).contains("leader 2 of term 2"));
    }
}
