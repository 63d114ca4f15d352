//! What cores say: a number for each kind, and its fields.

use trilith_raft::{
    Body, Configuration, EntryRun, EntryRuns, Moment,
    message::{
        Ack, Append, AppendReply, Heartbeat, HeartbeatReply, Holding, REPAIR_RANGES_MAX, Repair,
        RepairPiece, RepairRange, RepairReply, RepairRequest, Round, SnapshotOffer, SnapshotReply,
        VoteAnswer, VoteReply, VoteRequest,
    },
};
use trilith_types::LogIndex;

use super::{
    configuration,
    wire::{CodecError, Reader, Writer},
};
use crate::config::{ENTRIES_PER_MESSAGE_MAX, RUNS_PER_MESSAGE_MAX};

const PRE_VOTE: u8 = 1;
const PRE_VOTE_REPLY: u8 = 2;
const VOTE: u8 = 3;
const VOTE_REPLY: u8 = 4;
const APPEND: u8 = 5;
const APPEND_ACCEPTED: u8 = 6;
const APPEND_CONFLICT: u8 = 7;
const HEARTBEAT: u8 = 8;
const HEARTBEAT_REPLY: u8 = 9;
const SNAPSHOT_OFFER: u8 = 10;
const SNAPSHOT_WANTED: u8 = 11;
const SNAPSHOT_UNNEEDED: u8 = 12;
const SNAPSHOT_INSTALLED: u8 = 13;
const SNAPSHOT_REQUEST: u8 = 14;
const READ_REQUEST: u8 = 15;
const READ_REPLY: u8 = 16;
const TIMEOUT_NOW: u8 = 17;
const REPAIR_REQUEST: u8 = 18;
const REPAIR_REPLY: u8 = 19;
const REPAIR: u8 = 20;
const NEWER_TERM: u8 = 21;

pub(super) const fn kind(body: &Body) -> u8 {
    match body {
        Body::PreVote(_) => PRE_VOTE,
        Body::PreVoteReply(_) => PRE_VOTE_REPLY,
        Body::Vote(_) => VOTE,
        Body::VoteReply(_) => VOTE_REPLY,
        Body::Append(_) => APPEND,
        Body::AppendReply(AppendReply::Accepted(_)) => APPEND_ACCEPTED,
        Body::AppendReply(AppendReply::Conflict { .. }) => APPEND_CONFLICT,
        Body::Heartbeat(_) => HEARTBEAT,
        Body::HeartbeatReply(_) => HEARTBEAT_REPLY,
        Body::SnapshotOffer(_) => SNAPSHOT_OFFER,
        Body::SnapshotReply(SnapshotReply::Wanted { .. }) => SNAPSHOT_WANTED,
        Body::SnapshotReply(SnapshotReply::Unneeded { .. }) => SNAPSHOT_UNNEEDED,
        Body::SnapshotReply(SnapshotReply::Installed { .. }) => SNAPSHOT_INSTALLED,
        Body::SnapshotRequest => SNAPSHOT_REQUEST,
        Body::ReadRequest { .. } => READ_REQUEST,
        Body::ReadReply { .. } => READ_REPLY,
        Body::TimeoutNow { .. } => TIMEOUT_NOW,
        Body::RepairRequest(_) => REPAIR_REQUEST,
        Body::RepairReply(_) => REPAIR_REPLY,
        Body::Repair(_) => REPAIR,
        Body::NewerTerm => NEWER_TERM,
    }
}

