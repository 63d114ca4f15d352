//! Replicas that are too far behind for the log.

use trilith_env::sim::FlipIn;
use trilith_host::Alarm;
use trilith_storage::ReadError;
use trilith_types::{LogIndex, NodeId, Offset};

use crate::{
    damage::{journals, lose, stores, written},
    machine::TRIM,
    support::{Cluster, GROUP, node},
};

fn follower(cluster: &Cluster) -> NodeId {
    let leader = cluster.leader();
    cluster
        .ids()
        .into_iter()
        .find(|&id| Some(id) != leader)
        .unwrap()
}

/// A follower is away while most of the log goes.
fn behind(cluster: &mut Cluster) -> NodeId {
    cluster.store(10, 2_000);
    cluster.agree();
    let away = follower(cluster);
    cluster.power_cut(away);
    cluster.store(190, 2_000);
    let leader = cluster.leader().unwrap();
    let ticket = cluster.request(leader, TRIM | 120, false);
    cluster.until("it is applied", |_| ticket.is_stored());
    cluster.until("the leader's log begins later", |c| {
        c.status(leader).start_offset == Offset(120)
    });
    away
}

#[test]
fn a_follower_behind_the_log_gets_a_snapshot() {
    let mut cluster = Cluster::started(60, 3);
    let away = behind(&mut cluster);
    cluster.start(away);
    let values = cluster.agree();
    assert_eq!(values.len(), 200);
    assert_eq!(cluster.handle(away).metrics().snapshots_installed.get(), 1);
    assert_eq!(cluster.read_log(away), values[120..]);
    // It goes on from there, through a power cut as well.
    cluster.store(5, 100);
    cluster.power_cut(away);
    cluster.store(5, 100);
    cluster.start(away);
    assert_eq!(cluster.agree().len(), 210);
    assert_eq!(cluster.read_log(away).len(), 90);
}

#[test]
fn entries_that_came_with_a_snapshot_are_mended_like_any_other() {
    // The log began with the snapshot's last entry for the core, so that nobody was asked for what
    // lies before it, and a reader waited there until the next start.
    let mut cluster = Cluster::started(66, 3);
    let away = behind(&mut cluster);
    cluster.start(away);
    let values = cluster.agree();
    assert_eq!(cluster.handle(away).metrics().snapshots_installed.get(), 1);
    let disk = cluster.nodes[&away].disk.clone();
    for store in stores(&cluster, away) {
        let middle = written(&disk, &store) / 2;
        disk.flip_bit(&store, middle, 3, FlipIn::Both).unwrap();
    }
    let reader = cluster.group(away).reader();
    let met = (120..200).find_map(|offset| match reader.read(Offset(offset), 1) {
        Err(ReadError::Damaged { next, .. }) => Some(next),
        _ => None,
    });
    cluster
        .handle(away)
        .damaged(GROUP, met.expect("a reader meets it"));
    cluster.until("it is mended", |c| {
        let mended = |alarm: &Alarm| matches!(alarm, Alarm::Repaired { .. });
        c.alarms(away).iter().any(mended) && c.status(away).core.first_damaged.is_none()
    });
    assert_eq!(cluster.read_log(away), values[120..]);
}

#[test]
fn a_stream_that_breaks_off_goes_on_where_it_was() {
    let mut cluster = Cluster::new(61, 3);
    cluster.settings.snapshot_bytes_per_second = 200_000;
    cluster.log.segment_bytes = 32 << 10;
    cluster.start_all();
    cluster.await_leader();
    cluster.store(10, 20_000);
    let away = follower(&cluster);
    cluster.power_cut(away);
    cluster.store(120, 20_000);
    let leader = cluster.leader().unwrap();
    let ticket = cluster.request(leader, TRIM | 30, false);
    cluster.until("it is applied", |_| ticket.is_stored());
    cluster.until("the log begins later", |c| {
        c.status(leader).start_offset == Offset(30)
    });
    cluster.start(away);
    cluster.until("some of it came", |c| {
        c.handle(away).metrics().snapshot_bytes_received.get() > 1_000_000
    });
    cluster.cut_off(away);
    cluster.ticks(200);
    cluster.heal();
    assert_eq!(cluster.agree().len(), 130);
    let received = cluster.handle(away).metrics().snapshot_bytes_received.get();
    // All of it once is 100 entries of 20,000 bytes.
    assert!(received < 3_200_000, "{received} bytes came");
}

#[test]
fn entries_go_on_while_a_snapshot_is_sent() {
    let mut cluster = Cluster::new(62, 3);
    cluster.settings.snapshot_bytes_per_second = 100_000;
    cluster.start_all();
    cluster.await_leader();
    let away = behind(&mut cluster);
    cluster.start(away);
    cluster.store(50, 500);
    assert_eq!(cluster.agree().len(), 250);
}

