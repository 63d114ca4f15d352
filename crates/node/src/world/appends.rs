//! Appending, syncing, acknowledging: in this order, and as few syncs as possible.

use std::time::Duration;

use trilith_env::sim::{Failure, Op, SimConfig, SimDisk};
use trilith_storage::Durability;
use trilith_types::{Offset, PartitionId};

use super::{World, batch, config};
use crate::{
    NodeConfig, PartitionError, Produce, ProduceError, REQUEST_BYTES, ReadError, SyncPolicy,
    TopicSettingsPatch,
};

fn slow() -> SimDisk {
    SimDisk::with(SimConfig {
        slow: true,
        ..SimConfig::new(1)
    })
}

fn start(disk: &SimDisk, config: NodeConfig) -> World {
    let mut world = World::start(disk, config).unwrap();
    world
        .node
        .create_topic(
            "t",
            &TopicSettingsPatch {
                partitions: Some(2),
                ..Default::default()
            },
        )
        .unwrap();
    world.finish();
    world
}

#[test]
fn nothing_is_acknowledged_or_seen_before_it_is_synced() {
    let mut world = start(&slow(), config());
    let answer = world.produce("t", 0, &["a", "b"]);
    world.run();
    assert!(answer.poll().is_none());
    assert_eq!(world.values("t", 0), []);
    world.finish();
    let appended = answer.get().unwrap();
    assert_eq!((appended.first_offset, appended.records), (Offset(0), 2));
    assert_eq!(appended.durability, Durability::Synced);
    assert_eq!(
        world.values("t", 0),
        [(Offset(0), "a".into()), (Offset(1), "b".into())]
    );
}

#[test]
fn what_gathers_during_a_sync_shares_the_next_one() {
    let mut world = start(&slow(), config());
    let first = world.produce("t", 0, &["first"]);
    world.run();
    let gathered: Vec<_> = (0..500).map(|_| world.produce("t", 0, &["x"])).collect();
    world.run();
    assert_eq!(
        world.node.metrics().unsynced_batches.get(),
        501,
        "all are in the page cache already"
    );
    world.finish();
    assert!(first.get().is_ok());
    let offsets: Vec<_> = gathered
        .iter()
        .map(|answer| answer.get().unwrap().first_offset.0)
        .collect();
    assert!(offsets.into_iter().eq(1..=500));
    let metrics = world.node.metrics();
    assert_eq!(
        (metrics.syncs.get(), metrics.appended_batches.get()),
        (2, 501)
    );
    assert_eq!(
        (metrics.queued_batches.get(), metrics.unsynced_batches.get()),
        (0, 0)
    );
    assert_eq!(world.node.admission().in_flight(), 0);
}

#[test]
fn a_failed_sync_fails_what_waited_for_it_and_poisons_that_partition_alone() {
    let mut world = start(&SimDisk::new(1), config());
    world.produce("t", 0, &["before"]);
    world.finish();
    world
        .disk
        .fail(Failure::of(Op::Sync).under("/data/topics/1/0"));
    let failed = [world.produce("t", 0, &["x"]), world.produce("t", 0, &["y"])];
    let other = world.produce("t", 1, &["other"]);
    world.finish();
    for answer in failed {
        assert!(matches!(answer.get(), Err(ProduceError::Poisoned { .. })));
    }
    assert!(other.get().is_ok());
    let later = world.produce("t", 0, &["later"]);
    world.finish();
    assert!(
        matches!(later.get(), Err(ProduceError::Poisoned { .. })),
        "there is no retry"
    );
    assert_eq!(
        world.values("t", 0),
        [(Offset(0), "before".into())],
        "what was synced stays readable"
    );
    let metrics = world.node.metrics();
    assert_eq!(
        (
            metrics.failed_syncs.get(),
            metrics.poisoned_partitions.get()
        ),
        (1, 1)
    );
    // After a restart the partition is in service again.
    let mut world = World::start(&world.crash(), config()).unwrap();
    let again = world.produce("t", 0, &["again"]);
    world.finish();
    assert!(again.get().is_ok());
}

#[test]
fn a_failed_write_fails_everything_that_is_not_synced() {
    let mut world = start(&slow(), config());
    world.produce("t", 0, &["before"]);
    world.finish();
    world
        .disk
        .fail(Failure::of(Op::Write).under("/data/topics/1/0"));
    let failed = [world.produce("t", 0, &["x"]), world.produce("t", 0, &["y"])];
    world.finish();
    for answer in failed {
        assert!(matches!(answer.get(), Err(ProduceError::Poisoned { .. })));
    }
    assert_eq!(world.node.metrics().poisoned_partitions.get(), 1);
    assert_eq!(world.node.admission().in_flight(), 0);
}

