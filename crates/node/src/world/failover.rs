//! Leaders that go and come back.

use std::time::Duration;

use trilith_batch::{ProducerStamp, Sequence};
use trilith_types::{Offset, PartitionId};

use super::{World, answer, batch_of, numbered};
use crate::{NotReady, PartitionError, ProduceError};

#[test]
fn a_killed_leader_is_replaced_and_every_record_is_there_once() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let first = world.leader("stones", 0);
    world.kill(first);
    world.produce("stones", 0, &["b"]);
    let second = world.leader("stones", 0);
    assert_ne!(first, second);
    world.start(first).unwrap();
    world.produce("stones", 0, &["c"]);
    assert_eq!(world.values("stones", 0), numbered(&["a", "b", "c"]));
}

#[test]
fn leadership_returns_to_a_node_that_is_back() {
    let mut world = World::new(3);
    world.create("stones", 3);
    let before: Vec<usize> = (0..3).map(|p| world.leader("stones", p)).collect();
    world.kill(1);
    for partition in 0..3 {
        assert_ne!(world.leader("stones", partition), 1);
    }
    world.start(1).unwrap();
    world.run(Duration::from_secs(6));
    let after: Vec<usize> = (0..3).map(|p| world.leader("stones", p)).collect();
    assert_eq!(before, after);
    world.produce("stones", 0, &["a"]);
    assert_eq!(world.values("stones", 0), numbered(&["a"]));
}

#[test]
fn a_clean_stop_hands_leadership_over_first() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let first = world.leader("stones", 0);
    world.stop(first);
    let second = world.leader("stones", 0);
    assert_ne!(first, second);
    world.produce("stones", 0, &["b"]);
    assert_eq!(world.values("stones", 0), numbered(&["a", "b"]));
}

#[test]
fn a_batch_whose_fate_was_unknown_is_stored_once_when_it_is_sent_again() {
    // The leader goes at each of these moments after it took the batch.
    for steps in 0..6 {
        let mut world = World::new(3);
        world.create("stones", 1);
        let controller = world.controller();
        let (done, given) = answer();
        world.node(controller).new_producer(done);
        let id = world.wait(&given).unwrap();
        let stamped = |sequence: i32, value: &str| {
            let sequence = Sequence::new(sequence).unwrap();
            let stamp = ProducerStamp {
                id,
                epoch: 0,
                sequence,
            };
            batch_of(&[value], Some(stamp))
        };
        let leader = world.leader("stones", 0);
        let sent = world.send(leader, ("stones", 0), stamped(0, "a"));
        assert_eq!(world.wait(&sent).unwrap().first_offset, Offset(0));
        let lost = world.send(leader, ("stones", 0), stamped(1, "b"));
        (0..steps).for_each(|_| {
            world.settle();
        });
        world.kill(leader);
        drop(lost);
        // Both again, as a client that lost its answers does.
        for (sequence, value) in [(0, "a"), (1, "b"), (1, "b"), (2, "c")] {
            let offset = loop {
                let leader = world.leader("stones", 0);
                let sent = world.send(leader, ("stones", 0), stamped(sequence, value));
                match world.wait(&sent) {
                    Ok(appended) => break appended.first_offset,
                    Err(ProduceError::Partition(PartitionError::NotLeader { .. })) => world.step(),
                    Err(error) => panic!("after {steps} rounds: {error}"),
                }
            };
            assert_eq!(offset, Offset(sequence as u64), "after {steps} rounds");
        }
        assert_eq!(world.values("stones", 0), numbered(&["a", "b", "c"]));
        let gap = world.leader("stones", 0);
        let sent = world.send(gap, ("stones", 0), stamped(7, "h"));
        assert!(
            matches!(world.wait(&sent), Err(ProduceError::Producer(_))),
            "a gap is refused"
        );
    }
}

