//! Disks without room, and with room again.

use trilith_env::{Disk, sim::SimConfig};
use trilith_host::{Alarm, Refusal};
use trilith_types::{LogIndex, NodeId};

use crate::{damage::hurt_journal, machine::Outcome, support::Cluster};

fn fill(cluster: &Cluster, id: NodeId) {
    leave(cluster, id, 8192);
}

fn leave(cluster: &Cluster, id: NodeId, bytes: u64) {
    let disk = &cluster.nodes[&id].disk;
    let space = disk.space(std::path::Path::new("/")).unwrap();
    let used = space.total.saturating_sub(space.available);
    disk.configure(|config: &mut SimConfig| config.capacity = Some(used + bytes));
}

fn make_room(cluster: &Cluster, id: NodeId) {
    cluster.nodes[&id]
        .disk
        .configure(|config| config.capacity = None);
}

fn is_full(cluster: &mut Cluster, id: NodeId) -> bool {
    cluster.status(id).is_disk_full
}

#[test]
fn a_full_follower_says_so_and_comes_back_by_itself() {
    let mut cluster = Cluster::started(80, 3);
    cluster.store(5, 1_000);
    let leader = cluster.leader().unwrap();
    let full = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    fill(&cluster, full);
    cluster.store(300, 1_000);
    cluster.until("it is full", |c| is_full(c, full));
    assert!(cluster.alarms(full).contains(&Alarm::DiskFull));
    assert!(cluster.read_log(full).len() >= 5, "what it has can be read");
    make_room(&cluster, full);
    assert_eq!(cluster.agree().len(), 305);
    assert!(cluster.alarms(full).contains(&Alarm::DiskHasRoom));
    assert!(!is_full(&mut cluster, full));
}

#[test]
fn a_node_that_starts_on_a_full_disk_is_there_and_comes_back() {
    let mut cluster = Cluster::started(83, 3);
    let mut stored = cluster.store(20, 1_000);
    let leader = cluster.leader().unwrap();
    let full = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    cluster.power_cut(full);
    fill(&cluster, full);
    cluster.start(full);
    stored.extend(cluster.store(20, 1_000));
    assert!(is_full(&mut cluster, full));
    make_room(&cluster, full);
    assert_eq!(cluster.agree(), stored);
    assert!(!is_full(&mut cluster, full));
    assert_eq!(cluster.read_log(full), stored);
}

#[test]
fn what_finds_no_room_is_refused_and_not_kept_waiting() {
    let mut cluster = Cluster::started(84, 1);
    let stored = cluster.store(3, 1_000);
    let leader = cluster.leader().unwrap();
    fill(&cluster, leader);
    let (_, ticket) = cluster.put_at(leader, 200_000);
    cluster.settle();
    let full = Outcome::Refused(Refusal::DiskFull);
    assert_eq!(ticket.outcome(), Some(full.clone()));
    let (_, ticket) = cluster.put_at(leader, 8);
    cluster.settle();
    assert_eq!(ticket.outcome(), Some(full));
    assert_eq!(cluster.read_log(leader), stored);
    cluster.ticks(100);
    let alarms = cluster.alarms(leader);
    assert_eq!(
        alarms,
        [Alarm::DiskFull],
        "told once, however often it is tried"
    );
    make_room(&cluster, leader);
    cluster.until("there is room", |c| !is_full(c, leader));
    let more = cluster.store(1, 200_000);
    assert_eq!(cluster.agree(), [stored, more].concat());
}

#[test]
fn a_full_leader_hands_leadership_over() {
    let mut cluster = Cluster::started(81, 3);
    cluster.store(5, 1_000);
    let full = cluster.leader().unwrap();
    fill(&cluster, full);
    let mut refused = 0;
    for _ in 0..400 {
        let Some(leader) = cluster.leader() else {
            cluster.tick();
            continue;
        };
        if leader != full {
            break;
        }
        let (_, ticket) = cluster.put_at(leader, 1_000);
        cluster.settle();
        refused += usize::from(matches!(ticket.outcome(), Some(Outcome::Refused(_))));
    }
    cluster.until("another leads", |c| c.leader().is_some_and(|id| id != full));
    let stored = cluster.store(10, 1_000);
    make_room(&cluster, full);
    let values = cluster.agree();
    assert!(values.ends_with(&stored), "{refused} were refused");
}

#[test]
fn with_a_full_majority_writes_are_refused_and_reads_go_on() {
    let mut cluster = Cluster::started(82, 3);
    let stored = cluster.store(5, 1_000);
    for id in cluster.ids() {
        fill(&cluster, id);
    }
    let mut last = None;
    for _ in 0..3_000 {
        if let Some(leader) = cluster.leader() {
            let (_, ticket) = cluster.put_at(leader, 1_000);
            cluster.settle();
            last = ticket.outcome();
            if last == Some(Outcome::Refused(Refusal::DiskFull)) {
                break;
            }
        }
        cluster.tick();
    }
    assert_eq!(last, Some(Outcome::Refused(Refusal::DiskFull)));
    for id in cluster.ids() {
        assert!(cluster.read_log(id).starts_with(&stored));
        make_room(&cluster, id);
    }
    let values = cluster.agree();
    let more = cluster.store(3, 1_000);
    assert_eq!(cluster.agree(), [values, more].concat());
}

/// How far a node's log goes without a gap: all that it may have acknowledged.
fn whole_to(cluster: &mut Cluster, id: NodeId) -> LogIndex {
    let core = cluster.status(id).core;
    let first_damaged = core.first_damaged.map(|entry| entry.index.prev());
    first_damaged.unwrap_or(core.stored)
}

/// What came to mend lost entries and found no room was in memory alone, and counted as mended.
#[test]
fn what_mends_a_log_and_finds_no_room_is_not_relied_on() {
    let mut full = 0;
    for seed in 0..20 {
        let mut cluster = Cluster::new(160 + seed, 3);
        // The journal has room where the log has none.
        cluster.log.reserve_bytes = 16 << 20;
        cluster.start_all();
        cluster.await_leader();
        let stored = cluster.store(30, 3_000);
        cluster.agree();
        let leader = cluster.leader().unwrap();
        let hurt = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
        cluster.power_cut(hurt);
        hurt_journal(&cluster, hurt, seed);
        leave(&cluster, hurt, 8 << 20);
        cluster.start(hurt);
        let more = cluster.store(5, 100);
        full += u32::from(is_full(&mut cluster, hurt));
        let relied_on = whole_to(&mut cluster, hurt);
        // It is on its own, so that nobody tells it again.
        for id in cluster.ids() {
            cluster.power_cut(id);
        }
        cluster.start(hurt);
        let found = whole_to(&mut cluster, hurt);
        assert!(found >= relied_on, "seed {seed}: {relied_on}, {found}");
        make_room(&cluster, hurt);
        cluster.power_cut(hurt);
        cluster.start_all();
        assert_eq!(cluster.agree(), [stored, more].concat(), "seed {seed}");
    }
    assert!(full > 5, "{full} were full");
}
