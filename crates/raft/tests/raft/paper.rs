//! Sentences of the Raft paper and of the dissertation as tests, each named for its section.
//!
//! The transcripts beside them show most of these as they happen; here each sentence stands
//! alone.

use trilith_raft::{Body, Change, ProposeError, ReadId, Role, Transition, message::VoteAnswer};
use trilith_types::{NodeId, Term};

use crate::support::{Cluster, Packet, config, i, id, n, voters};

/// "If one server's current term is smaller than the other's, then it updates its current term to
/// the larger value."
#[test]
fn section_5_1_a_larger_term_is_taken_over() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    assert!((1..=3).all(|node| cluster.core(node).status().term == Term(1)));
}

/// "If a candidate or leader discovers that its term is out of date, it immediately reverts to
/// follower state."
#[test]
fn section_5_1_an_out_of_date_leader_reverts_to_follower() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.run(9);
    cluster.core(2).campaign();
    cluster.run(20);
    assert_ne!(cluster.role(1), Role::Leader);
    cluster.heal();
    cluster.run(2);
    let leader = cluster.leader().unwrap();
    assert_eq!(cluster.role(1), Role::Follower);
    assert_eq!(cluster.core(1).status().leader, Some(leader));
}

/// "If a server receives a request with a stale term number, it rejects the request."
#[test]
fn section_5_1_a_stale_request_is_rejected() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.propose(1, "stale");
    cluster.run(40);
    let last = cluster.core(2).status().last;
    cluster.heal();
    // What the old leader had sent arrives now.
    cluster.run(1);
    assert_eq!(cluster.core(2).status().last, last);
}

/// "If a follower receives no communication over a period of time called the election timeout,
/// then it assumes there is no viable leader and begins an election."
#[test]
fn section_5_2_silence_begins_an_election() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.run(9);
    assert_eq!(cluster.leader(), None);
    cluster.run(31);
    assert!(cluster.leader().is_some());
}

/// "Each server will vote for at most one candidate in a given term, on a first-come-first-served
/// basis."
#[test]
fn section_5_2_one_vote_a_term_first_come_first_served() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.core(1).campaign();
    cluster.core(2).campaign();
    cluster.settle();
    let leaders = (1..=3)
        .filter(|&node| cluster.role(node) == Role::Leader)
        .count();
    assert_eq!(leaders, 1);
    let leader = cluster.leader().unwrap();
    assert_eq!(cluster.core(3).status().vote, Some(leader));
}

/// "A candidate wins an election if it receives votes from a majority of the servers in the full
/// cluster for the same term."
#[test]
fn section_5_2_a_majority_of_the_full_cluster_wins() {
    for (alive, wins) in [(1, false), (2, false), (3, true), (4, true)] {
        let mut cluster = Cluster::of([1, 2, 3, 4, 5]);
        for node in alive + 1..=5 {
            cluster.crash(node);
        }
        cluster.campaign(1);
        assert_eq!(cluster.role(1) == Role::Leader, wins, "{alive} of 5 alive");
    }
}

/// "While waiting for votes, a candidate may receive an AppendEntries RPC from another server
/// claiming to be leader. If the leader's term is at least as large as the candidate's current
/// term, then the candidate returns to follower state."
#[test]
fn section_5_2_a_candidate_follows_a_leader_of_its_term() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.core(1).campaign();
    cluster.core(2).campaign();
    for node in [1, 2] {
        cluster.turn(node);
    }
    cluster.settle();
    let leader = cluster.leader().unwrap();
    assert!((1..=3).all(|node| cluster.core(node).status().leader == Some(leader)));
}

/// "Election timeouts are chosen randomly from a fixed interval."
#[test]
fn section_5_2_timeouts_are_random_within_an_interval() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let mut cluster = Cluster::default();
        cluster.add(config(1), voters([1, 2]));
        cluster.host(1).seed = seed;
        cluster.host(1).crash();
        cluster.restart(1, Default::default());
        let ticks = (1..=40)
            .find(|_| {
                cluster.tick(1);
                cluster.role(1) != Role::Follower
            })
            .unwrap();
        assert!((10..20).contains(&ticks), "{ticks}");
        seen.insert(ticks);
    }
    assert_eq!(seen.len(), 10, "every value of the interval occurs");
}

/// "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
/// parallel to each of the other servers."
#[test]
fn section_5_3_the_leader_sends_to_all_at_once() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.propose(1, "a");
    let to: Vec<_> = cluster.network.iter().map(Packet::to).collect();
    assert_eq!(to, [n(2), n(3)]);
}

