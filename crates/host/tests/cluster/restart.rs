//! Crashes, power cuts and clean stops.

use trilith_env::Clock;
use trilith_raft::Role;
use trilith_types::NodeId;

use crate::{
    machine::Outcome,
    support::{Cluster, GROUP},
};

fn follower(cluster: &Cluster) -> NodeId {
    let leader = cluster.leader();
    cluster
        .ids()
        .into_iter()
        .find(|&id| Some(id) != leader)
        .unwrap()
}

#[test]
fn one_node_loses_power_and_comes_back() {
    for seed in 20..26 {
        let mut cluster = Cluster::started(seed, 3);
        cluster.store(10, 300);
        let down = follower(&cluster);
        cluster.power_cut(down);
        cluster.store(10, 300);
        cluster.start(down);
        assert_eq!(cluster.agree().len(), 20);
        assert_eq!(cluster.read_log(down).len(), 20);
        cluster.store(5, 300);
        assert_eq!(cluster.agree().len(), 25);
    }
}

#[test]
fn the_leader_loses_power_and_another_takes_over() {
    for seed in 30..36 {
        let mut cluster = Cluster::started(seed, 3);
        let before = cluster.store(10, 300);
        let old = cluster.leader().unwrap();
        cluster.power_cut(old);
        cluster.until("another leads", |c| c.leader().is_some_and(|id| id != old));
        let after = cluster.store(10, 300);
        cluster.start(old);
        assert_eq!(cluster.agree(), [before, after].concat());
    }
}

#[test]
fn all_nodes_lose_power_at_once_and_nothing_that_was_stored_is_lost() {
    for seed in 40..50 {
        let mut cluster = Cluster::started(seed, 3);
        let mut stored = Vec::new();
        for _ in 0..3 {
            stored.extend(cluster.store(7, 500));
            let leader = cluster.leader().unwrap();
            // Some more of which nobody will know.
            let open: Vec<_> = (0..3).map(|_| cluster.put_at(leader, 200)).collect();
            for id in cluster.ids() {
                cluster.power_cut(id);
            }
            cluster.start_all();
            let values = cluster.agree();
            let known: Vec<u64> = values
                .iter()
                .copied()
                .filter(|value| open.iter().all(|(v, _)| v != value))
                .collect();
            assert_eq!(known, stored, "seed {seed}");
            stored = values;
        }
    }
}

#[test]
fn killed_processes_find_what_they_had_in_the_page_cache() {
    let mut cluster = Cluster::started(51, 3);
    let mut stored = Vec::new();
    for _ in 0..4 {
        stored.extend(cluster.store(5, 1000));
        for id in cluster.ids() {
            cluster.kill(id);
        }
        cluster.start_all();
        assert_eq!(cluster.agree(), stored);
    }
}

#[test]
fn requests_that_were_open_at_a_power_cut_are_dropped_with_the_process() {
    let mut cluster = Cluster::started(52, 3);
    cluster.store(1, 8);
    let leader = cluster.leader().unwrap();
    cluster.cut_off(leader);
    let (_, ticket) = cluster.put_at(leader, 8);
    cluster.settle();
    cluster.stop(leader);
    assert_eq!(ticket.outcome(), Some(Outcome::Unknown));
    cluster.heal();
    cluster.start(leader);
    cluster.agree();
}

#[test]
fn a_clean_stop_hands_leadership_over_first() {
    let mut cluster = Cluster::started(53, 3);
    cluster.store(5, 100);
    let old = cluster.leader().unwrap();
    let elections: u64 = cluster
        .ids()
        .iter()
        .map(|&id| cluster.handle(id).metrics().elections_won.get())
        .sum();
    cluster.stop(old);
    // No time has to pass: the successor stood for election at once.
    let leader = cluster.leader().expect("somebody leads already");
    assert_ne!(leader, old);
    assert_eq!(elections, 1);
    cluster.store(5, 100);
    cluster.start(old);
    assert_eq!(cluster.agree().len(), 10);
}

#[test]
fn everything_stops_cleanly_and_comes_back() {
    let mut cluster = Cluster::started(54, 3);
    let stored = cluster.store(30, 5000);
    for id in cluster.ids() {
        cluster.stop(id);
    }
    cluster.start_all();
    assert_eq!(cluster.agree(), stored);
    for id in cluster.ids() {
        assert_eq!(cluster.read_log(id), stored);
    }
}

