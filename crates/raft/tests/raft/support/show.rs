//! Words for transcripts.

use trilith_raft::{
    Body, Configuration, LogOp, Payload, Role, RoleChange,
    message::{AppendReply, SnapshotReply, VoteAnswer},
};
use trilith_types::NodeId;

fn list(nodes: &[NodeId]) -> String {
    nodes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

pub fn show_configuration(members: &Configuration) -> String {
    let mut text = format!("({})", list(members.voters.incoming()));
    if members.is_joint() {
        text += &format!("&({})", list(members.voters.outgoing()));
    }
    if !members.learners.is_empty() {
        text += &format!(" learners ({})", list(&members.learners));
    }
    if !members.learners_next.is_empty() {
        text += &format!(" then ({})", list(&members.learners_next));
    }
    text
}

pub fn show_role(change: &RoleChange) -> String {
    let role = match change.role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Repairing => "repairing",
        Role::Leader => "leader",
    };
    let leader = change
        .leader
        .map_or("nobody".to_owned(), |id| id.to_string());
    format!("{role} in term {} of {leader}", change.term)
}

pub fn show_op(op: &LogOp) -> String {
    match op {
        LogOp::Truncate { from } => format!("truncate from {from}"),
        LogOp::Append {
            term,
            first,
            last,
            payload,
        } => {
            let what = match payload {
                Payload::Proposed => "proposed",
                Payload::Received => "received",
                Payload::Noop => "noop",
                Payload::Configuration(_) => "members",
            };
            format!("append {first}..{last} of term {term} {what}")
        }
        LogOp::Rewrite { first, last } => format!("rewrite {first}..{last}"),
        LogOp::Install { last, keep_suffix } => {
            format!(
                "install {last}{}",
                if *keep_suffix {
                    " and keep what follows"
                } else {
                    ""
                }
            )
        }
    }
}

fn answer(answer: VoteAnswer) -> &'static str {
    match answer {
        VoteAnswer::Granted => "granted",
        VoteAnswer::Conditional => "conditional",
        VoteAnswer::Denied => "denied",
    }
}

pub fn show_body(body: &Body) -> String {
    match body {
        Body::PreVote(r) => format!("pre-vote for term {} last {}", r.campaign, r.last),
        Body::Vote(r) => {
            let why = if r.transfer { " by transfer" } else { "" };
            format!("vote for term {} last {}{why}", r.campaign, r.last)
        }
        Body::PreVoteReply(r) => format!("pre-vote {}", answer(r.answer)),
        Body::VoteReply(r) => format!("vote {}", answer(r.answer)),
        Body::Append(a) => {
            let probe = if a.probe { " probe" } else { "" };
            format!(
                "append after {} [{}] commit {}{probe}",
                a.prev, a.runs, a.commit
            )
        }
        Body::AppendReply(AppendReply::Accepted(ack)) if ack.matched == ack.stored => {
            format!("accepted {}", ack.matched)
        }
        Body::AppendReply(AppendReply::Accepted(ack)) => {
            format!("accepted {} stored {}", ack.matched, ack.stored)
        }
        Body::AppendReply(AppendReply::Conflict { prev, hint }) => {
            format!("conflict at {prev} hint {hint}")
        }
        Body::Heartbeat(h) => {
            let quiet = h
                .quiet
                .map_or(String::new(), |last| format!(" quiet at {last}"));
            format!("heartbeat commit {} round {}{quiet}", h.commit, h.round.0)
        }
        Body::HeartbeatReply(r) => {
            let quiet = if r.quiet { " quiet" } else { "" };
            let needs = if r.needs_snapshot {
                ", needs snapshot"
            } else {
                ""
            };
            format!(
                "heartbeat answer received {} round {}{quiet}{needs}",
                r.received, r.round.0
            )
        }
        Body::SnapshotOffer(o) => format!("snapshot offer {}", o.last),
        Body::SnapshotReply(SnapshotReply::Wanted { last, from_byte }) => {
            format!("snapshot {last} wanted from byte {from_byte}")
        }
        Body::SnapshotReply(SnapshotReply::Unneeded { last, commit }) => {
            format!("snapshot {last} unneeded at commit {commit}")
        }
        Body::SnapshotReply(SnapshotReply::Installed { last }) => {
            format!("snapshot {last} installed")
        }
        Body::SnapshotRequest => "snapshot request".to_owned(),
        Body::ReadRequest { counter } => format!("read request {counter}"),
        Body::ReadReply {
            counter,
            index: Some(index),
        } => format!("read {counter} at {index}"),
        Body::ReadReply {
            counter,
            index: None,
        } => format!("read {counter} refused"),
        Body::TimeoutNow { round } => format!("timeout now, round {}", round.0),
        Body::RepairRequest(r) => {
            let ranges = r.ranges.iter();
            let ranges: Vec<_> = ranges
                .map(|range| format!("{} to {}", range.id, range.through))
                .collect();
            format!("repair request {}", ranges.join(", "))
        }
        Body::RepairReply(r) => format!("repair answer {} {:?}", r.id, r.holding).to_lowercase(),
        Body::Repair(r) => {
            let pieces = r.pieces.iter();
            let pieces: Vec<_> = pieces
                .map(|piece| format!("{} [{}]", piece.first, piece.runs))
                .collect();
            format!("repair from {}", pieces.join(", "))
        }
        Body::NewerTerm => "newer term".to_owned(),
    }
}
