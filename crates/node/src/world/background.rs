//! Marking, settling, retention: what goes on when nobody asks.

use std::time::Duration;

use trilith_env::sim::{Failure, Op, SimConfig, SimDisk};
use trilith_types::{Offset, PartitionId};

use super::{World, config};
use crate::{NodeConfig, ReadError, SyncPolicy, TopicSettingsPatch};

fn with_retention(patch: TopicSettingsPatch) -> World {
    let world = World::new(config());
    let patch = TopicSettingsPatch {
        segment_bytes: Some(16 << 10),
        ..patch
    };
    world.node.create_topic("t", &patch).unwrap();
    world
}

fn fill(world: &mut World, records: usize) {
    let value = "v".repeat(1000);
    for _ in 0..records {
        let answer = world.produce("t", 0, &[&value]);
        world.finish();
        answer.get().unwrap();
    }
}

#[test]
fn retention_by_bytes_removes_the_oldest_segments() {
    let mut world = with_retention(TopicSettingsPatch {
        retention_bytes: Some(40_000),
        ..Default::default()
    });
    fill(&mut world, 200);
    let reader = world.node.reader("t", PartitionId(0)).unwrap();
    assert_eq!(reader.earliest(), Offset(0));
    world.pass(Duration::from_secs(11));
    let earliest = reader.earliest();
    assert!((120..170).contains(&earliest.0), "{earliest}");
    assert_eq!(world.values("t", 0).len() as u64, 200 - earliest.0);
    let gone = reader.read(Offset(3), 1).unwrap_err();
    assert!(
        matches!(gone, ReadError::OutOfRange { offset: Offset(3), earliest: e, .. } if e == earliest)
    );
    let stats = world.describe("t").partitions[0].stats;
    assert!(
        stats.bytes < 60_000 && stats.start_offset == earliest,
        "{stats:?}"
    );
    assert!(world.node.metrics().retired_segments.get() > 5);
    assert!(world.node.metrics().retired_bytes.get() > 100_000);
}

#[test]
fn retention_by_age_empties_a_log_that_has_gone_quiet() {
    let patch = TopicSettingsPatch {
        retention_ms: Some(100_000),
        segment_ms: Some(50_000),
        ..Default::default()
    };
    let mut world = with_retention(patch);
    fill(&mut world, 40);
    world.pass(Duration::from_secs(90));
    assert_eq!(world.values("t", 0).len(), 40);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.values("t", 0).len(), 0);
    let reader = world.node.reader("t", PartitionId(0)).unwrap();
    assert_eq!((reader.earliest(), reader.end()), (Offset(40), Offset(40)));
    fill(&mut world, 1);
    assert_eq!(
        world.values("t", 0)[0].0,
        Offset(40),
        "offsets are never given twice"
    );
}

#[test]
fn retention_begins_and_ends_with_its_setting() {
    let mut world = with_retention(TopicSettingsPatch::default());
    fill(&mut world, 100);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.values("t", 0).len(), 100);
    let keep = |bytes| TopicSettingsPatch {
        retention_bytes: Some(bytes),
        ..Default::default()
    };
    world.node.alter_topic("t", &keep(20_000)).unwrap();
    world.pass(Duration::from_secs(30));
    let kept = world.values("t", 0).len();
    assert!(kept < 50, "{kept}");
    world.node.alter_topic("t", &keep(0)).unwrap();
    fill(&mut world, 100);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.values("t", 0).len(), kept + 100);
}

