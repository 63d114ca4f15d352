//! Who belongs to a group: voters, learners, and the way from one set to the next.

use trilith_types::NodeId;

use crate::quorum::{Quorum, VOTERS_MAX};

/// Most learners of one group.
pub const LEARNERS_MAX: usize = 32;

/// The members of a group. It takes effect when its entry is appended, committed or not, and goes
/// when that entry is truncated (Raft §6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// Those whose agreement counts.
    pub voters: Quorum,
    /// Those who get the log and have no say, ascending.
    pub learners: Vec<NodeId>,
    /// Outgoing voters that become learners once the joint configuration is left, ascending.
    pub learners_next: Vec<NodeId>,
    /// Whether the leader leaves the joint configuration by itself once it is committed.
    pub auto_leave: bool,
}

/// One step of a membership change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The node votes from now on; a learner is promoted.
    AddVoter(NodeId),
    /// The node gets the log and does not vote; a voter is demoted.
    AddLearner(NodeId),
    /// The node is no member any more.
    Remove(NodeId),
}

impl Change {
    /// The node that the change is about.
    #[must_use]
    pub const fn node(self) -> NodeId {
        match self {
            Self::AddVoter(node) | Self::AddLearner(node) | Self::Remove(node) => node,
        }
    }
}

/// How a change gets from the old voters to the new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transition {
    /// In one step when at most one voter changes, else jointly with an automatic leave.
    #[default]
    Auto,
    /// Jointly; the leader leaves by itself once the joint configuration is committed.
    JointAutoLeave,
    /// Jointly; [`Core::leave_joint`](crate::Core::leave_joint) ends it.
    JointExplicit,
}

/// Why a change makes no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// Nobody would be left to vote.
    #[error("the change would leave no voter")]
    NoVoters,
    /// Too many voters.
    #[error("a group has at most {VOTERS_MAX} voters; the change would make {count}")]
    TooManyVoters {
        /// How many there would be.
        count: usize,
    },
    /// Too many learners.
    #[error("a group has at most {LEARNERS_MAX} learners; the change would make {count}")]
    TooManyLearners {
        /// How many there would be.
        count: usize,
    },
    /// One node is named twice.
    #[error("the change names node {node} more than once")]
    NamedTwice {
        /// The node.
        node: NodeId,
    },
    /// A change begins only from a configuration that is not joint.
    #[error("a joint configuration must be left before the next change")]
    Joint,
    /// Only a joint configuration can be left.
    #[error("the configuration is not joint")]
    NotJoint,
    /// The change changes nothing.
    #[error("the change changes nothing")]
    Nothing,
}