#[test]
fn the_journal_turns_over_many_times_and_restarts_find_everything() {
    let mut cluster = Cluster::new(55, 3);
    cluster.settings.sync_bytes = 200_000;
    cluster.start_all();
    let mut stored = Vec::new();
    for _ in 0..4 {
        // More than all files of the journal together.
        stored.extend(cluster.store(150, 40_000));
        for id in cluster.ids() {
            assert!(cluster.handle(id).metrics().marks.get() > 3);
            cluster.power_cut(id);
        }
        cluster.start_all();
        assert_eq!(cluster.agree(), stored);
    }
    for id in cluster.ids() {
        assert_eq!(cluster.read_log(id), stored);
    }
}

#[test]
fn a_follower_that_was_away_catches_up_from_the_log() {
    let mut cluster = Cluster::new(56, 3);
    cluster.settings.recent_bytes_max = 2_000;
    cluster.start_all();
    cluster.await_leader();
    cluster.store(5, 100);
    let away = follower(&cluster);
    cluster.kill(away);
    cluster.store(100, 1_000);
    let leader = cluster.leader().unwrap();
    cluster.start(away);
    assert_eq!(cluster.agree().len(), 105);
    assert!(cluster.handle(leader).metrics().read_sends.get() > 0);
    assert_eq!(cluster.net.lock().chunks, 0, "no snapshot was needed");
}

#[test]
fn a_failed_sync_of_the_journal_stops_the_node_with_a_message() {
    use trilith_env::sim::{Failure, Op};
    let mut cluster = Cluster::started(57, 3);
    cluster.store(3, 8);
    let leader = cluster.leader().unwrap();
    for op in [Op::WriteDurable, Op::Sync] {
        cluster.nodes[&leader].disk.fail(Failure::of(op));
    }
    let (_, ticket) = cluster.put_at(leader, 8);
    cluster.until("the node stops", |c| {
        !c.nodes[&leader].ears.fatal.lock().is_empty()
    });
    assert_eq!(cluster.nodes[&leader].ears.fatal.lock().len(), 1);
    assert!(matches!(
        ticket.outcome(),
        Some(Outcome::Unknown | Outcome::Refused(_))
    ));
    cluster.power_cut(leader);
    cluster.nodes[&leader].disk.clear_failures();
    cluster.store(3, 8);
    cluster.start(leader);
    assert!(cluster.agree().len() >= 6);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut cluster = Cluster::started(58, 3);
        cluster.store(10, 100);
        let leader = cluster.leader().unwrap();
        cluster.power_cut(leader);
        cluster.store(10, 100);
        cluster.start(leader);
        cluster.agree();
        let terms: Vec<_> = cluster
            .ids()
            .iter()
            .map(|&id| cluster.group(id).view().term)
            .collect();
        let disks = cluster.nodes.values().map(|node| node.disk.mutations());
        (
            cluster.leader(),
            terms,
            disks.collect::<Vec<_>>(),
            cluster.clock.monotonic(),
        )
    };
    assert_eq!(run(), run());
}

#[test]
fn a_leader_whose_disk_stalls_steps_down() {
    let mut cluster = Cluster::started(60, 3);
    cluster.store(3, 8);
    let old = cluster.leader().unwrap();
    let node = cluster.nodes.get_mut(&old).unwrap();
    node.disk.configure(|config| config.slow = true);
    node.is_stuck = true;
    let (_, ticket) = cluster.put_at(old, 8);
    cluster.settle();
    assert!(
        !ticket.is_stored(),
        "its own disk has it not, and it cannot apply it"
    );
    cluster.until("another leads", |c| c.leader().is_some_and(|id| id != old));
    let node = cluster.nodes.get_mut(&old).unwrap();
    node.is_stuck = false;
    cluster.store(3, 8);
    assert_eq!(cluster.agree().len(), 7);
    assert!(ticket.is_stored(), "the others had it all along");
}

#[test]
fn roles_are_told_to_the_observer() {
    let mut cluster = Cluster::started(59, 3);
    cluster.store(1, 8);
    let leader = cluster.leader().unwrap();
    let told = cluster.nodes[&leader].ears.roles.lock().clone();
    let last = told.last().unwrap();
    assert_eq!((last.role, last.leader), (Role::Leader, Some(leader)));
    assert_eq!(cluster.group(leader).view().leader, Some(leader));
    assert!(cluster.handle(leader).found_groups().is_empty());
    assert_eq!(cluster.group(leader).id(), GROUP);
}
