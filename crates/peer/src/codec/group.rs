//! One group's message: the address, what the core says, and the entries.

use bytes::Bytes;
use trilith_raft::{Body, Message};
use trilith_types::{
    ENTRY_META_BYTES, EntryMeta, EntryPayload, GroupId, Incarnation, limits::BATCH_BYTES_MAX,
};

use super::{
    raft_body,
    wire::{CodecError, Malformed, Reader, SHARED_FROM_BYTES, Writer},
};
use crate::{config::ENTRIES_PER_MESSAGE_MAX, message::GroupMessage};

pub(super) fn write(w: &mut Writer, group: &GroupMessage) {
    let message = &group.message;
    w.u8(raft_body::kind(&message.body));
    w.u64(message.group.0);
    w.u64(message.from.0);
    w.u64(message.to.0);
    w.u64(message.term.0);
    w.u64(message.incarnation.0);
    w.u64(message.to_incarnation.0);
    raft_body::write(w, &message.body);
    if let Some(expected) = entry_count(&message.body) {
        debug_assert_eq!(expected, group.entries.len() as u64);
        w.u32(group.entries.len() as u32);
        for (meta, payload) in &group.entries {
            w.put(&meta.encode());
            w.u32(payload.len() as u32);
            w.payload(payload);
        }
    }
}

pub(super) fn read(r: &mut Reader<'_>) -> Result<GroupMessage, CodecError> {
    let kind = r.u8("kind")?;
    let group = GroupId(r.u64("group")?);
    let from = r.node("sender")?;
    let to = r.node("receiver")?;
    let term = r.term("term")?;
    let incarnation = Incarnation(r.u64("sender's incarnation")?);
    let to_incarnation = Incarnation(r.u64("receiver's incarnation")?);
    let body = raft_body::read(r, kind)?;
    let entries = match entry_count(&body) {
        Some(expected) => read_entries(r, expected)?,
        None => Vec::new(),
    };
    let message = Message {
        group,
        from,
        to,
        term,
        incarnation,
        to_incarnation,
        body,
    };
    Ok(GroupMessage { message, entries })
}

/// How many entries go with the message; `None` when it is of a kind that has none.
fn entry_count(body: &Body) -> Option<u64> {
    match body {
        Body::Append(append) => Some(append.runs.count()),
        Body::Repair(repair) => Some(repair.count()),
        _ => None,
    }
}

fn read_entries(
    r: &mut Reader<'_>,
    expected: u64,
) -> Result<Vec<(EntryMeta, EntryPayload)>, CodecError> {
    let count = r.count("entries", ENTRIES_PER_MESSAGE_MAX, ENTRY_META_BYTES + 4)?;
    if count as u64 != expected {
        let wrong = Malformed::Contradiction("not as many entries as the core speaks of");
        return Err(r.error(wrong));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let bytes = r.array::<ENTRY_META_BYTES>("entry")?;
        let Some(meta) = EntryMeta::decode(&bytes) else {
            let wrong = Malformed::Contradiction("an entry has bits set that must be zero");
            return Err(r.error(wrong));
        };
        entries.push((meta, read_payload(r)?));
    }
    Ok(entries)
}

fn read_payload(r: &mut Reader<'_>) -> Result<EntryPayload, CodecError> {
    let length = r.count("payload bytes", BATCH_BYTES_MAX as usize, 1)?;
    let shared = r.shared("payload", length)?;
    // A small payload that is kept must not keep the large frame around it.
    Ok(EntryPayload::new(if length < SHARED_FROM_BYTES {
        Bytes::copy_from_slice(&shared)
    } else {
        shared
    }))
}
