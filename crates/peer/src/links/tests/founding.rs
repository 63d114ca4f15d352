//! Nodes that belong to no cluster yet.

use trilith_types::NodeId;

use super::net::{CLUSTER, Net, member, millis};
use crate::{Found, Founder, Reason};

fn founders(names: &[&str]) -> Found {
    let founder = |(node, name): (u64, &&str)| Founder {
        node: NodeId(node),
        name: (*name).to_owned(),
        peer_address: format!("{name}:1"),
        client_address: format!("{name}:2"),
    };
    Found {
        joins: false,
        cluster: CLUSTER,
        members: (1..).zip(names).map(founder).collect(),
    }
}

fn node_of(net: &Net, at: usize) -> Option<NodeId> {
    let member = net.nodes[at].registry.know(|k| k.identity.member);
    member.map(|member| member.node)
}

#[test]
fn a_waiting_node_is_founded_whether_it_dials_or_is_dialled() {
    for dials in [true, false] {
        let mut net = Net::new(1);
        let (first, second): (&[_], &[_]) = match dials {
            true => (&[], &[(None, 0)]),
            false => (&[(Some(2), 1)], &[]),
        };
        net.add(member(1), "n1", 1, first);
        net.add(None, "n2", 1, second);
        net.nodes[0]
            .registry
            .know(|k| k.founders = Some(founders(&["n1", "n2"])));
        net.run(millis(1_000));
        assert_eq!(node_of(&net, 1), Some(NodeId(2)));
        assert!(!net.nodes[0].open.is_empty(), "and they are connected");
    }
}

#[test]
fn a_node_that_is_not_named_stays_as_it_is() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    net.add(None, "other", 1, &[(None, 0)]);
    net.nodes[0]
        .registry
        .know(|k| k.founders = Some(founders(&["n1", "n2"])));
    net.run(millis(1_000));
    assert_eq!(node_of(&net, 1), None);
    let refusal = &net.nodes[1].refusals[0];
    assert_eq!(refusal.reason, Reason::NotAdmitted);
    assert!(refusal.message.contains("its directory was emptied"));
}

#[test]
fn a_member_that_knows_no_members_yet_asks_for_patience() {
    let mut net = Net::new(1);
    net.add(member(1), "n1", 1, &[]);
    net.add(None, "n2", 1, &[(None, 0)]);
    net.nodes[0].registry.know(|k| k.knows_members = false);
    net.run(millis(1_000));
    assert!(net.nodes[1].refusals.is_empty());
    net.nodes[0].registry.know(|k| {
        k.founders = Some(founders(&["n1", "n2"]));
        k.knows_members = true;
    });
    net.run(millis(1_000));
    assert_eq!(node_of(&net, 1), Some(NodeId(2)));
}

#[test]
fn a_list_that_does_not_name_it_or_names_it_twice_is_refused() {
    for names in [&["n1", "n3"][..], &["n1", "n2", "n2"][..]] {
        let mut net = Net::new(1);
        net.add(None, "n2", 1, &[]);
        let registry = net.nodes[0].registry.clone();
        let outcome = crate::Links::be_founded(founders(names), &registry);
        assert_eq!(outcome.unwrap_err().reason, Reason::NotFounded);
        assert_eq!(node_of(&net, 0), None);
    }
}

#[test]
fn a_member_is_not_founded_again_by_another_cluster() {
    let mut net = Net::new(1);
    net.add(member(2), "n2", 1, &[]);
    let registry = net.nodes[0].registry.clone();
    let mut found = founders(&["n1", "n2"]);
    assert!(crate::Links::be_founded(found.clone(), &registry).is_ok());
    found.cluster.0 += 1;
    let outcome = crate::Links::be_founded(found, &registry);
    assert_eq!(outcome.unwrap_err().reason, Reason::NotFounded);
    assert_eq!(node_of(&net, 0), Some(NodeId(2)));
}

#[test]
fn two_waiting_nodes_wait_on() {
    let mut net = Net::new(1);
    net.add(None, "n1", 1, &[(None, 1)]);
    net.add(None, "n2", 1, &[(None, 0)]);
    net.run(millis(3_000));
    assert!(net.nodes.iter().all(|node| node.open.is_empty()));
    // Which is nothing to complain of.
    assert!(net.nodes.iter().all(|node| node.refusals.is_empty()));
}
