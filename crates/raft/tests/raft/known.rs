//! Scenarios that other implementations test and that have no better place here; the checklist
//! `docs/raft-scenarios.md` says which is which.

use trilith_raft::{
    Body, Change, Config, Dropped, Message, Moment, ReadError, ReadId, Role, TransferError,
    Transition,
    message::Round,
    message::{SnapshotOffer, VoteRequest},
};
use trilith_types::{Incarnation, NodeId, Term};

use crate::support::{Cluster, Damage, GROUP, config, i, id, n, voters};

#[test]
fn every_node_leads_in_its_turn() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        cluster.run(1);
        cluster.core(from).transfer(n(to)).unwrap();
        cluster.settle();
        assert_eq!(cluster.role(to), Role::Leader);
        assert_eq!(
            (1..=3)
                .filter(|&node| cluster.role(node) == Role::Leader)
                .count(),
            1
        );
    }
}

#[test]
fn a_node_of_low_priority_stands_last() {
    for favourite in 1..=3 {
        let mut cluster = Cluster::default();
        for node in 1..=3 {
            let priority = if node == favourite { 3 } else { 0 };
            let config = Config {
                priority,
                ..config(node)
            };
            cluster.add(config, voters([1, 2, 3]));
        }
        cluster.run(20);
        assert_eq!(cluster.leader(), Some(n(favourite)));
    }
}

#[test]
fn a_vote_raises_the_term_from_every_role_without_a_live_leader() {
    for role in [Role::Follower, Role::PreCandidate, Role::Candidate] {
        let mut cluster = Cluster::of([1, 2, 3]);
        cluster.isolate(1);
        if role != Role::Follower {
            cluster.core(1).campaign();
            cluster.settle();
        }
        if role == Role::Candidate {
            // A transfer that was asked for by a leader of this term.
            cluster.heal();
            cluster.elect(2);
            cluster.isolate(1);
            cluster.heal();
            cluster.core(2).transfer(n(1)).unwrap();
            cluster.turn(2);
            let packet = cluster.network.pop_front().unwrap();
            cluster.deliver_packet(packet);
            cluster.network.clear();
        }
        assert_eq!(cluster.role(1), role);
        let vote = Message {
            group: GROUP,
            from: n(3),
            to: n(1),
            term: Term(9),
            incarnation: Incarnation(1),
            to_incarnation: Incarnation(1),
            body: Body::Vote(VoteRequest {
                campaign: Term(9),
                round: 1,
                last: id(8, 8),
                transfer: false,
            }),
        };
        cluster.core(1).step(Moment(0), vote).unwrap();
        cluster.turn(1);
        let status = cluster.core(1).status();
        assert_eq!(
            (status.role, status.term, status.vote),
            (Role::Follower, Term(9), Some(n(3)))
        );
    }
}

#[test]
fn a_leader_does_not_campaign() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    assert!(!cluster.core(1).campaign());
    assert_eq!(cluster.role(1), Role::Leader);
}

#[test]
fn a_pre_candidate_behind_the_others_gives_way() {
    let mut cluster = Cluster::with_logs(1, [&[1, 1], &[1, 1], &[1]]);
    cluster.core(3).campaign();
    cluster.core(1).campaign();
    cluster.settle();
    assert_eq!(
        (cluster.role(1), cluster.role(3)),
        (Role::Leader, Role::Follower)
    );
}

#[test]
fn a_learner_in_its_own_eyes_votes_for_a_candidate_that_counts_it() {
    // Node 3 was made a voter and has not heard of it; node 2 needs its vote.
    let mut cluster = Cluster::default();
    let members = voters([1, 2]).with_learners([NodeId(3)]);
    for node in 1..=3 {
        cluster.add(config(node), members.clone());
    }
    cluster.elect(1);
    cluster.cut.insert((n(1), n(3)));
    let change = [Change::AddVoter(n(3))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    cluster.settle();
    assert!(!cluster.core(3).configuration().is_voter(n(3)));
    cluster.crash(1);
    cluster.run(40);
    assert_eq!(cluster.role(2), Role::Leader);
    assert!(cluster.core(3).configuration().is_voter(n(3)));
}

#[test]
fn a_new_leader_starts_with_an_empty_count_of_uncommitted_bytes() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.propose(1, "a");
    assert!(cluster.core(1).status().uncommitted_bytes > 0);
    cluster.run(12);
    assert_eq!(cluster.core(1).status().uncommitted_bytes, 0);
    cluster.heal();
    cluster.run(40);
    let leader = cluster.leader().unwrap().get();
    cluster.propose(leader, "b");
    cluster.settle();
    assert_eq!(cluster.core(leader).status().uncommitted_bytes, 0);
}

#[test]
fn a_read_is_confirmed_by_a_quorum_that_has_become_smaller() {
    let mut cluster = Cluster::of([1, 2]);
    cluster.elect(1);
    let change = [Change::Remove(n(2))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    let now = cluster.now(1);
    cluster.core(1).read(now, ReadId(1)).unwrap();
    cluster.crash(2);
    cluster.turn(1);
    assert_eq!(cluster.host(1).reads[0].result, Ok(i(1)));
}

#[test]
fn a_read_of_a_deposed_leader_is_never_answered_with_an_index() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(1);
    let now = cluster.now(1);
    cluster.core(1).read(now, ReadId(1)).unwrap();
    cluster.run(40);
    let leader = cluster.leader().unwrap().get();
    cluster.propose(leader, "newer");
    cluster.settle();
    cluster.heal();
    cluster.run(4);
    let results: Vec<_> = cluster
        .host(1)
        .reads
        .iter()
        .map(|read| read.result)
        .collect();
    assert_eq!(results, [Err(ReadError::LeaderChanged)]);
}

