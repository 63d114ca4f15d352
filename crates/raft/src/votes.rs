//! The votes of one campaign, and when they win it.
//!
//! A campaign is won in one of two ways:
//!
//! 1. A quorum has granted it (Raft §5.2). A voter with an unknown suffix is not counted: it may
//!    have held a committed entry that the candidate lacks.
//! 2. **Every** voter has answered, none has refused, and so none holds intact or by identity
//!    more than the candidate has. What the unknown suffixes held beyond that is lost on all of
//!    them; since damage never reaches a majority of the copies of an entry, it was not
//!    committed. This is how a group comes back from a power cut that hit all nodes at once.

use trilith_types::NodeId;

use crate::{message::VoteAnswer, quorum::Quorum};

/// Answers so far, one a voter; the first one stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes {
    answers: Vec<(NodeId, VoteAnswer)>,
}

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    Won,
    Lost,
}

impl Votes {
    pub(crate) fn clear(&mut self) {
        self.answers.clear();
    }

    /// Notes an answer; `false` when that voter had answered before.
    pub(crate) fn record(&mut self, from: NodeId, answer: VoteAnswer) -> bool {
        if self.of(from).is_some() {
            return false;
        }
        self.answers.push((from, answer));
        true
    }

    fn of(&self, voter: NodeId) -> Option<VoteAnswer> {
        self.answers
            .iter()
            .find(|(id, _)| *id == voter)
            .map(|&(_, answer)| answer)
    }

    /// Whether half of the voters have granted it, which is not enough.
    pub(crate) fn are_half_of(&self, quorum: &Quorum) -> bool {
        let granted = |id: &&NodeId| self.of(**id) == Some(VoteAnswer::Granted);
        let half = |voters: &[NodeId]| 2 * voters.iter().filter(granted).count() >= voters.len();
        half(quorum.incoming()) && half(quorum.outgoing())
    }

    pub(crate) fn outcome(&self, quorum: &Quorum) -> Outcome {
        let granted = |id| self.of(id) == Some(VoteAnswer::Granted);
        let not_denied = |id| self.of(id) != Some(VoteAnswer::Denied);
        let for_us = |id| {
            self.of(id)
                .is_some_and(|answer| answer != VoteAnswer::Denied)
        };
        if quorum.is_reached(granted) || quorum.is_unanimous(for_us) {
            return Outcome::Won;
        }
        let may_grant = |id| {
            self.of(id)
                .is_none_or(|answer| answer == VoteAnswer::Granted)
        };
        if quorum.is_reached(may_grant) || quorum.is_unanimous(not_denied) {
            return Outcome::Open;
        }
        Outcome::Lost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn campaign(answers: &[(u64, VoteAnswer)]) -> Outcome {
        let mut votes = Votes::default();
        for &(id, answer) in answers {
            votes.record(NodeId(id), answer);
        }
        votes.outcome(&Quorum::simple([1, 2, 3].map(NodeId)))
    }

    use VoteAnswer::{Conditional, Denied, Granted};

    #[test]
    fn a_majority_wins_and_a_majority_of_denials_loses() {
        assert_eq!(campaign(&[(1, Granted)]), Outcome::Open);
        assert_eq!(campaign(&[(1, Granted), (2, Granted)]), Outcome::Won);
        assert_eq!(campaign(&[(1, Granted), (2, Denied)]), Outcome::Open);
        assert_eq!(
            campaign(&[(1, Granted), (2, Denied), (3, Denied)]),
            Outcome::Lost
        );
    }

    #[test]
    fn half_of_the_voters_are_no_majority() {
        for (voters, votes, are_half) in [(2, 1, true), (3, 1, false), (4, 2, true), (5, 2, false)]
        {
            let quorum = Quorum::simple((1..=voters).map(NodeId));
            let mut granted = Votes::default();
            for id in 1..=votes {
                granted.record(NodeId(id), Granted);
            }
            assert_eq!(
                granted.are_half_of(&quorum),
                are_half,
                "{votes} of {voters}"
            );
            assert_eq!(granted.outcome(&quorum), Outcome::Open);
        }
    }

    #[test]
    fn conditional_votes_count_only_when_every_voter_has_given_one() {
        assert_eq!(campaign(&[(1, Granted), (2, Conditional)]), Outcome::Open);
        assert_eq!(
            campaign(&[(1, Granted), (2, Conditional), (3, Denied)]),
            Outcome::Lost
        );
        assert_eq!(
            campaign(&[(1, Granted), (2, Conditional), (3, Conditional)]),
            Outcome::Won
        );
        assert_eq!(
            campaign(&[(1, Conditional), (2, Granted), (3, Granted)]),
            Outcome::Won
        );
    }

    #[test]
    fn the_first_answer_stands() {
        assert_eq!(
            campaign(&[(2, Denied), (2, Granted), (1, Granted)]),
            Outcome::Open
        );
    }

    proptest! {
        #[test]
        fn an_open_campaign_can_still_be_won_and_a_decided_one_stays_decided(
            order in Just((1..=5_u64).collect::<Vec<_>>()).prop_shuffle(),
            answers in prop::collection::vec(
                prop_oneof![Just(Granted), Just(Conditional), Just(Denied)], 5),
            voters in 1..=5_u64,
        ) {
            let quorum = Quorum::simple((1..=voters).map(NodeId));
            let mut votes = Votes::default();
            let mut decided = None;
            for (id, answer) in order.into_iter().zip(answers) {
                votes.record(NodeId(id), answer);
                let outcome = votes.outcome(&quorum);
                if let Some(before) = decided {
                    prop_assert_eq!(outcome, before);
                } else if outcome != Outcome::Open {
                    decided = Some(outcome);
                }
            }
            prop_assert!(decided.is_some());
        }
    }
}
