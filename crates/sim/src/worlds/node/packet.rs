//! What travels between nodes: the bytes of frames, as connections would carry them.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use trilith_peer::{Frame, FrameReader, FrameWriter, NodeMessage};
use trilith_raft::Body;

/// A frame with one message, and what it says for traces.
#[derive(Clone, Debug)]
pub struct Packet {
    bytes: Bytes,
    text: Arc<str>,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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

impl Packet {
    /// The frame of a message; `None` when it does not fit into one.
    pub(super) fn of(message: &NodeMessage) -> Option<Self> {
        let mut writer = FrameWriter::default();
        writer.push(message).ok()?;
        Some(Self {
            bytes: Bytes::from(writer.finish().concat()),
            text: Arc::from(text(message)),
        })
    }

    /// The messages in it, read by `reader`, which serves one packet after another.
    ///
    /// # Errors
    /// What is wrong with the frame.
    pub(super) fn open(&self, reader: &mut FrameReader) -> Result<Vec<NodeMessage>, String> {
        let mut rest = &*self.bytes;
        loop {
            let taken = reader.put(rest);
            rest = rest.get(taken..).unwrap_or_default();
            match reader.next_frame() {
                Ok(Some(Frame::Messages(messages))) => return Ok(messages),
                Ok(Some(_)) => return Err("a handshake between messages".to_owned()),
                Ok(None) if rest.is_empty() => return Err("half a frame".to_owned()),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
