//! Every message between nodes: a number for its kind, then its fields.

use bytes::Bytes;
use trilith_types::{EntryPayload, GroupId, limits::BATCH_BYTES_MAX};

use super::{
    group,
    wire::{CodecError, Reader, Writer},
};
use crate::{
    config::{CALL_BYTES_MAX, ENTRIES_PER_MESSAGE_MAX, SHARDS_MAX, SNAPSHOT_CHUNK_BYTES_MAX},
    heartbeat::{Heartbeat, Progress},
    message::{Call, NodeMessage, SnapshotAck, SnapshotChunk},
};

const GROUP: u8 = 1;
const HEARTBEAT: u8 = 2;
const SNAPSHOT_CHUNK: u8 = 3;
const SNAPSHOT_ACK: u8 = 4;
const CALL: u8 = 5;
const ANSWER: u8 = 6;

/// What a message is taken to weigh beside its payloads: enough for nearly all.
const USUAL_BYTES: usize = 128;

pub(crate) fn write(w: &mut Writer, message: &NodeMessage) {
    match message {
        NodeMessage::Group(message) => {
            w.u8(GROUP);
            group::write(w, message);
        }
        NodeMessage::Heartbeat(heartbeat) => {
            w.u8(HEARTBEAT);
            write_heartbeat(w, heartbeat);
        }
        NodeMessage::SnapshotChunk(chunk) => {
            w.u8(SNAPSHOT_CHUNK);
            w.u64(chunk.group.0);
            w.u64(chunk.term.0);
            w.entry(chunk.last);
            w.u64(chunk.total);
            w.u64(chunk.position);
            w.u32(chunk.bytes.len() as u32);
            w.shared(&chunk.bytes, None);
        }
        NodeMessage::SnapshotAck(ack) => {
            w.u8(SNAPSHOT_ACK);
            w.u64(ack.group.0);
            w.u64(ack.term.0);
            w.entry(ack.last);
            w.u64(ack.received);
        }
        NodeMessage::Call(call) => {
            w.u8(CALL);
            write_call(w, call);
        }
        NodeMessage::Answer(call) => {
            w.u8(ANSWER);
            write_call(w, call);
        }
    }
}

pub(crate) fn read(body: &Bytes) -> Result<NodeMessage, CodecError> {
    let mut reader = Reader::new(body);
    let r = &mut reader;
    let message = match r.u8("kind")? {
        GROUP => NodeMessage::Group(group::read(r)?),
        HEARTBEAT => NodeMessage::Heartbeat(read_heartbeat(r)?),
        SNAPSHOT_CHUNK => NodeMessage::SnapshotChunk(read_chunk(r)?),
        SNAPSHOT_ACK => NodeMessage::SnapshotAck(SnapshotAck {
            group: GroupId(r.u64("group")?),
            term: r.term("term")?,
            last: r.entry("last entry")?,
            received: r.u64("received bytes")?,
        }),
        CALL => NodeMessage::Call(read_call(r)?),
        ANSWER => NodeMessage::Answer(read_call(r)?),
        number => return Err(r.unknown("kind of message", number.into())),
    };
    reader.end()?;
    Ok(message)
}

fn write_heartbeat(w: &mut Writer, heartbeat: &Heartbeat) {
    w.u64(heartbeat.sequence);
    w.u64(heartbeat.echo);
    w.u64(heartbeat.progress.disk);
    let shards = &heartbeat.progress.shards;
    let shards = shards.get(..SHARDS_MAX).unwrap_or(shards);
    w.u32(shards.len() as u32);
    for &shard in shards {
        w.u64(shard);
    }
}

fn read_heartbeat(r: &mut Reader<'_>) -> Result<Heartbeat, CodecError> {
    let sequence = r.u64("sequence")?;
    let echo = r.u64("echo")?;
    let disk = r.u64("disk counter")?;
    let count = r.count("shards", SHARDS_MAX, 8)?;
    let shards = (0..count)
        .map(|_| r.u64("shard counter"))
        .collect::<Result<_, _>>()?;
    Ok(Heartbeat {
        sequence,
        echo,
        progress: Progress { shards, disk },
    })
}

fn read_chunk(r: &mut Reader<'_>) -> Result<SnapshotChunk, CodecError> {
    let group = GroupId(r.u64("group")?);
    let term = r.term("term")?;
    let last = r.entry("last entry")?;
    let total = r.u64("total")?;
    let position = r.u64("position")?;
    let length = r.count("snapshot bytes", SNAPSHOT_CHUNK_BYTES_MAX, 1)?;
    Ok(SnapshotChunk {
        group,
        term,
        last,
        total,
        position,
        bytes: r.shared("snapshot bytes", length)?,
    })
}

fn write_call(w: &mut Writer, call: &Call) {
    w.u64(call.id);
    w.u32(call.bytes.len() as u32);
    w.shared(&call.bytes, None);
}

fn read_call(r: &mut Reader<'_>) -> Result<Call, CodecError> {
    let id = r.u64("id")?;
    let length = r.count("bytes of a call", CALL_BYTES_MAX, 1)?;
    let bytes = r.shared("bytes of a call", length)?;
    Ok(Call { id, bytes })
}

impl NodeMessage {
    /// About how many bytes it takes on the wire and in a queue: exact for payloads, a usual
    /// figure for the rest.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        USUAL_BYTES
            + match self {
                Self::Group(group) => group
                    .entries
                    .iter()
                    .map(|(_, payload)| payload.len() + trilith_types::ENTRY_META_BYTES + 4)
                    .sum(),
                Self::Heartbeat(heartbeat) => heartbeat.progress.shards.len() * 8,
                Self::SnapshotChunk(chunk) => chunk.bytes.len(),
                Self::SnapshotAck(_) => 0,
                Self::Call(call) | Self::Answer(call) => call.bytes.len(),
            }
    }

    /// Whether it keeps to the limits of the codec, so that the other side will take it. A
    /// message that does not is a bug of the sender; it is dropped rather than sent.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        match self {
            Self::Group(group) => {
                let fits = |payload: &EntryPayload| payload.len() <= BATCH_BYTES_MAX as usize;
                group.entries.len() <= ENTRIES_PER_MESSAGE_MAX
                    && group.entries.iter().all(|(_, payload)| fits(payload))
            }
            Self::Heartbeat(heartbeat) => heartbeat.progress.shards.len() <= SHARDS_MAX,
            Self::SnapshotChunk(chunk) => chunk.bytes.len() <= SNAPSHOT_CHUNK_BYTES_MAX,
            Self::SnapshotAck(_) => true,
            Self::Call(call) | Self::Answer(call) => call.bytes.len() <= CALL_BYTES_MAX,
        }
    }
}