impl Configuration {
    /// A configuration of voters alone.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            voters: Quorum::simple(voters),
            ..Self::default()
        }
    }

    /// The same with learners.
    #[must_use]
    pub fn with_learners(mut self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        self.learners = learners
            .into_iter()
            .filter(|&id| !self.voters.contains(id))
            .collect();
        self.learners.sort_unstable();
        self.learners.dedup();
        self
    }

    /// Whether `node` votes.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(node)
    }

    /// Whether `node` gets the log: a voter or a learner.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.binary_search(&node).is_ok()
    }

    /// Whether it is the joint one between two others.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.voters.is_joint()
    }

    /// Whether there are no members at all: a node that was never told of a group's members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.incoming().is_empty() && self.learners.is_empty()
    }

    /// Every member once, voters first.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.voters().chain(self.learners.iter().copied())
    }

    /// The configuration that `changes` lead to, directly or as a joint one.
    ///
    /// # Errors
    /// When the change is empty, contradicts itself, breaks a limit, or starts from a joint
    /// configuration.
    pub fn changed(
        &self,
        changes: &[Change],
        transition: Transition,
    ) -> Result<Self, ConfigurationError> {
        if self.is_joint() {
            return Err(ConfigurationError::Joint);
        }
        named_once(changes)?;
        let mut voters = self.voters.incoming().to_vec();
        let mut learners = self.learners.clone();
        for change in changes {
            let node = change.node();
            voters.retain(|&id| id != node);
            learners.retain(|&id| id != node);
            match change {
                Change::AddVoter(_) => voters.push(node),
                Change::AddLearner(_) => learners.push(node),
                Change::Remove(_) => {}
            }
        }
        let direct = Self::of_voters(voters).with_learners(learners);
        direct.check_limits()?;
        if direct.voters == self.voters && direct.learners == self.learners {
            return Err(ConfigurationError::Nothing);
        }
        if transition == Transition::Auto && self.voters_apart(&direct) <= 1 {
            return Ok(direct);
        }
        Ok(self.joint_with(direct, transition))
    }

    /// The joint configuration between `self` and `target`.
    fn joint_with(&self, target: Self, transition: Transition) -> Self {
        let outgoing = self.voters.incoming().to_vec();
        let (learners_next, learners) = target
            .learners
            .into_iter()
            .partition(|id| outgoing.binary_search(id).is_ok());
        Self {
            voters: Quorum::joint(target.voters.incoming().iter().copied(), outgoing),
            learners,
            learners_next,
            auto_leave: transition != Transition::JointExplicit,
        }
    }

    /// The configuration after the joint one.
    ///
    /// # Errors
    /// When it is not joint.
    pub fn left(&self) -> Result<Self, ConfigurationError> {
        if !self.is_joint() {
            return Err(ConfigurationError::NotJoint);
        }
        let learners = self.learners.iter().chain(&self.learners_next).copied();
        Ok(Self::of_voters(self.voters.incoming().iter().copied()).with_learners(learners))
    }

    fn voters_apart(&self, other: &Self) -> usize {
        let missing = |a: &Self, b: &Self| {
            a.voters
                .incoming()
                .iter()
                .filter(|&&id| !b.voters.contains(id))
                .count()
        };
        missing(self, other) + missing(other, self)
    }

    fn check_limits(&self) -> Result<(), ConfigurationError> {
        let voters = self.voters.incoming().len();
        if voters == 0 {
            return Err(ConfigurationError::NoVoters);
        }
        if voters > VOTERS_MAX {
            return Err(ConfigurationError::TooManyVoters { count: voters });
        }
        if self.learners.len() > LEARNERS_MAX {
            return Err(ConfigurationError::TooManyLearners {
                count: self.learners.len(),
            });
        }
        Ok(())
    }

    /// Whether the sets are sorted, bounded and apart: what every configuration that this type
    /// made itself is, and what a decoded one must be checked for.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let ascending = |nodes: &[NodeId]| nodes.is_sorted_by(|a, b| a < b);
        let halves = [self.voters.incoming(), self.voters.outgoing()];
        halves
            .iter()
            .all(|half| ascending(half) && half.len() <= VOTERS_MAX)
            && ascending(&self.learners)
            && ascending(&self.learners_next)
            && self.learners.len() <= LEARNERS_MAX
            && self.learners.iter().all(|&id| !self.is_voter(id))
            && self
                .learners_next
                .iter()
                .all(|id| self.voters.outgoing().contains(id))
            && !self.voters.incoming().is_empty()
    }
}

