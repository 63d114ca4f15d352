//! What travels between nodes: connections that are made and ended, and the bytes of frames on
//! them.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use trilith_peer::{Frame, FrameReader, FrameWriter, Handshake, NodeMessage};
use trilith_raft::Body;

/// A piece of a connection between two nodes.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Which connection; never used twice in a run.
    pub(super) wire: u64,
    pub(super) what: What,
}

/// What a piece of a connection is.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Somebody wants to connect.
    Syn,
    /// Somebody listens.
    SynAck,
    /// The connection is closed, or was never there.
    Fin,
    /// A frame, and what it says for traces.
    Frame(Bytes, Arc<str>),
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{} ", self.wire)?;
        f.write_str(match &self.what {
            What::Syn => "connect",
            What::SynAck => "connected",
            What::Fin => "close",
            What::Frame(_, text) => text,
        })
    }
}

fn name(body: &Body) -> &'static str {
    match body {
        Body::PreVote(_) => "pre-vote?",
        Body::PreVoteReply(_) => "pre-vote",
        Body::Vote(_) => "vote?",
        Body::VoteReply(_) => "vote",
        Body::Append(_) => "append",
        Body::AppendReply(_) => "ack",
        Body::Heartbeat(_) => "heartbeat",
        Body::HeartbeatReply(_) => "heartbeat answered",
        Body::SnapshotOffer(_) => "snapshot offered",
        Body::SnapshotReply(_) => "snapshot answered",
        Body::SnapshotRequest => "snapshot wanted",
        Body::ReadRequest { .. } => "read?",
        Body::ReadReply { .. } => "read",
        Body::TimeoutNow { .. } => "time out now",
        Body::RepairRequest(_) => "repair?",
        Body::RepairReply(_) => "no repair",
        Body::Repair(_) => "repair",
        Body::NewerTerm => "newer term",
    }
}

fn text(message: &NodeMessage) -> String {
    match message {
        NodeMessage::Group(group) => {
            let m = &group.message;
            let (name, entries) = (name(&m.body), group.entries.len());
            format!("g{} t{} {name} with {entries}", m.group, m.term)
        }
        NodeMessage::SnapshotChunk(chunk) => {
            let (from, to) = (chunk.position, chunk.position + chunk.bytes.len() as u64);
            format!(
                "g{} snapshot {} bytes {from}..{to} of {}",
                chunk.group, chunk.last, chunk.total
            )
        }
        NodeMessage::SnapshotAck(ack) => {
            format!("g{} snapshot {} have {}", ack.group, ack.last, ack.received)
        }
        NodeMessage::Heartbeat(_) => "heartbeat".to_owned(),
        NodeMessage::Call(call) => format!("call {}", call.id),
        NodeMessage::Answer(call) => format!("answer {}", call.id),
    }
}

fn step_text(step: &Handshake) -> &'static str {
    match step {
        Handshake::Hello(_) => "hello",
        Handshake::Welcome(_) => "welcome",
        Handshake::Refused(_) => "refused",
        Handshake::Found(_) => "found",
        Handshake::Unfounded(_) => "unfounded",
    }
}

impl What {
    /// The frame of a message; `None` when it does not fit into one.
    pub(super) fn message(message: &NodeMessage) -> Option<Self> {
        let mut writer = FrameWriter::default();
        writer.push(message).ok()?;
        let bytes = Bytes::from(writer.finish().concat());
        Some(Self::Frame(bytes, Arc::from(text(message))))
    }

    /// The frame of a step of the handshake.
    pub(super) fn step(step: &Handshake) -> Self {
        Self::Frame(FrameWriter::handshake(step), Arc::from(step_text(step)))
    }
}

/// The frame that these bytes are, read by `reader`, which serves one after another.
///
/// # Errors
/// What is wrong with it.
pub(super) fn open(bytes: &[u8], reader: &mut FrameReader) -> Result<Frame, String> {
    let mut rest = bytes;
    loop {
        let taken = reader.put(rest);
        rest = rest.get(taken..).unwrap_or_default();
        match reader.next_frame() {
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) if rest.is_empty() => return Err("half a frame".to_owned()),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
