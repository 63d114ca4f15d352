//! Topics: created, altered and deleted, with the power cut between any two disk operations.

use std::path::Path;

use trilith_env::{
    Disk,
    sim::{Failure, Op, SimDisk},
};
use trilith_types::{Offset, PartitionId};

use super::{World, config};
use crate::{
    PartitionError, ProduceError, ReadError, TopicError, TopicSettingsPatch, event::Event,
};

fn partitions(n: u32) -> TopicSettingsPatch {
    TopicSettingsPatch {
        partitions: Some(n),
        ..Default::default()
    }
}

#[test]
fn a_topic_made_again_never_meets_its_old_bytes() {
    let mut world = World::new(config());
    let first = world.node.create_topic("t", &partitions(2)).unwrap();
    world.produce("t", 0, &["old"]);
    world.finish();
    let reader = world.node.reader("t", PartitionId(0)).unwrap();
    let mut cursor = reader.cursor(Offset(0));
    let (tx, rx) = std::sync::mpsc::channel();
    let _wait = reader
        .on_advance(Offset(9), move || tx.send(()).unwrap())
        .unwrap();
    world.delete("t").unwrap();
    assert!(rx.try_recv().is_ok(), "those who wait are told");
    let gone = |error| {
        matches!(
            error,
            ReadError::Partition(PartitionError::UnknownTopic { .. })
        )
    };
    assert!(gone(reader.read(Offset(0), 1).unwrap_err()) && gone(cursor.read(1).unwrap_err()));
    let second = world.node.create_topic("t", &partitions(1)).unwrap();
    assert!(second.id > first.id);
    world.finish();
    assert_eq!(world.values("t", 0), []);
    assert!(
        world.disk.list(Path::new("/data/topics/1")).is_err(),
        "the old directory is gone"
    );
    let world = World::start(&world.crash(), config()).unwrap();
    assert_eq!(world.node.list_topics(), [second]);
}

#[test]
fn what_waits_for_a_deleted_topic_is_refused() {
    let mut world = World::new(config());
    world.node.create_topic("t", &partitions(1)).unwrap();
    world.finish();
    world.disk.configure(|config| config.slow = true);
    let unsynced = world.produce("t", 0, &["x"]);
    world.run();
    let queued = world.produce("t", 0, &["y"]);
    let shared = world.node.reader("t", PartitionId(0)).unwrap().shared;
    let (group, reply) = (shared.group(), Box::new(|| ()));
    world
        .node
        .inner
        .host
        .send(&shared, Event::Forget { group, reply });
    let too_late = world.produce("t", 0, &["z"]);
    world.finish();
    for answer in [unsynced, queued, too_late] {
        let unknown = ProduceError::Partition(PartitionError::UnknownTopic { topic: "t".into() });
        assert_eq!(answer.get(), Err(unknown));
    }
    let metrics = world.node.metrics();
    assert_eq!(
        (metrics.partitions.get(), metrics.queued_batches.get()),
        (0, 0)
    );
    assert_eq!(
        (metrics.unsynced_batches.get(), metrics.failed_batches.get()),
        (0, 3)
    );
    assert!(shared.still_there().is_err());
}

#[test]
fn partitions_are_added_and_settings_take_effect() {
    let mut world = World::new(config());
    world.node.create_topic("t", &partitions(1)).unwrap();
    world.produce("t", 0, &["a"]);
    let altered = TopicSettingsPatch {
        record_bytes_max: Some(5),
        ..partitions(3)
    };
    assert_eq!(
        world
            .node
            .alter_topic("t", &altered)
            .unwrap()
            .settings
            .partitions,
        3
    );
    assert_eq!(world.node.partitions("t"), Ok(3));
    let new = world.produce("t", 2, &["b"]);
    assert!(matches!(
        world.produce("t", 2, &["123456"]).get(),
        Err(ProduceError::RecordTooLarge { .. })
    ));
    world.finish();
    assert_eq!(new.get().unwrap().partition, PartitionId(2));
    assert!(matches!(
        world.node.alter_topic("t", &partitions(2)),
        Err(TopicError::Setting(_))
    ));
    assert!(matches!(
        world.node.alter_topic("none", &partitions(2)),
        Err(TopicError::Unknown { .. })
    ));
    let described = world.describe("t");
    let ends: Vec<_> = described
        .partitions
        .iter()
        .map(|p| p.stats.end_offset.0)
        .collect();
    assert_eq!((ends, described.topic.ready), (vec![1, 0, 1], 3));
}

