//! Protocol-aware recovery: one test for each case of log, snapshot and metadata damage that
//! Alagappan et al. (FAST'18) tell apart for consensus-based storage, and for the rules that go
//! beyond the paper (unknown suffixes, a power cut on all nodes at once).
//!
//! In the names, *intact*, *damaged* and *never* say what a node holds of the entry in question.
//!
//! The paper's cases, and the tests that show them. Long names are cut short; what is quoted is a
//! transcript in `tests/scenarios`.
//!
//! | the leader's entry | the followers' | what comes of it | test |
//! |---|---|---|---|
//! | intact | damaged | the leader hands it out | `leader_intact_follower_damaged_…`, `leader_intact_both_followers_damaged_…`, "repair_by_the_leader" |
//! | intact | never | the leader's log is replicated | "log_replication", "conflict_backtracks_by_term" |
//! | intact | unknown | the leader's log is replicated | `one_unknown_suffix_the_others_elect_without_it` |
//! | damaged, uncommitted | one intact | that one hands it out | `leader_damaged_follower_intact_…`, "repair_of_a_leader" |
//! | | one damaged, one intact | the intact copy mends both | `leader_damaged_one_damaged_one_intact_…` |
//! | | a majority never | discarded, with all after it | `leader_damaged_majority_never_…` |
//! | | one never, one silent | waits | `leader_damaged_one_never_one_silent_…` |
//! | | one damaged, one silent | waits | `leader_damaged_one_damaged_one_silent_…` |
//! | | one damaged, one never | discarded once all have answered | `leader_damaged_nobody_intact_and_all_have_answered_…` |
//! | | one unknown, one never | discarded once all have answered | `leader_damaged_one_never_one_unknown_…` |
//! | | one unknown, some silent | waits: unknown is not never | `an_unknown_suffix_does_not_say_never` |
//! | | one with a lost vote and no copy | as if unknown | `leader_damaged_one_never_one_with_a_lost_vote_…`, `a_lost_vote_does_not_say_never` |
//! | | none but learners | waits for an operator | `an_only_voter_discards_nothing_by_itself` |
//! | damaged, committed | intact on one | that one hands it out | `leader_damaged_follower_intact_…`, `damage_found_while_leading_…` |
//! | | never, damaged | is kept and asked for | `leader_damaged_known_to_be_committed_is_never_discarded` |
//! | | compacted | a follower's snapshot | `leader_damaged_followers_have_compacted_…` |
//! | damaged, applied | nobody has it in a log | it goes with the next trim, and as a snapshot to who needs it | `what_a_leader_has_applied_and_nobody_else_…`, `what_the_leader_has_in_its_state_alone_…` |
//! | never | damaged | the leader's log overwrites it | `leader_never_follower_damaged_…` |
//! | never | intact | the leader's log overwrites it | "conflict_is_overwritten" |
//! | never, committed | damaged on one | is not elected | `a_damaged_entry_counts_in_elections_by_its_identity` |
//! | compacted | damaged | the leader's snapshot | `leader_compacted_follower_damaged_…`, `what_is_applied_and_only_in_snapshots_…` |
//! | different ones damaged on each | | all are mended | `different_entries_damaged_on_every_node_…` |
//!
//! | lost besides | what comes of it | test |
//! |---|---|---|
//! | a follower's snapshot | a peer's replaces it | `a_lost_state_machine_is_replaced_…`, "repair_lost_state_machine" |
//! | the leader's snapshot | it hands over, and a peer's replaces it | `a_leader_that_loses_its_state_machine_…`, "repair_caretaker_hands_over" |
//! | the vote | the node promises nothing any more | `a_lost_vote_takes_no_part_…`, "repair_lost_vote" |
//! | the vote is older than the log | that is a lost vote | `a_log_ahead_of_its_term_file_is_a_lost_vote` |
//! | the end of the log | a vote with a condition | `an_unknown_suffix_helps_nobody_…`, `a_power_cut_on_…` |
//! | committed entries at the end | they count as an unknown suffix | `what_was_committed_and_is_gone_…` |

use trilith_raft::{
    Change, Configuration, Core, EntryId, HardState, Moment, Output, Restored, RestoredVote, Role,
    Sending, SplitMix64, TermRuns, Transition,
};
use trilith_types::{NodeId, Term};

