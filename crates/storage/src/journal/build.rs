//! Builds the bytes of a frame.

use std::sync::Arc;

use bytes::Bytes;
use trilith_types::{GroupId, LogIndex};

use super::{
    block::{BLOCK_BYTES, BLOCK_DATA_BYTES, STAMP_BYTES, Stamp, blocks_for},
    buffer::AlignedPool,
    descriptor::{
        APPEND_BYTES, Body, COMMIT_BYTES, Descriptor, FORGET_BYTES, LOST_CRC, MARK_BYTES,
        RESET_BYTES, TRUNCATE_BYTES, What,
    },
    file::FileHeader,
    head::{HEAD_BYTES, Head, Place, Previous},
    op::{JournalOp, Mark},
    replayed::ReplayReset,
};
use crate::codec::crc;

/// One thing that goes into a frame.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) group: GroupId,
    pub(super) what: ItemKind,
}

#[derive(Debug)]
pub(super) enum ItemKind {
    Op(JournalOp),
    /// A mark that is carried on to a new file, and the frame that it comes from.
    Carried(Arc<Mark>, u64),
    Commit(LogIndex),
}

/// What a frame takes in its content for one operation.
pub(super) fn op_bytes(op: &JournalOp) -> u64 {
    let descriptor = match op {
        JournalOp::Append { .. } | JournalOp::Lost { .. } => APPEND_BYTES,
        JournalOp::Truncate { .. } => TRUNCATE_BYTES,
        JournalOp::Mark(_) => MARK_BYTES,
        JournalOp::Reset { .. } => RESET_BYTES,
        JournalOp::Forget => FORGET_BYTES,
    };
    descriptor as u64 + op.body_bytes()
}

/// What a frame takes for a note of a commit index.
pub(super) const fn commit_bytes() -> u64 {
    COMMIT_BYTES as u64
}

/// What a frame takes for a mark.
pub(super) fn mark_bytes(mark: &Mark) -> u64 {
    MARK_BYTES as u64 + mark.state.len() as u64
}

/// What a frame takes beside its operations.
pub(super) const fn overhead_bytes(trailer: u64) -> u64 {
    HEAD_BYTES as u64 + trailer
}

/// The descriptors of a frame, and what the next one says of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    pub(super) previous: Previous,
    pub(super) descriptors: Bytes,
}

/// A frame to be built.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) place: Place,
    pub(super) frame: u64,
    pub(super) flags: u16,
    pub(super) durable_upto: u64,
    pub(super) oldest_file: u32,
    pub(super) items: Vec<Item>,
    /// The frame before it.
    pub(super) tail: Tail,
    /// The file's header goes out with its first frame.
    pub(super) header: Option<FileHeader>,
}

/// The bytes of a frame, and what is to be remembered of it.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) bytes: Bytes,
    pub(super) tail: Tail,
}

impl Plan {
    /// Lays the frame out, copies what belongs to it, and stamps it.
    pub(super) fn build(&self, buffers: &Arc<AlignedPool>) -> Built {
        let (descriptors, body_bytes) = self.describe();
        let trailer = &self.tail.descriptors;
        let content = HEAD_BYTES as u64 + descriptors.len() as u64 + body_bytes;
        let blocks = blocks_for(content + trailer.len() as u64);
        let mut head = Head {
            flags: self.flags,
            frame: self.frame,
            blocks: blocks as u32,
            ops: self.items.len() as u32,
            descriptor_bytes: descriptors.len() as u32,
            body_bytes: body_bytes as u32,
            durable_upto: self.durable_upto,
            oldest_file: self.oldest_file,
            descriptor_crc: crc(&descriptors),
            previous: self.tail.previous,
            trailer_crc: crc(trailer),
        };
        head.previous.descriptor_bytes = trailer.len() as u32;
        let front = if self.header.is_some() {
            BLOCK_BYTES
        } else {
            0
        };
        let mut buffer = buffers.take(front + blocks as usize * BLOCK_BYTES);
        let (first, frame) = buffer.bytes_mut().split_at_mut(front);
        self.put_header(first);
        let mut content = Content::new(frame);
        content.put(&head.encode(self.place));
        content.put(&descriptors);
        let parts = self.items.iter().flat_map(Item::parts);
        parts.for_each(|part| content.put(part));
        content.put(trailer);
        content.finish(self.place, self.frame);
        let previous = Previous {
            hash: head.hash(self.place),
            file: self.place.file,
            block: self.place.block,
            blocks: blocks as u32,
            ops: head.ops,
            descriptor_bytes: head.descriptor_bytes,
        };
        Built {
            bytes: buffer.share(),
            tail: Tail {
                previous,
                descriptors: descriptors.into(),
            },
        }
    }

    fn put_header(&self, block: &mut [u8]) {
        if let Some(header) = &self.header {
            block.fill(0);
            let bytes = header.encode();
            if let Some(start) = block.get_mut(..bytes.len()) {
                start.copy_from_slice(&bytes);
            }
        }
    }

