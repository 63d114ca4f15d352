//! Making connections: dialling, crossing, pauses, limits.

use super::net::{Least, Net, life, member, millis};
use crate::{
    Action, Class, Handshake, LinkConfig, Links, Peer, PeerEvent, Registry,
    links::tests::net::TestRegistry,
};
use trilith_types::NodeId;

#[test]
fn all_pairs_meet_once_however_their_dials_cross() {
    for seed in 0..60 {
        let mut net = Net::cluster(3, seed);
        net.run(millis(1_500));
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(net.is_paired(a, b), "seed {seed}: {a} and {b} are not");
            let other = NodeId(b as u64 + 1);
            let met = [PeerEvent::Reset(other, life(1)), PeerEvent::Alive(other)];
            assert_eq!(net.events(a, other.0), met, "seed {seed}");
        }
    }
}

#[test]
fn one_that_cannot_be_dialled_comes_by_itself() {
    // Node 1 knows a wrong address of node 2.
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[(Some(2), 99)]);
    net.add(member(2), "n2", 1, &[(Some(1), 0)]);
    net.run(millis(2_000));
    assert!(net.is_paired(0, 1));
}

#[test]
fn an_address_alone_is_enough_and_is_left_alone_once_its_node_is_known() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    // Its own address too, as lists that are the same everywhere have it.
    net.add(member(2), "n2", 1, &[(None, 0), (None, 1)]);
    net.run(millis(1_000));
    let met = [
        PeerEvent::Reset(NodeId(1), life(1)),
        PeerEvent::Alive(NodeId(1)),
    ];
    assert_eq!(net.events(1, 1), met);
    net.run(millis(4_000));
    assert_eq!(net.events(1, 1), met);
    let to_itself = net.nodes[1].refusals.iter();
    assert!(to_itself.clone().count() > 0 && net.nodes[1].refusals.len() < 30);
}

#[test]
fn pauses_between_dials_double_up_to_a_limit_and_differ() {
    let mut net = Net::new(7);
    net.add(member(1), "n1", 1, &[(Some(2), 99)]);
    net.run(millis(20_000));
    let dials = &net.nodes[0].dials;
    // Two classes, at most one dial each in a quarter of a second once the pause is at its limit.
    assert!((80..=200).contains(&dials.len()), "{}", dials.len());
    let config = LinkConfig::default();
    let late: Vec<_> = dials.windows(3).rev().take(20).collect();
    assert!(late.iter().all(|d| d[2] - d[0] <= config.backoff_max * 2));
}

#[test]
fn without_chance_a_pause_is_whole() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    let registry = net.nodes[0].registry.clone();
    registry.know(|k| {
        k.peers = vec![Peer {
            node: Some(NodeId(2)),
            address: "x".to_owned(),
        }];
    });
    assert_eq!(dial_times(&registry, 5), [0, 20, 60, 140, 300]);
}

/// When the control connection is dialled, if every dial fails at once.
fn dial_times(registry: &TestRegistry, count: usize) -> Vec<u128> {
    let mut links = Links::new(LinkConfig::default(), Box::new(Least));
    let (mut now, mut times) = (millis(0), Vec::new());
    links.refresh(now, registry as &dyn Registry, &mut Vec::new());
    while times.len() < count {
        let mut out = Vec::new();
        links.turn(now, registry, &mut out);
        let dials: Vec<_> = out
            .into_iter()
            .filter_map(|action| match action {
                Action::Dial { conn, .. } => Some(conn),
                _ => None,
            })
            .collect();
        if !dials.is_empty() {
            times.push(now.as_millis());
        }
        for conn in dials {
            links.closed(now, conn, &mut Vec::new());
        }
        now = links.next_timer().unwrap();
    }
    times
}

#[test]
fn handshakes_are_bounded_in_number_and_time() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    let max = net.config.handshakes_max;
    let accepted = (0..max + 3).filter_map(|_| net.accept(0)).count();
    assert_eq!(accepted, max);
    net.run(millis(1_990));
    assert_eq!(net.accept(0), None);
    net.run(millis(20));
    assert_eq!(net.nodes[0].closes.len(), max);
    assert!(net.accept(0).is_some());
}

#[test]
fn a_step_out_of_place_ends_the_connection() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    let conn = net.accept(0).unwrap();
    net.shake(0, conn, Handshake::Unfounded("x".to_owned()));
    assert_eq!(net.nodes[0].closes.len(), 1);
    // And what comes behind it is not looked at.
    net.shake(0, conn, Handshake::Unfounded("x".to_owned()));
    assert_eq!(net.nodes[0].closes.len(), 1);
}

#[test]
fn who_is_no_member_any_more_is_let_go() {
    let mut net = Net::cluster(3, 1);
    net.run(millis(1_000));
    net.nodes[0].registry.know(|k| {
        k.peers.retain(|peer| peer.node != Some(NodeId(3)));
        k.admits = false;
    });
    net.refresh(0);
    net.run(millis(1_000));
    assert!(!net.is_paired(0, 2) && net.is_paired(0, 1));
    assert_eq!(
        net.events(2, 1).last(),
        Some(&PeerEvent::Suspect(NodeId(1)))
    );
    let left: Vec<_> = net.nodes[0].links.status().iter().map(|s| s.node).collect();
    assert_eq!(left, [NodeId(2)]);
}

#[test]
fn a_new_address_is_dialled_at_once() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[(Some(2), 99)]);
    net.run(millis(10_000));
    net.add(member(2), "n2", 1, &[]);
    net.nodes[0]
        .registry
        .know(|k| k.peers[0].address = "1".to_owned());
    net.refresh(0);
    net.run(millis(10));
    assert!(net.is_paired(0, 1));
    let open = net.nodes[0].open.keys().map(|&(_, class)| class);
    assert!(open.eq(Class::ALL));
}