use crate::support::{Cluster, Damage, Packet, config, i, id, n, voters};

pub fn damaged(first: u64, last: u64) -> Damage {
    Damage {
        ranges: vec![(i(first), i(last))],
        ..Damage::default()
    }
}

pub fn unknown() -> Damage {
    Damage {
        unknown: Some(EntryId::MAX),
        ..Damage::default()
    }
}

fn lost_vote() -> Damage {
    Damage {
        lost_vote: true,
        ..Damage::default()
    }
}

pub fn start(cluster: &mut Cluster, node: u64, damage: Damage) {
    cluster.crash(node);
    cluster.restart(node, damage);
}

/// Every log holds the same entries, all intact and applied.
pub fn assert_mended(cluster: &mut Cluster, nodes: &[u64]) {
    let all: Vec<_> = nodes
        .iter()
        .map(|&id| {
            let status = cluster.core(id).status();
            assert_eq!(status.first_damaged, None, "node {id} is not mended");
            assert_eq!(status.applied, status.commit, "node {id} has not applied");
            assert!(!status.unknown_suffix);
            (status.last, status.commit, cluster.host(id).state.clone())
        })
        .collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
}

#[test]
fn leader_intact_follower_damaged_the_leader_hands_out_the_entry() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    start(&mut cluster, 2, damaged(2, 2));
    cluster.elect(1);
    cluster.run(6);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.host(2).state[1], "t1i2");
}

#[test]
fn leader_intact_both_followers_damaged_at_different_entries() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    start(&mut cluster, 2, damaged(1, 2));
    start(&mut cluster, 3, damaged(3, 3));
    cluster.elect(1);
    cluster.run(6);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn leader_never_follower_damaged_the_leaders_log_overwrites_it() {
    // Entry 3 of node 3 was not committed; the leader's log goes another way.
    let mut cluster = Cluster::with_logs(4, [&[1, 1, 4], &[1, 1, 4], &[1, 1, 2]]);
    start(&mut cluster, 3, damaged(3, 3));
    cluster.elect(1);
    cluster.run(4);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.host(3).state[2], "t4i3");
}

#[test]
fn leader_compacted_follower_damaged_the_follower_gets_a_snapshot() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    cluster.host(1).trim(i(3)).unwrap();
    start(&mut cluster, 2, damaged(2, 2));
    cluster.run(12);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.core(2).log().base(), id(3, 4));
}

#[test]
fn leader_damaged_follower_intact_the_follower_hands_out_the_entry() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1]]);
    start(&mut cluster, 1, damaged(2, 3));
    cluster.isolate(3);
    cluster.elect(1);
    cluster.heal();
    cluster.run(4);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.host(1).state[2], "t2i3");
}

#[test]
fn leader_damaged_majority_never_the_entry_is_discarded_and_what_follows_it() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2, 2], &[1, 1], &[1, 1]]);
    start(&mut cluster, 1, damaged(3, 3));
    cluster.elect(1);
    cluster.run(4);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.core(1).status().last, id(3, 3));
}

#[test]
fn leader_damaged_one_never_one_silent_it_waits() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1]]);
    start(&mut cluster, 1, damaged(3, 3));
    cluster.crash(2);
    cluster.campaign(1);
    cluster.run(40);
    assert_eq!(cluster.core(1).status().last, id(2, 3));
    assert_eq!(cluster.core(1).status().commit, i(0));
    assert_eq!(cluster.leader(), None);
    // The silent one had it.
    cluster.restart(2, Damage::default());
    cluster.run(60);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.host(3).state[2], "t2i3");
}

#[test]
fn leader_damaged_one_damaged_one_intact_the_intact_copy_mends_both() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    start(&mut cluster, 1, damaged(2, 2));
    start(&mut cluster, 2, damaged(2, 2));
    cluster.elect(1);
    cluster.run(6);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.host(2).state[1], "t1i2");
}

#[test]
fn leader_damaged_one_damaged_one_silent_it_waits_for_the_third() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    start(&mut cluster, 1, damaged(3, 3));
    start(&mut cluster, 2, damaged(3, 3));
    cluster.crash(3);
    cluster.campaign(1);
    cluster.run(40);
    assert_eq!(cluster.leader(), None);
    assert_eq!(cluster.core(1).status().last, id(2, 3));
    cluster.restart(3, Damage::default());
    cluster.run(60);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.host(1).state[2], "t2i3");
}