pub(super) fn write(w: &mut Writer, body: &Body) {
    match body {
        Body::PreVote(request) | Body::Vote(request) => {
            w.u64(request.campaign.0);
            w.u32(request.round);
            w.entry(request.last);
            w.u8(request.transfer.into());
        }
        Body::PreVoteReply(reply) | Body::VoteReply(reply) => {
            w.u64(reply.campaign.0);
            w.u32(reply.round);
            w.u8(answer_number(reply.answer));
        }
        Body::Append(append) => {
            w.entry(append.prev);
            w.u64(append.commit.0);
            w.u8(append.probe.into());
            write_entries(w, &append.runs, &append.configurations);
        }
        Body::AppendReply(reply) => write_append_reply(w, *reply),
        Body::Heartbeat(heartbeat) => write_heartbeat(w, heartbeat),
        Body::HeartbeatReply(reply) => write_heartbeat_reply(w, reply),
        Body::SnapshotOffer(offer) => {
            w.entry(offer.last);
            w.u64(offer.bytes);
            configuration::write(w, &offer.configuration);
        }
        Body::SnapshotReply(reply) => write_snapshot_reply(w, *reply),
        Body::ReadRequest { counter } => w.u64(*counter),
        Body::ReadReply { counter, index } => {
            w.u64(*counter);
            w.u8(index.is_some().into());
            w.u64(index.unwrap_or_default().0);
        }
        Body::RepairRequest(request) => {
            w.u32(request.ranges.len() as u32);
            for range in &request.ranges {
                w.entry(range.id);
                w.entry(range.through);
            }
        }
        Body::RepairReply(reply) => {
            w.entry(reply.id);
            w.u8(holding_number(reply.holding));
        }
        Body::Repair(repair) => {
            w.u32(repair.pieces.len() as u32);
            for piece in &repair.pieces {
                w.u64(piece.first.0);
                write_runs(w, &piece.runs);
            }
            write_configurations(w, &repair.configurations);
        }
        Body::TimeoutNow { round } => w.u64(round.0),
        Body::SnapshotRequest | Body::NewerTerm => {}
    }
}

pub(super) fn read(r: &mut Reader<'_>, kind: u8) -> Result<Body, CodecError> {
    Ok(match kind {
        PRE_VOTE => Body::PreVote(read_vote(r)?),
        PRE_VOTE_REPLY => Body::PreVoteReply(read_vote_reply(r)?),
        VOTE => Body::Vote(read_vote(r)?),
        VOTE_REPLY => Body::VoteReply(read_vote_reply(r)?),
        APPEND => Body::Append(read_append(r)?),
        APPEND_ACCEPTED | APPEND_CONFLICT => Body::AppendReply(read_append_reply(r, kind)?),
        HEARTBEAT => Body::Heartbeat(read_heartbeat(r)?),
        HEARTBEAT_REPLY => Body::HeartbeatReply(read_heartbeat_reply(r)?),
        SNAPSHOT_OFFER => Body::SnapshotOffer(SnapshotOffer {
            last: r.entry("last entry")?,
            bytes: r.u64("size")?,
            configuration: configuration::read(r)?,
        }),
        SNAPSHOT_WANTED | SNAPSHOT_UNNEEDED | SNAPSHOT_INSTALLED => {
            Body::SnapshotReply(read_snapshot_reply(r, kind)?)
        }
        SNAPSHOT_REQUEST => Body::SnapshotRequest,
        READ_REQUEST => Body::ReadRequest {
            counter: r.u64("counter")?,
        },
        READ_REPLY => read_read_reply(r)?,
        TIMEOUT_NOW => Body::TimeoutNow {
            round: Round(r.u64("round")?),
        },
        REPAIR_REQUEST => read_repair_request(r)?,
        REPAIR_REPLY => Body::RepairReply(RepairReply {
            id: r.entry("entry")?,
            holding: read_holding(r)?,
        }),
        REPAIR => read_repair(r)?,
        NEWER_TERM => Body::NewerTerm,
        _ => return Err(r.unknown("kind of a group's message", kind.into())),
    })
}

fn write_entries(w: &mut Writer, runs: &EntryRuns, configurations: &[(LogIndex, Configuration)]) {
    write_runs(w, runs);
    write_configurations(w, configurations);
}

fn write_runs(w: &mut Writer, runs: &EntryRuns) {
    w.u32(runs.iter().count() as u32);
    for run in runs.iter() {
        w.u64(run.term.0);
        w.u64(run.count);
    }
}

fn write_configurations(w: &mut Writer, configurations: &[(LogIndex, Configuration)]) {
    w.u32(configurations.len() as u32);
    for (index, configuration) in configurations {
        w.u64(index.0);
        configuration::write(w, configuration);
    }
}

