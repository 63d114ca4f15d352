//! Wrong input is answered or dropped with its reason, and a host's wrong reports are refused.

use trilith_raft::{
    Body, Change, Configuration, Core, Dropped, EntryId, EntryRuns, HostError, Message, Moment,
    ProposeError, ReadId, RestoreError, Restored, Role, SendOutcome, SplitMix64, TermRuns,
    Transition, WriteSeq,
    message::{
        Ack, Append, AppendReply, Heartbeat, HeartbeatReply, Holding, Repair, RepairPiece,
        RepairRange, RepairReply, RepairRequest, Round, SnapshotOffer, SnapshotReply, VoteAnswer,
        VoteReply, VoteRequest,
    },
};
use trilith_types::{GroupId, Incarnation, NodeId, Term};

use crate::support::{Cluster, GROUP, config, i, id, n, voters};

fn message(from: u64, to: u64, term: u64, body: Body) -> Message {
    Message {
        group: GROUP,
        from: NodeId(from),
        to: NodeId(to),
        term: Term(term),
        incarnation: Incarnation(1),
        to_incarnation: Incarnation(1),
        body,
    }
}

fn heartbeat(round: u64) -> Body {
    Body::Heartbeat(Heartbeat {
        commit: i(0),
        round: Round(round),
        sent_at: Moment(0),
        quiet: None,
    })
}

fn append(prev: EntryId, runs: EntryRuns) -> Append {
    Append {
        prev,
        runs,
        configurations: Vec::new(),
        commit: i(0),
        probe: true,
    }
}

/// Node 1 leads, in term 1, with two entries.
fn led() -> Cluster {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle();
    cluster
}

fn dropped(cluster: &mut Cluster, message: Message) -> Dropped {
    let to = message.to.get();
    let before = cluster.core(to).status();
    let why = cluster.core(to).step(Moment(0), message).unwrap_err();
    let after = cluster.core(to).status();
    assert_eq!((before.last, before.commit), (after.last, after.commit));
    cluster.turn(to);
    why
}

#[test]
fn what_is_not_for_this_node_is_dropped() {
    let mut cluster = led();
    let foreign = Message {
        group: GroupId(8),
        ..message(2, 1, 1, heartbeat(0))
    };
    assert_eq!(
        dropped(&mut cluster, foreign),
        Dropped::ForeignGroup { group: GroupId(8) }
    );
    let elsewhere = message(2, 1, 1, heartbeat(0));
    let why = cluster.core(3).step(Moment(0), elsewhere).unwrap_err();
    assert_eq!(why, Dropped::NotForUs { to: n(1) });
    for from in [0, 1] {
        let why = dropped(&mut cluster, message(from, 1, 1, heartbeat(0)));
        assert_eq!(why, Dropped::ImpossibleSender { from: n(from) });
    }
    let ghost = Message {
        incarnation: Incarnation(0),
        ..message(2, 1, 1, heartbeat(0))
    };
    assert!(matches!(
        dropped(&mut cluster, ghost),
        Dropped::StaleIncarnation { .. }
    ));
}

#[test]
fn an_earlier_life_is_not_heard_and_answers_to_one_are_not_either() {
    let mut cluster = led();
    cluster
        .core(1)
        .step(
            Moment(0),
            Message {
                incarnation: Incarnation(5),
                ..message(2, 1, 1, Body::NewerTerm)
            },
        )
        .unwrap();
    let old = message(2, 1, 1, Body::NewerTerm);
    assert!(matches!(
        dropped(&mut cluster, old),
        Dropped::StaleIncarnation { .. }
    ));
    let reply = Body::AppendReply(AppendReply::Accepted(Ack::default()));
    let to_other_life = Message {
        to_incarnation: Incarnation(9),
        ..message(3, 1, 1, reply)
    };
    let why = dropped(&mut cluster, to_other_life);
    assert_eq!(
        why,
        Dropped::EarlierLife {
            addressed: Incarnation(9)
        }
    );
}

#[test]
fn a_leader_of_a_past_term_is_told_of_the_newer_one() {
    let mut cluster = Cluster::with_logs(5, [&[1], &[1], &[1]]);
    let why = dropped(&mut cluster, message(2, 1, 4, heartbeat(0)));
    assert_eq!(
        why,
        Dropped::StaleTerm {
            found: Term(4),
            current: Term(5)
        }
    );
    let answer = cluster.network.pop_front().unwrap().show();
    assert_eq!(answer, "1->2 t5 newer term");
    let ack = Body::AppendReply(AppendReply::Accepted(Ack::default()));
    dropped(&mut cluster, message(2, 1, 4, ack));
    assert!(cluster.network.is_empty());
}