#[test]
fn a_full_disk_refuses_and_appends_go_on_when_there_is_space_again() {
    let disk = SimDisk::with(SimConfig {
        capacity: Some(1 << 20),
        ..SimConfig::new(1)
    });
    let mut world = start(&disk, config());
    let large = "x".repeat(100_000);
    let answers: Vec<_> = (0..12)
        .map(|_| {
            let answer = world.produce("t", 0, &[&large]);
            world.finish();
            answer.get()
        })
        .collect();
    let stored = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!((3..10).contains(&stored), "{stored}");
    assert!(matches!(
        answers.last(),
        Some(Err(ProduceError::DiskFull { .. }))
    ));
    assert_eq!(
        world.values("t", 0).len(),
        stored,
        "what was acknowledged stays readable"
    );
    assert_eq!(world.node.metrics().full_partitions.get(), 1);
    world
        .disk
        .configure(|config| config.capacity = Some(4 << 20));
    let later = world.produce("t", 0, &["later"]);
    world.finish();
    assert_eq!(world.node.metrics().full_partitions.get(), 0);
    assert_eq!(
        later.get().unwrap().first_offset,
        Offset(stored as u64),
        "there is no hole"
    );
}

#[test]
fn a_full_disk_refuses_all_that_wait_together() {
    let disk = SimDisk::with(SimConfig {
        capacity: Some(1 << 20),
        ..SimConfig::new(1)
    });
    let mut world = start(&disk, config());
    let large = "x".repeat(100_000);
    let answers: Vec<_> = (0..12).map(|_| world.produce("t", 0, &[&large])).collect();
    world.finish();
    let answers: Vec<_> = answers.iter().map(super::Answer::get).collect();
    let stored = world.values("t", 0).len();
    assert_eq!(
        answers.iter().filter(|answer| answer.is_ok()).count(),
        stored
    );
    let refused = |answer: &_| matches!(answer, Err(ProduceError::DiskFull { .. }));
    assert!(answers[stored..].iter().all(refused));
}

#[test]
fn a_batch_whose_deadline_has_passed_is_not_appended() {
    let mut world = start(&SimDisk::new(1), config());
    let send = |world: &World, ms| {
        let deadline = Some(world.node.deadline(Duration::from_millis(ms)));
        let batch = batch(&["x"]);
        world.send(Produce {
            topic: "t",
            partition: PartitionId(0),
            batch,
            deadline,
            permit: None,
        })
    };
    let (late, soon) = (send(&world, 10), send(&world, 30));
    world.clock.advance(Duration::from_millis(20));
    world.finish();
    assert_eq!(late.get(), Err(ProduceError::DeadlineExceeded));
    assert_eq!(soon.get().unwrap().first_offset, Offset(0));
    assert_eq!(world.node.metrics().expired_batches.get(), 1);
}

#[test]
fn what_cannot_be_appended_is_refused_with_its_reason() {
    let mut world = start(&SimDisk::new(1), config());
    let small = TopicSettingsPatch {
        record_bytes_max: Some(10),
        ..Default::default()
    };
    world.node.create_topic("small", &small).unwrap();
    let refused = |topic, partition, batch| {
        let produce = Produce {
            topic,
            partition: PartitionId(partition),
            batch,
            deadline: None,
            permit: None,
        };
        world.send(produce).get().unwrap_err()
    };
    let good = batch(&["x"]);
    assert!(matches!(
        refused("none", 0, good.clone()),
        ProduceError::Partition(PartitionError::UnknownTopic { .. })
    ));
    let unknown = refused("t", 2, good.clone());
    assert_eq!(
        unknown.to_string(),
        "topic \"t\" has partitions 0 to 1, not 2"
    );
    let eleven = refused("small", 0, batch(&["x", "12345678901"]));
    assert_eq!(
        eleven,
        ProduceError::RecordTooLarge {
            index: 1,
            bytes: 11,
            max: 10
        }
    );
    let changed = |at: usize| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 4;
        bytes.into()
    };
    assert!(matches!(
        refused("t", 0, changed(64)),
        ProduceError::Checksum { .. }
    ));
    assert!(matches!(
        refused("t", 0, changed(22)),
        ProduceError::UnsupportedCodec { codec: 4, .. }
    ));
    assert!(matches!(
        refused("t", 0, changed(16)),
        ProduceError::Malformed(_)
    ));
    let too_large = refused("t", 0, vec![2; 17 << 20].into());
    assert!(matches!(
        too_large,
        ProduceError::BatchTooLarge { .. } | ProduceError::Malformed(_)
    ));
    assert_eq!(world.node.metrics().failed_batches.get(), 7);
    world.finish();
    assert_eq!(world.values("t", 0), []);
}