#[test]
fn a_topic_that_cannot_be_made_leaves_nothing() {
    let mut world = World::new(config());
    world
        .disk
        .fail(Failure::of(Op::CreateDir).under("/data/topics/1/3"));
    let refused = world.node.create_topic("t", &partitions(5)).unwrap_err();
    assert!(
        matches!(refused, TopicError::Partition { partition: 3, .. }),
        "{refused}"
    );
    world.finish();
    assert!(world.node.list_topics().is_empty());
    assert!(world.disk.list(Path::new("/data/topics/1")).is_err());
    world.node.create_topic("t", &partitions(5)).unwrap();
}

#[test]
fn a_topic_that_cannot_be_noted_as_made_is_not_half_there() {
    let mut world = World::new(config());
    world
        .disk
        .fail(Failure::of(Op::Write).under("/data/catalog.a").nth(2));
    let refused = world.node.create_topic("t", &partitions(2)).unwrap_err();
    assert!(matches!(refused, TopicError::Catalog(_)), "{refused}");
    world.finish();
    assert!(world.node.list_topics().is_empty());
    assert!(world.disk.list(Path::new("/data/topics/1")).is_err());
    world.node.create_topic("t", &partitions(2)).unwrap();
}

#[test]
fn a_topic_that_cannot_be_taken_back_is_whole_or_gone_at_the_next_start() {
    let mut found = 0;
    for seed in 0..20 {
        let world = World::start(&SimDisk::new(seed), config()).unwrap();
        // A failed write may have written all, a part or nothing.
        world.disk.fail(
            Failure::of(Op::Write)
                .under("/data/catalog.a")
                .nth(2)
                .forever(),
        );
        assert!(world.node.create_topic("t", &partitions(2)).is_err());
        assert!(world.node.list_topics().is_empty());
        let disk = world.crash();
        disk.clear_failures();
        let mut world = World::start(&disk, config()).unwrap();
        world.finish();
        if let Some(topic) = world.node.list_topics().first() {
            found += 1;
            assert_eq!(topic.ready, 2, "seed {seed}");
            world.produce("t", 1, &["x"]);
            world.finish();
            assert_eq!(world.values("t", 1).len(), 1, "seed {seed}");
        } else {
            assert!(
                world.disk.list(Path::new("/data/topics/1")).is_err(),
                "seed {seed}"
            );
        }
    }
    assert!((1..20).contains(&found), "{found}");
}

#[test]
fn a_partition_that_could_not_be_made_is_made_at_a_later_start() {
    let world = World::new(config());
    world.node.create_topic("t", &partitions(1)).unwrap();
    world
        .disk
        .fail(Failure::of(Op::CreateDir).under("/data/topics/1/1"));
    assert!(matches!(
        world.node.alter_topic("t", &partitions(3)),
        Err(TopicError::Partition { .. })
    ));
    let refused = world.produce("t", 1, &["x"]).get().unwrap_err();
    assert!(matches!(
        refused,
        ProduceError::Partition(PartitionError::Unavailable { .. })
    ));
    assert_eq!(
        world.node.list_topics()[0].settings.partitions,
        3,
        "as the catalog has it"
    );
    let disk = world.crash();
    disk.fail(Failure::of(Op::CreateDir).under("/data/topics/1/2"));
    let world = World::start(&disk, config()).unwrap();
    assert_eq!(
        (
            world.report.unavailable.len(),
            world.node.list_topics()[0].ready
        ),
        (1, 1)
    );
    // More partitions meanwhile do not make it count as made.
    assert_eq!(
        world.node.alter_topic("t", &partitions(4)).unwrap().ready,
        1
    );
    let world = World::start(&world.crash(), config()).unwrap();
    assert_eq!(
        (
            world.report.unavailable.len(),
            world.node.list_topics()[0].ready
        ),
        (0, 4)
    );
}