#[test]
fn a_stranger_is_no_peer() {
    let mut cluster = led();
    let ack = Body::AppendReply(AppendReply::Accepted(Ack::default()));
    let why = dropped(&mut cluster, message(9, 1, 7, ack));
    assert_eq!(why, Dropped::UnknownPeer { from: n(9) });
    // One word of a removed server in a later term deposed a leader and unsettled its followers.
    for to in [1, 2] {
        for body in [
            Body::NewerTerm,
            Body::TimeoutNow { round: Round(0) },
            Body::SnapshotRequest,
            Body::ReadReply {
                counter: 1,
                index: None,
            },
            repair_request(1),
            Body::RepairReply(RepairReply {
                id: id(1, 1),
                holding: Holding::Never,
            }),
            Body::Repair(Repair {
                pieces: Vec::new(),
                configurations: Vec::new(),
            }),
        ] {
            let why = dropped(&mut cluster, message(9, to, 7, body));
            assert_eq!(why, Dropped::UnknownPeer { from: n(9) });
            assert_eq!(cluster.core(to).status().term, Term(1));
        }
    }
    assert_eq!(cluster.role(1), Role::Leader);
    assert_eq!(cluster.core(2).status().leader, Some(n(1)));
}

/// A voter that does not know the newest configuration yet may be the one whose answer a leader
/// of that configuration needs to mend its log.
#[test]
fn a_leader_of_a_configuration_not_known_here_is_answered() {
    let mut cluster = led();
    let why = dropped(&mut cluster, message(9, 2, 7, repair_request(9)));
    assert_eq!(why, Dropped::UnknownPeer { from: n(9) });
    for body in [heartbeat(0), repair_request(9)] {
        let core = cluster.core(2);
        core.step(Moment(0), message(9, 2, 7, body)).unwrap();
        cluster.turn(2);
    }
    let said: Vec<_> = cluster.network.iter().map(|p| p.show()).collect();
    let expected = [
        "2->9 t7 heartbeat answer received 2 round 0",
        "2->9 t7 repair answer 1.9 never",
    ];
    assert_eq!(said, expected);
    // Nobody is known to lead: there is no reason to doubt a later term.
    let mut cluster = Cluster::of([1, 2, 3]);
    let core = cluster.core(2);
    core.step(Moment(0), message(9, 2, 7, repair_request(9)))
        .unwrap();
    assert_eq!(core.status().term, Term(7));
}

fn repair_request(index: u64) -> Body {
    let range = RepairRange {
        id: id(1, index),
        through: id(1, index),
    };
    Body::RepairRequest(RepairRequest {
        ranges: vec![range],
    })
}

#[test]
fn a_second_leader_of_a_term_is_not_believed() {
    let mut cluster = led();
    assert!(matches!(
        dropped(&mut cluster, message(2, 1, 1, heartbeat(0))),
        Dropped::TwoLeaders { .. }
    ));
    assert!(matches!(
        dropped(&mut cluster, message(3, 2, 1, heartbeat(0))),
        Dropped::TwoLeaders { .. }
    ));
}

#[test]
fn impossible_appends_are_dropped() {
    let mut cluster = led();
    let falling = append(id(1, 2), [(3, 1), (2, 1)].map(run).into_iter().collect());
    let body = Body::Append(falling);
    assert_eq!(
        dropped(&mut cluster, message(1, 2, 1, body)),
        Dropped::ImpossibleTerms
    );
    let future = Body::Append(append(id(1, 2), EntryRuns::one(Term(9), 1)));
    assert_eq!(
        dropped(&mut cluster, message(1, 2, 1, future)),
        Dropped::ImpossibleTerms
    );
    let endless = Body::Append(append(id(1, 2), EntryRuns::one(Term(1), u64::MAX - 2)));
    assert!(matches!(
        dropped(&mut cluster, message(1, 2, 1, endless)),
        Dropped::ImpossibleIndex { .. }
    ));
    let mut odd = append(id(1, 2), EntryRuns::one(Term(1), 1));
    odd.configurations = vec![(i(3), Configuration::default())];
    assert!(matches!(
        dropped(&mut cluster, message(1, 2, 1, Body::Append(odd))),
        Dropped::MalformedConfiguration { .. }
    ));
}

fn run((term, count): (u64, u64)) -> trilith_raft::EntryRun {
    trilith_raft::EntryRun {
        term: Term(term),
        count,
    }
}

