//! Who is let in, and in which version they go on.

use trilith_types::{ClusterId, NodeId};

use super::net::{CLUSTER, Net, life, member, millis};
use crate::{Class, Membership, Reason, Versions};

/// Two nodes of which the second knows the first; the reason that the second is given.
fn refusal(net: &mut Net) -> (Reason, String) {
    net.run(millis(300));
    assert!(net.nodes.iter().all(|node| node.open.is_empty()));
    let refusal = net.nodes[1]
        .refusals
        .first()
        .expect("it was refused")
        .clone();
    (refusal.reason, refusal.message)
}

#[test]
fn another_cluster_is_refused() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    let foreign = Membership {
        cluster: ClusterId(9),
        node: NodeId(2),
    };
    net.add(Some(foreign), "n2", 1, &[(Some(1), 0)]);
    let (reason, message) = refusal(&mut net);
    assert_eq!(reason, Reason::ForeignCluster);
    let (ours, theirs) = (format!("{:032x}", CLUSTER.0), format!("{:032x}", 9));
    assert!(
        message.contains(&ours) && message.contains(&theirs),
        "{message}"
    );
}

#[test]
fn a_second_node_of_the_same_number_is_refused() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    net.add(member(1), "copy", 1, &[(None, 0)]);
    assert_eq!(refusal(&mut net).0, Reason::SameNode);
}

#[test]
fn another_node_than_the_one_that_was_meant_is_refused() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    net.add(member(2), "n2", 1, &[(Some(3), 0)]);
    let (reason, message) = refusal(&mut net);
    assert_eq!(reason, Reason::WrongNode);
    assert!(
        message.starts_with("this is node 1 (\"n1\"), not node 3"),
        "{message}"
    );
}

/// It is told apart from one that is not known yet, which has only to wait.
#[test]
fn who_was_removed_is_told_so_whatever_else_is_wrong_with_it() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    net.add(member(2), "n2", 1, &[(Some(1), 0)]);
    net.nodes[0].registry.know(|k| {
        k.removed = Some(NodeId(2));
        k.admits = false;
    });
    let (reason, message) = refusal(&mut net);
    assert_eq!(
        (reason, message.as_str()),
        (Reason::Removed, "node 2 was removed")
    );
}

#[test]
fn who_is_not_admitted_is_told_why() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    net.add(member(2), "n2", 1, &[(Some(1), 0)]);
    net.nodes[0].registry.know(|k| k.admits = false);
    assert_eq!(
        refusal(&mut net),
        (Reason::NotAdmitted, "node 2 is no member".to_owned())
    );
}

#[test]
fn an_earlier_life_is_refused_from_either_side() {
    let mut net = pair_of_which_the_second_started(7);
    // An old copy of the directory: restarting it gives number 5.
    net.nodes[1]
        .registry
        .know(|k| k.identity.incarnation = life(4));
    net.restart(1);
    let (reason, message) = refusal(&mut net);
    assert_eq!(reason, Reason::StaleIncarnation);
    assert!(
        message.contains("start number 5") && message.contains("number 7"),
        "{message}"
    );
    is_refused_by_the_first_one_too(&mut net);
}

/// The first one may dial too, and says in which life it met the other.
fn is_refused_by_the_first_one_too(net: &mut Net) {
    net.nodes[0].registry.know(|k| {
        k.peers = vec![crate::Peer {
            node: Some(NodeId(2)),
            address: "1".to_owned(),
        }];
    });
    net.nodes[1].registry.know(|k| k.peers.clear());
    net.refresh(1);
    net.refresh(0);
    net.run(millis(300));
    assert!(net.nodes[0].open.is_empty());
    let refused = net.nodes[0].refusals.first().map(|refusal| refusal.reason);
    assert_eq!(refused, Some(Reason::StaleIncarnation));
}

/// Two that are connected; the second is gone then.
fn pair_of_which_the_second_started(times: u64) -> Net {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    net.add(member(2), "n2", times, &[(Some(1), 0)]);
    net.run(millis(300));
    assert!(net.is_paired(0, 1));
    net.kill(1);
    net
}

#[test]
fn a_copy_that_was_started_since_is_refused_from_either_side() {
    let mut net = pair_of_which_the_second_started(7);
    // The copy was made before that start, and its next one has the same number.
    let copy = life(6).next(0xabcde);
    net.restart(1);
    net.nodes[1]
        .registry
        .know(|k| k.identity.incarnation = copy);
    let (reason, message) = refusal(&mut net);
    assert_eq!(reason, Reason::StaleIncarnation);
    let found = "start number 7, drawn abcde, but number 7, drawn 00007, was seen";
    assert!(message.contains(found), "{message}");
    is_refused_by_the_first_one_too(&mut net);
}

#[test]
fn a_newer_life_takes_the_place_of_a_connection_that_seems_to_live() {
    let mut net = Net::cluster(2, 1);
    net.run(millis(1_000));
    // Its machine went down without a word: the connection stands, and a new one comes.
    let conn = net.accept(0).unwrap();
    let hello = crate::Hello {
        from: crate::Introduction {
            member: member(2),
            name: "n2".to_owned(),
            incarnation: life(2),
            versions: Versions::OURS,
            features: crate::Features::OURS,
        },
        to: Some(NodeId(1)),
        met: life(1),
        class: Class::Control,
    };
    net.shake(0, conn, crate::Handshake::Hello(hello));
    assert_eq!(net.nodes[0].open[&(NodeId(2), Class::Control)].0, conn);
    assert!(!net.nodes[0].open.contains_key(&(NodeId(2), Class::Bulk)));
}

#[test]
fn neighbouring_versions_go_on_in_the_highest_that_both_speak() {
    for (theirs, version) in [((1, 2), 2), ((2, 3), 2), ((1, 1), 1)] {
        let mut net = Net::cluster(3, 1);
        net.speak(0, Versions { min: 1, max: 2 });
        let (min, max) = theirs;
        net.speak(1, Versions { min, max });
        net.speak(2, Versions { min: 1, max: 2 });
        net.run(millis(1_000));
        assert!(net.is_paired(0, 1) && net.is_paired(0, 2) && net.is_paired(1, 2));
        let agreed = |at: usize, node| net.nodes[at].open[&(NodeId(node), Class::Control)].1;
        assert_eq!(agreed(0, 2).version, version);
        assert_eq!(agreed(1, 1).version, version);
        assert_eq!(agreed(2, 1).version, 2);
    }
}

#[test]
fn versions_too_far_apart_are_refused() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    net.add(member(2), "n2", 1, &[(Some(1), 0)]);
    net.speak(1, Versions { min: 3, max: 4 });
    let (reason, message) = refusal(&mut net);
    assert_eq!(reason, Reason::NoCommonVersion);
    assert!(message.contains("upgrade the older one"), "{message}");
}

#[test]
fn features_that_one_side_lacks_are_not_used() {
    use crate::Features;
    assert_eq!(Features(0b011).common(Features(0b110)), Features(0b010));
}