type Configurations = Vec<(LogIndex, Configuration)>;

type Entries = (EntryRuns, Configurations);

fn read_entries(r: &mut Reader<'_>) -> Result<Entries, CodecError> {
    Ok((read_runs(r)?, read_configurations(r)?))
}

fn read_runs(r: &mut Reader<'_>) -> Result<EntryRuns, CodecError> {
    let mut runs = EntryRuns::EMPTY;
    for _ in 0..r.count("runs of terms", RUNS_PER_MESSAGE_MAX, 16)? {
        let run = EntryRun {
            term: r.term("term of a run")?,
            count: r.u64("length of a run")?,
        };
        runs.push(run.term, run.count);
    }
    Ok(runs)
}

fn read_configurations(r: &mut Reader<'_>) -> Result<Configurations, CodecError> {
    // 25 bytes: an index, four empty lists and a flag.
    let count = r.count("configurations", ENTRIES_PER_MESSAGE_MAX, 25)?;
    let mut configurations = Vec::with_capacity(count);
    for _ in 0..count {
        let index = r.index("index of a configuration")?;
        configurations.push((index, configuration::read(r)?));
    }
    Ok(configurations)
}

fn read_append(r: &mut Reader<'_>) -> Result<Append, CodecError> {
    let prev = r.entry("previous entry")?;
    let commit = r.index("commit index")?;
    let probe = r.flag("probe flag")?;
    let (runs, configurations) = read_entries(r)?;
    Ok(Append {
        prev,
        runs,
        configurations,
        commit,
        probe,
    })
}

fn read_repair(r: &mut Reader<'_>) -> Result<Body, CodecError> {
    // 12 bytes: an index and an empty list.
    let count = r.count("pieces of a repair", REPAIR_RANGES_MAX, 12)?;
    let mut pieces = Vec::with_capacity(count);
    for _ in 0..count {
        let first = r.index("first index")?;
        let runs = read_runs(r)?;
        pieces.push(RepairPiece { first, runs });
    }
    let configurations = read_configurations(r)?;
    Ok(Body::Repair(Repair {
        pieces,
        configurations,
    }))
}

fn read_repair_request(r: &mut Reader<'_>) -> Result<Body, CodecError> {
    let count = r.count("ranges of a repair request", REPAIR_RANGES_MAX, 32)?;
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        ranges.push(RepairRange {
            id: r.entry("entry")?,
            through: r.entry("last entry")?,
        });
    }
    Ok(Body::RepairRequest(RepairRequest { ranges }))
}

fn read_vote(r: &mut Reader<'_>) -> Result<VoteRequest, CodecError> {
    Ok(VoteRequest {
        campaign: r.term("campaign")?,
        round: r.u32("round")?,
        last: r.entry("last entry")?,
        transfer: r.flag("transfer flag")?,
    })
}

fn read_vote_reply(r: &mut Reader<'_>) -> Result<VoteReply, CodecError> {
    let campaign = r.term("campaign")?;
    let round = r.u32("round")?;
    let answer = match r.u8("answer")? {
        0 => VoteAnswer::Denied,
        1 => VoteAnswer::Granted,
        2 => VoteAnswer::Conditional,
        number => return Err(r.unknown("answer", number.into())),
    };
    Ok(VoteReply {
        campaign,
        round,
        answer,
    })
}

const fn answer_number(answer: VoteAnswer) -> u8 {
    match answer {
        VoteAnswer::Denied => 0,
        VoteAnswer::Granted => 1,
        VoteAnswer::Conditional => 2,
    }
}

fn write_append_reply(w: &mut Writer, reply: AppendReply) {
    match reply {
        AppendReply::Accepted(ack) => write_ack(w, ack),
        AppendReply::Conflict { prev, hint } => {
            w.u64(prev.0);
            w.entry(hint);
        }
    }
}

fn read_append_reply(r: &mut Reader<'_>, kind: u8) -> Result<AppendReply, CodecError> {
    Ok(match kind {
        APPEND_ACCEPTED => AppendReply::Accepted(read_ack(r)?),
        _ => AppendReply::Conflict {
            prev: r.index("refused index")?,
            hint: r.entry("hint")?,
        },
    })
}

