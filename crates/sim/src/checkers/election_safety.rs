//! Election safety (Raft §5.2): at most one leader is elected in a term.

use std::collections::BTreeMap;

use trilith_types::{NodeId, Term};

use super::Checker;
use crate::{event::Event, view::View};

/// Remembers who was elected in each term.
#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    elected: BTreeMap<Term, NodeId>,
}

impl Checker for ElectionSafety {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        let Event::Role { node, term, role } = *event else {
            return Ok(());
        };
        if !role.is_elected() {
            return Ok(());
        }
        match *self.elected.entry(term).or_insert(node) {
            known if known == node => Ok(()),
            known => Err(format!("nodes {known} and {node} both lead in term {term}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkers::testing::Bench, event::Role};

    #[test]
    fn two_leaders_of_one_term_are_seen() {
        let mut bench = Bench::new(ElectionSafety::default(), 3);
        bench.role(1, 1, Role::Repairing);
        bench.role(1, 1, Role::Leader);
        bench.role(2, 1, Role::Candidate);
        bench.role(2, 2, Role::Leader);
        let what = bench.bad(&Event::Role {
            node: NodeId(3),
            term: Term(1),
            role: Role::Repairing,
        });
        assert_eq!(what, "nodes 1 and 3 both lead in term 1");
    }
}
