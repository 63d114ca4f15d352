//! How clusters begin, and who is let in.

use std::time::Duration;

use trilith_env::sim::SimDisk;
use trilith_peer::Registry;
use trilith_types::{Incarnation, NodeId};

use super::{World, numbered};
use crate::{FoundError, Member, NotMember, PartitionError, Start, found_of_list};

fn waiting(nodes: usize) -> (World, trilith_peer::Found) {
    let mut world = World::unstarted(nodes);
    let Start::With(members) = world.machines[0].config.start.clone() else {
        unreachable!("the world's nodes have a list")
    };
    for number in 1..=nodes {
        world.machine(number).config.start = Start::Wait;
        world.start(number).unwrap();
    }
    (world, found_of_list(&members).unwrap())
}

fn member(founder: &trilith_peer::Founder) -> Member {
    Member {
        name: founder.name.clone(),
        peer_address: founder.peer_address.clone(),
    }
}

#[test]
fn nodes_that_were_told_nothing_wait_and_never_found() {
    let (mut world, found) = waiting(3);
    world.run(Duration::from_secs(3));
    for number in 1..=3 {
        let node = world.node(number);
        assert!(matches!(
            node.partitions("x"),
            Err(PartitionError::NotMember(NotMember::NotFounded(_)))
        ));
        assert!(Registry::identity(&node).member.is_none());
    }
    for number in 1..=3 {
        world.node(number).found(&found).unwrap();
        world.node(number).found(&found).unwrap();
    }
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    assert_eq!(world.values("stones", 0), numbered(&["a"]));
    let other = trilith_peer::Found {
        joins: false,
        cluster: trilith_types::ClusterId(77),
        ..found
    };
    let refused = world.node(1).found(&other);
    assert!(matches!(refused, Err(FoundError::Founded { .. })));
}

#[test]
fn a_founded_node_hands_the_cluster_to_a_founder_that_never_came() {
    let (mut world, found) = waiting(3);
    let members: Vec<Member> = found.members.iter().map(member).collect();
    let cluster = world.node(1).init(&members).unwrap();
    assert_eq!(world.node(1).init(&members).unwrap(), cluster, "said again");
    assert!(matches!(
        world.node(1).init(&members[..1]),
        Err(FoundError::Founded { .. })
    ));
    world.run(Duration::from_millis(100));
    let given = world.node(1).found_for("n2").unwrap();
    assert_eq!((given.cluster, &given.members), (cluster, &found.members));
    Registry::found(&world.node(2), given).unwrap();
    assert!(world.node(1).found_for("stranger").is_none());
    world.create("stones", 1);
    world.until("n2 has registered", |world| {
        world.node(1).found_for("n2").is_none()
    });
}

#[test]
fn emptied_directories_old_copies_and_strangers_are_refused() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.run(Duration::from_secs(1));
    let before = Registry::identity(&world.node(3));
    let judge = world.node(1);
    world.kill(3);
    world.machine(3).disk = SimDisk::new(99);
    world.machine(3).config.start = Start::Wait;
    world.start(3).unwrap();
    let emptied = Registry::identity(&world.node(3));
    let reason = judge
        .admit(NodeId(3), "n3", emptied.incarnation)
        .unwrap_err();
    assert!(reason.contains("another data directory"), "{reason}");
    let reason = judge
        .admit(NodeId(3), "n9", before.incarnation)
        .unwrap_err();
    assert!(reason.contains("node 3 is \"n3\", not \"n9\""), "{reason}");
    let earlier = Incarnation(before.incarnation.0 - (1 << 40));
    let reason = judge.admit(NodeId(3), "n3", earlier).unwrap_err();
    assert!(reason.contains("start number 0, but number 1"), "{reason}");
    let reason = judge
        .admit(NodeId(9), "n9", before.incarnation)
        .unwrap_err();
    assert!(reason.contains("no node 9"), "{reason}");
    let reason = judge
        .admit(NodeId(1), "n1", before.incarnation)
        .unwrap_err();
    assert!(reason.contains("node 1 itself"), "{reason}");
    judge.admit(NodeId(3), "n3", before.incarnation).unwrap();
    // A node that was started a moment ago and reaches nobody remembers.
    world.kill(2);
    world.kill(1);
    drop(judge);
    world.start(1).unwrap();
    let judge = world.node(1);
    let reason = judge
        .admit(NodeId(3), "n3", emptied.incarnation)
        .unwrap_err();
    assert!(reason.contains("another data directory"), "{reason}");
    assert!(judge.found_for("n3").is_none());
}