#[test]
fn leader_damaged_nobody_intact_and_all_have_answered_the_entry_is_discarded() {
    // Two copies of three are bad: within the bound on damage, the entry was not committed.
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1]]);
    start(&mut cluster, 1, damaged(3, 3));
    start(&mut cluster, 2, damaged(3, 3));
    cluster.elect(1);
    cluster.run(6);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.core(1).log().term_at(i(3)), Some(Term(3)));
}

#[test]
fn leader_damaged_known_to_be_committed_is_never_discarded() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1]]);
    cluster.host(1).disk.commit = i(3);
    start(&mut cluster, 1, damaged(3, 3));
    cluster.campaign(1);
    // Both others say that they never had it. They must be wrong, and it is not for this node to
    // find out how.
    let status = cluster.core(1).status();
    assert_eq!(status.role, Role::Repairing);
    assert_eq!(
        (status.last, status.first_damaged),
        (id(2, 3), Some(id(2, 3)))
    );
}

#[test]
fn leader_damaged_followers_have_compacted_a_follower_gives_a_snapshot() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(2);
    cluster.run(2);
    cluster.host(2).trim(i(4)).unwrap();
    cluster.host(3).trim(i(4)).unwrap();
    start(&mut cluster, 1, damaged(2, 2));
    cluster.isolate(3);
    cluster.crash(2);
    cluster.restart(2, Damage::default());
    // Node 3 is away: only node 1 can be elected with node 2, whose log is as long.
    cluster.campaign(1);
    cluster.run(10);
    assert_eq!(cluster.role(1), Role::Leader);
    cluster.heal();
    cluster.run(10);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

/// Node 1 mends its log with a snapshot of node 2's. Gives node 2's offer, which is late.
fn late_offer(cluster: &mut Cluster) -> Packet {
    cluster.elect(2);
    cluster.run(2);
    for node in [2, 3] {
        cluster.host(node).trim(i(4)).unwrap();
    }
    start(cluster, 1, damaged(2, 2));
    cluster.isolate(3);
    start(cluster, 2, Damage::default());
    cluster.core(1).campaign();
    cluster.turn(1);
    loop {
        let packet = cluster.network.pop_front().unwrap();
        if packet.show().contains("snapshot offer") {
            assert_eq!(cluster.role(1), Role::Repairing);
            return packet;
        }
        cluster.deliver_packet(packet);
    }
}

/// It was taken for a leader's, and clients were sent to a node that did not lead.
#[test]
fn a_followers_offer_that_comes_too_late_makes_it_no_leader() {
    for restarts in [false, true] {
        let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
        let offer = late_offer(&mut cluster);
        let term = cluster.core(1).status().term;
        if restarts {
            start(&mut cluster, 1, damaged(2, 2));
        }
        while cluster.role(1) == Role::Repairing {
            cluster.tick(1);
        }
        cluster.deliver_packet(offer);
        let status = cluster.core(1).status();
        assert_eq!((status.role, status.term), (Role::Follower, term));
        assert_eq!(status.leader, None);
    }
}

#[test]
fn different_entries_damaged_on_every_node_all_are_mended() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    start(&mut cluster, 1, damaged(1, 1));
    start(&mut cluster, 2, damaged(2, 2));
    start(&mut cluster, 3, damaged(3, 3));
    cluster.elect(1);
    cluster.run(6);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn a_damaged_entry_counts_in_elections_by_its_identity() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1]]);
    start(&mut cluster, 2, damaged(3, 3));
    cluster.crash(1);
    cluster.campaign(3);
    assert_ne!(
        cluster.role(3),
        Role::Leader,
        "node 2 had entry 3 and says so"
    );
}