#[test]
fn a_second_transfer_waits_for_the_first_and_the_same_one_is_no_other() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.core(1).transfer(n(2)).unwrap();
    let other = cluster.core(1).transfer(n(3));
    assert_eq!(other, Err(TransferError::InProgress { to: n(2) }));
    assert_eq!(cluster.core(1).transfer(n(2)), Ok(()));
}

#[test]
fn a_transfer_to_a_node_that_is_demoted_ends() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(2);
    let change = [Change::AddLearner(n(2))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    assert_eq!(
        cluster.core(1).transfer(n(2)),
        Err(TransferError::NotVoter { to: n(2) })
    );
    assert_eq!(cluster.core(1).status().transfer, None);
}

#[test]
fn a_transfer_to_a_node_that_needs_a_snapshot_waits_for_it() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.host(1).trim(i(2)).unwrap();
    cluster.heal();
    cluster.core(1).transfer(n(3)).unwrap();
    cluster.run(9);
    assert_eq!(cluster.role(3), Role::Leader);
}

#[test]
fn an_order_to_stand_from_nobody_in_particular_is_not_followed() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    let order = Message {
        group: GROUP,
        from: n(3),
        to: n(2),
        term: Term(1),
        incarnation: Incarnation(1),
        to_incarnation: Incarnation(1),
        body: Body::TimeoutNow { round: Round(0) },
    };
    assert_eq!(
        cluster.core(2).step(Moment(0), order),
        Err(Dropped::WrongRole)
    );
}

#[test]
fn an_old_snapshot_is_not_needed() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle();
    let offer = Message {
        group: GROUP,
        from: n(1),
        to: n(2),
        term: Term(1),
        incarnation: Incarnation(1),
        to_incarnation: Incarnation(1),
        body: Body::SnapshotOffer(SnapshotOffer {
            last: id(1, 1),
            configuration: voters([1, 2, 3]),
            bytes: 0,
        }),
    };
    cluster.core(2).step(Moment(0), offer).unwrap();
    cluster.turn(2);
    let answer = cluster.network.pop_front().unwrap().show();
    assert_eq!(answer, "2->1 t1 snapshot 1.1 unneeded at commit 2");
}

#[test]
fn a_snapshot_brings_the_configuration_with_it() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.add(config(4), Default::default());
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.host(1).trim(i(2)).unwrap();
    let change = [Change::AddLearner(n(4))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    cluster.run(6);
    assert_eq!(cluster.core(4).log().base(), id(1, 2));
    let of_leader = cluster.core(1).configuration().clone();
    assert_eq!(cluster.core(4).configuration(), &of_leader);
    // It has everything; it is made a voter, and may lead.
    let change = [Change::AddVoter(n(4))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    cluster.run(2);
    cluster.core(1).transfer(n(4)).unwrap();
    cluster.settle();
    assert_eq!(cluster.role(4), Role::Leader);
}

#[test]
fn a_broken_stream_is_offered_again() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.host(1).trim(i(2)).unwrap();
    cluster.heal();
    cluster.run(1);
    cluster.tick(1);
    // The bytes are lost again and again, until the host's third report.
    for _ in 0..3 {
        while let Some(packet) = cluster.network.pop_front() {
            if !packet.show().contains("snapshot bytes") {
                cluster.deliver_packet(packet);
            }
        }
        assert_eq!(cluster.core(3).log().last_index(), i(1));
        cluster.core(1).snapshot_progress(n(3));
        cluster.core(1).snapshot_failed(n(3));
        cluster.core(3).refuse_snapshot(id(1, 2));
        cluster.tick(1);
        cluster.tick(1);
    }
    cluster.run(6);
    assert_eq!(cluster.host(3).state, ["-", "a"]);
}

#[test]
fn a_group_of_one_starts_again_and_again() {
    let mut cluster = Cluster::of([1]);
    for round in 1..=3 {
        cluster.run(25);
        assert_eq!(cluster.role(1), Role::Leader);
        cluster.propose(1, "a");
        assert_eq!(cluster.core(1).status().commit, i(2 * round));
        cluster.crash(1);
        cluster.restart(1, Damage::default());
    }
}

#[test]
fn what_is_committed_and_not_on_the_own_disk_is_not_applied() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.host(1).syncs = false;
    cluster.propose(1, "a");
    cluster.settle();
    let status = cluster.core(1).status();
    assert_eq!((status.commit, status.applied), (i(2), i(1)));
}

#[test]
fn a_report_of_a_write_whose_entries_were_replaced_acknowledges_nothing() {
    // Node 2 takes entry 2 of term 1, and before that is on disk, entry 2 of term 2 in its place.
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.host(2).syncs = false;
    cluster.cut.insert((n(1), n(3)));
    cluster.propose(1, "old");
    cluster.settle();
    cluster.isolate(1);
    cluster.host(2).sync_one();
    cluster.turn(2);
    cluster.heal();
    cluster.crash(1);
    cluster.host(2).syncs = true;
    while cluster.host(2).sync_one() {}
    cluster.run(40);
    let leader = cluster.leader().unwrap().get();
    assert_eq!(
        cluster.core(leader).status().commit,
        cluster.core(leader).status().last.index
    );
}

#[test]
fn a_member_that_is_added_again_starts_afresh() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    for change in [Change::Remove(n(3)), Change::AddVoter(n(3))] {
        cluster
            .core(1)
            .change_membership(&[change], Transition::Auto)
            .unwrap();
        cluster.run(3);
    }
    assert_eq!(
        cluster.core(1).peer(n(3)).unwrap().matched,
        cluster.core(1).status().last.index
    );
}
