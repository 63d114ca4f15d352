//! Three nodes and one: topics, batches, restarts.

use std::{collections::BTreeSet, io::ErrorKind, path::Path, time::Duration};

use trilith_env::{
    Disk,
    sim::{Failure, Op},
};

use trilith_topics::TopicSettingsPatch;
use trilith_types::{GroupId, Offset};

use super::{World, answer, batch_of, numbered};
use crate::{Durability, ProduceError, SyncPolicy};

#[test]
fn three_nodes_make_a_topic_and_keep_what_is_produced() {
    let mut world = World::new(3);
    let topic = world.create("stones", 6);
    assert_eq!((topic.settings.replicas, topic.placements.len()), (3, 6));
    world.until("every node knows the topic", |world| {
        world
            .running()
            .into_iter()
            .all(|n| world.node(n).partitions("stones") == Ok(6))
    });
    let leaders: BTreeSet<usize> = (0..6).map(|p| world.leader("stones", p)).collect();
    assert_eq!(leaders.len(), 3, "the leaders are spread");
    for partition in 0..6 {
        let first = world.produce("stones", partition, &["a", "b"]);
        let second = world.produce("stones", partition, &["c"]);
        assert_eq!(
            (first.first_offset, second.first_offset),
            (Offset(0), Offset(2))
        );
        assert_eq!(
            world.values("stones", partition),
            numbered(&["a", "b", "c"])
        );
    }
    world.run(Duration::from_secs(1));
    let ends = |world: &World, number: usize| {
        let applied = world.machines[number - 1].parts.as_ref().unwrap().applied();
        applied
            .into_iter()
            .filter(|(group, _)| *group > GroupId(1))
            .collect::<Vec<_>>()
    };
    assert_eq!(ends(&world, 1), ends(&world, 2));
    assert_eq!(ends(&world, 2), ends(&world, 3));
}

#[test]
fn one_node_is_a_cluster_too_and_is_found_again_after_a_restart() {
    let mut world = World::new(1);
    let topic = world.create("alone", 2);
    assert_eq!(topic.settings.replicas, 1);
    world.produce("alone", 1, &["a"]);
    world.kill(1);
    world.start(1).unwrap();
    world.until("the topic is found", |world| {
        world.node(1).partitions("alone") == Ok(2)
    });
    world.produce("alone", 1, &["b"]);
    world.stop(1);
    world.start(1).unwrap();
    assert_eq!(world.values("alone", 1), numbered(&["a", "b"]));
    assert_eq!(world.values("alone", 0), []);
}

#[test]
fn everything_acknowledged_comes_back_after_the_power_went_everywhere() {
    let mut world = World::new(3);
    world.create("stones", 3);
    for partition in 0..3 {
        world.produce("stones", partition, &["a", "b"]);
    }
    for number in 1..=3 {
        world.power_cut(number);
    }
    for number in 1..=3 {
        world.start(number).unwrap();
    }
    for partition in 0..3 {
        world.produce("stones", partition, &["c"]);
        assert_eq!(
            world.values("stones", partition),
            numbered(&["a", "b", "c"])
        );
    }
}

#[test]
fn a_deleted_topic_never_meets_its_bytes_again() {
    let mut world = World::new(3);
    let old = world.create("stones", 1);
    world.produce("stones", 0, &["old"]);
    let away = (1..=3).find(|&n| n != world.controller()).unwrap();
    world.kill(away);
    world.delete("stones");
    let new = world.create("stones", 1);
    assert!(new.id > old.id);
    world.produce("stones", 0, &["new"]);
    world.start(away).unwrap();
    let group =
        |topic: &super::Topic| trilith_topics::group_id(topic.id, trilith_types::PartitionId(0));
    let (old, new) = (group(&old), group(&new));
    world.until("the node that was away has the new one alone", |world| {
        let parts = world.machines[away - 1].parts.as_ref().unwrap();
        let groups: Vec<GroupId> = parts.applied().into_iter().map(|(g, _)| g).collect();
        groups.contains(&new) && !groups.contains(&old)
    });
    assert_eq!(world.values("stones", 0), numbered(&["new"]));
    let dir = crate::layout::groups_dir(std::path::Path::new("/data"));
    world.until("the old files are gone", |world| {
        let disk: &dyn trilith_env::Disk = &world.machines[away - 1].disk;
        let names = disk.list(&dir).unwrap();
        let prefix = format!("{}.", old.0 >> 32);
        !names.iter().any(|entry| {
            entry
                .path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(&prefix)
        })
    });
}