/// Takes a message in, and puts everything on disk at once.
fn take(core: &mut Core, message: Message) -> Result<(), Dropped> {
    let result = core.step(Moment(0), message);
    let mut out = trilith_raft::Output::default();
    core.drain(&mut out);
    if let Some(write) = out.write {
        core.persisted(write.seq).unwrap();
    }
    result
}

#[test]
fn a_committed_entry_is_never_contradicted() {
    let mut cluster = led();
    let core = cluster.core(2);
    let mut fifth = append(id(1, 2), EntryRuns::one(Term(5), 1));
    fifth.commit = i(3);
    take(core, message(3, 2, 5, Body::Append(fifth))).unwrap();
    assert_eq!(core.status().commit, i(3));
    // A leader that lacks a committed entry cannot be; if it is, it is not followed.
    let other = append(id(1, 2), EntryRuns::one(Term(4), 1));
    let _ = take(core, message(3, 2, 5, Body::Append(other)));
    assert_eq!(core.log().term_at(i(3)), Some(Term(5)));
    let offer = Body::SnapshotOffer(SnapshotOffer {
        last: id(4, 3),
        configuration: voters([1, 2, 3]),
        bytes: 0,
    });
    let why = take(core, message(3, 2, 5, offer)).unwrap_err();
    assert_eq!(why, Dropped::CommittedConflict { id: id(4, 3) });
}

#[test]
fn answers_that_nobody_asked_for_are_dropped() {
    let mut cluster = led();
    let ahead = Body::AppendReply(AppendReply::Accepted(Ack {
        matched: i(99),
        stored: i(99),
    }));
    assert!(matches!(
        dropped(&mut cluster, message(2, 1, 1, ahead)),
        Dropped::ImpossibleIndex { .. }
    ));
    let future_round = Body::HeartbeatReply(HeartbeatReply {
        round: Round(50),
        sent_at: Moment(0),
        received: i(2),
        ack: None,
        quiet: false,
        needs_snapshot: false,
    });
    assert_eq!(
        dropped(&mut cluster, message(2, 1, 1, future_round)),
        Dropped::Unsolicited
    );
    let installed = Body::SnapshotReply(SnapshotReply::Installed { last: id(1, 2) });
    assert_eq!(
        dropped(&mut cluster, message(2, 1, 1, installed)),
        Dropped::Unsolicited
    );
    let read = Body::ReadReply {
        counter: 7,
        index: Some(i(1)),
    };
    assert_eq!(
        dropped(&mut cluster, message(1, 2, 1, read)),
        Dropped::Unsolicited
    );
    let conflict = Body::AppendReply(AppendReply::Conflict {
        prev: i(1),
        hint: id(1, 1),
    });
    assert_eq!(
        dropped(&mut cluster, message(2, 1, 1, conflict)),
        Dropped::Unsolicited
    );
    let reply = Body::AppendReply(AppendReply::Accepted(Ack::default()));
    assert_eq!(
        dropped(&mut cluster, message(3, 2, 1, reply)),
        Dropped::WrongRole
    );
    assert_eq!(
        dropped(
            &mut cluster,
            message(3, 1, 1, Body::TimeoutNow { round: Round(0) })
        ),
        Dropped::WrongRole
    );
}

#[test]
fn impossible_campaigns_are_dropped() {
    let mut cluster = Cluster::of([1, 2, 3]);
    let request = |campaign, last| VoteRequest {
        campaign: Term(campaign),
        round: 1,
        last,
        transfer: false,
    };
    let jump = Body::PreVote(request(9, id(0, 0)));
    assert_eq!(
        dropped(&mut cluster, message(2, 1, 0, jump)),
        Dropped::ImpossibleTerms
    );
    let other = Body::Vote(request(3, id(0, 0)));
    assert_eq!(
        dropped(&mut cluster, message(2, 1, 2, other)),
        Dropped::ImpossibleTerms
    );
    let log_of_the_future = Body::Vote(request(2, id(2, 1)));
    assert_eq!(
        dropped(&mut cluster, message(2, 1, 2, log_of_the_future)),
        Dropped::ImpossibleTerms
    );
}