#[test]
fn a_leader_that_is_cut_off_says_so_and_its_batches_are_not_acknowledged() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let old = world.leader("stones", 0);
    for other in (1..=3).filter(|&other| other != old) {
        world.cut(old, other);
        world.cut(other, old);
    }
    let sent = world.send(old, ("stones", 0), batch_of(&["lost"], None));
    world.until("another leads", |world| {
        (1..=3).filter(|&n| n != old).any(|n| {
            let shared = world.node(n).inner.partition("stones", PartitionId(0));
            shared.unwrap().is_led_here()
        })
    });
    let new = (1..=3).filter(|&n| n != old).find(|&n| {
        world
            .node(n)
            .inner
            .partition("stones", PartitionId(0))
            .unwrap()
            .is_led_here()
    });
    let kept = world.send(new.unwrap(), ("stones", 0), batch_of(&["b"], None));
    assert_eq!(world.wait(&kept).unwrap().first_offset, Offset(1));
    world.heal();
    let error = world.wait(&sent).unwrap_err();
    assert!(
        matches!(
            error,
            ProduceError::Partition(PartitionError::NotLeader { .. })
                | ProduceError::OutcomeUnknown
        ),
        "{error}"
    );
    world.run(Duration::from_secs(1));
    assert_eq!(world.values("stones", 0), numbered(&["a", "b"]));
}

#[test]
fn leadership_is_handed_over_first_and_does_not_come_back_while_the_node_leaves() {
    let mut world = World::new(3);
    world.create("stones", 3);
    world.produce("stones", 0, &["a"]);
    let first = world.leader("stones", 0);
    let leaving = world.node(first);
    let (done, handed_over) = answer();
    let done = parking_lot::Mutex::new(Some(done));
    leaving.hand_over(move || {
        if let Some(done) = done.lock().take() {
            done(());
        }
    });
    assert_eq!(leaving.ready(), Err(NotReady::Ending));
    world.wait(&handed_over);
    for partition in 0..3 {
        assert_ne!(world.leader("stones", partition), first);
    }
    // It is the preferred leader, and there yet: others would give it back what it led.
    world.run(Duration::from_secs(6));
    for partition in 0..3 {
        assert_ne!(world.leader("stones", partition), first);
    }
    world.produce("stones", 0, &["b"]);
    world.stop(first);
    world.start(first).unwrap();
    world.run(Duration::from_secs(6));
    assert_eq!(world.leader("stones", 0), first, "a new life is news");
    assert_eq!(world.values("stones", 0), numbered(&["a", "b"]));
}

#[test]
fn what_comes_while_leadership_is_handed_over_hears_of_the_next_leader() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let first = world.leader("stones", 0);
    world.node(first).hand_over(|| ());
    let sent = world.send(first, ("stones", 0), batch_of(&["b"], None));
    let error = world.wait(&sent).unwrap_err();
    let ProduceError::Partition(PartitionError::NotLeader { leader, .. }) = &error else {
        panic!("{error}");
    };
    let next = world.leader("stones", 0);
    assert_ne!(next, first);
    let named = leader.as_ref().map(|leader| leader.node.get());
    assert_eq!(named, Some(next as u64), "{error}");
}

#[test]
fn a_node_without_a_quorum_is_not_ready_and_says_why() {
    let mut world = World::new(3);
    world.create("stones", 1);
    for node in 1..=3 {
        assert_eq!(world.node(node).ready(), Ok(()));
    }
    world.kill(2);
    world.run(Duration::from_secs(2));
    for node in [1, 3] {
        assert_eq!(world.node(node).ready(), Ok(()), "two of three are enough");
    }
    world.kill(3);
    world.run(Duration::from_secs(2));
    let why = world.node(1).ready().unwrap_err();
    assert_eq!(
        why,
        NotReady::NoQuorum {
            voters: 3,
            heard: 1
        }
    );
    world.start(2).unwrap();
    world.run(Duration::from_secs(2));
    assert_eq!(world.node(1).ready(), Ok(()));
}
