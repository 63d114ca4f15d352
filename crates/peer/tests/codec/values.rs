//! Any message and any step of a handshake.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use trilith_peer::{
    Call, Class, Features, Found, Founder, GroupMessage, Handshake, Heartbeat, Hello, Introduction,
    Membership, NodeMessage, Progress, Reason, Refusal, SnapshotAck, SnapshotChunk, Versions,
};
use trilith_raft::{
    Body, Configuration, EntryId, EntryRun, EntryRuns, Message, Moment, Quorum,
    message::{
        Ack, Append, AppendReply, Heartbeat as GroupHeartbeat, HeartbeatReply, Holding, Repair,
        RepairPiece, RepairRange, RepairReply, RepairRequest, Round, SnapshotOffer, SnapshotReply,
        VoteAnswer, VoteReply, VoteRequest,
    },
};
use trilith_types::{
    ClusterId, EntryKind, EntryMeta, EntryPayload, GroupId, Incarnation, LogIndex, NodeId, Offset,
    Term, TimestampMs,
};

fn entry() -> impl Strategy<Value = EntryId> {
    any::<(u64, u64)>().prop_map(|(term, index)| EntryId::new(term, index))
}

fn index() -> impl Strategy<Value = LogIndex> {
    any::<u64>().prop_map(LogIndex)
}

fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
    proptest::collection::btree_set(any::<u64>(), 0..5)
        .prop_map(|ids| ids.into_iter().map(NodeId).collect())
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let lists = (nodes(), nodes(), nodes(), nodes());
    (lists, any::<bool>()).prop_map(
        |((incoming, outgoing, learners, learners_next), auto_leave)| Configuration {
            voters: Quorum::joint(incoming, outgoing),
            learners,
            learners_next,
            auto_leave,
        },
    )
}

fn configurations() -> impl Strategy<Value = Vec<(LogIndex, Configuration)>> {
    vec((index(), configuration()), 0..3)
}

fn runs() -> impl Strategy<Value = EntryRuns> {
    let run = (any::<u64>(), 0..5_u64).prop_map(|(term, count)| EntryRun {
        term: Term(term),
        count,
    });
    vec(run, 0..4).prop_map(EntryRuns::from_iter)
}

fn payload() -> impl Strategy<Value = EntryPayload> {
    let length = prop_oneof![8 => 0..200_usize, 1 => 4_090..4_100_usize, 1 => 60_000..70_000_usize];
    (any::<u8>(), length).prop_map(|(byte, length)| Bytes::from(vec![byte; length]).into())
}

fn meta() -> impl Strategy<Value = EntryMeta> {
    let numbers = any::<(u64, u64, u64, i64, i64, u32, u8)>();
    numbers.prop_map(
        |(index, term, offset, append, max, records, kind)| EntryMeta {
            index: LogIndex(index),
            term: Term(term),
            kind: EntryKind(kind),
            first_offset: Offset(offset),
            records,
            append_time: TimestampMs(append),
            max_timestamp: TimestampMs(max),
        },
    )
}

fn vote() -> impl Strategy<Value = VoteRequest> {
    (any::<u64>(), any::<u32>(), entry(), any::<bool>()).prop_map(
        |(campaign, round, last, transfer)| VoteRequest {
            campaign: Term(campaign),
            round,
            last,
            transfer,
        },
    )
}

fn vote_reply() -> impl Strategy<Value = VoteReply> {
    let answers = [
        VoteAnswer::Granted,
        VoteAnswer::Conditional,
        VoteAnswer::Denied,
    ];
    let answer = proptest::sample::select(answers.to_vec());
    (any::<u64>(), any::<u32>(), answer).prop_map(|(campaign, round, answer)| VoteReply {
        campaign: Term(campaign),
        round,
        answer,
    })
}

fn ack() -> impl Strategy<Value = Ack> {
    (index(), index()).prop_map(|(matched, stored)| Ack { matched, stored })
}

fn append() -> impl Strategy<Value = Body> {
    let fields = (entry(), runs(), configurations(), index(), any::<bool>());
    fields.prop_map(|(prev, runs, configurations, commit, probe)| {
        Body::Append(Append {
            prev,
            runs,
            configurations,
            commit,
            probe,
        })
    })
}