#[test]
fn a_learners_answer_to_a_campaign_is_no_vote() {
    let mut cluster = Cluster::default();
    let members = voters([1, 2, 3]).with_learners([n(4)]);
    cluster.add(config(1), members);
    assert!(cluster.core(1).campaign());
    let granted = |campaign| {
        Body::PreVoteReply(VoteReply {
            campaign: Term(campaign),
            round: 1,
            answer: VoteAnswer::Granted,
        })
    };
    assert_eq!(
        dropped(&mut cluster, message(4, 1, 0, granted(1))),
        Dropped::UnknownPeer { from: n(4) }
    );
    assert_eq!(cluster.role(1), Role::PreCandidate);
    let voter = message(2, 1, 0, granted(1));
    cluster.core(1).step(Moment(0), voter).unwrap();
    assert_eq!(cluster.role(1), Role::Candidate);
}

#[test]
fn impossible_repairs_and_snapshots_are_dropped() {
    let mut cluster = led();
    let range = |first, last| RepairRange {
        id: id(1, first),
        through: id(1, last),
    };
    let impossible = [
        vec![range(2, 1)],
        vec![],
        vec![range(3, 3), range(2, 2)],
        vec![range(1, 2), range(2, 3)],
    ];
    for ranges in impossible {
        let request = Body::RepairRequest(RepairRequest { ranges });
        assert!(matches!(
            dropped(&mut cluster, message(2, 1, 1, request)),
            Dropped::ImpossibleIndex { .. }
        ));
    }
    let piece = RepairPiece {
        first: i(1),
        runs: EntryRuns::one(Term(1), 1),
    };
    let repair = Body::Repair(Repair {
        pieces: vec![piece],
        configurations: Vec::new(),
    });
    assert_eq!(
        dropped(&mut cluster, message(1, 2, 1, repair)),
        Dropped::NotDamaged
    );
    let offer = |last, configuration| {
        Body::SnapshotOffer(SnapshotOffer {
            last,
            configuration,
            bytes: 0,
        })
    };
    let nothing = offer(id(0, 0), voters([1]));
    assert!(matches!(
        dropped(&mut cluster, message(1, 2, 1, nothing)),
        Dropped::ImpossibleIndex { .. }
    ));
    let nobody = offer(id(1, 9), Configuration::default());
    assert!(matches!(
        dropped(&mut cluster, message(1, 2, 1, nobody)),
        Dropped::MalformedConfiguration { .. }
    ));
}

#[test]
fn a_hosts_wrong_reports_are_refused() {
    let mut cluster = led();
    let core = cluster.core(1);
    assert!(matches!(
        core.persisted(WriteSeq(999)),
        Err(HostError::UnknownWrite { .. })
    ));
    assert!(matches!(core.applied(i(9)), Err(HostError::Applied { .. })));
    assert!(matches!(core.applied(i(0)), Err(HostError::Applied { .. })));
    assert!(matches!(core.trimmed(i(9)), Err(HostError::Trimmed { .. })));
    let mut newcomer = Cluster::default();
    newcomer.add_with(config(4), Default::default());
    let trimmed = newcomer.core(4).trimmed(i(0));
    assert_eq!(trimmed, Err(HostError::NoConfiguration { index: i(0) }));
    assert!(matches!(
        core.accept_snapshot(id(1, 1), 0),
        Err(HostError::Snapshot { .. })
    ));
    assert!(matches!(
        core.snapshot_staged(id(1, 1)),
        Err(HostError::Snapshot { .. })
    ));
    let foreign = TermRuns::starting_after(id(3, 7));
    assert!(matches!(
        core.prepended(&foreign, &[(i(7), voters([1, 2, 3]))]),
        Err(HostError::Misplaced { .. })
    ));
    core.refuse_snapshot(id(1, 1));
    core.snapshot_failed(n(2));
    core.unreachable(n(9));
    core.peer_suspect(n(9));
    core.peer_alive(n(9));
    assert_eq!(core.peer(n(9)), None);
    assert_eq!(core.propose(0, 0), Err(ProposeError::Count { count: 0 }));
    assert!(matches!(
        core.propose(u64::MAX, 0),
        Err(ProposeError::Count { .. })
    ));
}

#[test]
fn a_send_of_a_past_term_or_life_is_dropped() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.core(1).propose(1, 1).unwrap();
    let mut out = trilith_raft::Output::default();
    cluster.core(1).drain(&mut out);
    let sends = out.sends.clone();
    assert_eq!(sends.len(), 2);
    let ready = SendOutcome::Ready {
        last: i(2),
        bytes: 1,
    };
    assert!(cluster.core(1).complete_send(&sends[0], ready).is_some());
    assert!(
        cluster.core(1).complete_send(&sends[0], ready).is_none(),
        "a ticket is used once"
    );
    cluster
        .core(1)
        .step(Moment(0), message(2, 1, 5, Body::NewerTerm))
        .unwrap();
    assert!(
        cluster.core(1).complete_send(&sends[1], ready).is_none(),
        "the term has passed"
    );
}

