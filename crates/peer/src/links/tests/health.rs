//! Suspecting, and taking it back.

use trilith_types::NodeId;

use super::net::{Net, life, member, millis};
use crate::PeerEvent;

const ALIVE: PeerEvent = PeerEvent::Alive(NodeId(2));
const SUSPECT: PeerEvent = PeerEvent::Suspect(NodeId(2));
const RESET: PeerEvent = PeerEvent::Reset(NodeId(2), life(1));

fn met(seed: u64) -> Net {
    let mut net = Net::cluster(2, seed);
    net.run(millis(1_000));
    assert_eq!(net.events(0, 2), [RESET, ALIVE]);
    net.nodes[0].events.clear();
    net
}

#[test]
fn a_closed_connection_makes_suspicion_at_once() {
    let mut net = met(1);
    let killed = net.now;
    net.kill(1);
    net.run(millis(3));
    assert!(net.when(0, SUSPECT).unwrap() <= killed + millis(2));
    net.run(millis(2_000));
    net.restart(1);
    net.run(millis(600));
    let back = PeerEvent::Reset(NodeId(2), life(2));
    assert_eq!(net.events(0, 2), [SUSPECT, back, ALIVE]);
    assert!(net.is_paired(0, 1));
}

#[test]
fn a_stopped_process_is_suspected_after_its_silence_and_alive_when_it_goes_on() {
    let mut net = met(2);
    let stopped = net.now;
    net.nodes[1].is_paused = true;
    net.run(millis(1_000));
    let silence = net.when(0, SUSPECT).unwrap() - stopped;
    assert!(
        (millis(200)..=millis(260)).contains(&silence),
        "{silence:?}"
    );
    net.nodes[1].is_paused = false;
    net.run(millis(100));
    assert_eq!(net.events(0, 2), [SUSPECT, ALIVE]);
    assert!(net.is_paired(0, 1), "the connection is still the same one");
}

#[test]
fn a_connection_that_stays_silent_is_given_up() {
    let mut net = met(3);
    net.nodes[1].is_paused = true;
    net.run(millis(2_100));
    assert!(
        net.nodes[0]
            .closes
            .iter()
            .any(|why| why == "nothing came for 2s")
    );
    net.nodes[1].is_paused = false;
    net.run(millis(1_500));
    assert!(net.is_paired(0, 1));
    assert_eq!(net.events(0, 2).last(), Some(&ALIVE));
}

#[test]
fn shards_that_hang_are_suspected_although_heartbeats_come() {
    let mut net = met(4);
    net.nodes[1].registry.know(|k| k.is_stuck = true);
    net.run(millis(400));
    assert_eq!(net.events(0, 2), [SUSPECT]);
    net.run(millis(5_000));
    assert!(net.is_paired(0, 1), "and it is not cut off for that");
    net.nodes[1].registry.know(|k| k.is_stuck = false);
    net.run(millis(100));
    assert_eq!(net.events(0, 2), [SUSPECT, ALIVE]);
}

#[test]
fn a_way_that_is_cut_in_one_direction_is_seen_from_both_ends() {
    let mut net = met(5);
    net.cut.insert((0, 1));
    net.run(millis(400));
    // The one still hears the other: heartbeats whose echo stands still.
    assert_eq!(net.events(0, 2), [SUSPECT]);
    let of_first = PeerEvent::Suspect(NodeId(1));
    assert_eq!(net.events(1, 1).last(), Some(&of_first));
    net.cut.clear();
    net.run(millis(3_000));
    assert_eq!(net.events(0, 2), [SUSPECT, ALIVE]);
}

#[test]
fn a_peer_that_never_shows_up_is_suspected_once() {
    let mut net = Net::new(6);
    net.add(member(1), "n1", 1, &[(Some(2), 99)]);
    net.run(millis(5_000));
    assert_eq!(net.events(0, 2), [SUSPECT]);
    assert_eq!(net.when(0, SUSPECT), Some(millis(250)));
    let status = net.nodes[0].links.status();
    assert!(status[0].is_suspected && !status[0].is_connected);
}

#[test]
fn nobody_is_suspected_for_nothing() {
    for seed in 0..20 {
        let mut net = Net::cluster(3, seed);
        net.run(millis(10_000));
        for (at, node) in [(0, 2), (0, 3), (1, 1), (1, 3), (2, 1), (2, 2)] {
            let events = net.events(at, node);
            let suspect = PeerEvent::Suspect(NodeId(node));
            assert!(!events.contains(&suspect), "seed {seed}: {events:?}");
        }
    }
}
