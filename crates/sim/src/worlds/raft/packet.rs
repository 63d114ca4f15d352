//! What replicas send each other: the core's messages with the payloads they go with, and the
//! hosts' own words.

use std::{fmt, rc::Rc};

use trilith_raft::{
    Body, EntryId, Message,
    message::{AppendReply, RepairReply, SnapshotReply, VoteAnswer, VoteReply, VoteRequest},
};
use trilith_types::Incarnation;

use super::{entry::Entry, machine::Snapshot};

/// A message between hosts.
#[derive(Clone, Debug)]
pub enum Packet {
    /// A core's message and the payloads beside it.
    Core(Message, Payloads),
    /// A piece of a snapshot.
    Chunk(Chunk),
    /// How much of a snapshot has arrived.
    ChunkAck {
        /// The sender's incarnation.
        incarnation: Incarnation,
        /// The snapshot.
        last: EntryId,
        /// How many bytes of it there are.
        have: u64,
    },
    /// "Your number has been passed": the receiver may not take part.
    Refused {
        /// The receiver's number as the sender knows it.
        known: Incarnation,
    },
}

/// The payloads beside a message.
#[derive(Clone, Debug, Default)]
pub struct Payloads(pub(super) Rc<[Entry]>);

/// A piece of a snapshot.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub(super) incarnation: Incarnation,
    pub(super) snapshot: Rc<Snapshot>,
    pub(super) from_byte: u64,
    pub(super) to_byte: u64,
    pub(super) total: u64,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(message, _) => {
                write!(f, "t{} #{} ", message.term, message.incarnation)?;
                body(f, &message.body)
            }
            Self::Chunk(c) => {
                write!(
                    f,
                    "snapshot chunk {}..{} of {}",
                    c.from_byte, c.to_byte, c.snapshot.last
                )
            }
            Self::ChunkAck { last, have, .. } => write!(f, "snapshot {last} have {have}"),
            Self::Refused { known } => write!(f, "refused, #{known} is known"),
        }
    }
}

fn request(f: &mut fmt::Formatter<'_>, what: &str, r: &VoteRequest) -> fmt::Result {
    let transfer = if r.transfer { " by transfer" } else { "" };
    write!(f, "{what} for t{} last {}{transfer}", r.campaign, r.last)
}

fn reply(f: &mut fmt::Formatter<'_>, what: &str, r: &VoteReply) -> fmt::Result {
    let answer = match r.answer {
        VoteAnswer::Granted => "granted",
        VoteAnswer::Conditional => "granted on condition",
        VoteAnswer::Denied => "denied",
    };
    write!(f, "{what} for t{} {answer}", r.campaign)
}

fn body(f: &mut fmt::Formatter<'_>, body: &Body) -> fmt::Result {
    match body {
        Body::PreVote(r) => request(f, "pre-vote", r),
        Body::PreVoteReply(r) => reply(f, "pre-vote", r),
        Body::Vote(r) => request(f, "vote", r),
        Body::VoteReply(r) => reply(f, "vote", r),
        Body::Append(a) => {
            let probe = if a.probe { " probe" } else { "" };
            write!(
                f,
                "append after {} [{}] commit {}{probe}",
                a.prev, a.runs, a.commit
            )
        }
        Body::AppendReply(AppendReply::Accepted(ack)) => {
            write!(f, "ack {} stored {}", ack.matched, ack.stored)
        }
        Body::AppendReply(AppendReply::Conflict { prev, hint }) => {
            write!(f, "conflict at {prev} hint {hint}")
        }
        Body::Heartbeat(h) => {
            write!(f, "heartbeat {} commit {}", h.round.0, h.commit)?;
            f.write_str(if h.quiet.is_some() { " quiet?" } else { "" })
        }
        Body::HeartbeatReply(h) => {
            write!(f, "heartbeat {} answered", h.round.0)?;
            f.write_str(if h.quiet { " quiet" } else { "" })
        }
        Body::SnapshotOffer(o) => write!(f, "snapshot {} offered", o.last),
        Body::SnapshotReply(r) => snapshot_reply(f, r),
        Body::SnapshotRequest => f.write_str("snapshot wanted"),
        Body::ReadRequest { counter } => write!(f, "read {counter}?"),
        Body::ReadReply {
            counter,
            index: Some(index),
        } => write!(f, "read {counter} at {index}"),
        Body::ReadReply {
            counter,
            index: None,
        } => write!(f, "read {counter} refused"),
        Body::TimeoutNow { round } => write!(f, "time out now r{}", round.0),
        Body::RepairRequest(r) => {
            f.write_str("repair")?;
            for range in &r.ranges {
                write!(f, " {} to {}", range.id, range.through)?;
            }
            f.write_str("?")
        }
        Body::RepairReply(RepairReply { id, holding }) => write!(f, "repair {id}: {holding:?}"),
        Body::Repair(r) => {
            f.write_str("repair from")?;
            for piece in &r.pieces {
                write!(f, " {} [{}]", piece.first, piece.runs)?;
            }
            Ok(())
        }
        Body::NewerTerm => f.write_str("newer term"),
    }
}

fn snapshot_reply(f: &mut fmt::Formatter<'_>, reply: &SnapshotReply) -> fmt::Result {
    match reply {
        SnapshotReply::Wanted { last, from_byte } => {
            write!(f, "snapshot {last} wanted from {from_byte}")
        }
        SnapshotReply::Unneeded { last, commit } => {
            write!(f, "snapshot {last} unneeded, commit {commit}")
        }
        SnapshotReply::Installed { last } => write!(f, "snapshot {last} installed"),
    }
}