#[test]
fn a_repair_of_a_past_term_or_of_other_entries_is_not_sent() {
    let mut cluster = led();
    let range = RepairRange {
        id: id(1, 2),
        through: id(1, 2),
    };
    let request = Body::RepairRequest(RepairRequest {
        ranges: vec![range],
    });
    let core = cluster.core(1);
    core.step(Moment(0), message(2, 1, 1, request)).unwrap();
    let mut out = trilith_raft::Output::default();
    core.drain(&mut out);
    let send = out.repairs.pop().unwrap();
    let wanted = (i(2), i(2));
    assert!(core.complete_repair(&send, &[wanted]).is_some());
    assert!(
        core.complete_repair(&send, &[]).is_none(),
        "nothing to send"
    );
    for other in [(i(1), i(2)), (i(2), i(3))] {
        assert!(core.complete_repair(&send, &[other]).is_none(), "{other:?}");
    }
    core.step(Moment(0), message(2, 1, 5, Body::NewerTerm))
        .unwrap();
    assert!(
        core.complete_repair(&send, &[wanted]).is_none(),
        "the term has passed"
    );
}

#[test]
fn a_lost_vote_hands_out_entries_in_an_earlier_term_too() {
    // The log is ahead of the file of the vote, which says term 1.
    let mut cluster = Cluster::with_logs(1, [&[1, 1, 5], &[1, 1], &[1, 1]]);
    assert!(cluster.core(1).status().vote_lost);
    let request = || {
        let range = RepairRange {
            id: id(1, 2),
            through: id(1, 2),
        };
        Body::RepairRequest(RepairRequest {
            ranges: vec![range],
        })
    };
    let core = cluster.core(1);
    core.step(Moment(0), message(2, 1, 4, request())).unwrap();
    let mut out = trilith_raft::Output::default();
    core.drain(&mut out);
    assert_eq!(out.repairs[0].ranges, [(id(1, 2), i(2))]);
    assert_eq!(core.status().term, Term(5));
    // Who has its vote takes part, and answers nobody of a past term.
    let mut cluster = Cluster::with_logs(5, [&[1, 1, 5], &[1, 1], &[1, 1]]);
    let why = dropped(&mut cluster, message(2, 1, 4, request()));
    assert!(matches!(why, Dropped::StaleTerm { .. }), "{why}");
}

#[test]
fn a_snapshot_that_is_not_wanted_any_more_is_not_offered() {
    let mut cluster = led();
    let offer = || SnapshotOffer {
        last: id(1, 2),
        configuration: voters([1, 2, 3]),
        bytes: 0,
    };
    // Node 2 follows node 1, which has asked neither for it nor for one of its own.
    cluster.run(4);
    assert_eq!(cluster.core(2).status().commit, i(2));
    assert!(cluster.core(2).offer_snapshot(n(1), offer()).is_none());
    assert!(cluster.core(1).offer_snapshot(n(2), offer()).is_none());
    assert!(cluster.core(1).offer_snapshot(n(9), offer()).is_none());
    let request = message(2, 1, 1, Body::SnapshotRequest);
    cluster.core(1).step(Moment(0), request).unwrap();
    assert!(cluster.core(1).offer_snapshot(n(2), offer()).is_some());
}

#[test]
fn a_snapshot_older_than_the_log_replaces_no_lost_state() {
    let mut cluster = led();
    cluster.run(4);
    cluster.host(2).trim(i(2)).unwrap();
    cluster.core(2).state_machine_lost();
    let offer = |index| {
        Body::SnapshotOffer(SnapshotOffer {
            last: id(1, index),
            configuration: voters([1, 2, 3]),
            bytes: 0,
        })
    };
    let mut out = trilith_raft::Output::default();
    for (index, is_taken) in [(1, false), (2, true)] {
        let core = cluster.core(2);
        core.step(Moment(0), message(1, 2, 1, offer(index)))
            .unwrap();
        core.drain(&mut out);
        let unneeded = out.messages.iter().any(|message| {
            matches!(
                message.body,
                Body::SnapshotReply(SnapshotReply::Unneeded { .. })
            )
        });
        assert_eq!((out.snapshots.is_empty(), unneeded), (!is_taken, !is_taken));
        out.clear();
    }
}

