//! Electing, proposing, reading, handing over.

use std::sync::Arc;

use parking_lot::Mutex;
use trilith_host::Refusal;
use trilith_raft::Role;
use trilith_types::{LogIndex, NodeId, Offset};

use crate::{
    machine::{Outcome, TRIM},
    support::{Cluster, GROUP, node},
};

#[test]
fn what_is_stored_is_everywhere_and_readers_see_it() {
    let mut cluster = Cluster::started(1, 3);
    let stored = cluster.store(20, 100);
    assert_eq!(cluster.agree(), stored);
    for id in cluster.ids() {
        assert_eq!(cluster.read_log(id), stored);
        assert_eq!(cluster.alarms(id), []);
    }
}

#[test]
fn a_group_of_one_works_alone() {
    let mut cluster = Cluster::started(2, 1);
    let stored = cluster.store(5, 10);
    assert_eq!(cluster.agree(), stored);
}

#[test]
fn many_requests_of_one_turn_become_one_write() {
    let mut cluster = Cluster::started(3, 3);
    cluster.store(1, 8);
    let leader = cluster.leader().unwrap();
    let before = cluster
        .handle(leader)
        .metrics()
        .entries_per_submission
        .snapshot();
    let tickets: Vec<_> = (0..100).map(|_| cluster.put_at(leader, 50).1).collect();
    cluster.settle();
    assert!(tickets.iter().all(|ticket| ticket.is_stored()));
    let after = cluster
        .handle(leader)
        .metrics()
        .entries_per_submission
        .snapshot();
    assert_eq!(
        (after.count - before.count, after.sum - before.sum),
        (1, 100)
    );
}

#[test]
fn offsets_are_dense_and_answers_come_in_order() {
    let mut cluster = Cluster::started(4, 3);
    let leader = cluster.leader().unwrap();
    let tickets: Vec<_> = (0..10).map(|_| cluster.put_at(leader, 8).1).collect();
    cluster.settle();
    for (place, ticket) in tickets.iter().enumerate() {
        assert_eq!(
            ticket.outcome(),
            Some(Outcome::Stored(Offset(place as u64)))
        );
    }
}

#[test]
fn a_follower_refuses_and_names_the_leader() {
    let mut cluster = Cluster::started(5, 3);
    cluster.store(1, 8);
    let leader = cluster.leader().unwrap();
    let follower = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    let (_, ticket) = cluster.put_at(follower, 8);
    cluster.settle();
    let Some(Outcome::Refused(Refusal::NotLeader { leader: named, .. })) = ticket.outcome() else {
        panic!("{:?}", ticket.outcome());
    };
    assert_eq!(named, Some(leader));
}

#[test]
fn an_entry_that_is_too_large_is_refused_and_nothing_is_left_of_it() {
    let mut cluster = Cluster::new(6, 3);
    cluster.log.payload_bytes_max = 1000;
    cluster.start_all();
    let leader = cluster.await_leader();
    let (_, ticket) = cluster.put_at(leader, 1001);
    cluster.settle();
    let refused = Outcome::Refused(Refusal::TooLarge {
        bytes: 1001,
        max: 1000,
    });
    assert_eq!(ticket.outcome(), Some(refused));
    let stored = cluster.store(3, 1000);
    assert_eq!(cluster.agree(), stored);
}

#[test]
fn too_much_uncommitted_is_refused() {
    let mut cluster = Cluster::new(7, 3);
    cluster.settings.uncommitted_bytes_max = 10_000;
    cluster.start_all();
    let leader = cluster.await_leader();
    cluster.store(1, 8);
    cluster.cut_off(leader);
    let tickets: Vec<_> = (0..20).map(|_| cluster.put_at(leader, 1000).1).collect();
    cluster.settle();
    let refused = tickets.iter().filter(|ticket| {
        matches!(
            ticket.outcome(),
            Some(Outcome::Refused(Refusal::TooMuchUncommitted { .. }))
        )
    });
    let refused = refused.count();
    assert!((5..20).contains(&refused), "{refused}");
    cluster.heal();
    cluster.agree();
}

#[test]
fn a_doubled_request_is_answered_with_the_original() {
    let mut cluster = Cluster::started(8, 3);
    let leader = cluster.leader().unwrap();
    let twins = [(); 3].map(|()| cluster.request(leader, 5, true));
    cluster.settle();
    let late = cluster.request(leader, 5, true);
    cluster.settle();
    for ticket in twins.iter().chain([&late]) {
        assert_eq!(ticket.outcome(), Some(Outcome::Stored(Offset(0))));
    }
    assert_eq!(cluster.agree(), [5]);
}

#[test]
fn a_deposed_leader_says_what_was_never_stored() {
    let mut cluster = Cluster::started(9, 3);
    cluster.store(2, 8);
    let old = cluster.leader().unwrap();
    cluster.cut_off(old);
    let (lost, ticket) = cluster.put_at(old, 8);
    cluster.until("another leads", |c| c.leader().is_some_and(|id| id != old));
    assert_eq!(ticket.outcome(), None, "nobody knows yet");
    cluster.store(1, 8);
    cluster.heal();
    let values = cluster.agree();
    assert!(!values.contains(&lost));
    assert_eq!(ticket.outcome(), Some(Outcome::NotStored));
    assert!(cluster.handle(old).metrics().truncations.get() > 0);
}