#[test]
fn a_followers_match_falls_with_its_new_life_and_the_commit_index_does_not() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    assert_eq!(cluster.core(1).peer(n(2)).unwrap().matched, i(4));
    cluster.isolate(3);
    start(&mut cluster, 2, damaged(2, 4));
    let commit = cluster.core(1).status().commit;
    cluster.tick(1);
    while let Some(packet) = cluster.network.pop_front() {
        // The leader's own entries do not get through yet.
        if packet.from() == NodeId(2) || !packet.show().contains("repair") {
            cluster.deliver_packet(packet);
        }
    }
    assert_eq!(cluster.core(1).peer(n(2)).unwrap().matched, i(1));
    assert_eq!(cluster.core(1).status().commit, commit);
    cluster.heal();
    cluster.run(10);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn one_unknown_suffix_the_others_elect_without_it() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1]]);
    start(&mut cluster, 3, unknown());
    cluster.elect(1);
    cluster.run(4);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn an_unknown_suffix_helps_nobody_behind_what_it_may_have_held() {
    // Entry 3 was committed by nodes 1 and 2; node 2 lost it, and node 3 never had it.
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1]]);
    start(&mut cluster, 2, unknown());
    cluster.crash(1);
    cluster.campaign(3);
    cluster.campaign(2);
    cluster.run(60);
    assert_eq!(cluster.leader(), None);
    cluster.restart(1, Damage::default());
    cluster.run(60);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.host(2).state[2], "t2i3");
}

#[test]
fn a_bounded_unknown_suffix_votes_for_a_candidate_past_its_bound() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1]]);
    let bound = Damage {
        unknown: Some(id(2, 3)),
        ..Damage::default()
    };
    start(&mut cluster, 2, bound);
    cluster.crash(3);
    cluster.elect(1);
}

#[test]
fn a_power_cut_on_all_nodes_with_unknown_suffixes_comes_back() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1]]);
    cluster.power_cut();
    for node in 1..=3 {
        cluster.restart(node, unknown());
    }
    cluster.run(80);
    assert!(cluster.leader().is_some());
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(
        cluster.host(3).state[2],
        "t2i3",
        "the longest intact log wins"
    );
}

#[test]
fn a_power_cut_on_five_nodes_waits_for_the_last_of_them() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1], &[1], &[1]]);
    cluster.power_cut();
    for node in 2..=5 {
        cluster.restart(node, unknown());
    }
    cluster.run(80);
    assert_eq!(cluster.leader(), None, "node 1 may hold more");
    cluster.restart(1, unknown());
    cluster.run(120);
    assert_mended(&mut cluster, &[1, 2, 3, 4, 5]);
    assert_eq!(cluster.host(5).state[2], "t2i3");
}

#[test]
fn a_doubt_outlives_another_start() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1]]);
    start(&mut cluster, 2, unknown());
    cluster.crash(1);
    start(&mut cluster, 2, Damage::default());
    cluster.campaign(3);
    assert_ne!(cluster.role(3), Role::Leader);
}

#[test]
fn what_was_committed_and_is_gone_counts_as_an_unknown_suffix() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1]]);
    cluster.host(2).disk.commit = i(3);
    start(&mut cluster, 2, Damage::default());
    assert!(cluster.core(2).status().unknown_suffix);
    cluster.crash(1);
    cluster.campaign(3);
    assert_ne!(
        cluster.role(3),
        Role::Leader,
        "node 2 knows that entry 3 was committed"
    );
    assert!(!cluster.core(2).campaign());
}

#[test]
fn a_lost_vote_takes_no_part_and_still_hands_out_entries() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    start(&mut cluster, 1, lost_vote());
    start(&mut cluster, 2, damaged(2, 2));
    start(&mut cluster, 3, damaged(2, 2));
    assert!(cluster.core(1).status().vote_lost && !cluster.core(1).campaign());
    cluster.run(80);
    assert_eq!(cluster.core(1).status().term, Term(2));
    assert_mended(&mut cluster, &[2, 3]);
    assert_eq!(cluster.host(2).state[1], "t1i2");
}

#[test]
fn leader_damaged_one_never_one_unknown_the_entry_is_discarded() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1]]);
    start(&mut cluster, 1, damaged(3, 3));
    start(&mut cluster, 3, unknown());
    cluster.elect(1);
    cluster.run(4);
    assert!(said(&cluster, "3->1 t3 repair answer 2.3 unknown") > 0);
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert_eq!(cluster.core(1).log().term_at(i(3)), Some(Term(3)));
}