#[test]
fn files_of_a_deleted_topic_go_though_the_journal_has_forgotten_it() {
    // A node was stopped between the journal's word that a group is forgotten and the removal of its
    // files: they stayed for ever.
    let mut world = World::new(3);
    let old = world.create("stones", 1);
    let there = world.create("pebbles", 1);
    world.produce("pebbles", 0, &["a"]);
    world.delete("stones");
    world.run(Duration::from_secs(1));
    world.stop(2);
    let data = std::path::Path::new("/data");
    let dir = crate::layout::replica_dir(data, old.id, trilith_types::PartitionId(0));
    let kept = crate::layout::replica_dir(data, there.id, trilith_types::PartitionId(0));
    let disk = world.machine(2).disk.clone();
    let disk: &dyn trilith_env::Disk = &disk;
    disk.create_dir_all(&dir).unwrap();
    let file = disk.open(
        &dir.join("manifest.a"),
        trilith_env::OpenMode::CreateIfMissing,
    );
    drop(file.unwrap());
    world.start(2).unwrap();
    world.until("the old files are gone", |_| disk.list(&dir).is_err());
    assert!(!disk.list(&kept).unwrap().is_empty());
    assert_eq!(world.values("pebbles", 0), numbered(&["a"]));
}

#[test]
fn retention_moves_the_start_on_every_replica_alike() {
    let mut world = World::new(3);
    let patch = TopicSettingsPatch {
        retention_bytes: Some(1),
        segment_bytes: Some(16 << 10),
        ..Default::default()
    };
    world.create_with("short", &patch);
    let value = "x".repeat(1000);
    for _ in 0..60 {
        world.produce("short", 0, &[&value]);
    }
    world.run(Duration::from_secs(15));
    let earliest = world.reader("short", 0).earliest();
    assert!(earliest > Offset(0), "something was removed");
    world.run(Duration::from_secs(1));
    for number in 1..=3 {
        let shared = world
            .node(number)
            .inner
            .partition("short", trilith_types::PartitionId(0));
        let group = shared.unwrap().local.get().unwrap().clone();
        assert_eq!(group.reader().start_offset(), earliest, "node {number}");
    }
}

#[test]
fn a_full_disk_refuses_batches_and_takes_them_again_when_there_is_room() {
    let mut world = World::new(1);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let disk = world.machine(1).disk.clone();
    for op in [Op::Allocate, Op::SetLen, Op::Create] {
        disk.fail(Failure::of(op).forever().with(ErrorKind::StorageFull));
    }
    let large = "x".repeat(200_000);
    let refused = world.send(1, ("stones", 0), batch_of(&[&large], None));
    let error = world.wait(&refused).unwrap_err();
    assert!(matches!(error, ProduceError::DiskFull { .. }), "{error}");
    let refused = world.send(1, ("stones", 0), batch_of(&["no"], None));
    let error = world.wait(&refused).unwrap_err();
    assert!(matches!(error, ProduceError::DiskFull { .. }), "{error}");
    assert_eq!(world.values("stones", 0), numbered(&["a"]));
    disk.clear_failures();
    world.run(Duration::from_secs(1));
    world.produce("stones", 0, &["b"]);
    assert_eq!(world.values("stones", 0), numbered(&["a", "b"]));
}

