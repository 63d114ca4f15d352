//! An operator decides what a group cannot, because a voter is gone for good.

use std::sync::Arc;

use parking_lot::Mutex;
use trilith_host::{Discard, DiscardRefused};
use trilith_raft::{Doubtful, Role};
use trilith_types::{GroupId, LogIndex, NodeId};

use crate::{
    damage::{journals, lose, lose_manifests, stores},
    support::{Cluster, GROUP},
};

fn discard(
    cluster: &mut Cluster,
    (id, group): (NodeId, GroupId),
    confirmed: bool,
) -> Result<Discard, DiscardRefused> {
    let answer = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&answer);
    let handle = cluster.handle(id);
    handle.discard_doubtful(group, confirmed, move |found| *tell.lock() = Some(found));
    cluster.settle();
    let answer = answer.lock().take();
    answer.expect("it is answered")
}

#[test]
fn what_nobody_can_decide_is_listed_and_then_dropped() {
    let mut cluster = Cluster::new(210, 3);
    // The journal alone has the entries after a start.
    cluster.settings.sync_bytes = 64 << 20;
    cluster.start_all();
    let leader = cluster.await_leader();
    let stored = cluster.store(20, 2_000);
    cluster.agree();
    let mut others = cluster.ids().into_iter().filter(|&id| id != leader);
    let (gone, left) = (others.next().unwrap(), others.next().unwrap());
    cluster.kill(gone);
    cluster.cut_off(leader);
    let (value, lost) = cluster.put_at(leader, 2_000);
    cluster.ticks(3);
    assert!(!lost.is_stored());
    cluster.kill(leader);
    lose(&cluster, leader, &journals(&cluster, leader), value);
    lose(&cluster, leader, &stores(&cluster, leader), value);
    cluster.heal();
    cluster.start(leader);
    let is_repairing = |c: &mut Cluster| c.status(leader).core.role == Role::Repairing;
    cluster.until("its log is the longest", is_repairing);
    cluster.ticks(500);
    assert_eq!(
        cluster.leader(),
        None,
        "the voter that is gone may have had it"
    );
    cluster.until("it is elected again", is_repairing);

    let last = cluster.status(leader).core.last.index;
    let doubtful = Doubtful {
        entries: Some((last, last)),
        unknown_suffix: false,
    };
    let listed = Discard {
        role: Role::Repairing,
        doubtful,
        is_done: false,
    };
    for _ in 0..2 {
        assert_eq!(discard(&mut cluster, (leader, GROUP), false), Ok(listed));
    }
    let dropped = discard(&mut cluster, (leader, GROUP), true);
    let expected = Discard {
        role: Role::Leader,
        doubtful,
        is_done: true,
    };
    assert_eq!(dropped, Ok(expected));
    assert_eq!(cluster.agree(), stored);
    let nothing = discard(&mut cluster, (left, GROUP), true).unwrap();
    assert_eq!(
        (nothing.doubtful, nothing.is_done),
        (Doubtful::default(), false)
    );

    // It is dropped for good, and the group goes on.
    cluster.power_cut(leader);
    cluster.start(leader);
    let more = cluster.store(3, 100);
    assert_eq!(cluster.agree(), [stored, more].concat());
    assert!(cluster.status(leader).core.last.index > LogIndex(23));
}

/// A leader counts what this replica has acknowledged to it towards a majority.
#[test]
fn a_replica_that_has_a_leader_is_not_to_drop_anything() {
    let mut cluster = Cluster::started(211, 3);
    let stored = cluster.store(3, 100);
    cluster.agree();
    let leader = cluster.leader().unwrap();
    let hurt = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    cluster.stop(hurt);
    lose_manifests(&cluster, hurt, false);
    // It hears the leader, and cannot ask for a snapshot.
    cluster.cut(hurt, leader);
    cluster.start(hurt);
    cluster.until("it follows", |c| c.status(hurt).core.leader == Some(leader));
    let listed = discard(&mut cluster, (hurt, GROUP), false).unwrap();
    assert!(listed.doubtful.unknown_suffix && !listed.is_done);
    let refused = discard(&mut cluster, (hurt, GROUP), true);
    assert_eq!(refused, Err(DiscardRefused::Led { leader }));
    cluster.heal();
    assert_eq!(cluster.agree(), stored);
}

#[test]
fn a_group_that_is_not_here_has_nothing_to_list() {
    let mut cluster = Cluster::started(212, 3);
    let leader = cluster.leader().unwrap();
    let unknown = discard(&mut cluster, (leader, GroupId(99)), false);
    assert_eq!(unknown, Err(DiscardRefused::UnknownGroup));
}