#[test]
fn an_unknown_suffix_does_not_say_never() {
    // With node 4's answer three of five would have had it never, and node 5 may have it.
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1], &[1, 1], &[1, 1, 2]]);
    start(&mut cluster, 1, damaged(3, 3));
    start(&mut cluster, 4, unknown());
    cluster.crash(5);
    cluster.campaign(1);
    cluster.run(40);
    assert!(said(&cluster, "4->1 t3 repair answer 2.3 unknown") > 0);
    assert_eq!(cluster.leader(), None);
    assert_eq!(cluster.core(1).status().last, id(2, 3));
    cluster.restart(5, Damage::default());
    cluster.run(60);
    assert_mended(&mut cluster, &[1, 2, 3, 4, 5]);
    assert_eq!(cluster.host(1).state[2], "t2i3");
}

/// Its answers came in an earlier term and were dropped, so that the leader waited for ever.
#[test]
fn leader_damaged_one_never_one_with_a_lost_vote_the_entry_is_discarded() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1]]);
    start(&mut cluster, 1, damaged(3, 3));
    start(&mut cluster, 3, lost_vote());
    cluster.elect(1);
    cluster.run(4);
    assert_mended(&mut cluster, &[1, 2]);
    assert_eq!(cluster.core(1).log().term_at(i(3)), Some(Term(3)));
    let lost = cluster.core(3).status();
    assert_eq!((lost.term, lost.last), (Term(1), id(1, 2)));
}

#[test]
fn a_lost_vote_does_not_say_never() {
    // With node 4's answer three of five would have had it never, and node 5 may have it.
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1], &[1, 1], &[1, 1], &[1, 1, 2]]);
    start(&mut cluster, 1, damaged(3, 3));
    start(&mut cluster, 4, lost_vote());
    cluster.crash(5);
    cluster.campaign(1);
    cluster.run(40);
    assert!(said(&cluster, "4->1 t3 repair answer 2.3 unknown") > 0);
    assert_eq!(cluster.leader(), None);
    assert_eq!(cluster.core(1).status().last, id(2, 3));
    cluster.restart(5, Damage::default());
    cluster.run(60);
    assert_mended(&mut cluster, &[1, 2, 3, 5]);
    assert_eq!(cluster.host(1).state[2], "t2i3");
}

#[test]
fn a_lost_vote_is_no_sign_of_a_quorum() {
    let terms = [1, 1, 1, 1];
    let mut cluster = Cluster::with_logs(2, [&terms, &terms, &terms]);
    cluster.elect(1);
    cluster.run(2);
    let both = vec![(i(2), i(2)), (i(4), i(4))];
    let lost = Damage {
        ranges: both.clone(),
        ..lost_vote()
    };
    start(&mut cluster, 3, lost);
    cluster.crash(2);
    // Node 3 answers that it has them no more either, again and again.
    cluster.core(1).damaged(&both).unwrap();
    cluster.run(20);
    assert!(said(&cluster, "3->1 t3 repair answer") > 1);
    assert_eq!(cluster.role(1), Role::Follower);
}

#[test]
fn a_log_ahead_of_its_term_file_is_a_lost_vote() {
    let mut cluster = Cluster::with_logs(1, [&[1, 1, 2], &[1], &[1]]);
    assert!(cluster.core(1).status().vote_lost);
    assert!(!cluster.core(2).status().vote_lost);
}

#[test]
fn a_lost_state_machine_is_replaced_and_the_vote_stays_valid() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    let lost = Damage {
        lost_state: true,
        ..Damage::default()
    };
    start(&mut cluster, 2, lost);
    cluster.isolate(1);
    cluster.campaign(3);
    cluster.run(30);
    assert_eq!(cluster.role(3), Role::Leader, "elected with node 2's vote");
    cluster.heal();
    cluster.run(10);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn a_leader_that_loses_its_state_machine_steps_down() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.core(1).state_machine_lost();
    cluster.host(1).state.clear();
    cluster.run(60);
    assert_ne!(cluster.leader(), None);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn damage_found_while_following_is_mended() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    cluster.core(2).damaged(&[(i(1), i(2))]).unwrap();
    assert!(cluster.core(2).is_damaged(i(1), i(2)));
    assert!(!cluster.core(2).is_damaged(i(1), i(3)));
    cluster.settle();
    assert_mended(&mut cluster, &[1, 2, 3]);
    assert!(!cluster.core(2).is_damaged(i(1), i(2)));
    assert_eq!(cluster.core(2).damaged(&[]), Ok(()));
    assert_eq!(cluster.core(2).status().first_damaged, None);
    assert!(cluster.core(2).damaged(&[(i(0), i(1))]).is_err());
    assert!(cluster.core(2).damaged(&[(i(3), i(9))]).is_err());
}

