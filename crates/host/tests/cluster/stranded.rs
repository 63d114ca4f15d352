//! Groups that cannot elect anybody: their time passes slowly, and never stands still.

use trilith_host::PeerEvent;

use crate::support::{Cluster, node};

/// With two of three nodes away the third held elections in all of its groups, some twice a second
/// each: 10,000 groups took more than a third of a processor for nothing.
#[test]
fn a_group_without_a_quorum_in_reach_is_at_rest_until_a_node_is_back() {
    let mut cluster = Cluster::started(31, 3);
    let mut stored = cluster.store(3, 8);
    let leader = cluster.leader().unwrap();
    let others: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != leader)
        .collect();
    for &other in &others {
        cluster.kill(other);
    }
    let awake = |c: &Cluster| c.handle(leader).metrics().awake.get();
    cluster.until("it is at rest", |c| awake(c) == 0);
    assert_eq!(cluster.leader(), None, "it cannot lead alone");
    let sent = |c: &Cluster| c.handle(leader).metrics().sent_messages.get();
    let before = sent(&cluster);
    cluster.ticks(1000);
    assert_eq!(awake(&cluster), 0);
    // At most two campaigns, where there would have been thirty and more.
    let after = sent(&cluster);
    assert!(after - before <= 4, "{before} {after}");
    cluster.start(others[0]);
    cluster.settle();
    assert_eq!(awake(&cluster), 1, "the link is back");
    stored.extend(cluster.store(2, 8));
    assert_eq!(cluster.agree(), stored);
}

#[test]
fn a_follower_whose_leader_and_other_peer_are_gone_rests_as_well() {
    let mut cluster = Cluster::started(32, 3);
    let mut stored = cluster.store(1, 8);
    let leader = cluster.leader().unwrap();
    let left = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    for id in cluster.ids().into_iter().filter(|&id| id != left) {
        cluster.kill(id);
    }
    cluster.until("it is at rest", |c| {
        c.handle(left).metrics().awake.get() == 0
    });
    cluster.start(leader);
    stored.extend(cluster.store(1, 8));
    assert_eq!(cluster.agree(), stored);
}

/// Whoever watches the links may be wrong and never take it back: there is a leader all the same.
#[test]
fn suspicions_that_are_wrong_and_stay_do_not_keep_a_group_from_electing() {
    let mut cluster = Cluster::new(33, 3);
    for id in cluster.ids() {
        cluster.start(id);
    }
    for (id, other) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        let event = PeerEvent::Suspect(node(other));
        cluster.handle(node(id)).peer_event(event);
    }
    cluster.settle();
    assert_eq!(cluster.leader(), None);
    cluster.ticks(64 * 60);
    assert!(cluster.leader().is_some());
}