/// "A log entry is committed once the leader that created the entry has replicated it on a
/// majority of the servers."
#[test]
fn section_5_3_an_entry_on_a_majority_is_committed() {
    for (acknowledging, committed) in [(0, false), (1, false), (2, true), (4, true)] {
        let mut cluster = Cluster::of([1, 2, 3, 4, 5]);
        cluster.elect(1);
        for node in 2 + acknowledging..=5 {
            cluster.crash(node);
        }
        let index = cluster.propose(1, "a");
        cluster.settle();
        let commit = cluster.core(1).status().commit;
        assert_eq!(commit >= index, committed, "{acknowledging} acknowledge");
    }
}

/// "This also commits all preceding entries in the leader's log, including entries created by
/// previous leaders."
#[test]
fn section_5_3_preceding_entries_are_committed_too() {
    let mut cluster = Cluster::with_logs(3, [&[1, 2, 2, 3], &[1], &[1]]);
    cluster.elect(1);
    assert_eq!(cluster.core(1).status().commit, i(5));
    assert_eq!(cluster.host(2).state, ["t1i1", "t2i2", "t2i3", "t3i4", "-"]);
}

/// "Once a follower learns that a log entry is committed, it applies the entry to its local state
/// machine (in log order)."
#[test]
fn section_5_3_followers_apply_in_log_order() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    for value in ["a", "b", "c"] {
        cluster.propose(1, value);
    }
    cluster.settle();
    assert_eq!(cluster.host(3).state, ["-", "a", "b", "c"]);
}

/// "If the follower does not find an entry in its log with the same index and term, then it
/// refuses the new entries."
#[test]
fn section_5_3_an_append_with_a_hole_before_it_is_refused() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1]]);
    cluster.elect(1);
    let refused = cluster
        .events
        .iter()
        .any(|e| e.starts_with("3->1 t3 conflict at 3"));
    assert!(refused);
    assert_eq!(cluster.core(3).status().last, cluster.core(1).status().last);
}

/// "A leader never overwrites or deletes entries in its own log."
#[test]
fn section_5_3_a_leader_only_appends() {
    let mut cluster = Cluster::with_logs(3, [&[1, 3], &[1, 2], &[1, 2]]);
    cluster.elect(1);
    let of_leader = |e: &&String| e.starts_with("1: write");
    let truncations = cluster
        .events
        .iter()
        .filter(of_leader)
        .filter(|e| e.contains("truncate"));
    assert_eq!(truncations.count(), 0);
    assert_eq!(cluster.core(1).log().term_at(i(2)), Some(Term(3)));
    assert_eq!(cluster.core(2).log().term_at(i(2)), Some(Term(3)));
}

/// "The voter denies its vote if its own log is more up-to-date than that of the candidate."
#[test]
fn section_5_4_1_a_vote_needs_an_up_to_date_log() {
    // Candidate's log, voter's log, whether the vote is granted.
    let cases: [(&[u64], &[u64], bool); 6] = [
        (&[1], &[1], true),
        (&[1, 1], &[1], true),
        (&[1], &[1, 1], false),
        (&[2], &[1, 1], true),
        (&[1, 1], &[2], false),
        (&[], &[1], false),
    ];
    for (candidate, voter, granted) in cases {
        let mut cluster = Cluster::with_logs(2, [candidate, voter, voter]);
        cluster.campaign(1);
        assert_eq!(
            cluster.role(1) == Role::Leader,
            granted,
            "{candidate:?} {voter:?}"
        );
    }
}

/// "Raft never commits log entries from previous terms by counting replicas. Only log entries
/// from the leader's current term are committed by counting replicas."
#[test]
fn section_5_4_2_old_terms_are_not_committed_by_counting() {
    // Figure 8: node 1 has replicated entry 2 of term 2 to a majority, and leads in term 4.
    let mut cluster = Cluster::with_logs(3, [&[1, 2], &[1, 2], &[1, 2], &[1], &[1, 3]]);
    cluster.isolate(5);
    cluster.core(1).campaign();
    // Everything gets through but the leader's own first entry.
    cluster.turn(1);
    while let Some(packet) = cluster.network.pop_front() {
        let own = matches!(&packet, Packet::Message(m, _)
            if matches!(&m.body, Body::Append(a) if a.last_index() > i(2)));
        if !own {
            cluster.deliver_packet(packet);
        }
    }
    assert_eq!(cluster.role(1), Role::Leader);
    assert_eq!(cluster.core(1).status().commit, i(0));
    cluster.run(6);
    assert_eq!(cluster.core(1).status().commit, i(3));
}

/// "If a follower or candidate crashes ... if a server crashes after completing an RPC but before
/// responding, it will receive the same RPC again ... Raft RPCs are idempotent."
#[test]
fn section_5_5_messages_may_come_twice() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.propose(1, "a");
    let twice: Vec<_> = cluster.network.iter().cloned().collect();
    cluster.network.extend(twice);
    cluster.settle();
    assert_eq!(cluster.host(2).state, ["-", "a"]);
    assert_eq!(cluster.core(2).status().last, id(1, 2));
}