#[test]
fn what_a_rewriting_did_not_mend_is_asked_for_again() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    cluster.core(2).damaged(&[(i(1), i(3))]).unwrap();
    // All three are written again, and while that is on its way to the disk the middle one turns out
    // to be damaged still.
    cluster.host(2).syncs = false;
    cluster.settle();
    assert!(cluster.core(2).is_damaged(i(1), i(3)));
    cluster.core(2).damaged(&[(i(2), i(2))]).unwrap();
    while cluster.host(2).sync_one() {}
    cluster.host(2).syncs = true;
    assert!(cluster.core(2).is_damaged(i(2), i(2)));
    assert!(!cluster.core(2).is_damaged(i(1), i(1)) && !cluster.core(2).is_damaged(i(3), i(3)));
    cluster.run(20);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn entries_that_a_snapshot_came_with_can_be_mended_once_they_are_known() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    let whole = cluster.core(2).log().clone();
    cluster.core(2).trimmed(i(3)).unwrap();
    assert!(cluster.core(2).damaged(&[(i(2), i(3))]).is_err());
    let mut earlier = whole.clone();
    earlier.truncate_from(i(4));
    let members = [(i(0), voters([1, 2, 3]))];
    let other = [(i(0), voters([1, 2]))];
    assert!(cluster.core(2).prepended(&whole, &members).is_err());
    assert!(cluster.core(2).prepended(&earlier, &other).is_err());
    assert!(cluster.core(2).prepended(&earlier, &[]).is_err());
    cluster.core(2).prepended(&earlier, &members).unwrap();
    assert_eq!(cluster.core(2).log(), &whole);
    cluster.core(2).damaged(&[(i(2), i(3))]).unwrap();
    cluster.settle();
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn damage_found_while_leading_is_mended_by_the_followers() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    cluster.core(1).damaged(&[(i(2), i(2))]).unwrap();
    assert_eq!(cluster.role(1), Role::Leader);
    cluster.settle();
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn damage_to_a_leaders_uncommitted_entry_is_left_to_the_next_term() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.propose(1, "a");
    cluster.core(1).damaged(&[(i(2), i(2))]).unwrap();
    assert_eq!(cluster.role(1), Role::Follower);
    cluster.heal();
    cluster.run(60);
    assert_mended(&mut cluster, &[1, 2, 3]);
}

#[test]
fn a_peer_that_needs_what_the_leader_has_damaged_and_applied_gets_a_snapshot() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.core(1).damaged(&[(i(2), i(2))]).unwrap();
    cluster.cut.insert((n(1), n(2)));
    cluster.cut.insert((n(2), n(1)));
    for link in [(1, 3), (3, 1)] {
        cluster.cut.remove(&(n(link.0), n(link.1)));
    }
    cluster.run(4);
    assert_eq!(cluster.host(3).state.len(), 2);
    assert_eq!(
        cluster.core(1).peer(n(3)).unwrap().sending,
        Sending::Replicate
    );
    assert_eq!(cluster.core(3).log().base(), id(1, 2));
}

#[test]
fn what_is_applied_and_only_in_snapshots_is_to_be_trimmed() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    cluster.host(1).trim(i(3)).unwrap();
    cluster.core(2).damaged(&[(i(2), i(2))]).unwrap();
    cluster.settle();
    assert!(cluster.events.iter().any(|e| e == "2: should trim to 4"));
    cluster.events.clear();
    cluster.run(20);
    let offers = cluster
        .events
        .iter()
        .filter(|e| e.contains("snapshot"))
        .count();
    assert_eq!(offers, 0, "it does not ask again and again");
    // What it has acknowledged since counts all the same.
    let index = cluster.propose(1, "a");
    cluster.settle();
    assert_eq!(cluster.core(1).peer(n(2)).unwrap().matched, index);
    cluster.host(2).trim(i(4)).unwrap();
    assert_mended(&mut cluster, &[1, 2, 3]);
}