/// Lowered retention once took effect only at the next interval, and a full disk waited for it.
#[test]
fn lower_retention_makes_room_on_a_full_disk_at_once() {
    let disk = SimDisk::with(SimConfig {
        capacity: Some(1 << 20),
        ..SimConfig::new(1)
    });
    let mut world = World::start(&disk, config()).unwrap();
    let small = TopicSettingsPatch {
        segment_bytes: Some(64 << 10),
        ..Default::default()
    };
    world.node.create_topic("t", &small).unwrap();
    let value = "v".repeat(10_000);
    let refused = (0..200).find(|_| {
        let answer = world.produce("t", 0, &[&value]);
        world.finish();
        answer.get().is_err()
    });
    let stored = refused.expect("the disk runs full");
    assert_eq!(world.node.metrics().full_partitions.get(), 1);
    let keep = TopicSettingsPatch {
        retention_bytes: Some(100_000),
        ..Default::default()
    };
    world.node.alter_topic("t", &keep).unwrap();
    world.finish();
    let kept = world.values("t", 0).len();
    assert!(
        (5..30).contains(&kept) && kept < stored,
        "{kept} of {stored}"
    );
    fill(&mut world, 1);
    assert_eq!(world.node.metrics().full_partitions.get(), 0);
}

/// A server with the usual limit of 1024 open files once could not write to 200 partitions: each
/// kept six files open, and those that got none were closed to writes until the next start.
#[test]
fn more_partitions_are_written_to_than_may_have_files_open() {
    for policy in [SyncPolicy::Always, SyncPolicy::Os] {
        let mut world = World::new(NodeConfig {
            shards: 1,
            active_segments_max: 3,
            sync: policy,
            ..config()
        });
        let many = TopicSettingsPatch {
            partitions: Some(20),
            ..Default::default()
        };
        world.node.create_topic("t", &many).unwrap();
        for round in 0..3 {
            let answers: Vec<_> = (0..20)
                .map(|partition| world.produce("t", partition, &["x"]))
                .collect();
            world.finish();
            for (partition, answer) in answers.iter().enumerate() {
                let appended = answer.get().unwrap();
                assert_eq!(appended.first_offset, Offset(round), "{partition}");
            }
            let open = world.open_for_writing();
            assert!((1..=3).contains(&open), "{open} logs have files open");
        }
        assert_eq!(world.values("t", 19).len(), 3);
    }
}

#[test]
fn an_idle_log_is_settled_so_that_a_crash_finds_nothing_to_scan() {
    let mut world = World::new(config());
    world
        .node
        .create_topic("t", &TopicSettingsPatch::default())
        .unwrap();
    fill(&mut world, 3);
    world.pass(Duration::from_secs(70));
    let settled = world.disk.mutations();
    world.pass(Duration::from_secs(700));
    assert_eq!(world.disk.mutations(), settled, "and then it costs nothing");
    let mut world = World::start(&world.crash(), config()).unwrap();
    assert!(world.report.recovered.is_empty());
    fill(&mut world, 1);
    assert_eq!(world.values("t", 0).len(), 4);
}

#[test]
fn many_logs_that_fall_quiet_at_once_are_settled_a_few_at_a_time() {
    let mut world = World::new(NodeConfig {
        shards: 1,
        ..config()
    });
    let many = TopicSettingsPatch {
        partitions: Some(30),
        ..Default::default()
    };
    world.node.create_topic("t", &many).unwrap();
    for partition in 0..30 {
        world.produce("t", partition, &["x"]);
    }
    world.finish();
    world.clock.advance(Duration::from_secs(61));
    let before = world.disk.mutations();
    world.run();
    let first_turn = world.disk.mutations() - before;
    world.pass(Duration::from_secs(1));
    let all = world.disk.mutations() - before;
    assert!(
        first_turn > 0 && first_turn * 3 <= all,
        "{first_turn} of {all}"
    );
    let settled = world.disk.mutations();
    world.pass(Duration::from_secs(600));
    assert_eq!(world.disk.mutations(), settled);
}