#[test]
fn a_snapshot_that_keeps_arriving_is_not_given_up() {
    for arrives in [true, false] {
        let mut cluster = led();
        let last = id(1, 9);
        let offer = SnapshotOffer {
            last,
            configuration: voters([1, 2, 3]),
            bytes: 0,
        };
        let stall = cluster.core(2).config().snapshot_stall_ticks;
        let offer = message(1, 2, 1, Body::SnapshotOffer(offer));
        let core = cluster.core(2);
        core.step(Moment(0), offer).unwrap();
        core.accept_snapshot(last, 0).unwrap();
        for _ in 0..2 {
            for _ in 1..stall {
                // The leader is there all the time.
                core.step(Moment(0), message(1, 2, 1, heartbeat(0)))
                    .unwrap();
                core.tick(Moment(0));
            }
            // News of another one is no news of this one.
            core.snapshot_arriving(if arrives { last } else { id(1, 8) });
        }
        assert_eq!(core.snapshot_staged(last).is_ok(), arrives);
    }
}

#[test]
fn a_send_that_the_host_could_not_do_is_tried_again_after_heartbeats() {
    for outcome in [SendOutcome::Failed, SendOutcome::Compacted] {
        let mut cluster = Cluster::of([1, 2, 3]);
        cluster.elect(1);
        cluster.host(1).propose("a", 1).unwrap();
        let mut out = trilith_raft::Output::default();
        cluster.core(1).drain(&mut out);
        for send in out.sends.clone() {
            assert!(cluster.core(1).complete_send(&send, outcome).is_none());
        }
        let sending = cluster.core(1).peer(n(2)).unwrap().sending;
        let expected = match outcome {
            SendOutcome::Failed => trilith_raft::Sending::Probe,
            _ => trilith_raft::Sending::Snapshot,
        };
        assert_eq!(sending, expected);
    }
}

#[test]
fn what_does_not_fit_together_is_no_start() {
    let restore = |change: fn(&mut Restored)| {
        let mut log = TermRuns::starting_after(id(1, 2));
        log.append(Term(1), 3);
        let mut restored = Restored {
            log,
            applied: i(2),
            base_configuration: voters([1, 2, 3]),
            vote: trilith_raft::RestoredVote::Known(trilith_raft::HardState {
                term: Term(1),
                vote: None,
            }),
            ..Restored::default()
        };
        change(&mut restored);
        Core::new(config(1), restored, Box::new(SplitMix64(1)), Moment(0)).err()
    };
    assert_eq!(restore(|_| ()), None);
    assert!(matches!(
        restore(|r| r.applied = i(1)),
        Some(RestoreError::Applied { .. })
    ));
    assert!(matches!(
        restore(|r| r.applied = i(9)),
        Some(RestoreError::Applied { .. })
    ));
    assert!(matches!(
        restore(|r| r.damaged = vec![(i(2), i(3))]),
        Some(RestoreError::Damage { .. })
    ));
    assert!(matches!(
        restore(|r| r.configurations = vec![(i(9), voters([1]))]),
        Some(RestoreError::Configuration { .. })
    ));
    assert!(matches!(
        restore(|r| r.configurations = vec![(i(3), Configuration::default())]),
        Some(RestoreError::Configuration { .. })
    ));
    let bad_base = restore(|r| {
        r.base_configuration = Configuration {
            learners: vec![n(3)],
            ..voters([1, 2, 3])
        };
    });
    assert_eq!(bad_base, Some(RestoreError::Configuration { index: i(2) }));
    let mut bad = config(1);
    bad.election_ticks = 0;
    let start = Core::new(bad, Restored::default(), Box::new(SplitMix64(1)), Moment(0));
    assert!(matches!(start.err(), Some(RestoreError::Config(_))));
}

#[test]
fn a_node_without_a_group_waits() {
    let mut cluster = Cluster::default();
    cluster.add(config(1), Configuration::default());
    cluster.run(100);
    assert_eq!(cluster.role(1), Role::Follower);
    assert!(!cluster.core(1).campaign());
    assert!(cluster.core(1).read(Moment(0), ReadId(1)).is_err());
    let change = [Change::AddVoter(n(1))];
    assert!(
        cluster
            .core(1)
            .change_membership(&change, Transition::Auto)
            .is_err()
    );
    assert!(cluster.core(1).leave_joint().is_err());
    assert!(cluster.core(1).transfer(n(1)).is_err());
    cluster.core(1).set_priority(9);
    assert_eq!(
        cluster.core(1).config().priority,
        trilith_raft::PRIORITY_MAX
    );
}
