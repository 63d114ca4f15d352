//! Reads by lease: the rules that make them safe.

use trilith_raft::{LeaseConfig, Moment, ReadId, Role};

use crate::support::{Cluster, Damage, config, n, voters};

/// A tick is 1,000 µs: a lease of 6 ticks under a promise of 9.
fn leased_three() -> Cluster {
    let mut cluster = Cluster::default();
    for node in 1..=3 {
        let mut config = config(node);
        config.lease = Some(LeaseConfig {
            duration_micros: 6_000,
            promise_micros: 9_000,
        });
        cluster.add(config, voters([1, 2, 3]));
    }
    cluster.run(10);
    cluster.elect(1);
    cluster.run(2);
    cluster
}

fn read(cluster: &mut Cluster, node: u64, now: Moment) -> bool {
    let before = cluster.host(node).reads.len();
    cluster.core(node).read(now, ReadId(1)).unwrap();
    cluster.turn(node);
    cluster.host(node).reads.len() > before
}

#[test]
fn a_read_needs_no_round_while_the_lease_holds() {
    let mut cluster = leased_three();
    let now = cluster.now(1);
    assert!(read(&mut cluster, 1, now));
    assert!(cluster.network.is_empty());
}

#[test]
fn the_lease_is_counted_from_when_the_heartbeat_was_sent() {
    let mut cluster = leased_three();
    cluster.isolate(1);
    let sent = cluster.now(1);
    assert!(read(&mut cluster, 1, Moment(sent.0 + 5_999)));
    assert!(!read(&mut cluster, 1, Moment(sent.0 + 6_000)));
}

#[test]
fn an_answer_that_comes_late_gives_a_lease_that_is_over() {
    let mut cluster = leased_three();
    cluster.isolate(1);
    cluster.run(7);
    cluster.heal();
    cluster.tick(1);
    // The answers are held up for longer than the lease.
    let now = cluster.now(1).plus(6_000);
    cluster.host(1).now = now;
    cluster.settle();
    assert!(!read(&mut cluster, 1, now));
}

#[test]
fn a_promise_holds_although_the_leader_is_suspected() {
    let mut cluster = leased_three();
    cluster.isolate(1);
    cluster.core(2).peer_suspect(n(1));
    cluster.core(3).peer_suspect(n(1));
    for _ in 0..8 {
        cluster.tick(2);
        cluster.tick(3);
        cluster.settle();
        assert_ne!(cluster.role(2), Role::Leader);
        assert_ne!(cluster.role(3), Role::Leader);
    }
    cluster.run(40);
    assert!(cluster.leader().is_some_and(|leader| leader != n(1)));
}

#[test]
fn a_follower_that_has_started_again_abstains_for_a_promise() {
    let mut cluster = leased_three();
    cluster.isolate(1);
    cluster.crash(2);
    cluster.restart(2, Damage::default());
    cluster.crash(3);
    cluster.restart(3, Damage::default());
    cluster.campaign(2);
    assert_ne!(cluster.role(2), Role::Leader);
    cluster.run(60);
    assert!(cluster.leader().is_some_and(|leader| leader != n(1)));
}

#[test]
fn a_leader_that_has_handed_over_serves_no_lease_read_again_in_that_term() {
    let mut cluster = leased_three();
    let now = cluster.now(1);
    cluster.core(1).transfer(n(2)).unwrap();
    assert!(!read(&mut cluster, 1, now));
    // The orders to stand for election are lost; the leader goes on, without its lease.
    cluster.turn(1);
    for _ in 0..12 {
        while let Some(packet) = cluster.network.pop_front() {
            if !packet.show().contains("timeout now") {
                cluster.deliver_packet(packet);
            }
        }
        cluster.tick(1);
    }
    assert_eq!(cluster.role(1), Role::Leader);
    let now = cluster.now(1);
    assert!(!read(&mut cluster, 1, now));
    cluster.settle();
    assert!(cluster.host(1).reads.last().unwrap().result.is_ok());
}

#[test]
fn a_transfer_does_not_wait_for_promises() {
    let mut cluster = leased_three();
    cluster.core(1).transfer(n(2)).unwrap();
    cluster.settle();
    assert_eq!(cluster.role(2), Role::Leader);
}