fn write_ack(w: &mut Writer, ack: Ack) {
    w.u64(ack.matched.0);
    w.u64(ack.stored.0);
}

fn read_ack(r: &mut Reader<'_>) -> Result<Ack, CodecError> {
    Ok(Ack {
        matched: r.index("matched index")?,
        stored: r.index("stored index")?,
    })
}

fn write_heartbeat(w: &mut Writer, heartbeat: &Heartbeat) {
    w.u64(heartbeat.commit.0);
    w.u64(heartbeat.round.0);
    w.u64(heartbeat.sent_at.0);
    w.u8(heartbeat.quiet.is_some().into());
    w.entry(heartbeat.quiet.unwrap_or_default());
}

fn read_heartbeat(r: &mut Reader<'_>) -> Result<Heartbeat, CodecError> {
    let commit = r.index("commit index")?;
    let round = Round(r.u64("round")?);
    let sent_at = Moment(r.u64("time of sending")?);
    let has_quiet = r.flag("quiet flag")?;
    let last = r.entry("last entry")?;
    Ok(Heartbeat {
        commit,
        round,
        sent_at,
        quiet: has_quiet.then_some(last),
    })
}

fn write_heartbeat_reply(w: &mut Writer, reply: &HeartbeatReply) {
    w.u64(reply.round.0);
    w.u64(reply.sent_at.0);
    w.u64(reply.received.0);
    w.u8(reply.ack.is_some().into());
    write_ack(w, reply.ack.unwrap_or_default());
    w.u8(reply.quiet.into());
    w.u8(reply.needs_snapshot.into());
}

fn read_heartbeat_reply(r: &mut Reader<'_>) -> Result<HeartbeatReply, CodecError> {
    let round = Round(r.u64("round")?);
    let sent_at = Moment(r.u64("time of sending")?);
    let received = r.index("received index")?;
    let has_ack = r.flag("acknowledgement flag")?;
    let ack = read_ack(r)?;
    Ok(HeartbeatReply {
        round,
        sent_at,
        received,
        ack: has_ack.then_some(ack),
        quiet: r.flag("quiet flag")?,
        needs_snapshot: r.flag("snapshot flag")?,
    })
}

fn write_snapshot_reply(w: &mut Writer, reply: SnapshotReply) {
    match reply {
        SnapshotReply::Wanted { last, from_byte } => {
            w.entry(last);
            w.u64(from_byte);
        }
        SnapshotReply::Unneeded { last, commit } => {
            w.entry(last);
            w.u64(commit.0);
        }
        SnapshotReply::Installed { last } => w.entry(last),
    }
}

fn read_snapshot_reply(r: &mut Reader<'_>, kind: u8) -> Result<SnapshotReply, CodecError> {
    let last = r.entry("last entry")?;
    Ok(match kind {
        SNAPSHOT_WANTED => SnapshotReply::Wanted {
            last,
            from_byte: r.u64("first wanted byte")?,
        },
        SNAPSHOT_UNNEEDED => SnapshotReply::Unneeded {
            last,
            commit: r.index("commit index")?,
        },
        _ => SnapshotReply::Installed { last },
    })
}

fn read_read_reply(r: &mut Reader<'_>) -> Result<Body, CodecError> {
    let counter = r.u64("counter")?;
    let has_index = r.flag("index flag")?;
    let index = r.index("index")?;
    Ok(Body::ReadReply {
        counter,
        index: has_index.then_some(index),
    })
}

const fn holding_number(holding: Holding) -> u8 {
    match holding {
        Holding::Never => 0,
        Holding::Damaged => 1,
        Holding::Unknown => 2,
        Holding::Compacted => 3,
    }
}

fn read_holding(r: &mut Reader<'_>) -> Result<Holding, CodecError> {
    match r.u8("holding")? {
        0 => Ok(Holding::Never),
        1 => Ok(Holding::Damaged),
        2 => Ok(Holding::Unknown),
        3 => Ok(Holding::Compacted),
        number => Err(r.unknown("holding", number.into())),
    }
}
