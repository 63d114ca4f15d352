//! What a group cannot decide about, and an operator does.

use trilith_raft::Doubtful;

use crate::{
    repair::{assert_mended, damaged, start, unknown},
    support::{Cluster, i},
};

/// An operator sees what goes before it goes.
#[test]
fn what_is_doubtful_is_told_without_being_dropped() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2, 2], &[1, 1, 2, 2], &[1, 1]]);
    start(&mut cluster, 1, damaged(3, 3));
    start(&mut cluster, 3, unknown());
    cluster.crash(2);
    cluster.run(60);
    let entries = Some((i(3), i(4)));
    let ends_in_doubt = Doubtful {
        entries: None,
        unknown_suffix: true,
    };
    assert_eq!(cluster.core(1).doubtful().entries, entries);
    assert_eq!(cluster.core(3).doubtful(), ends_in_doubt);
    cluster.run(60);
    assert_eq!(cluster.leader(), None);
    assert_eq!(cluster.core(1).status().last.index, i(4));
    assert_eq!(cluster.core(1).discard_doubtful(), entries);
    assert_eq!(cluster.core(3).discard_doubtful(), None);
    for node in [1, 3] {
        assert!(cluster.core(node).doubtful().is_nothing());
    }
}

/// What is committed is fetched, and nobody is asked whether it may go.
#[test]
fn damage_up_to_the_commit_index_is_not_doubtful() {
    let mut cluster = Cluster::with_logs(1, [&[1, 1], &[1, 1], &[1, 1]]);
    cluster.elect(1);
    cluster.run(2);
    cluster.core(1).damaged(&[(i(2), i(2))]).unwrap();
    assert!(cluster.core(1).doubtful().is_nothing());
}

#[test]
fn an_operator_can_drop_what_nobody_can_decide() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1]]);
    start(&mut cluster, 1, damaged(3, 3));
    start(&mut cluster, 3, unknown());
    cluster.crash(2);
    cluster.run(60);
    assert_eq!(cluster.leader(), None);
    assert_eq!(cluster.core(1).discard_doubtful(), Some((i(3), i(3))));
    assert_eq!(cluster.core(3).discard_doubtful(), None);
    cluster.run(60);
    assert!(cluster.leader().is_some());
    assert_mended(&mut cluster, &[1, 3]);
}
