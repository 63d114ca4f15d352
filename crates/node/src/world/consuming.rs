//! Readers and those who wait.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use trilith_env::{
    Disk, OpenMode,
    sim::{FlipIn, SimDisk},
};
use trilith_types::{Offset, PartitionId};

use super::{World, answer, numbered};
use crate::{PartitionError, ReadError};

#[test]
fn a_waiting_reader_is_woken_by_records_and_by_the_loss_of_the_quorum() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let reader = world.reader("stones", 0);
    let woken = || {
        let woken = Arc::new(AtomicBool::new(false));
        let callback = {
            let woken = Arc::clone(&woken);
            move || woken.store(true, Ordering::Relaxed)
        };
        (woken, callback)
    };
    let (by_record, callback) = woken();
    let _wait = reader.on_advance(Offset(1), callback).unwrap();
    world.produce("stones", 0, &["b"]);
    world.until("records wake", |_| by_record.load(Ordering::Relaxed));
    let leader = world.leader("stones", 0);
    for other in (1..=3).filter(|&other| other != leader) {
        world.kill(other);
    }
    let (by_loss, callback) = woken();
    let _wait = reader.on_advance(Offset(2), callback).unwrap();
    // Two election timeouts: 15 to 30 ticks of 20 ms each.
    world.run(Duration::from_millis(1_200));
    assert!(
        by_loss.load(Ordering::Relaxed),
        "the loss of the quorum wakes"
    );
    let error = reader.read(Offset(0), 100).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Partition(PartitionError::NotLeader { .. })
        ),
        "{error}"
    );
    assert!(reader.on_advance(Offset(2), || ()).is_err());
}

#[test]
fn a_node_without_a_quorum_confirms_no_end() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let leader = world.leader("stones", 0);
    for other in (1..=3).filter(|&other| other != leader) {
        world.cut(leader, other);
        world.cut(other, leader);
    }
    let (done, given) = answer();
    world.node(leader).reader("stones", PartitionId(0), done);
    let refused = world.wait(&given).map(drop).unwrap_err();
    assert!(
        matches!(
            refused,
            ReadError::NoQuorum { .. } | ReadError::Partition(_)
        ),
        "{refused}"
    );
    world.heal();
    assert_eq!(world.values("stones", 0), numbered(&["a"]));
}

#[test]
fn a_node_that_lags_catches_up_before_it_says_that_there_is_no_topic() {
    let mut world = World::new(3);
    world.create("stones", 1);
    for number in 1..=3 {
        let (done, caught_up) = answer();
        world.node(number).catch_up(done);
        world.wait(&caught_up).unwrap();
        assert_eq!(world.node(number).partitions("stones"), Ok(1));
        assert_eq!(
            world.node(number).partitions("none"),
            Err(PartitionError::UnknownTopic {
                topic: "none".to_owned()
            })
        );
    }
}

#[test]
fn a_node_that_does_not_lead_names_the_one_that_does() {
    let mut world = World::new(3);
    world.create("stones", 1);
    let leader = world.leader("stones", 0);
    world.run(Duration::from_secs(1));
    let other = (1..=3).find(|&n| n != leader).unwrap();
    let sent = world.send(other, ("stones", 0), super::batch_of(&["a"], None));
    let error = world.wait(&sent).unwrap_err().to_string();
    let expected = format!("node {leader} at n{leader}:7400 does");
    assert!(error.contains(&expected), "{error}");
    let metadata = world.node(other).metadata(None);
    let partition = &metadata.topics[0].partitions[0];
    assert_eq!(partition.leader.map(|node| node.0 as usize), Some(leader));
    let (done, described) = answer();
    world.node(leader).describe_topic("stones", done);
    let description = world.wait(&described).unwrap();
    assert_eq!(
        description.partitions[0].stats.unwrap().end_offset,
        Offset(0)
    );
    let (done, status) = answer();
    world.node(leader).status(done);
    let status = world.wait(&status);
    assert_eq!(
        (status.groups, status.nodes.len(), status.leaderless),
        (2, 3, 0)
    );
}

#[test]
fn damage_that_a_reader_meets_is_mended_by_another_node() {
    let mut world = World::new(3);
    world.create("stones", 1);
    for value in ["first record", "second record", "third record"] {
        world.produce("stones", 0, &[value]);
    }
    let leader = world.leader("stones", 0);
    let reader = world.reader("stones", 0);
    assert!(reader.is_replicated());
    let data = Path::new("/data/groups");
    let damaged = damage(&world.machine(leader).disk, data, b"second record");
    assert_eq!(damaged, 1, "the text stands in one segment");
    let error = reader.read(Offset(1), 1000).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    world.until("it can be read", |_| reader.read(Offset(1), 1000).is_ok());
    assert_eq!(
        world.values("stones", 0),
        numbered(&["first record", "second record", "third record"])
    );
}

/// Flips a bit of `text` in each file below `dir` that holds it; how many there were.
fn damage(disk: &SimDisk, dir: &Path, text: &[u8]) -> usize {
    let mut damaged = 0;
    for entry in disk.list(dir).unwrap() {
        if entry.is_dir {
            damaged += damage(disk, &entry.path, text);
            continue;
        }
        let file = disk.open(&entry.path, OpenMode::ReadOnly).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
            disk.flip_bit(&entry.path, at as u64, 1, FlipIn::Both)
                .unwrap();
            damaged += 1;
        }
    }
    damaged
}