#[test]
fn a_snapshot_is_put_in_place_whole_or_not_at_all() {
    // The power goes at every so-many-th operation of the receiver's disk.
    let mut installed = 0;
    for step in 0..25 {
        let mut cluster = Cluster::started(63, 3);
        let away = behind(&mut cluster);
        cluster.start(away);
        cluster.nodes[&away].disk.power_cut_after(step * 9);
        for _ in 0..100 {
            cluster.tick();
            if !cluster.nodes[&away].disk.is_on() {
                break;
            }
        }
        cluster.power_cut(away);
        cluster.start(away);
        assert_eq!(cluster.agree().len(), 200, "step {step}");
        installed += cluster.handle(away).metrics().snapshots_installed.get();
        assert_eq!(cluster.read_log(away).len(), 80, "step {step}");
    }
    assert!(installed > 0);
}

#[test]
fn a_group_whose_state_is_everything_trims_its_log_and_sends_its_state() {
    let mut cluster = Cluster::new(64, 3);
    cluster.state_is_all = true;
    cluster.settings.sync_bytes = 50_000;
    cluster.start_all();
    cluster.await_leader();
    cluster.store(5, 3_000);
    let away = follower(&cluster);
    cluster.power_cut(away);
    cluster.store(200, 3_000);
    let leader = cluster.leader().unwrap();
    let status = cluster.status(leader);
    assert!(status.start_index.get() > 50, "{status:?}");
    cluster.start(away);
    assert_eq!(cluster.agree().len(), 205);
    assert_eq!(cluster.handle(away).metrics().snapshots_installed.get(), 1);
    let received = cluster.handle(away).metrics().snapshot_bytes_received.get();
    assert!(received < 20_000, "the state alone came: {received} bytes");
    for id in cluster.ids() {
        cluster.power_cut(id);
    }
    cluster.start_all();
    assert_eq!(cluster.agree().len(), 205);
    assert_eq!(cluster.values(node(1)).len(), 205);
}

#[test]
fn what_comes_after_a_snapshot_is_kept_though_bytes_of_it_are_lost() {
    // The entries that waited behind lost bytes were forgotten when the snapshot took the log's place,
    // and where the log itself could not be read the replica stopped.
    let mut cluster = Cluster::new(65, 3);
    cluster.settings.sync_bytes = 64 << 20;
    cluster.start_all();
    cluster.await_leader();
    let stored = cluster.store(100, 2_000);
    let leader = cluster.leader().unwrap();
    let others: Vec<NodeId> = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != leader)
        .collect();
    // The others let go of their logs' beginning; its own disk has not even the order to do so yet.
    let node = cluster.nodes.get_mut(&leader).unwrap();
    node.disk.configure(|config| config.slow = true);
    node.is_stuck = true;
    cluster.request(leader, TRIM | 95, false);
    cluster.until("the others' logs begin later", |c| {
        let begins = |&id| c.status(id).start_index > LogIndex(88);
        others.iter().all(begins)
    });
    // What it alone has comes after any snapshot of theirs.
    cluster.cut_off(leader);
    let own: Vec<u64> = (0..5).map(|_| cluster.put_at(leader, 1_000).0).collect();
    cluster.tick();
    // Two frames of the journal reach the disk, and then the power goes.
    for _ in 0..2 {
        assert!(cluster.nodes[&leader].disk.complete_next());
    }
    cluster.power_cut(leader);
    let node = cluster.nodes.get_mut(&leader).unwrap();
    node.disk.configure(|config| config.slow = false);
    node.is_stuck = false;
    for &id in &others {
        cluster.power_cut(id);
    }
    // One entry that the others have in their state alone, and one of its own.
    lose(&cluster, leader, &journals(&cluster, leader), stored[85]);
    lose(&cluster, leader, &journals(&cluster, leader), own[3]);
    cluster.heal();
    // They do not hear each other, so that nobody else can be elected.
    cluster.cut(others[0], others[1]);
    cluster.cut(others[1], others[0]);
    cluster.start_all();
    cluster.until("it leads again", |c| c.leader() == Some(leader));
    let installed = cluster.handle(leader).metrics().snapshots_installed.get();
    assert_eq!(installed, 1);
    cluster.heal();
    // Nobody else has ever seen what was lost of its own, so that it may go.
    let kept = [&stored[..], &own[..3]].concat();
    assert_eq!(cluster.agree(), kept);
    assert_eq!(cluster.read_log(leader), kept[95..]);
}
