//! A node that is gone for good, and a new one in its place.

use std::{collections::BTreeSet, time::Duration};

use trilith_env::Disk;
use trilith_host::PeerEvent;
use trilith_peer::{Reason, Refusal, Registry};
use trilith_topics::{
    TopicSettingsPatch,
    controller::{CONTROLLER_GROUP, FEATURE_LEVEL_REPLACE, Node as ControllerNode},
};
use trilith_types::{GroupId, NodeId, PartitionId};

use super::{World, answer, batch_of, numbered};
use crate::{ControlError, NotReady, Start};

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
    let refusals = |world: &mut World| {
        let (done, told) = answer();
        world.node(1).status(done);
        world.wait(&told).refused_by
    };
    let refused = Refusal {
        reason: Reason::StaleIncarnation,
        message: "an old copy".into(),
    };
    world.node(1).refused("n3:7401", &refused);
    assert_eq!(refusals(&mut world).len(), 1);
    world.kill(3);
    world.run(Duration::from_secs(2));
    let mut may = |old: &str, address: &str| {
        let controller = world.controller();
        world.node(controller).may_replace(old, "n4", address)
    };
    let taken = may("n3", "n2:7401").unwrap_err().to_string();
    assert!(taken.contains("the address of node 2"), "{taken}");
    assert!(may("n3", "n3:7401").unwrap(), "the old one's own is free");
    assert_eq!(replace(&mut world, "n3").unwrap().id, NodeId(4));
    // What one says that is no member any more is of no interest, now or later.
    world.until("it is seen", |world| {
        world.node(1).inner.book.nodes().len() == 3
            && !world.node(1).inner.book.nodes().contains_key(&NodeId(3))
    });
    assert!(refusals(&mut world).is_empty());
    world.node(1).refused("n3:7401", &refused);
    assert!(refusals(&mut world).is_empty());
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
    let refused = other.admit(NodeId(3), "n3", trilith_types::Incarnation::new(9, 1, 1));
    assert!(refused.unwrap_err().contains("removed"));
    assert!(Registry::found_for(&other, "n3").is_none());
    assert!(Registry::found_for(&other, "n4").is_none(), "it has come");
}

/// Makes a topic whose partitions have one replica each; which one is the third node's?
fn create_alone(world: &mut World) -> u32 {
    let alone = TopicSettingsPatch {
        partitions: Some(3),
        replicas: Some(1),
        ..Default::default()
    };
    let topic = world.create_with("alone", &alone);
    let mut places = topic.placements.iter();
    places.position(|place| place[..] == [NodeId(3)]).unwrap() as u32
}

/// It came back with what it knew before, and acknowledged writes to a topic that had been deleted so
/// that it could be replaced.
#[test]
fn a_node_that_was_removed_serves_nobody_once_it_hears_of_that() {
    let mut world = three_and_one();
    let partition = create_alone(&mut world);
    // A clean stop, after which it knows its topics without anybody's help.
    world.stop(3);
    world.run(Duration::from_secs(2));
    world.delete("alone");
    assert_eq!(replace(&mut world, "n3").unwrap().id, NodeId(4));
    // The others do not let it in.
    for other in 1..=2 {
        world.cut(3, other);
        world.cut(other, 3);
    }
    world.start_unheard(3).unwrap();
    world.until("it leads what it alone has", |world| {
        let shared = world
            .node(3)
            .inner
            .partition("alone", PartitionId(partition));
        shared.is_ok_and(|shared| shared.is_led_here())
    });
    let sent = world.send(3, ("alone", partition), batch_of(&["lost"], None));
    assert!(world.wait(&sent).is_ok(), "it does not know better yet");
    let (done, waits) = answer();
    let old = world.node(3);
    old.reader("alone", PartitionId(partition), done);
    let reader = world.wait(&waits).unwrap();
    let (wake, woken) = answer();
    let end = reader.end();
    let _wait = reader.on_advance(end, move || wake(())).unwrap();

    let message = world.node(1).removed(NodeId(3)).unwrap();
    assert!(world.node(1).removed(NodeId(2)).is_none(), "a member");
    assert!(
        world.node(1).removed(NodeId(9)).is_none(),
        "perhaps one that is to come"
    );
    let reason = Reason::Removed;
    old.refused("n1:7401", &Refusal { reason, message });
    let sent = world.send(3, ("alone", partition), batch_of(&["late"], None));
    let error = world.wait(&sent).unwrap_err().to_string();
    assert!(
        error.contains("was removed") && error.contains("other nodes"),
        "{error}"
    );
    world.wait(&woken);
    assert!(reader.read(end, 1).is_err(), "who reads is told, too");
    assert!(matches!(old.ready(), Err(NotReady::Removed(_))));
    let (done, refused) = answer();
    old.create_topic("more", &Default::default(), true, done);
    let refused = world.wait(&refused).unwrap_err();
    assert!(matches!(refused, ControlError::NotMember(_)), "{refused}");
    assert!(old.peers().is_empty(), "it troubles nobody any more");
}

/// One that is heard of may be replaced only when the others do not hear of it; then it sees so in
/// the state that it still gets.
#[test]
fn a_node_sees_in_the_clusters_state_that_it_was_removed() {
    let mut world = three_and_one();
    for number in 1..=2 {
        world.node(number).peer_event(PeerEvent::Suspect(NodeId(3)));
    }
    assert_eq!(replace(&mut world, "n3").unwrap().id, NodeId(4));
    world.until("it has seen that", |world| {
        matches!(world.node(3).ready(), Err(NotReady::Removed(_)))
    });
    assert!(world.node(1).still_member().is_ok());
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

/// It went on without a word, and never voted.
#[test]
fn a_node_without_its_files_of_votes_says_that_it_has_no_vote() {
    let mut world = World::new(3);
    world.create("stones", 2);
    let partition = create_alone(&mut world);
    for partition in 0..2 {
        world.produce("stones", partition, &["a"]);
    }
    world.produce("alone", partition, &["a"]);
    world.stop(3);
    for name in trilith_storage::votes::FILE_NAMES {
        let path = std::path::Path::new("/data").join(name);
        world.machine(3).disk.remove_file(&path).unwrap();
    }
    world.start(3).unwrap();
    for start in 0..2 {
        world.run(Duration::from_secs(2));
        let (done, told) = answer();
        world.node(3).status(done);
        // The controller's group and the two partitions that others have, too.
        assert_eq!(world.wait(&told).voteless, 3, "start {start}");
        // Nobody else ever counted on its vote in what it has alone.
        world.produce("alone", partition, &["b"]);
        world.stop(3);
        world.start(3).unwrap();
    }
    assert_eq!(world.values("alone", partition), numbered(&["a", "b", "b"]));
    let (done, told) = answer();
    world.node(1).status(done);
    assert_eq!(world.wait(&told).voteless, 0);
}