#[test]
fn a_lost_partition_is_out_of_service_and_the_others_are_not() {
    let mut world = World::new(config());
    world.node.create_topic("t", &partitions(3)).unwrap();
    world.produce("t", 0, &["a"]);
    world.finish();
    let disk = world.close();
    for file in ["manifest.a", "manifest.b"] {
        disk.remove_file(&Path::new("/data/topics/1/1").join(file))
            .unwrap();
    }
    let lost = |disk: &SimDisk| {
        for entry in disk.list(Path::new("/data/topics/1/2")).unwrap() {
            disk.remove_file(&entry.path).unwrap();
        }
        disk.remove_dir(Path::new("/data/topics/1/2")).unwrap();
    };
    lost(&disk);
    disk.crash_process();
    let mut world = World::start(&disk, config()).unwrap();
    let out: Vec<_> = world
        .report
        .unavailable
        .iter()
        .map(|u| (u.partition.0, u.reason.clone()))
        .collect();
    assert_eq!(out.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2]);
    assert!(
        out.iter()
            .all(|(_, reason)| reason.contains("restore it from a copy")),
        "{out:?}"
    );
    assert_eq!(world.values("t", 0).len(), 1);
    let refused = world.produce("t", 1, &["x"]).get();
    assert!(matches!(
        refused,
        Err(ProduceError::Partition(PartitionError::Unavailable { .. }))
    ));
    assert!(world.describe("t").partitions[2].unavailable.is_some());
    world.delete("t").unwrap();
    world.finish();
    assert!(world.disk.list(Path::new("/data/topics/1")).is_err());
}

#[test]
fn a_lost_catalog_is_not_begun_anew() {
    let world = World::new(config());
    world.node.create_topic("t", &partitions(1)).unwrap();
    let disk = world.close();
    for file in ["/data/catalog.a", "/data/catalog.b"] {
        disk.remove_file(Path::new(file)).unwrap();
    }
    disk.crash_process();
    let error = World::start(&disk, config()).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("catalog.a and catalog.b are missing"),
        "{error}"
    );
}

#[test]
fn two_nodes_do_not_share_a_data_directory() {
    let world = World::new(config());
    let error = World::start(&world.disk, config()).err().unwrap();
    assert!(
        error.to_string().contains("is in use by process"),
        "{error}"
    );
}

/// Everything that can be done to topics, with a record in each that stays.
fn script(world: &mut World) -> Result<(), TopicError> {
    world.node.create_topic("stays", &partitions(2))?;
    world.produce("stays", 1, &["kept"]);
    world.finish();
    world.node.create_topic("goes", &partitions(2))?;
    world.produce("goes", 0, &["old"]);
    world.finish();
    world.node.alter_topic("stays", &partitions(3))?;
    world.delete("goes")?;
    world.finish();
    world.node.create_topic("goes", &partitions(1))?;
    Ok(())
}

#[test]
fn a_power_cut_at_any_point_leaves_whole_topics() {
    let disk = SimDisk::new(9);
    let mut world = World::start(&disk, config()).unwrap();
    let before = disk.mutations();
    script(&mut world).unwrap();
    let operations = disk.mutations() - before;
    assert!(operations > 50, "{operations}");
    for cut in 1..=operations {
        let disk = SimDisk::new(cut);
        let mut world = World::start(&disk, config()).unwrap();
        disk.power_cut_after(cut);
        let done = script(&mut world);
        drop(world);
        disk.power_cut();
        disk.restart();
        let mut world = World::start(&disk, config()).unwrap();
        assert!(
            world.report.unavailable.is_empty(),
            "cut {cut}: {:?}",
            world.report.unavailable
        );
        world.finish();
        check_topics(&mut world, done.is_ok(), cut);
    }
}

fn check_topics(world: &mut World, done: bool, cut: u64) {
    let topics = world.node.list_topics();
    let named = |name: &str| topics.iter().find(|topic| topic.name.as_str() == name);
    if done {
        assert_eq!(
            named("stays").map(|topic| topic.settings.partitions),
            Some(3),
            "cut {cut}"
        );
        assert!(
            named("goes").is_some_and(|topic| topic.id.0 == 3),
            "cut {cut}"
        );
    }
    for topic in &topics {
        assert_eq!(
            topic.ready, topic.settings.partitions,
            "cut {cut}: it is finished at the next start"
        );
        for partition in 0..topic.ready {
            let values = world.values(topic.name.as_str(), partition);
            let is_old = |(_, value): &(Offset, String)| value == "old";
            assert!(
                topic.id.0 != 3 || !values.iter().any(is_old),
                "cut {cut}: old bytes"
            );
            let answer = world.produce(topic.name.as_str(), partition, &["new"]);
            world.finish();
            assert!(answer.get().is_ok(), "cut {cut}");
        }
    }
    let on_disk: Vec<_> = match world.disk.list(Path::new("/data/topics")) {
        Ok(entries) => entries.into_iter().map(|entry| entry.path).collect(),
        Err(_) => Vec::new(),
    };
    let mut known: Vec<_> = topics
        .iter()
        .map(|topic| Path::new("/data/topics").join(topic.id.to_string()))
        .collect();
    known.sort();
    assert_eq!(on_disk, known, "cut {cut}: nothing is left behind");
}