fn heartbeat() -> impl Strategy<Value = Body> {
    let fields = (index(), any::<(u64, u64)>(), option::of(entry()));
    fields.prop_map(|(commit, (round, sent_at), quiet)| {
        Body::Heartbeat(GroupHeartbeat {
            commit,
            round: Round(round),
            sent_at: Moment(sent_at),
            quiet,
        })
    })
}

fn heartbeat_reply() -> impl Strategy<Value = Body> {
    let fields = (
        any::<(u64, u64)>(),
        index(),
        option::of(ack()),
        any::<(bool, bool)>(),
    );
    fields.prop_map(
        |((round, sent_at), received, ack, (quiet, needs_snapshot))| {
            Body::HeartbeatReply(HeartbeatReply {
                round: Round(round),
                sent_at: Moment(sent_at),
                received,
                ack,
                quiet,
                needs_snapshot,
            })
        },
    )
}

fn snapshot_offer() -> impl Strategy<Value = Body> {
    let fields = (entry(), configuration(), any::<u64>());
    fields.prop_map(|(last, configuration, bytes)| {
        Body::SnapshotOffer(SnapshotOffer {
            last,
            configuration,
            bytes,
        })
    })
}

fn snapshot_reply() -> impl Strategy<Value = Body> {
    prop_oneof![
        (entry(), any::<u64>())
            .prop_map(|(last, from_byte)| SnapshotReply::Wanted { last, from_byte }),
        (entry(), index()).prop_map(|(last, commit)| SnapshotReply::Unneeded { last, commit }),
        entry().prop_map(|last| SnapshotReply::Installed { last }),
    ]
    .prop_map(Body::SnapshotReply)
}

fn repair() -> impl Strategy<Value = Body> {
    let piece = (index(), runs()).prop_map(|(first, runs)| RepairPiece { first, runs });
    let fields = (vec(piece, 0..4), configurations());
    fields.prop_map(|(pieces, configurations)| {
        Body::Repair(Repair {
            pieces,
            configurations,
        })
    })
}

fn repair_request() -> impl Strategy<Value = Body> {
    let range = (entry(), entry()).prop_map(|(id, through)| RepairRange { id, through });
    vec(range, 0..5).prop_map(|ranges| Body::RepairRequest(RepairRequest { ranges }))
}

fn repair_reply() -> impl Strategy<Value = Body> {
    let holdings = [
        Holding::Never,
        Holding::Damaged,
        Holding::Unknown,
        Holding::Compacted,
    ];
    (entry(), proptest::sample::select(holdings.to_vec()))
        .prop_map(|(id, holding)| Body::RepairReply(RepairReply { id, holding }))
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        vote().prop_map(Body::PreVote),
        vote_reply().prop_map(Body::PreVoteReply),
        vote().prop_map(Body::Vote),
        vote_reply().prop_map(Body::VoteReply),
        append(),
        ack().prop_map(|ack| Body::AppendReply(AppendReply::Accepted(ack))),
        (index(), entry())
            .prop_map(|(prev, hint)| Body::AppendReply(AppendReply::Conflict { prev, hint })),
        heartbeat(),
        heartbeat_reply(),
        snapshot_offer(),
        snapshot_reply(),
        Just(Body::SnapshotRequest),
        any::<u64>().prop_map(|counter| Body::ReadRequest { counter }),
        (any::<u64>(), option::of(index()))
            .prop_map(|(counter, index)| Body::ReadReply { counter, index }),
        any::<u64>().prop_map(|round| Body::TimeoutNow {
            round: Round(round)
        }),
        repair_request(),
        repair_reply(),
        repair(),
        Just(Body::NewerTerm),
    ]
}

fn entry_count(body: &Body) -> usize {
    match body {
        Body::Append(append) => append.runs.count() as usize,
        Body::Repair(repair) => repair.count() as usize,
        _ => 0,
    }
}

fn group() -> impl Strategy<Value = GroupMessage> {
    let address = any::<(u64, u64, u64, u64, u64, u64)>();
    (address, body()).prop_flat_map(|(address, body)| {
        let (group, from, to, term, incarnation, to_incarnation) = address;
        let entries = vec((meta(), payload()), entry_count(&body));
        let message = Message {
            group: GroupId(group),
            from: NodeId(from),
            to: NodeId(to),
            term: Term(term),
            incarnation: Incarnation(incarnation),
            to_incarnation: Incarnation(to_incarnation),
            body,
        };
        entries.prop_map(move |entries| GroupMessage {
            message: message.clone(),
            entries,
        })
    })
}

