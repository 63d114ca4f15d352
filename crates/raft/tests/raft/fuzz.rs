//! Arbitrary inputs into one core: no panic, no broken invariant. The corpus is seeded, so that
//! it runs on stable and finds the same things every time.

use trilith_raft::{
    Body, Change, Configuration, Core, EntryId, EntryRuns, LeaseConfig, Message, Moment, Output,
    Random, ReadId, Restored, RestoredVote, SendOutcome, SnapshotOp, SplitMix64, TermRuns,
    Transition, UnknownSuffix, WriteSeq,
    message::{
        Ack, Append, AppendReply, Heartbeat, HeartbeatReply, Holding, Repair, RepairPiece,
        RepairRange, RepairReply, RepairRequest, Round, SnapshotOffer, SnapshotReply, VoteAnswer,
        VoteReply, VoteRequest,
    },
};
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, Term};

use crate::support::{GROUP, config};

/// Numbers from chance, small ones mostly, the largest now and then.
struct Source(SplitMix64);

impl Source {
    fn small(&mut self) -> u64 {
        match self.0.below(40) {
            0 => u64::MAX,
            1 => u64::MAX - 1,
            _ => self.0.below(7),
        }
    }

    fn bool(&mut self) -> bool {
        self.0.below(2) == 0
    }

    fn index(&mut self) -> LogIndex {
        LogIndex(self.small())
    }

    fn id(&mut self) -> EntryId {
        EntryId::new(self.small(), self.small())
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.0.below(6))
    }

    fn runs(&mut self) -> EntryRuns {
        let mut runs = EntryRuns::EMPTY;
        for _ in 0..self.0.below(4) {
            runs.push(Term(self.small()), self.small());
        }
        runs
    }

    fn members(&mut self) -> Configuration {
        let voters: Vec<_> = (0..self.0.below(4)).map(|_| self.node()).collect();
        let learners: Vec<_> = (0..self.0.below(2)).map(|_| self.node()).collect();
        Configuration::of_voters(voters).with_learners(learners)
    }

    fn configurations(&mut self) -> Vec<(LogIndex, Configuration)> {
        (0..self.0.below(6) / 4)
            .map(|_| (self.index(), self.members()))
            .collect()
    }

    fn answer(&mut self) -> VoteReply {
        let answers = [
            VoteAnswer::Granted,
            VoteAnswer::Conditional,
            VoteAnswer::Denied,
        ];
        VoteReply {
            campaign: Term(self.small()),
            round: self.0.below(4) as u32,
            answer: answers[self.0.below(3) as usize],
        }
    }

    fn request(&mut self) -> VoteRequest {
        VoteRequest {
            campaign: Term(self.small()),
            round: self.0.below(4) as u32,
            last: self.id(),
            transfer: self.bool(),
        }
    }

    fn ack(&mut self) -> Ack {
        Ack {
            matched: self.index(),
            stored: self.index(),
        }
    }

    fn body(&mut self) -> Body {
        match self.0.below(18) {
            0 => Body::PreVote(self.request()),
            1 => Body::Vote(self.request()),
            2 => Body::PreVoteReply(self.answer()),
            3 => Body::VoteReply(self.answer()),
            4 | 5 => Body::Append(Append {
                prev: self.id(),
                runs: self.runs(),
                configurations: self.configurations(),
                commit: self.index(),
                probe: self.bool(),
            }),
            6 => Body::AppendReply(AppendReply::Accepted(self.ack())),
            7 => Body::AppendReply(AppendReply::Conflict {
                prev: self.index(),
                hint: self.id(),
            }),
            8 => Body::Heartbeat(Heartbeat {
                commit: self.index(),
                round: Round(self.small()),
                sent_at: Moment(self.small()),
                quiet: self.bool().then(|| self.id()),
            }),
            9 => Body::HeartbeatReply(HeartbeatReply {
                round: Round(self.small()),
                sent_at: Moment(self.small()),
                received: self.index(),
                ack: self.bool().then(|| self.ack()),
                quiet: self.bool(),
                needs_snapshot: self.bool(),
            }),
            10 => Body::SnapshotOffer(SnapshotOffer {
                last: self.id(),
                configuration: self.members(),
                bytes: self.small(),
            }),
            11 => Body::SnapshotReply(match self.0.below(3) {
                0 => SnapshotReply::Wanted {
                    last: self.id(),
                    from_byte: self.small(),
                },
                1 => SnapshotReply::Unneeded {
                    last: self.id(),
                    commit: self.index(),
                },
                _ => SnapshotReply::Installed { last: self.id() },
            }),
            12 => Body::ReadRequest {
                counter: self.small(),
            },
            13 => Body::ReadReply {
                counter: self.small(),
                index: self.bool().then(|| self.index()),
            },
            14 => match self.0.below(3) {
                0 => Body::TimeoutNow {
                    round: Round(self.small()),
                },
                1 => Body::NewerTerm,
                _ => Body::SnapshotRequest,
            },
            15 => Body::RepairRequest(RepairRequest {
                ranges: (0..self.0.below(4))
                    .map(|_| RepairRange {
                        id: self.id(),
                        through: self.id(),
                    })
                    .collect(),
            }),
            16 => Body::RepairReply(RepairReply {
                id: self.id(),
                holding: [
                    Holding::Never,
                    Holding::Damaged,
                    Holding::Unknown,
                    Holding::Compacted,
                ][self.0.below(4) as usize],
            }),
            _ => Body::Repair(Repair {
                pieces: (0..self.0.below(4))
                    .map(|_| RepairPiece {
                        first: self.index(),
                        runs: self.runs(),
                    })
                    .collect(),
                configurations: self.configurations(),
            }),
        }
    }

    fn message(&mut self) -> Message {
        Message {
            group: if self.0.below(20) == 0 {
                GroupId(9)
            } else {
                GROUP
            },
            from: self.node(),
            to: NodeId(1),
            term: Term(self.small()),
            incarnation: Incarnation(1 + self.0.below(20) / 19),
            to_incarnation: Incarnation(self.0.below(2)),
            body: self.body(),
        }
    }
}