#[test]
fn bytes_in_flight_are_bounded_and_room_can_be_waited_for() {
    let one = batch(&["x"]);
    let mut world = start(
        &slow(),
        NodeConfig {
            inflight_bytes_max: (one.len() + REQUEST_BYTES) * 2,
            ..config()
        },
    );
    let _two = [world.produce("t", 0, &["x"]), world.produce("t", 1, &["x"])];
    let third = world.produce("t", 0, &["x"]);
    assert!(matches!(third.get(), Err(ProduceError::NoRoom(_))));
    assert!(world.node.try_reserve(1).is_err());
    let (tx, rx) = std::sync::mpsc::channel();
    world
        .node
        .reserve(one.len(), move |permit| tx.send(permit).unwrap())
        .unwrap();
    assert!(rx.try_recv().is_err());
    world.finish();
    let permit = Some(rx.try_recv().unwrap());
    let fourth = world.send(Produce {
        topic: "t",
        partition: PartitionId(0),
        batch: one,
        deadline: None,
        permit,
    });
    world.finish();
    assert!(fourth.get().is_ok());
}

#[test]
fn without_syncs_an_append_is_acknowledged_as_written() {
    let mut world = start(
        &slow(),
        NodeConfig {
            sync: SyncPolicy::Os,
            ..config()
        },
    );
    let answer = world.produce("t", 0, &["a"]);
    world.run();
    assert_eq!(answer.get().unwrap().durability, Durability::Written);
    assert_eq!(world.values("t", 0).len(), 1);
    assert_eq!(world.node.metrics().syncs.get(), 0);
    // A clean close syncs all the same.
    let disk = world.close();
    disk.power_cut();
    disk.restart();
    assert_eq!(
        World::start(&disk, config()).unwrap().values("t", 0).len(),
        1
    );
}

#[test]
fn a_sync_comes_after_so_many_bytes() {
    let bytes = batch(&["x"]).len() as u64;
    let mut world = start(
        &SimDisk::new(1),
        NodeConfig {
            sync: SyncPolicy::EveryBytes(bytes * 3),
            ..config()
        },
    );
    let syncs = [1, 2, 3, 4, 5, 6].map(|_| {
        assert_eq!(world.produce("t", 0, &["x"]).poll(), None);
        world.finish();
        world.node.metrics().syncs.get()
    });
    assert_eq!(syncs, [0, 0, 1, 1, 1, 2]);
}

#[test]
fn a_sync_comes_after_so_long() {
    let every = SyncPolicy::Every(Duration::from_millis(20));
    let mut world = start(
        &SimDisk::new(1),
        NodeConfig {
            sync: every,
            ..config()
        },
    );
    let syncs = [0, 15, 4, 1, 19, 30].map(|ms| {
        world.clock.advance(Duration::from_millis(ms));
        world.finish();
        world.produce("t", 0, &["x"]);
        world.finish();
        world.node.metrics().syncs.get()
    });
    assert_eq!(syncs, [0, 0, 0, 1, 1, 2]);
}

#[test]
fn a_reader_is_woken_when_there_is_more() {
    let mut world = start(&slow(), config());
    let reader = world.node.reader("t", PartitionId(0)).unwrap();
    assert_eq!(reader.partition(), PartitionId(0));
    let (tx, rx) = std::sync::mpsc::channel();
    let _wait = reader
        .on_advance(reader.end(), move || tx.send(()).unwrap())
        .unwrap();
    world.produce("t", 0, &["x"]);
    world.run();
    assert!(rx.try_recv().is_err(), "it is not synced yet");
    world.finish();
    assert!(rx.try_recv().is_ok());
    assert_eq!(reader.read(Offset(0), 1).unwrap().next, Offset(1));
    let past = reader.read(Offset(2), 1).unwrap_err();
    assert!(matches!(
        past,
        ReadError::OutOfRange {
            offset: Offset(2),
            end: Offset(1),
            ..
        }
    ));
}

#[test]
fn a_time_is_found_to_the_record() {
    use trilith_batch::{BatchBuilder, Compression};
    use trilith_types::TimestampMs;
    let mut world = start(&SimDisk::new(1), config());
    for times in [[10, 20, 30], [40, 35, 50]] {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for time in times {
            builder
                .push_parts(None, None, &[], TimestampMs(time))
                .unwrap();
        }
        let batch = builder.build().unwrap();
        world.send(Produce {
            topic: "t",
            partition: PartitionId(0),
            batch,
            deadline: None,
            permit: None,
        });
    }
    world.finish();
    let reader = world.node.reader("t", PartitionId(0)).unwrap();
    let found = [0, 10, 11, 30, 31, 36, 41, 51]
        .map(|time| reader.offset_at_time(TimestampMs(time)).unwrap().0);
    assert_eq!(found, [0, 0, 1, 2, 3, 3, 5, 6]);
}