/// "Once a given server adds the new configuration entry to its log, it uses that configuration
/// for all future decisions (a server always uses the latest configuration in its log, regardless
/// of whether the entry is committed)."
#[test]
fn section_6_a_configuration_is_in_force_once_appended() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(1);
    let change = [Change::Remove(n(3))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    assert_eq!(cluster.core(1).configuration(), &voters([1, 2]));
    assert_eq!(cluster.core(1).status().commit, i(1));
}

/// "Agreement (for elections and entry commitment) requires separate majorities from both the old
/// and new configurations."
#[test]
fn section_6_joint_consensus_needs_both_majorities() {
    let mut cluster = Cluster::of([1, 2, 3]);
    for node in [4, 5] {
        cluster.add(config(node), Default::default());
    }
    cluster.elect(1);
    cluster.crash(2);
    cluster.crash(3);
    let changes = [
        Change::AddVoter(n(4)),
        Change::AddVoter(n(5)),
        Change::Remove(n(2)),
        Change::Remove(n(3)),
    ];
    cluster
        .core(1)
        .change_membership(&changes, Transition::Auto)
        .unwrap();
    cluster.run(5);
    assert_eq!(
        cluster.core(1).status().commit,
        i(1),
        "the new majority alone decides nothing"
    );
    cluster.restart(2, Default::default());
    cluster.run(5);
    assert_eq!(cluster.core(1).configuration(), &voters([1, 4, 5]));
}

/// "The leader steps down (returns to follower state) once it has committed the C_new log entry."
#[test]
fn section_6_a_leader_outside_the_new_configuration_steps_down_after_it() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    let change = [Change::Remove(n(1))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    cluster.turn(1);
    assert_eq!(
        cluster.role(1),
        Role::Leader,
        "it manages the change it is not part of"
    );
    cluster.settle();
    assert_eq!(cluster.role(1), Role::Follower);
    cluster.run(40);
    assert!(cluster.leader().is_some_and(|leader| leader != n(1)));
}

/// "Servers disregard RequestVote RPCs when they believe a current leader exists."
#[test]
fn section_6_a_removed_server_disturbs_nobody() {
    let mut cluster = Cluster::of([1, 2, 3, 4]);
    cluster.elect(1);
    cluster.isolate(4);
    let change = [Change::Remove(n(4))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    cluster.run(2);
    cluster.heal();
    cluster.run(80);
    assert_eq!(cluster.role(1), Role::Leader);
    assert_eq!(cluster.core(1).status().term, Term(1));
}

/// "The leader must occasionally send snapshots to followers that lag behind. This happens when
/// the leader has already discarded the next log entry that it needs to send to a follower."
#[test]
fn section_7_a_lagging_follower_gets_a_snapshot() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.host(1).trim(i(2)).unwrap();
    cluster.heal();
    cluster.run(6);
    assert_eq!(cluster.core(3).log().base(), id(1, 2));
    assert_eq!(cluster.host(3).state, ["-", "a"]);
}

/// "If instead the follower receives a snapshot that describes a prefix of its log, then log
/// entries covered by the snapshot are deleted but entries following the snapshot are still valid
/// and must be retained." (Here it is needed only when entries of the prefix are damaged.)
#[test]
fn section_7_what_follows_the_snapshot_is_kept() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    for value in ["a", "b"] {
        cluster.propose(1, value);
        cluster.settle();
    }
    cluster.host(1).trim(i(2)).unwrap();
    cluster.crash(2);
    let damage = crate::support::Damage {
        ranges: vec![(i(2), i(2))],
        ..Default::default()
    };
    cluster.restart(2, damage);
    cluster.run(8);
    assert!(
        cluster
            .events
            .iter()
            .any(|e| e.contains("install") && e.contains("keep"))
    );
    assert_eq!(cluster.host(2).state, ["-", "a", "b"]);
}

/// Dissertation §3.10: a leader hands leadership to a server that has all its entries.
#[test]
fn dissertation_3_10_leadership_is_transferred() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.run(1);
    cluster.core(1).transfer(n(3)).unwrap();
    let refused = cluster.core(1).propose(1, 1);
    assert_eq!(refused, Err(ProposeError::Transferring { to: n(3) }));
    cluster.settle();
    assert_eq!(
        (cluster.role(1), cluster.role(3)),
        (Role::Follower, Role::Leader)
    );
}

/// Dissertation §4.1 with the correction of 2015: the leader commits an entry of its term before
/// it changes members one at a time.
#[test]
fn dissertation_4_1_no_change_before_the_leader_has_committed_in_its_term() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.core(1).campaign();
    while cluster.role(1) != Role::Leader {
        cluster.turn(1);
        let packet = cluster.network.pop_front().unwrap();
        cluster.deliver_packet(packet);
    }
    let change = [Change::Remove(n(3))];
    assert!(
        cluster
            .core(1)
            .change_membership(&change, Transition::Auto)
            .is_err()
    );
    cluster.settle();
    assert!(
        cluster
            .core(1)
            .change_membership(&change, Transition::Auto)
            .is_ok()
    );
}