#[test]
fn an_idle_log_says_soon_how_far_it_is_synced() {
    let mut world = World::new(config());
    world
        .node
        .create_topic("t", &TopicSettingsPatch::default())
        .unwrap();
    fill(&mut world, 3);
    let syncs = world.node.metrics().syncs.get();
    world.pass(Duration::from_secs(1));
    assert_eq!(
        world.node.metrics().syncs.get(),
        syncs + 1,
        "the mark is synced"
    );
    let world = World::start(&world.crash(), config()).unwrap();
    assert_eq!(world.report.recovered.len(), 1);
    assert_eq!(world.values("t", 0).len(), 3);
}

#[test]
fn a_chore_that_fails_for_good_poisons_the_partition() {
    let mut world = World::new(config());
    world
        .node
        .create_topic("t", &TopicSettingsPatch::default())
        .unwrap();
    fill(&mut world, 3);
    world
        .disk
        .fail(Failure::of(Op::Sync).under("/data/topics/1/0").forever());
    world.pass(Duration::from_secs(70));
    assert_eq!(world.node.metrics().poisoned_partitions.get(), 1);
    assert_eq!(world.values("t", 0).len(), 3);
}

#[test]
fn files_that_cannot_be_removed_are_removed_at_the_next_start() {
    let mut world = with_retention(TopicSettingsPatch {
        retention_bytes: Some(20_000),
        ..Default::default()
    });
    fill(&mut world, 60);
    world.disk.fail(Failure::of(Op::RemoveFile).forever());
    world.pass(Duration::from_secs(11));
    let earliest = world.node.reader("t", PartitionId(0)).unwrap().earliest();
    assert!(earliest > Offset(0));
    let disk: SimDisk = world.crash();
    disk.clear_failures();
    let files = |disk: &SimDisk| {
        use trilith_env::Disk;
        disk.list(std::path::Path::new("/data/topics/1/0"))
            .unwrap()
            .len()
    };
    let before = files(&disk);
    let world = World::start(
        &disk,
        NodeConfig {
            shards: 1,
            ..config()
        },
    )
    .unwrap();
    assert!(files(&disk) < before);
    assert_eq!(
        world.node.reader("t", PartitionId(0)).unwrap().earliest(),
        earliest
    );
}

#[test]
fn damage_is_refused_by_name_and_what_lies_around_it_is_served() {
    use trilith_env::{Disk, sim::FlipIn};
    let mut world = World::new(config());
    world
        .node
        .create_topic("t", &TopicSettingsPatch::default())
        .unwrap();
    for value in ["stone", "DAMAGED", "lintel"] {
        world.produce("t", 0, &[value]);
        world.finish();
    }
    let disk = world.close();
    let dir = std::path::Path::new("/data/topics/1/0");
    let files = disk.list(dir).unwrap().into_iter().map(|entry| entry.path);
    let store = files
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "log"))
        .unwrap();
    let bytes = disk.on_device(&store).unwrap();
    let at = bytes
        .windows(7)
        .position(|window| window == b"DAMAGED")
        .unwrap();
    disk.flip_bit(&store, at as u64, 3, FlipIn::Both).unwrap();
    disk.crash_process();

    let mut world = World::start(&disk, config()).unwrap();
    let reader = world.node.reader("t", PartitionId(0)).unwrap();
    assert_eq!(reader.read(Offset(0), 1 << 20).unwrap().next, Offset(1));
    let error = reader.read(Offset(1), 1 << 20).unwrap_err();
    assert!(
        error.to_string().contains(store.to_str().unwrap()),
        "{error}"
    );
    assert!(matches!(
        error,
        ReadError::Damaged {
            first: Offset(1),
            next: Offset(2),
            ..
        }
    ));
    let mut cursor = reader.cursor(Offset(1));
    assert!(cursor.read(1).is_err());
    assert_eq!(
        (cursor.position(), cursor.reader().end()),
        (Offset(1), Offset(3))
    );
    cursor.seek(Offset(2));
    assert_eq!(cursor.read(1).unwrap().batches[0].first_offset, Offset(2));
    fill(&mut world, 1);
    assert_eq!(reader.end(), Offset(4));
}