fn node_heartbeat() -> impl Strategy<Value = Heartbeat> {
    (any::<(u64, u64, u64)>(), vec(any::<u64>(), 0..4)).prop_map(
        |((sequence, echo, disk), shards)| Heartbeat {
            sequence,
            echo,
            progress: Progress { shards, disk },
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    (any::<u64>(), payload()).prop_map(|(id, bytes)| Call {
        id,
        bytes: bytes.head().clone(),
    })
}

fn chunk() -> impl Strategy<Value = SnapshotChunk> {
    let numbers = any::<(u64, u64, u64, u64)>();
    (numbers, entry(), payload()).prop_map(|((group, term, total, position), last, bytes)| {
        SnapshotChunk {
            group: GroupId(group),
            term: Term(term),
            last,
            total,
            position,
            bytes: bytes.head().clone(),
        }
    })
}

fn snapshot_ack() -> impl Strategy<Value = SnapshotAck> {
    let numbers = any::<(u64, u64, u64)>();
    (numbers, entry()).prop_map(|((group, term, received), last)| SnapshotAck {
        group: GroupId(group),
        term: Term(term),
        last,
        received,
    })
}

/// Any message; group messages most often.
pub(crate) fn message() -> impl Strategy<Value = NodeMessage> {
    prop_oneof![
        8 => group().prop_map(NodeMessage::Group),
        1 => node_heartbeat().prop_map(NodeMessage::Heartbeat),
        1 => chunk().prop_map(NodeMessage::SnapshotChunk),
        1 => snapshot_ack().prop_map(NodeMessage::SnapshotAck),
        1 => call().prop_map(NodeMessage::Call),
        1 => call().prop_map(NodeMessage::Answer),
    ]
}

fn introduction() -> impl Strategy<Value = Introduction> {
    let member = option::of((any::<u128>(), 1..u64::MAX)).prop_map(|member| {
        member.map(|(cluster, node)| Membership {
            cluster: ClusterId(cluster),
            node: NodeId(node),
        })
    });
    let numbers = any::<(u64, u16, u16, u64)>();
    (member, "[a-zé]{0,20}", numbers).prop_map(
        |(member, name, (incarnation, min, max, features))| Introduction {
            member,
            name,
            incarnation: Incarnation(incarnation),
            versions: Versions { min, max },
            features: Features(features),
        },
    )
}

fn found() -> impl Strategy<Value = Found> {
    let founder = (any::<u64>(), "[a-z]{0,9}", "[a-z:]{0,9}", "[a-z:]{0,9}").prop_map(
        |(node, name, peer_address, client_address)| Founder {
            node: NodeId(node),
            name,
            peer_address,
            client_address,
        },
    );
    (any::<u128>(), vec(founder, 0..4), any::<bool>()).prop_map(|(cluster, members, joins)| Found {
        joins,
        cluster: ClusterId(cluster),
        members,
    })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let reasons = [
        Reason::ForeignCluster,
        Reason::NoCommonVersion,
        Reason::WrongNode,
        Reason::SameNode,
        Reason::NotAdmitted,
        Reason::StaleIncarnation,
        Reason::Crossed,
        Reason::Unfounded,
        Reason::NotFounded,
        Reason::Other,
    ];
    (proptest::sample::select(reasons.to_vec()), ".{0,40}")
        .prop_map(|(reason, message)| Refusal { reason, message })
}

/// Any step of a handshake.
pub(crate) fn handshake() -> impl Strategy<Value = Handshake> {
    let to = option::of((1..u64::MAX).prop_map(NodeId));
    let class = proptest::sample::select(&Class::ALL);
    let hello =
        (introduction(), to, any::<u64>(), class).prop_map(|(from, to, met, class)| Hello {
            from,
            to,
            met: Incarnation(met),
            class,
        });
    prop_oneof![
        hello.prop_map(Handshake::Hello),
        introduction().prop_map(Handshake::Welcome),
        refusal().prop_map(Handshake::Refused),
        found().prop_map(Handshake::Found),
        "[a-zé]{0,20}".prop_map(Handshake::Unfounded),
    ]
}
