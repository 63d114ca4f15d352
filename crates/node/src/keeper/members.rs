//! Making the members of each group those that the cluster's state places it on: when a node has taken
//! another one's place, the group's leader lets it have the log first, without a vote, and when it has
//! caught up, exchanges the two in one joint change. Whatever is begun twice is refused by the group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use trilith_host::{GroupStatus, HostHandle};
use trilith_raft::{Change, Configuration, Transition};
use trilith_topics::controller::{CONTROLLER_GROUP, Controller};
use trilith_types::{GroupId, NodeId, TopicId};

use crate::{
    directory::ServedTopic,
    machine::GroupMachine,
    node::{Inner, Live},
};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Most groups of this node whose members are being changed at a time: each sends its log.
const AT_A_TIME: usize = 16;

/// A new member has caught up when it lacks no more entries than this.
const LAG_MAX: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Members {
    look_at: Option<Duration>,
}

impl Members {
    pub(super) fn turn(
        &mut self,
        inner: &Inner,
        live: &Live,
        served: &BTreeMap<TopicId, Arc<ServedTopic>>,
        now: Duration,
    ) -> Option<Duration> {
        let at = *self.look_at.get_or_insert(now + EVERY);
        if at > now {
            return Some(at);
        }
        self.look_at = Some(now + EVERY);
        if inner.is_closing() {
            return None;
        }
        let mut moving = Vec::new();
        // First: a new node opens its other replicas when it knows the cluster's state.
        if inner.controller.leads()
            && let Some(group) = live.host.group(CONTROLLER_GROUP)
        {
            let members = group.view().members;
            let wanted = controllers(&inner.controller.read(), &members);
            moving.extend(Move::of(CONTROLLER_GROUP, &members, wanted));
        }
        let partitions = served.values().flat_map(|topic| &topic.partitions);
        for partition in partitions.filter(|partition| partition.is_led_here()) {
            if let Some(group) = partition.local.get() {
                let wanted = partition.replicas().iter().copied().collect();
                moving.extend(Move::of(group.id(), &group.view().members, wanted));
            }
        }
        inner.moving.store(moving.len(), Ordering::Relaxed);
        for step in moving.into_iter().take(AT_A_TIME) {
            step.make(&live.host);
        }
        Some(now + EVERY)
    }
}

/// The voters that the controller's group should have: each one that was replaced gives way to a node
/// that has none yet, the longest there first.
fn controllers(state: &Controller, members: &Configuration) -> BTreeSet<NodeId> {
    let voters = members.voters.incoming();
    if state.cluster().is_none() {
        return voters.iter().copied().collect();
    }
    let is_there = |node: &&NodeId| state.node(**node).is_some();
    let stay = voters.iter().filter(is_there).copied();
    let others = state.nodes().map(|node| node.id);
    let others = others.filter(|node| !voters.contains(node));
    stay.chain(others).take(voters.len()).collect()
}

/// The next step from the members that a group has to those that it should have.
#[derive(Debug, PartialEq, Eq)]
struct Move {
    group: GroupId,
    /// Members that are to get the log.
    learn: Vec<NodeId>,
    /// Those who have it and are to vote.
    vote: Vec<NodeId>,
    go: Vec<NodeId>,
    is_joint: bool,
}

impl Move {
    fn of(group: GroupId, members: &Configuration, wanted: BTreeSet<NodeId>) -> Option<Self> {
        let voters: BTreeSet<NodeId> = members.voters.incoming().iter().copied().collect();
        let is_joint = members.is_joint();
        let all: BTreeSet<NodeId> = members.members().collect();
        if !is_joint && voters == wanted && all == wanted {
            return None;
        }
        let vote = members.learners.iter().filter(|node| wanted.contains(node));
        Some(Self {
            group,
            learn: wanted.difference(&all).copied().collect(),
            vote: vote.copied().collect(),
            go: all.difference(&wanted).copied().collect(),
            is_joint,
        })
    }

    /// Begins it, if the group is ready for it; it is looked at again.
    fn make(self, host: &HostHandle<GroupMachine>) {
        // The leader leaves a joint configuration by itself.
        if self.is_joint {
            return;
        }
        let group = self.group;
        if !self.learn.is_empty() {
            let learn = self.learn.into_iter().map(Change::AddLearner);
            change(host, group, learn.collect(), Transition::Auto);
            return;
        }
        let changes = self.vote.iter().copied().map(Change::AddVoter);
        let changes: Vec<Change> = changes
            .chain(self.go.iter().copied().map(Change::Remove))
            .collect();
        let again = host.clone();
        host.status(group, move |status| {
            let caught_up =
                |status: GroupStatus| self.vote.iter().all(|node| has_caught_up(&status, *node));
            if status.is_some_and(caught_up) {
                change(&again, group, changes, Transition::JointAutoLeave);
            }
        });
    }
}

fn has_caught_up(status: &GroupStatus, node: NodeId) -> bool {
    let peer = status.peers.iter().find(|(peer, _)| *peer == node);
    peer.is_some_and(|(_, peer)| {
        let lacks = status.core.last.index.since(peer.matched);
        peer.matched.0 > 0 && lacks.is_none_or(|lacks| lacks <= LAG_MAX)
    })
}

fn change(
    host: &HostHandle<GroupMachine>,
    group: GroupId,
    changes: Vec<Change>,
    transition: Transition,
) {
    tracing::info!(%group, ?changes, "the members of a group are changed");
    host.change_membership(group, changes, transition, move |result| {
        if let Err(error) = result {
            tracing::debug!(%group, %error, "the members were not changed; it is tried again");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn next(members: &Configuration, wanted: &[u64]) -> Option<[Vec<NodeId>; 3]> {
        let wanted = ids(wanted).into_iter().collect();
        let step = Move::of(GroupId(9), members, wanted)?;
        Some([step.learn, step.vote, step.go])
    }

    #[test]
    fn a_new_member_gets_the_log_then_the_vote_and_the_old_one_goes_with_that() {
        let voters = Configuration::of_voters(ids(&[1, 2, 3]));
        assert_eq!(next(&voters, &[1, 2, 3]), None);
        let first = next(&voters, &[1, 2, 4]).unwrap();
        assert_eq!(first, [ids(&[4]), ids(&[]), ids(&[3])]);
        let learns = voters.with_learners(ids(&[4]));
        let second = next(&learns, &[1, 2, 4]).unwrap();
        assert_eq!(second, [ids(&[]), ids(&[4]), ids(&[3])]);
        let done = Configuration::of_voters(ids(&[1, 2, 4]));
        assert_eq!(next(&done, &[1, 2, 4]), None);
        let left = done.with_learners(ids(&[5]));
        assert_eq!(
            next(&left, &[1, 2, 4]).unwrap(),
            [ids(&[]), ids(&[]), ids(&[5])]
        );
    }
}