/// The leader has applied an entry and lost its bytes since, and so has a follower that needs it:
/// the follower gets a snapshot, since nobody has the entry.
#[test]
fn what_the_leader_has_in_its_state_alone_goes_as_a_snapshot() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.settle();
    cluster.run(2);
    cluster.isolate(3);
    cluster.core(1).damaged(&[(i(2), i(2))]).unwrap();
    start(&mut cluster, 2, damaged(2, 2));
    cluster.run(30);
    let (leader, state) = (cluster.core(1).status(), cluster.host(1).state.clone());
    assert_eq!(cluster.core(2).status().applied, leader.applied);
    assert_eq!(cluster.host(2).state, state);
}

/// How many of the messages so far begin with this.
pub fn said(cluster: &Cluster, what: &str) -> usize {
    let events = cluster.events.iter();
    events.filter(|event| event.contains(what)).count()
}

#[test]
fn what_a_leader_has_applied_and_nobody_else_has_in_a_log_is_given_up() {
    let mut cluster = Cluster::with_logs(2, [&[1, 1, 2], &[1, 1, 2], &[1, 1, 2]]);
    cluster.elect(1);
    cluster.run(2);
    cluster.host(2).trim(i(2)).unwrap();
    // Node 3 does not answer.
    cluster.isolate(3);
    cluster.core(1).damaged(&[(i(2), i(3))]).unwrap();
    cluster.settle();
    assert_eq!(cluster.role(1), Role::Leader);
    // Entry 2 is in snapshots alone and goes with the next trim; the search goes on behind it.
    assert!(said(&cluster, "1: should trim to 2") > 0);
    assert_eq!(cluster.core(1).status().first_damaged, Some(id(1, 2)));
    assert!(cluster.core(1).is_damaged(i(2), i(2)));
    assert!(!cluster.core(1).is_damaged(i(2), i(3)));
    cluster.host(1).trim(i(2)).unwrap();
    assert_eq!(cluster.core(1).status().first_damaged, None);
}

#[test]
fn damage_in_what_is_being_applied_keeps_a_leader_waiting_no_longer_than_that() {
    let mut log = TermRuns::starting_after(EntryId::default());
    log.append(Term(1), 3);
    let restored = Restored {
        log,
        base_configuration: voters([1]),
        commit: i(3),
        vote: RestoredVote::Known(HardState {
            term: Term(1),
            vote: None,
        }),
        ..Restored::default()
    };
    let random = Box::new(SplitMix64(1));
    let mut core = Core::new(config(1), restored, random, Moment(0)).unwrap();
    let mut out = Output::default();
    core.drain(&mut out);
    assert_eq!(out.apply.as_ref().map(|apply| apply.last), Some(i(3)));
    out.clear();
    // The host has read the entries to apply them, and found one damaged after that.
    core.damaged(&[(i(2), i(2))]).unwrap();
    assert!(core.campaign());
    core.drain(&mut out);
    core.persisted(out.write.unwrap().seq).unwrap();
    assert_eq!(core.status().role, Role::Repairing);
    core.applied(i(1)).unwrap();
    assert_eq!(core.status().role, Role::Repairing);
    core.applied(i(3)).unwrap();
    assert_eq!(core.status().role, Role::Leader);
}

/// It may have committed the entry by itself, and what others say about it proves nothing.
#[test]
fn an_only_voter_discards_nothing_by_itself() {
    let members = Configuration::of_voters([n(1)])
        .changed(&[Change::AddLearner(n(2))], Transition::Auto)
        .unwrap();
    let mut cluster = Cluster::with_logs_of(&members, 2, [&[1, 1, 2], &[1, 1]]);
    start(&mut cluster, 1, damaged(3, 3));
    cluster.run(60);
    let status = cluster.core(1).status();
    assert_eq!((status.role, status.last.index), (Role::Repairing, i(3)));
    cluster.run(60);
    let later = cluster.core(1).status();
    assert_eq!((later.role, later.term), (Role::Repairing, status.term));
    assert_eq!(cluster.core(1).discard_doubtful(), Some((i(3), i(3))));
    cluster.run(60);
    assert_eq!(cluster.leader(), Some(n(1)));
    assert_mended(&mut cluster, &[1, 2]);
}