/// A core that was restored from something, sound or not so sound.
fn some_core(source: &mut Source) -> Core {
    let mut log = TermRuns::starting_after(EntryId::new(source.0.below(2), source.0.below(2)));
    for _ in 0..source.0.below(3) {
        let term = Term(log.last().term.get() + source.0.below(2));
        log.append(term, source.0.below(3));
    }
    let last = log.last_index();
    let base = log.base().index;
    let mut restored = Restored {
        applied: base,
        base_configuration: Configuration::of_voters([1, 2, 3].map(NodeId)),
        commit: LogIndex(base.get() + source.0.below(2)),
        state_machine_lost: source.0.below(10) == 0,
        ..Restored::default()
    };
    if last > base && source.0.below(3) == 0 {
        restored.damaged = vec![(last, last)];
    }
    if source.0.below(4) == 0 {
        restored.unknown_suffix = Some(UnknownSuffix {
            last_possible: EntryId::MAX,
        });
    }
    restored.vote = RestoredVote::Known(trilith_raft::HardState {
        term: log.last().term,
        vote: None,
    });
    if source.0.below(20) == 0 {
        restored.vote = RestoredVote::Lost;
    }
    restored.log = log;
    let mut config = config(1);
    config.quiet_after_ticks = source.bool().then_some(3);
    config.lease = (source.0.below(3) == 0).then_some(LeaseConfig {
        duration_micros: 3,
        promise_micros: 5,
    });
    Core::new(
        config,
        restored,
        Box::new(SplitMix64(source.small())),
        Moment(0),
    )
    .unwrap()
}

fn local_input(core: &mut Core, source: &mut Source, staged: Option<EntryId>) {
    let node = source.node();
    match source.0.below(13) {
        0..4 => core.tick(Moment(source.small())),
        4 => {
            let _ = core.propose(source.small(), source.small());
        }
        5 => {
            let _ = core.read(Moment(0), ReadId(1));
        }
        6 => {
            let _ = core.transfer(node);
        }
        7 => {
            let _ = core.change_membership(&[Change::AddVoter(node)], Transition::Auto);
        }
        8 => {
            let _ = core.leave_joint();
        }
        9 => core.peer_suspect(node),
        10 => core.peer_alive(node),
        11 => {
            let _ = core.campaign();
        }
        _ => {
            if let Some(last) = staged {
                let _ = core.accept_snapshot(last, source.small());
                core.snapshot_arriving(last);
                if source.0.below(4) == 0 {
                    core.refuse_snapshot(last);
                }
                let _ = core.snapshot_staged(last);
            }
        }
    }
}