    /// The encoded descriptors, and how many bytes of payload and state follow.
    fn describe(&self) -> (Vec<u8>, u64) {
        let bytes = self.items.len() * APPEND_BYTES;
        let mut out = Vec::with_capacity(bytes);
        // Positions depend on the length of all descriptors, which is known beforehand.
        let all: usize = self.items.iter().map(Item::descriptor_bytes).sum();
        let first = (HEAD_BYTES + all) as u64;
        let mut position = first;
        for item in &self.items {
            let (len, crc) = item.body();
            let body = Body {
                position: position as u32,
                len: len as u32,
                crc,
            };
            position += len;
            item.describe(body, self.frame).encode(&mut out);
        }
        (out, position - first)
    }
}

impl Item {
    fn descriptor_bytes(&self) -> usize {
        match &self.what {
            ItemKind::Op(op) => (op_bytes(op) - op.body_bytes()) as usize,
            ItemKind::Carried(..) => MARK_BYTES,
            ItemKind::Commit(_) => COMMIT_BYTES,
        }
    }

    fn parts(&self) -> [&[u8]; 2] {
        match &self.what {
            ItemKind::Op(JournalOp::Append { payload, .. }) => payload.parts(),
            ItemKind::Op(JournalOp::Mark(mark)) => [&mark.state, &[]],
            ItemKind::Carried(mark, _) => [&mark.state, &[]],
            ItemKind::Op(_) | ItemKind::Commit(_) => [&[], &[]],
        }
    }

    fn body(&self) -> (u64, u32) {
        let sum = match &self.what {
            ItemKind::Op(JournalOp::Append { payload, .. }) => payload.checksum(),
            _ => {
                let [state, _] = self.parts();
                crc(state)
            }
        };
        (self.body_len(), sum)
    }

    /// Length of its payload or state.
    pub(super) fn body_len(&self) -> u64 {
        self.parts().iter().map(|part| part.len() as u64).sum()
    }

    fn describe(&self, body: Body, frame: u64) -> Descriptor {
        let mark = |mark: &Mark, origin, carried| What::Mark {
            mark: Mark {
                state: Bytes::new(),
                ..mark.clone()
            },
            state: body,
            origin,
            carried,
        };
        let what = match &self.what {
            ItemKind::Carried(carried, origin) => mark(carried, *origin, true),
            ItemKind::Commit(index) => What::Commit(*index),
            ItemKind::Op(op) => match op {
                JournalOp::Append {
                    meta, prev_term, ..
                } => What::Append {
                    meta: *meta,
                    prev_term: *prev_term,
                    payload: body,
                },
                JournalOp::Lost { meta, prev_term } => What::Append {
                    meta: *meta,
                    prev_term: *prev_term,
                    payload: Body {
                        crc: LOST_CRC,
                        ..body
                    },
                },
                JournalOp::Truncate { from } => What::Truncate { from: *from },
                JournalOp::Mark(new) => mark(new, frame, false),
                JournalOp::Reset {
                    next_index,
                    next_offset,
                    term,
                } => What::Reset(ReplayReset {
                    next_index: *next_index,
                    next_offset: *next_offset,
                    term: *term,
                }),
                JournalOp::Forget => What::Forget,
            },
        };
        Descriptor {
            group: self.group,
            what,
        }
    }
}

/// The content of a frame: its bytes without the stamps, filled from the beginning.
struct Content<'a> {
    frame: &'a mut [u8],
    /// The next byte, stamps counted.
    at: usize,
    /// Room before the next stamp.
    room: usize,
}

impl<'a> Content<'a> {
    const fn new(frame: &'a mut [u8]) -> Self {
        Self {
            frame,
            at: STAMP_BYTES,
            room: BLOCK_DATA_BYTES,
        }
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = bytes.len().min(self.room);
            let (now, later) = bytes.split_at(n);
            self.frame
                .get_mut(self.at..self.at + n)
                .expect("the frame has room for all that was counted")
                .copy_from_slice(now);
            bytes = later;
            self.at += n;
            self.room -= n;
            if self.room == 0 {
                self.at += 2 * STAMP_BYTES;
                self.room = BLOCK_DATA_BYTES;
            }
        }
    }

    /// Fills the rest with zeros and stamps every block.
    fn finish(self, place: Place, frame: u64) {
        if let Some(rest) = self.frame.get_mut(self.at..) {
            rest.fill(0);
        }
        let stamp = Stamp {
            salt: place.salt,
            frame,
            file: place.file,
        };
        for (n, block) in (place.block..).zip(self.frame.chunks_exact_mut(BLOCK_BYTES)) {
            let bytes = stamp.encode(n);
            if let Some(start) = block.first_chunk_mut() {
                *start = bytes;
            }
            if let Some(end) = block.last_chunk_mut() {
                *end = bytes;
            }
        }
    }
}