#[test]
fn a_copy_of_a_directory_that_was_started_again_is_refused_though_its_number_is_the_latest() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.run(Duration::from_secs(1));
    let first = Registry::identity(&world.node(3)).incarnation;
    world.kill(3);
    let copy = world.machine(3).disk.fork(7);
    world.start(3).unwrap();
    // What the copy does not have is acknowledged.
    world.kill(2);
    world.produce("stones", 0, &["a"]);
    let second = Registry::identity(&world.node(3)).incarnation;
    assert_eq!((first.start(), second.start()), (1, 2));
    world.kill(3);
    let own = std::mem::replace(&mut world.machine(3).disk, copy);
    world.start_unheard(3).unwrap();
    let copied = Registry::identity(&world.node(3)).incarnation;
    assert_eq!(copied.start(), 2);
    let judge = world.node(1);
    let reason = judge.admit(NodeId(3), "n3", copied).unwrap_err();
    assert!(
        reason.contains("another copy of its data directory has started since"),
        "{reason}"
    );
    // It tries as often as it likes, with the same life: nobody has let it in.
    world.kill(3);
    world.start_unheard(3).unwrap();
    let again = Registry::identity(&world.node(3)).incarnation;
    assert_eq!(again, copied);
    world.kill(3);
    world.machine(3).disk = own;
    world.start(3).unwrap();
    let third = Registry::identity(&world.node(3)).incarnation;
    assert_eq!(third.start(), 3);
    assert_eq!(world.values("stones", 0), numbered(&["a"]));
}

/// One of two copies came to this node, the other one to those who tell the cluster of it.
#[test]
fn where_the_cluster_knows_one_copy_and_a_node_the_other_neither_comes_in_again() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.run(Duration::from_secs(1));
    let judge = world.node(1);
    let known = Registry::identity(&world.node(3)).incarnation;
    let [one, other] = [1, 2].map(|life| known.next(life));
    judge.admit(NodeId(3), "n3", one).unwrap();
    let mut nodes = (*judge.inner.book.nodes()).clone();
    nodes.get_mut(&NodeId(3)).unwrap().incarnation = other;
    judge.inner.book.replace(nodes);
    for copy in [one, other] {
        let reason = judge.admit(NodeId(3), "n3", copy).unwrap_err();
        assert!(reason.contains("another copy"), "{reason}");
    }
    judge.admit(NodeId(3), "n3", one.next(3)).unwrap();
}

#[test]
fn the_feature_level_rises_when_every_node_has_it_and_never_falls() {
    let mut world = World::unstarted(3);
    for (number, level) in [(1, 2), (2, 2), (3, 1)] {
        world.machine(number).config.feature_level = level;
        world.start(number).unwrap();
    }
    let levels = |world: &World| {
        let level = |n| world.node(n).inner.controller.read().feature_level();
        world.running().into_iter().map(level).collect::<Vec<u32>>()
    };
    world.create("stones", 1);
    world.run(Duration::from_secs(2));
    assert_eq!(
        levels(&world),
        [1, 1, 1],
        "one of them is of an earlier version"
    );
    world.kill(3);
    world.produce("stones", 0, &["a"]);
    world.machine(3).config.feature_level = 2;
    world.start(3).unwrap();
    world.until("all have it", |world| levels(world) == [2, 2, 2]);
    world.kill(3);
    world.machine(3).config.feature_level = 1;
    world.start(3).unwrap();
    world.run(Duration::from_secs(2));
    assert_eq!(levels(&world), [2, 2, 2]);
    let known = world
        .node(1)
        .inner
        .controller
        .read()
        .node(NodeId(3))
        .cloned();
    assert_eq!(
        known.unwrap().feature_level,
        2,
        "its start is not registered"
    );
    assert_eq!(world.values("stones", 0), numbered(&["a"]));
}