/// What a host finds on its disk, does to its log, and hears of its streams.
fn host_input(core: &mut Core, source: &mut Source, whole: &mut TermRuns) {
    let node = source.node();
    match source.0.below(11) {
        0 => {
            let _ = core.damaged(&[(source.index(), source.index())]);
        }
        1 => core.state_machine_lost(),
        2 => {
            let _ = core.discard_doubtful();
        }
        3 => {
            let before = core.log().clone();
            if core.trimmed(source.index()).is_ok() {
                *whole = before;
            }
        }
        4 => {
            let mut earlier = whole.clone();
            earlier.truncate_from(core.log().first_index());
            let members = Configuration::of_voters([1, 2, 3].map(NodeId));
            let _ = core.prepended(&earlier, &[(earlier.base().index, members)]);
        }
        5 => core.unreachable(node),
        6 => core.refuse_snapshot(source.id()),
        7 => core.snapshot_failed(node),
        8 => core.snapshot_progress(node),
        9 => offer(core, node),
        _ => core.set_priority(source.small() as u8),
    }
}

/// Offers the state as it is, whoever has asked.
fn offer(core: &mut Core, to: NodeId) {
    let Some(last) = core.log().id_at(core.status().applied) else {
        return;
    };
    let configuration = core.configuration().clone();
    let offer = SnapshotOffer {
        last,
        configuration,
        bytes: 1,
    };
    core.offer_snapshot(to, offer);
}

fn run(seed: u64) {
    let mut source = Source(SplitMix64(seed));
    let mut core = some_core(&mut source);
    let mut out = Output::default();
    let mut staged = None;
    let mut whole = core.log().clone();
    let mut before = core.status();
    for _ in 0..200 {
        if source.0.below(3) == 0 {
            local_input(&mut core, &mut source, staged);
        } else if source.0.below(8) == 0 {
            host_input(&mut core, &mut source, &mut whole);
        } else {
            let mut message = source.message();
            // Half of the time it comes from the present term, to get past the first check.
            if source.bool() {
                message.term = core.status().term;
            }
            let _ = core.step(Moment(0), message);
        }
        core.drain(&mut out);
        for send in out.sends.drain(..) {
            assert!(send.last_max >= send.first());
            let outcome = SendOutcome::Ready {
                last: send.last_max,
                bytes: 1,
            };
            core.complete_send(&send, outcome);
        }
        for op in out.snapshots.drain(..) {
            match op {
                SnapshotOp::Receive { offer, .. } => staged = Some(offer.last),
                SnapshotOp::Offer { to, .. } if source.bool() => offer(&mut core, to),
                _ => {}
            }
        }
        for send in out.repairs.drain(..) {
            let mut pieces: Vec<_> = send.ranges.iter().map(|r| (r.0.index, r.1)).collect();
            if source.0.below(4) == 0 {
                pieces.push((source.index(), source.index()));
            }
            let message = core.complete_repair(&send, &pieces);
            assert!(message.is_none_or(|message| message.to == send.to));
        }
        if let Some(write) = out.write.filter(|_| source.bool()) {
            core.persisted(write.seq).unwrap();
        }
        if let Some(apply) = out.apply {
            core.applied(apply.last).unwrap();
        }
        out.clear();
        let status = core.status();
        check(&before, &status, seed);
        before = status;
    }
    assert!(core.persisted(WriteSeq(u64::MAX)).is_err());
}

fn check(before: &trilith_raft::Status, now: &trilith_raft::Status, seed: u64) {
    assert!(now.term >= before.term, "seed {seed}: the term went back");
    assert!(
        now.commit >= before.commit,
        "seed {seed}: the commit index went back"
    );
    assert!(
        now.applied <= now.commit,
        "seed {seed}: applied what is not committed"
    );
    assert!(
        now.stored <= now.last.index,
        "seed {seed}: stored what is not there: {now:?}"
    );
    assert!(
        now.last.index >= now.base.index,
        "seed {seed}: the log ends before it starts"
    );
    if now.term == before.term && before.vote.is_some() {
        assert_eq!(now.vote, before.vote, "seed {seed}: two votes in a term");
    }
}

#[test]
fn no_sequence_of_inputs_breaks_a_core() {
    let seeds = std::env::var("TRILITH_FUZZ_SEEDS").map_or(3000, |n| n.parse().unwrap());
    (0..seeds).for_each(run);
}
