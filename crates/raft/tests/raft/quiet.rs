//! Quiet groups: when they rest, and what wakes them.

use trilith_raft::{ReadId, Role};

use crate::support::{Cluster, Damage, config, n, voters};

fn quiet_three() -> Cluster {
    let mut cluster = Cluster::default();
    for node in 1..=3 {
        let mut config = config(node);
        config.quiet_after_ticks = Some(3);
        cluster.add(config, voters([1, 2, 3]));
    }
    cluster.elect(1);
    cluster.run(8);
    for node in 1..=3 {
        assert!(cluster.core(node).is_quiet(), "node {node}");
    }
    cluster
}

#[test]
fn a_quiet_group_sends_nothing() {
    let mut cluster = quiet_three();
    cluster.events.clear();
    cluster.run(100);
    assert_eq!(cluster.events, Vec::<String>::new());
    assert_eq!(cluster.role(1), Role::Leader);
}

#[test]
fn a_read_wakes_the_group_and_is_confirmed_by_a_quorum() {
    let mut cluster = quiet_three();
    let now = cluster.now(2);
    cluster.core(2).read(now, ReadId(4)).unwrap();
    assert!(!cluster.core(2).is_quiet());
    cluster.settle();
    assert!(cluster.host(2).reads[0].result.is_ok());
    cluster.run(10);
    assert!(cluster.core(1).is_quiet() && cluster.core(2).is_quiet());
}

#[test]
fn a_quiet_leader_that_is_cut_off_cannot_confirm_a_read() {
    let mut cluster = quiet_three();
    cluster.isolate(1);
    let now = cluster.now(1);
    cluster.core(1).read(now, ReadId(4)).unwrap();
    cluster.run(15);
    assert!(cluster.host(1).reads[0].result.is_err());
    assert_eq!(cluster.role(1), Role::Follower);
}

#[test]
fn a_suspicion_of_the_leader_brings_an_election() {
    let mut cluster = quiet_three();
    cluster.crash(1);
    cluster.core(2).peer_suspect(n(1));
    cluster.core(3).peer_suspect(n(1));
    cluster.run(25);
    assert!(cluster.leader().is_some_and(|leader| leader != n(1)));
}

#[test]
fn a_leader_whose_peers_are_suspected_wakes_and_checks_its_quorum() {
    let mut cluster = quiet_three();
    cluster.isolate(1);
    cluster.core(1).peer_suspect(n(2));
    cluster.core(1).peer_suspect(n(3));
    cluster.run(12);
    assert_eq!(cluster.role(1), Role::Follower);
}

#[test]
fn a_late_word_of_a_suspected_leader_does_not_send_to_sleep() {
    let mut cluster = quiet_three();
    cluster.core(2).peer_suspect(n(1));
    cluster.propose(1, "wakes everybody");
    cluster.settle();
    // The leader proposes quiet again; node 2, whose host suspects it, stays awake.
    cluster.run(6);
    assert!(!cluster.core(2).is_quiet());
    cluster.core(2).peer_alive(n(1));
    cluster.run(12);
    assert!(cluster.core(2).is_quiet());
}

#[test]
fn a_wrong_suspicion_changes_nothing_for_long() {
    let mut cluster = quiet_three();
    cluster.core(3).peer_suspect(n(1));
    cluster.run(30);
    let leader = cluster.leader().unwrap();
    for node in 1..=3 {
        for peer in 1..=3 {
            cluster.core(node).peer_alive(n(peer));
        }
    }
    cluster.run(30);
    assert_eq!(cluster.leader(), Some(leader));
    assert!((1..=3).all(|node| cluster.core(node).is_quiet()));
}

#[test]
fn a_group_rests_without_a_suspected_minority_and_wakes_when_it_is_back() {
    let mut cluster = quiet_three();
    cluster.crash(3);
    cluster.core(1).peer_suspect(n(3));
    cluster.core(2).peer_suspect(n(3));
    cluster.propose(1, "a");
    cluster.settle();
    cluster.run(10);
    assert!(cluster.core(1).is_quiet() && cluster.core(2).is_quiet());
    cluster.restart(3, Damage::default());
    cluster.core(1).peer_alive(n(3));
    cluster.core(2).peer_alive(n(3));
    cluster.run(20);
    assert!((1..=3).all(|node| cluster.core(node).is_quiet()));
    assert_eq!(cluster.host(3).state.len(), 2);
}

#[test]
fn one_node_alone_rests_too() {
    let mut cluster = Cluster::default();
    let mut alone = config(1);
    alone.quiet_after_ticks = Some(3);
    cluster.add(alone, voters([1]));
    cluster.elect(1);
    cluster.run(5);
    assert!(cluster.core(1).is_quiet());
}

#[test]
fn an_idle_group_is_small() {
    let mut cluster = quiet_three();
    let size = std::mem::size_of::<trilith_raft::Core>();
    assert!(
        size < 1700,
        "a core is {size} bytes before what it points to"
    );
    cluster.run(1);
}

/// The voters that are left stand one after another, in another order in another group: the nodes
/// share the groups of one that failed.
#[test]
fn who_stands_first_for_a_suspected_leader_differs_from_group_to_group() {
    let mut winners = std::collections::BTreeSet::new();
    for group in 1..=4 {
        let mut cluster = Cluster::default();
        for id in 1..=5 {
            let mut config = config(id);
            config.group = trilith_types::GroupId(group);
            config.election_ticks = 15;
            config.heartbeat_ticks = 3;
            cluster.add(config, voters([1, 2, 3, 4, 5]));
        }
        cluster.elect(1);
        cluster.run(4);
        cluster.crash(1);
        for id in 2..=5 {
            cluster.core(id).peer_suspect(n(1));
        }
        cluster.run(3);
        let leader = cluster.leader().expect("long before an election timeout");
        winners.insert(leader);
    }
    assert_eq!(winners.len(), 4);
}

/// The followers have agreed to be quiet, and are woken by an entry before the leader has slept:
/// their agreement is void, and the leader stays awake until they agree again.
#[test]
fn an_agreement_to_be_quiet_is_void_once_something_is_sent() {
    let mut cluster = Cluster::default();
    for node in 1..=3 {
        let mut config = config(node);
        config.quiet_after_ticks = Some(2);
        config.heartbeat_ticks = 4;
        cluster.add(config, voters([1, 2, 3]));
    }
    cluster.elect(1);
    while !cluster.core(2).is_quiet() {
        cluster.tick(1);
        let to_followers = std::mem::take(&mut cluster.network);
        for packet in to_followers {
            cluster.deliver_packet(packet);
        }
    }
    assert!(!cluster.core(1).is_quiet(), "the answers are on their way");
    cluster.propose(1, "a");
    cluster.settle();
    for _ in 0..3 {
        cluster.tick(1);
        assert!(!cluster.core(1).is_quiet());
    }
    cluster.run(12);
    assert!((1..=3).all(|node| cluster.core(node).is_quiet()));
}