fn named_once(changes: &[Change]) -> Result<(), ConfigurationError> {
    for (at, change) in changes.iter().enumerate() {
        if changes
            .iter()
            .take(at)
            .any(|earlier| earlier.node() == change.node())
        {
            return Err(ConfigurationError::NamedTwice {
                node: change.node(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn three() -> Configuration {
        Configuration::of_voters([1, 2, 3].map(NodeId))
    }

    #[test]
    fn one_voter_changes_in_one_step() {
        let four = three()
            .changed(&[Change::AddVoter(NodeId(4))], Transition::Auto)
            .unwrap();
        assert!(!four.is_joint() && four.is_voter(NodeId(4)));
        let two = three()
            .changed(&[Change::Remove(NodeId(1))], Transition::Auto)
            .unwrap();
        assert_eq!(two, Configuration::of_voters([2, 3].map(NodeId)));
    }

    #[test]
    fn two_voters_change_jointly_and_the_demoted_one_learns_after_the_leave() {
        let changes = [Change::AddVoter(NodeId(4)), Change::AddLearner(NodeId(1))];
        let joint = three().changed(&changes, Transition::Auto).unwrap();
        assert!(joint.is_joint() && joint.auto_leave && joint.is_well_formed());
        assert_eq!(joint.learners_next, [NodeId(1)]);
        assert!(joint.learners.is_empty() && joint.is_voter(NodeId(1)));
        let after = joint.left().unwrap();
        let expected = Configuration::of_voters([2, 3, 4].map(NodeId)).with_learners([NodeId(1)]);
        assert_eq!(after, expected);
        assert_eq!(
            joint.changed(&changes, Transition::Auto),
            Err(ConfigurationError::Joint)
        );
    }

    #[test]
    fn a_joint_step_can_be_asked_for() {
        let change = [Change::AddVoter(NodeId(4))];
        let explicit = three().changed(&change, Transition::JointExplicit).unwrap();
        assert!(explicit.is_joint() && !explicit.auto_leave);
        assert!(
            three()
                .changed(&change, Transition::JointAutoLeave)
                .unwrap()
                .auto_leave
        );
    }

    #[test]
    fn what_makes_no_configuration_is_refused_with_its_reason() {
        let all = [1, 2, 3].map(|id| Change::Remove(NodeId(id)));
        assert_eq!(
            three().changed(&all, Transition::Auto),
            Err(ConfigurationError::NoVoters)
        );
        let twice = [Change::Remove(NodeId(1)), Change::AddVoter(NodeId(1))];
        assert_eq!(
            three().changed(&twice, Transition::Auto),
            Err(ConfigurationError::NamedTwice { node: NodeId(1) })
        );
        let same = [Change::AddVoter(NodeId(1))];
        assert_eq!(
            three().changed(&same, Transition::Auto),
            Err(ConfigurationError::Nothing)
        );
        assert_eq!(three().left(), Err(ConfigurationError::NotJoint));
        let many: Vec<_> = (4..=40).map(|id| Change::AddVoter(NodeId(id))).collect();
        assert_eq!(
            three().changed(&many, Transition::Auto),
            Err(ConfigurationError::TooManyVoters { count: 40 })
        );
        let many: Vec<_> = (4..=40).map(|id| Change::AddLearner(NodeId(id))).collect();
        assert_eq!(
            three().changed(&many, Transition::Auto),
            Err(ConfigurationError::TooManyLearners { count: 37 })
        );
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = (0..3_u8, 1..7_u64).prop_map(|(kind, id)| match kind {
            0 => Change::AddVoter(NodeId(id)),
            1 => Change::AddLearner(NodeId(id)),
            _ => Change::Remove(NodeId(id)),
        });
        prop::collection::vec(change, 1..4)
    }

    proptest! {
        #[test]
        fn every_change_overlaps_the_configuration_before_it(
            steps in prop::collection::vec(changes(), 1..6),
            yes_before in any::<u8>(),
            yes_after in any::<u8>(),
        ) {
            let mut current = three();
            for step in steps {
                let Ok(next) = current.changed(&step, Transition::Auto) else { continue };
                prop_assert!(next.is_well_formed());
                let mut chain = vec![current.clone(), next.clone()];
                chain.extend(next.left());
                for pair in chain.windows(2) {
                    let has = |set: u8, id: NodeId| set & (1 << id.get()) != 0;
                    let before = pair[0].voters.is_reached(|id| has(yes_before, id));
                    let after = pair[1].voters.is_reached(|id| has(yes_after, id));
                    prop_assert!(!(before && after) || (yes_before & yes_after) != 0);
                }
                current = chain.pop().unwrap();
            }
        }
    }
}
