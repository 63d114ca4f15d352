//! Durable votes (Raft §5.2, §5.1): a node votes once in a term for as long as it lives, however
//! often it restarts, and a vote leaves it only after it is durable.

use std::collections::{BTreeMap, BTreeSet};

use trilith_types::{Incarnation, NodeId, Term};

use super::Checker;
use crate::{event::Event, view::View};

/// Remembers every vote that was saved and every vote that left.
#[derive(Debug, Default)]
pub(super) struct DurableVotes {
    saved: BTreeMap<(NodeId, Term), NodeId>,
    given: BTreeMap<(NodeId, Term), NodeId>,
    // The highest term that each node has saved, also when its disk has forgotten it.
    terms: BTreeMap<NodeId, Term>,
    latest: BTreeMap<NodeId, Incarnation>,
    // Nodes that run with a directory that is not their latest: peers refuse what they say.
    passed: BTreeSet<NodeId>,
}

impl DurableVotes {
    fn save(&mut self, node: NodeId, term: Term, vote: Option<NodeId>) -> Result<(), String> {
        let known = self.terms.entry(node).or_default();
        if term < *known {
            return Err(format!("node {node} saved term {term} after term {known}"));
        }
        *known = term;
        vote.map_or(Ok(()), |vote| self.keep(node, term, vote))
    }

    fn keep(&mut self, node: NodeId, term: Term, vote: NodeId) -> Result<(), String> {
        match self.saved.insert((node, term), vote) {
            Some(earlier) if earlier != vote => Err(format!(
                "node {node} saved votes for {earlier} and {vote} in term {term}"
            )),
            _ => Ok(()),
        }
    }

    fn give(&mut self, node: NodeId, term: Term, candidate: NodeId) -> Result<(), String> {
        match self.given.insert((node, term), candidate) {
            Some(earlier) if earlier != candidate => {
                return Err(format!(
                    "node {node} voted for {earlier} and {candidate} in term {term}"
                ));
            }
            _ => {}
        }
        if self.saved.get(&(node, term)) == Some(&candidate) {
            return Ok(());
        }
        Err(format!(
            "node {node} voted for {candidate} in term {term} before that was durable"
        ))
    }
}

impl Checker for DurableVotes {
    fn name(&self) -> &'static str {
        "durable votes"
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        if let Event::Started {
            node, incarnation, ..
        } = *event
        {
            let latest = self.latest.entry(node).or_default();
            if incarnation >= *latest {
                *latest = incarnation;
                self.passed.remove(&node);
            } else {
                self.passed.insert(node);
            }
        }
        match *event {
            Event::VoteSaved { node, term, vote } if !self.passed.contains(&node) => {
                self.save(node, term, vote)
            }
            Event::Voted {
                node,
                term,
                candidate,
            } if !self.passed.contains(&node) => self.give(node, term, candidate),
            // A write that was on its way to the disk may have got there.
            Event::Started {
                node,
                vote: (term, Some(vote)),
                ..
            } if !self.passed.contains(&node) => self.keep(node, term, vote),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::Bench;

    const NODE: NodeId = NodeId(1);

    fn saved(term: u64, vote: Option<u64>) -> Event<'static> {
        Event::VoteSaved {
            node: NODE,
            term: Term(term),
            vote: vote.map(NodeId),
        }
    }

    fn voted(term: u64, candidate: u64) -> Event<'static> {
        Event::Voted {
            node: NODE,
            term: Term(term),
            candidate: NodeId(candidate),
        }
    }

    #[test]
    fn a_saved_vote_may_be_given_often() {
        let mut bench = Bench::new(DurableVotes::default(), 3);
        bench.good(&saved(1, None));
        bench.good(&saved(1, Some(2)));
        bench.good(&voted(1, 2));
        bench.good(&saved(2, Some(3)));
        bench.good(&voted(1, 2));
        bench.good(&voted(2, 3));
    }

    #[test]
    fn an_unsaved_vote_is_seen() {
        let mut bench = Bench::new(DurableVotes::default(), 3);
        bench.good(&saved(1, None));
        assert!(bench.bad(&voted(1, 2)).contains("before that was durable"));
    }

    #[test]
    fn two_votes_in_a_term_are_seen_also_after_a_restart() {
        let mut bench = Bench::new(DurableVotes::default(), 3);
        bench.good(&saved(1, Some(2)));
        bench.good(&voted(1, 2));
        bench.good(&crate::checkers::testing::starting(NODE, &[]));
        assert!(
            bench
                .bad(&saved(1, Some(3)))
                .contains("saved votes for 2 and 3")
        );
        assert!(bench.bad(&voted(1, 3)).contains("voted for 2 and 3"));
    }

    #[test]
    fn a_term_that_goes_back_is_seen() {
        let mut bench = Bench::new(DurableVotes::default(), 3);
        bench.good(&saved(4, None));
        assert!(bench.bad(&saved(3, None)).contains("after term 4"));
    }
}
