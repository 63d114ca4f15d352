//! Members come and go.

use std::sync::Arc;

use parking_lot::Mutex;
use trilith_host::ChangeRefused;
use trilith_raft::{Change, Transition};
use trilith_types::LogIndex;

use crate::support::{Cluster, GROUP, node};

type Answer = Arc<Mutex<Option<Result<LogIndex, ChangeRefused>>>>;

fn change(cluster: &mut Cluster, changes: Vec<Change>) -> Answer {
    let leader = cluster.await_leader();
    let answer: Answer = Arc::default();
    let tell = Arc::clone(&answer);
    cluster
        .handle(leader)
        .change_membership(GROUP, changes, Transition::Auto, move |result| {
            *tell.lock() = Some(result);
        });
    cluster.until("the change is answered", |_| answer.lock().is_some());
    answer
}

#[test]
fn a_fourth_node_joins_and_a_first_one_leaves() {
    let mut cluster = Cluster::new(70, 4);
    cluster.first_members = vec![1, 2, 3];
    cluster.start_all();
    let before = cluster.store(10, 100);
    let joined = change(&mut cluster, vec![Change::AddVoter(node(4))]);
    assert!(joined.lock().take().unwrap().is_ok());
    let after = cluster.store(5, 100);
    assert_eq!(cluster.agree(), [before, after].concat());
    let leader = cluster.leader().unwrap();
    let leaving = cluster
        .ids()
        .into_iter()
        .find(|&id| id != leader && id != node(4))
        .unwrap();
    let left = change(&mut cluster, vec![Change::Remove(leaving)]);
    assert!(left.lock().take().unwrap().is_ok());
    let members = cluster.group(leader).view().members;
    assert!(members.is_voter(node(4)) && !members.is_member(leaving));
    cluster.power_cut(leaving);
    // The rest comes back from a power cut with the members as they are now.
    let rest: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != leaving)
        .collect();
    for &id in &rest {
        cluster.power_cut(id);
    }
    for &id in &rest {
        cluster.start(id);
    }
    cluster.store(5, 100);
    assert_eq!(cluster.agree().len(), 20);
    for &id in &rest {
        assert!(!cluster.group(id).view().members.is_member(leaving));
    }
}

#[test]
fn two_members_are_exchanged_jointly() {
    let mut cluster = Cluster::new(71, 5);
    cluster.first_members = vec![1, 2, 3];
    cluster.start_all();
    cluster.store(5, 100);
    let leader = cluster.leader().unwrap();
    let others = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != leader && id.get() <= 3);
    let mut changes: Vec<Change> = others.map(Change::Remove).collect();
    changes.extend([Change::AddVoter(node(4)), Change::AddVoter(node(5))]);
    assert!(change(&mut cluster, changes).lock().take().unwrap().is_ok());
    cluster.until("the joint configuration is left", |c| {
        let members = c.group(leader).view().members;
        !members.is_joint() && members.voters.incoming().len() == 3
    });
    cluster.store(5, 100);
    let members = cluster.group(leader).view().members;
    assert!(members.is_voter(node(4)) && members.is_voter(node(5)));
}

#[test]
fn a_follower_refuses_to_change_members() {
    let mut cluster = Cluster::started(72, 3);
    cluster.store(1, 8);
    let leader = cluster.leader().unwrap();
    let follower = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    let answer: Answer = Arc::default();
    let tell = Arc::clone(&answer);
    let changes = vec![Change::Remove(leader)];
    cluster
        .handle(follower)
        .change_membership(GROUP, changes, Transition::Auto, move |result| {
            *tell.lock() = Some(result);
        });
    cluster.settle();
    assert!(matches!(
        answer.lock().take(),
        Some(Err(ChangeRefused::Core(_)))
    ));
}