#[test]
fn what_an_old_leader_had_spread_is_answered_by_its_commit() {
    let mut cluster = Cluster::started(10, 3);
    cluster.store(1, 8);
    let old = cluster.leader().unwrap();
    let followers: Vec<NodeId> = cluster.ids().into_iter().filter(|&id| id != old).collect();
    // Entries go out and no answer comes back.
    for &follower in &followers {
        cluster.cut(follower, old);
    }
    let (value, ticket) = cluster.put_at(old, 8);
    cluster.until("another leads", |c| c.leader().is_some_and(|id| id != old));
    cluster.heal();
    let values = cluster.agree();
    assert!(values.contains(&value));
    assert!(ticket.is_stored(), "{:?}", ticket.outcome());
}

#[test]
fn reads_are_answered_once_applied_at_any_node() {
    let mut cluster = Cluster::started(11, 3);
    cluster.store(3, 8);
    let commit = cluster.group(cluster.leader().unwrap()).commit();
    for id in cluster.ids() {
        let answer = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&answer);
        cluster
            .handle(id)
            .read(GROUP, move |result| *tell.lock() = Some(result));
        cluster.until("the read is answered", |_| answer.lock().is_some());
        let index = answer.lock().take().unwrap().unwrap();
        assert!(index >= commit && cluster.group(id).applied() >= index);
    }
}

#[test]
fn leadership_is_handed_over_and_the_group_goes_on() {
    let mut cluster = Cluster::started(12, 3);
    cluster.store(3, 8);
    let leader = cluster.leader().unwrap();
    let to = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    cluster
        .handle(leader)
        .transfer(GROUP, to, |result| result.unwrap());
    cluster.until("it leads", |c| c.leader() == Some(to));
    assert_eq!(cluster.group(to).view().role, Role::Leader);
    cluster.store(3, 8);
    assert_eq!(cluster.agree().len(), 6);
}

#[test]
fn waiters_are_called_when_the_log_grows() {
    let mut cluster = Cluster::started(13, 3);
    cluster.store(1, 8);
    cluster.agree();
    let follower = cluster
        .ids()
        .into_iter()
        .find(|&id| Some(id) != cluster.leader())
        .unwrap();
    let group = cluster.group(follower);
    let called = Arc::new(Mutex::new(false));
    let tell = Arc::clone(&called);
    let _wait = group
        .on_advance(Offset(1), move || *tell.lock() = true)
        .unwrap();
    assert!(!*called.lock());
    cluster.store(1, 8);
    cluster.agree();
    assert!(*called.lock());
}

#[test]
fn a_quiet_group_goes_to_sleep_and_wakes_for_a_request() {
    let mut cluster = Cluster::started(14, 3);
    cluster.store(2, 8);
    let awake = |cluster: &Cluster| -> u64 {
        let ids = cluster.ids().into_iter();
        ids.map(|id| cluster.handle(id).metrics().awake.get()).sum()
    };
    cluster.until("all sleep", |c| awake(c) == 0);
    cluster.ticks(600);
    assert_eq!(awake(&cluster), 0);
    cluster.store(1, 8);
    assert_eq!(cluster.agree().len(), 3);
}

#[test]
fn the_start_moves_by_a_command_on_every_replica() {
    let mut cluster = Cluster::started(15, 3);
    cluster.store(200, 2000);
    cluster.agree();
    let leader = cluster.leader().unwrap();
    let ticket = cluster.request(leader, TRIM | 150, false);
    cluster.until("it is applied", |_| ticket.is_stored());
    cluster.agree();
    cluster.until("all logs begin there", |c| {
        c.ids()
            .iter()
            .all(|&id| c.status(id).start_offset == Offset(150))
    });
    for id in cluster.ids() {
        let status = cluster.status(id);
        assert!(
            status.start_index > LogIndex(100),
            "segments went: {status:?}"
        );
        assert_eq!(cluster.read_log(id).len(), 50);
    }
    cluster.store(5, 100);
    for id in cluster.ids() {
        cluster.power_cut(id);
    }
    cluster.start_all();
    assert_eq!(cluster.agree().len(), 205);
}

#[test]
fn an_entry_from_the_future_stops_its_replicas_with_a_message() {
    let mut cluster = Cluster::started(16, 1);
    let ticket = cluster.request(node(1), u64::MAX >> 1, false);
    cluster.settle();
    assert_eq!(ticket.outcome(), Some(Outcome::Unknown));
    let stopped = cluster.group(node(1)).view().stopped.unwrap();
    assert!(stopped.contains("a value from the future"), "{stopped}");
    let (_, ticket) = cluster.put_at(node(1), 8);
    cluster.settle();
    assert!(matches!(
        ticket.outcome(),
        Some(Outcome::Refused(Refusal::Stopped { .. }))
    ));
}

#[test]
fn a_forgotten_group_is_gone_for_good() {
    let mut cluster = Cluster::started(17, 1);
    cluster.store(3, 8);
    let done = Arc::new(Mutex::new(false));
    let tell = Arc::clone(&done);
    cluster
        .handle(node(1))
        .forget_group(GROUP, move || *tell.lock() = true);
    cluster.settle();
    assert!(*done.lock() && cluster.handle(node(1)).group(GROUP).is_none());
    let (_, ticket) = cluster.put_at(node(1), 8);
    cluster.settle();
    assert_eq!(
        ticket.outcome(),
        Some(Outcome::Refused(Refusal::UnknownGroup))
    );
    cluster.power_cut(node(1));
    cluster.start(node(1));
    assert_eq!(
        cluster.values(node(1)),
        [0; 0],
        "an id is not used again; here it is, and is empty"
    );
}
