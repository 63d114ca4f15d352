//! Many damaged entries are fetched with few messages, and none of them waits for another.

use trilith_raft::Role;

use crate::{
    repair::{assert_mended, damaged, said, start},
    support::{Cluster, Damage, i, id},
};

#[test]
fn many_damaged_entries_are_fetched_with_few_messages() {
    // It was one request, one answer and one wait for the clock an entry.
    let terms = [1; 1300];
    let mut cluster = Cluster::with_logs(2, [&terms, &terms, &terms]);
    let damage = Damage {
        ranges: (1..=605).map(|k| (i(2 * k), i(2 * k))).collect(),
        ..Damage::default()
    };
    cluster.elect(1);
    start(&mut cluster, 2, damage);
    cluster.events.clear();
    // The first heartbeat says who leads; no clock is needed after it.
    for _ in 0..3 {
        cluster.tick(1);
    }
    cluster.settle();
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(said(&cluster, "repair request"), 605_usize.div_ceil(128));
    assert_eq!(said(&cluster, "repair from"), 605_usize.div_ceil(128));
}

#[test]
fn an_answer_that_is_short_of_room_brings_the_next_request() {
    let terms = [1; 90];
    let mut cluster = Cluster::with_logs(2, [&terms, &terms, &terms]);
    cluster.host(1).entries_per_repair = 10;
    let damage = Damage {
        ranges: vec![(i(1), i(4)), (i(11), i(50)), (i(61), i(61))],
        ..Damage::default()
    };
    cluster.elect(1);
    start(&mut cluster, 2, damage);
    cluster.events.clear();
    for _ in 0..3 {
        cluster.tick(1);
    }
    cluster.settle();
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(said(&cluster, "repair from"), 5);
}

#[test]
fn what_the_leader_lacks_does_not_keep_the_rest_from_being_mended() {
    let terms = [1; 20];
    let mut cluster = Cluster::with_logs(2, [&terms, &terms, &terms]);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.core(1).damaged(&[(i(2), i(2))]).unwrap();
    let damage = Damage {
        ranges: vec![(i(2), i(2)), (i(5), i(5)), (i(9), i(12))],
        ..Damage::default()
    };
    start(&mut cluster, 2, damage);
    for _ in 0..3 {
        cluster.tick(1);
    }
    cluster.settle();
    // The leader has entry 2 in its state alone and offers that, after what it has in its log.
    assert_eq!(said(&cluster, "repair from 5 [1x1], 9 [1x4]"), 1);
    assert_eq!(cluster.core(2).status().first_damaged, None);
    cluster.heal();
    cluster.run(20);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn what_the_disk_has_not_written_again_yet_bounds_what_is_asked_for() {
    let terms = [1; 2100];
    let mut cluster = Cluster::with_logs(2, [&terms, &terms, &terms]);
    cluster.elect(1);
    let damage = Damage {
        ranges: (1..=1030).map(|k| (i(2 * k), i(2 * k))).collect(),
        ..Damage::default()
    };
    start(&mut cluster, 2, damage);
    cluster.host(2).syncs = false;
    cluster.events.clear();
    for _ in 0..3 {
        cluster.tick(1);
    }
    cluster.settle();
    // 1024 ranges at a time are being written again, 128 of them an answer.
    assert_eq!(said(&cluster, "repair from"), 8);
    assert_eq!(cluster.core(2).status().first_damaged, Some(id(1, 2)));
    // The disk has done them, and that brings the rest: no clock is needed.
    cluster.host(2).syncs = true;
    while cluster.host(2).sync_one() {}
    cluster.settle();
    assert_eq!(said(&cluster, "repair from"), 9);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn who_lacks_the_first_damaged_entry_is_asked_again_for_the_others() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2, 2], &[1, 1, 2, 2], &[1, 1, 2, 2]]);
    let damage = Damage {
        ranges: vec![(i(2), i(2)), (i(4), i(4))],
        ..Damage::default()
    };
    start(&mut cluster, 1, damage);
    start(&mut cluster, 2, damaged(2, 2));
    cluster.crash(3);
    cluster.core(1).campaign();
    cluster.turn(1);
    // What node 2 has of the two is lost on the way; that it has not got entry 2 is not.
    while let Some(packet) = cluster.network.pop_front() {
        if !packet.show().contains("repair from") {
            cluster.deliver_packet(packet);
        }
    }
    assert_eq!(cluster.role(1), Role::Repairing);
    assert!(cluster.core(1).is_damaged(i(4), i(4)));
    cluster.events.clear();
    cluster.run(8);
    assert_eq!(said(&cluster, "1->2 t3 repair request 2.4 to 2.4"), 1);
    assert_eq!(said(&cluster, "1->2 t3 repair request 1.2"), 0);
    assert!(!cluster.core(1).is_damaged(i(4), i(4)));
    assert!(cluster.core(1).is_damaged(i(2), i(2)), "node 3 may have it");
}