/// Dissertation §4.2.1: a new server catches up without a vote first.
#[test]
fn dissertation_4_2_1_a_learner_does_not_count() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.add(config(4), Default::default());
    cluster.elect(1);
    let change = [Change::AddLearner(n(4))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    cluster.settle();
    assert_eq!(cluster.host(4).state.len(), 2);
    cluster.crash(2);
    cluster.crash(3);
    let index = cluster.propose(1, "a");
    cluster.settle();
    assert!(cluster.core(1).status().commit < index);
    assert!(!cluster.core(4).campaign());
}

/// Dissertation §4.2.2: "a server that is not part of its own latest configuration should still
/// start new elections, as it might still be needed until the C_new entry is committed".
#[test]
fn dissertation_4_2_2_a_removed_server_may_be_needed_until_its_removal_is_committed() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(1);
    let change = [Change::Remove(n(1))];
    cluster
        .core(1)
        .change_membership(&change, Transition::Auto)
        .unwrap();
    cluster.turn(1);
    cluster.run(12);
    assert_eq!(cluster.role(1), Role::Follower);
    assert!(cluster.core(1).campaign());
}

/// Dissertation §6.2: a leader steps down if an election timeout elapses without a successful
/// round of heartbeats to a majority.
#[test]
fn dissertation_6_2_a_leader_without_a_majority_steps_down() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.run(9);
    assert_eq!(cluster.role(1), Role::Leader);
    cluster.run(1);
    assert_eq!(cluster.role(1), Role::Follower);
}

/// Dissertation §6.4: the leader "waits until it has marked an entry from its current term
/// committed" before it serves a read.
#[test]
fn dissertation_6_4_reads_wait_for_a_commit_in_the_term() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.host(1).syncs = true;
    cluster.core(1).campaign();
    while cluster.role(1) != Role::Leader {
        cluster.turn(1);
        let packet = cluster.network.pop_front().unwrap();
        cluster.deliver_packet(packet);
    }
    let now = cluster.now(1);
    cluster.core(1).read(now, ReadId(1)).unwrap();
    cluster.turn(1);
    assert!(cluster.host(1).reads.is_empty());
    cluster.settle();
    assert_eq!(cluster.host(1).reads[0].result, Ok(i(1)));
}

/// Dissertation §6.4: "it issues a new round of heartbeats and waits for their acknowledgments
/// from a majority of the cluster".
#[test]
fn dissertation_6_4_reads_need_a_round_of_their_own() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.tick(1);
    let older: Vec<_> = cluster.network.drain(..).collect();
    let now = cluster.now(1);
    cluster.core(1).read(now, ReadId(1)).unwrap();
    cluster.turn(1);
    let newer: Vec<_> = cluster.network.drain(..).collect();
    // The answers to the older heartbeats come, twice.
    for packet in older.iter().chain(&older) {
        cluster.deliver_packet(packet.clone());
    }
    cluster.settle();
    assert!(cluster.host(1).reads.is_empty());
    cluster.network.extend(newer);
    cluster.settle();
    assert_eq!(cluster.host(1).reads[0].result, Ok(i(1)));
}

/// Dissertation §9.6: a candidate "only increments its term if it first learns from a majority of
/// the cluster that they would be willing to grant the candidate their votes".
#[test]
fn dissertation_9_6_a_pre_vote_raises_no_term() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.run(100);
    assert_eq!(cluster.core(3).status().term, Term(1));
    cluster.heal();
    cluster.run(30);
    assert_eq!(
        (cluster.role(1), cluster.core(1).status().term),
        (Role::Leader, Term(1))
    );
}

/// A vote is on disk before it is given (§5.1: "updated on stable storage before responding").
#[test]
fn figure_2_a_vote_is_on_stable_storage_before_it_is_given() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.host(2).syncs = false;
    cluster.crash(3);
    cluster.campaign(1);
    assert_eq!(cluster.role(1), Role::Candidate);
    let given = |cluster: &Cluster| {
        cluster.network.iter().any(|packet| match packet {
            Packet::Message(m, _) => {
                m.from == NodeId(2)
                    && matches!(&m.body, Body::VoteReply(r) if r.answer == VoteAnswer::Granted)
            }
            Packet::Bytes { .. } => false,
        })
    };
    assert!(!given(&cluster));
    cluster.host(2).sync_one();
    cluster.turn(2);
    assert!(given(&cluster));
    cluster.settle();
    assert_eq!(cluster.role(1), Role::Leader);
}