/// What moves a log's start is an entry as well: it finds room where records find none.
#[test]
fn retention_makes_room_on_full_disks() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let keeps_all = TopicSettingsPatch {
            segment_bytes: Some(16_384),
            ..TopicSettingsPatch::default()
        };
        world.create_with("short", &keeps_all);
        world.produce("short", 0, &["a"]);
        for number in 1..=nodes {
            let disk = world.machine(number).disk.clone();
            let space = disk.space(Path::new("/")).unwrap();
            let capacity = space.total - space.available + (3 << 20);
            disk.configure(|config| config.capacity = Some(capacity));
        }
        let value = "x".repeat(4_000);
        let mut stored = 0;
        let mut refusals = 0;
        while refusals < 5 {
            let leader = world.leader("short", 0);
            let sent = world.send(leader, ("short", 0), batch_of(&[&value], None));
            match world.wait(&sent) {
                Ok(_) => (stored, refusals) = (stored + 1, 0),
                Err(ProduceError::DiskFull { .. }) => {
                    refusals += 1;
                    world.run(Duration::from_secs(1));
                }
                Err(error) => panic!("{nodes} nodes: {error}"),
            }
            assert!(stored < 1_000, "the disk is full some day");
        }
        assert!(stored > 20, "{nodes} nodes: {stored} records found room");
        let controller = world.controller();
        let keeps_little = TopicSettingsPatch {
            retention_bytes: Some(40_000),
            ..TopicSettingsPatch::default()
        };
        let (done, altered) = answer();
        world
            .node(controller)
            .alter_topic("short", &keeps_little, done);
        world.wait(&altered).unwrap();
        world.run(Duration::from_secs(30));
        assert!(
            world.reader("short", 0).earliest() > Offset(0),
            "{nodes} nodes"
        );
        for _ in 0..20 {
            world.produce("short", 0, &[&value]);
        }
    }
}

/// The others would give it back what it led before, at every look, and wait for it in vain.
#[test]
fn a_full_node_is_not_given_leadership_back_before_it_has_room() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let first = world.leader("stones", 0);
    world.run(Duration::from_secs(4));
    let disk = world.machine(first).disk.clone();
    for op in [Op::Allocate, Op::SetLen, Op::Create] {
        disk.fail(Failure::of(op).forever().with(ErrorKind::StorageFull));
    }
    let large = "x".repeat(200_000);
    let refused = world.send(first, ("stones", 0), batch_of(&[&large], None));
    assert!(world.wait(&refused).is_err());
    world.run(Duration::from_secs(1));
    for _ in 0..80 {
        world.run(Duration::from_millis(100));
        assert_ne!(world.leader("stones", 0), first);
    }
    world.produce("stones", 0, &[&large]);
    disk.clear_failures();
    world.run(Duration::from_secs(8));
    assert_eq!(world.leader("stones", 0), first);
    let expected = numbered(&["a", &large]);
    assert_eq!(world.values("stones", 0), expected);
}

#[test]
fn one_node_may_acknowledge_before_it_syncs_and_three_may_not() {
    for (nodes, durability) in [(1, Durability::Written), (3, Durability::Synced)] {
        let mut world = World::unstarted(nodes);
        for number in 1..=nodes {
            world.machine(number).config.sync = SyncPolicy::Os;
            world.start(number).unwrap();
        }
        world.create("stones", 1);
        assert_eq!(world.produce("stones", 0, &["a"]).durability, durability);
        for number in 1..=nodes {
            world.kill(number);
        }
        for number in 1..=nodes {
            world.start(number).unwrap();
        }
        let values = world.values("stones", 0);
        assert_eq!(
            values,
            numbered(&["a"]),
            "a process that ends takes nothing along"
        );
    }
}

#[test]
fn what_no_journal_file_has_room_for_is_refused_at_the_door() {
    // It got as far as the journal, and stopped the replica.
    let mut world = World::new(3);
    let topic = world.create("stones", 1);
    let most = topic.settings.record_bytes_max;
    assert!(most < 1 << 20, "files of 1 MiB take no such record");
    let node = world.controller();
    let patch = TopicSettingsPatch {
        record_bytes_max: Some(most + 1),
        ..Default::default()
    };
    let (done, answer) = answer();
    world.node(node).create_topic("large", &patch, false, done);
    let refused = world.wait(&answer).unwrap_err().to_string();
    assert!(refused.contains("raise journal_file"), "{refused}");
    let piece = "x".repeat(most as usize / 2);
    let leader = world.leader("stones", 0);
    let large = batch_of(&[&piece, &piece, &piece], None);
    let sent = world.send(leader, ("stones", 0), large);
    let refused = world.wait(&sent).unwrap_err();
    assert!(
        matches!(refused, ProduceError::BatchTooLarge { .. }),
        "{refused}"
    );
    let largest = "y".repeat(most as usize - 64);
    world.produce("stones", 0, &[&largest]);
    let values = world.values("stones", 0);
    assert_eq!(values, numbered(&[&largest]));
}
