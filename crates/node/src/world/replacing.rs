//! A node that is gone for good, and a new one in its place.

use std::{collections::BTreeSet, time::Duration};

use trilith_peer::Registry;
use trilith_topics::controller::{CONTROLLER_GROUP, FEATURE_LEVEL_REPLACE, Node as ControllerNode};
use trilith_types::{GroupId, NodeId};

use super::{World, answer, numbered};
use crate::{ControlError, Start};

/// Three nodes that make a cluster, and a fourth that is not started.
fn three_and_one() -> World {
    let mut world = World::unstarted(4);
    let Start::With(mut members) = world.machines[0].config.start.clone() else {
        unreachable!("the world's nodes have a list")
    };
    members.truncate(3);
    world.machine(4).config.start = Start::Wait;
    for number in 1..=3 {
        world.machine(number).config.start = Start::With(members.clone());
        world.start(number).unwrap();
    }
    // More than one node changes at a time.
    world.create("stones", 60);
    for partition in 0..3 {
        world.produce("stones", partition, &["a"]);
    }
    world.until("every node says what it can do", |world| {
        let state = world.node(1).inner.controller.read().feature_level();
        state >= FEATURE_LEVEL_REPLACE
    });
    world
}

fn replace(world: &mut World, old: &str) -> Result<ControllerNode, ControlError> {
    let controller = world.controller();
    let (done, replaced) = answer();
    world
        .node(controller)
        .replace_node(old, "n4", "n4:7401", done);
    world.wait(&replaced)
}

/// Who votes in a group, as its leader knows it.
fn voters(world: &World, group: GroupId) -> BTreeSet<u64> {
    let views = world.running().into_iter().filter_map(|number| {
        let live = world.node(number).inner.live.get().cloned()?;
        Some(live.host.group(group)?.view())
    });
    let leads = |view: &trilith_host::GroupView| view.role == trilith_raft::Role::Leader;
    let view = views.filter(leads).max_by_key(|view| view.term);
    let members = view.filter(|view| !view.members.is_joint());
    let voters = members.into_iter().flat_map(|view| {
        let voters = view.members.voters.incoming().to_vec();
        voters.into_iter().map(NodeId::get)
    });
    voters.collect()
}

/// Starts the fourth node and lets it hear of its cluster, as the handshake does.
fn join(world: &mut World) {
    world.start(4).unwrap();
    let controller = world.controller();
    let node = world.node(controller);
    let found = Registry::found_for(&node, "n4").unwrap();
    assert!(found.joins);
    Registry::found(&world.node(4), found).unwrap();
    world.until("it takes part", |world| {
        world.node(4).inner.live.get().is_some()
    });
    world.introduce(4);
}

#[test]
fn a_new_node_gets_what_the_old_one_had_and_votes_in_its_place() {
    let mut world = three_and_one();
    let error = replace(&mut world, "n3").unwrap_err();
    assert!(
        matches!(error, ControlError::CannotReplace { .. }),
        "{error}"
    );
    world.kill(3);
    world.run(Duration::from_secs(2));
    assert_eq!(replace(&mut world, "n3").unwrap().id, NodeId(4));
    join(&mut world);
    let mut groups = vec![CONTROLLER_GROUP];
    let topic = trilith_types::TopicId(1);
    groups.extend((0..60).map(|p| trilith_topics::group_id(topic, trilith_types::PartitionId(p))));
    for &group in &groups {
        world.until("the new one votes", |world| {
            voters(world, group) == BTreeSet::from([1, 2, 4])
        });
    }
    world.run(Duration::from_secs(1));
    for number in world.running() {
        let moving = world
            .node(number)
            .inner
            .moving
            .load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(moving, 0, "node {number}");
    }
    // Its voice counts: with another one gone, it is one of two.
    world.kill(1);
    for partition in 0..3 {
        world.produce("stones", partition, &["b"]);
        assert_eq!(world.values("stones", partition), numbered(&["a", "b"]));
    }
    // It is a member like any other after a start, too.
    world.kill(4);
    world.start(4).unwrap();
    world.produce("stones", 0, &["c"]);
    assert_eq!(world.values("stones", 0), numbered(&["a", "b", "c"]));
    let other = world.node(2);
    let refused = other.admit(NodeId(3), "n3", trilith_types::Incarnation(9 << 32));
    assert!(refused.unwrap_err().contains("removed"));
    assert!(Registry::found_for(&other, "n3").is_none());
    assert!(Registry::found_for(&other, "n4").is_none(), "it has come");
}

#[test]
fn a_node_is_not_replaced_where_that_would_leave_no_majority() {
    let mut world = three_and_one();
    world.kill(3);
    world.kill(2);
    world.run(Duration::from_secs(2));
    // Nobody leads the cluster any more; as long as somebody thinks so, it is refused.
    let node = world.node(1);
    let (done, replaced) = answer();
    node.replace_node("n3", "n4", "n4:7401", done);
    let error = world.wait(&replaced).unwrap_err();
    assert!(
        matches!(
            error,
            ControlError::CannotReplace { .. } | ControlError::NotLeader { .. }
        ),
        "{error}"
    );
}
