//! The bytes of a snapshot on their way.
//!
//! A snapshot is the log's start, its entries up to the last one that the snapshot covers, and the
//! image that goes beside a mark. A *part* is some entries or a piece of the image. A part that is
//! larger than a chunk may be goes in several; each chunk begins with the part's length and the
//! chunk's place in it (4 bytes each).
//!
//! A part, all numbers little-endian: the version (1 byte), the log's first index (8), its first
//! offset (8), the offset that readers find first (8), the term before it (8), then its kind (1 byte). Entries (kind 0): for each the
//! particulars (56 bytes), the length (4) and the bytes. Image (kind 1): its whole length (8), then
//! the bytes up to the part's end.
//!
//! A position in a snapshot is a number that only its sender and its receiver understand: while
//! entries come, the index of the last one that is there; then the last entry's index plus the
//! image's bytes that are there.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use trilith_types::{ENTRY_META_BYTES, EntryMeta, EntryPayload, LogIndex, Offset, Term};

const VERSION: u8 = 1;
const ENTRIES: u8 = 0;
const IMAGE: u8 = 1;

/// Bytes before a chunk's piece of a part.
pub(super) const PIECE_HEADER_BYTES: usize = 8;

/// Largest part that is taken: an entry of the largest size, and room.
pub(super) const PART_BYTES_MAX: usize = trilith_storage::PAYLOAD_BYTES_MAX as usize + (1 << 20);

/// Where a log starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) index: LogIndex,
    pub(super) offset: Offset,
    /// Readers find nothing below this one, although the first segment may hold some.
    pub(super) earliest: Offset,
    pub(super) prev_term: Term,
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Entries(Vec<(EntryMeta, EntryPayload)>),
    Image { total: u64, bytes: Bytes },
}

pub(super) fn encode(start: &Start, part: &Part) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    out.put_u64_le(start.index.0);
    out.put_u64_le(start.offset.0);
    out.put_u64_le(start.earliest.0);
    out.put_u64_le(start.prev_term.0);
    match part {
        Part::Entries(entries) => {
            out.put_u8(ENTRIES);
            for (meta, payload) in entries {
                out.put_slice(&meta.encode());
                out.put_u32_le(payload.len() as u32);
                payload.parts().iter().for_each(|part| out.put_slice(part));
            }
        }
        Part::Image { total, bytes } => {
            out.put_u8(IMAGE);
            out.put_u64_le(*total);
            out.put_slice(bytes);
        }
    }
    out.freeze()
}

/// `None` when the bytes are no part.
pub(super) fn decode(mut from: Bytes) -> Option<(Start, Part)> {
    if from.try_get_u8().ok()? != VERSION {
        return None;
    }
    let start = Start {
        index: LogIndex(from.try_get_u64_le().ok()?),
        offset: Offset(from.try_get_u64_le().ok()?),
        earliest: Offset(from.try_get_u64_le().ok()?),
        prev_term: Term(from.try_get_u64_le().ok()?),
    };
    let part = match from.try_get_u8().ok()? {
        ENTRIES => Part::Entries(entries(&mut from)?),
        IMAGE => Part::Image {
            total: from.try_get_u64_le().ok()?,
            bytes: from,
        },
        _ => return None,
    };
    Some((start, part))
}

fn entries(from: &mut Bytes) -> Option<Vec<(EntryMeta, EntryPayload)>> {
    let mut entries = Vec::new();
    while from.has_remaining() {
        let meta: &[u8; ENTRY_META_BYTES] = from.first_chunk()?;
        let meta = EntryMeta::decode(meta)?;
        from.advance(ENTRY_META_BYTES);
        let len = from.try_get_u32_le().ok()? as usize;
        if len > from.len() {
            return None;
        }
        entries.push((meta, from.split_to(len).into()));
    }
    Some(entries)
}

/// The pieces of a part, each as the bytes of a chunk.
pub(super) fn pieces(part: &Bytes, chunk_bytes_max: usize) -> Vec<Bytes> {
    let room = chunk_bytes_max.saturating_sub(PIECE_HEADER_BYTES).max(1);
    let count = part.len().div_ceil(room);
    let piece = |n: usize| {
        let from = n * room;
        let upto = part.len().min(from + room);
        let mut out = BytesMut::with_capacity(PIECE_HEADER_BYTES + upto - from);
        out.put_u32_le(part.len() as u32);
        out.put_u32_le(from as u32);
        out.put_slice(part.get(from..upto).unwrap_or_default());
        out.freeze()
    };
    (0..count).map(piece).collect()
}

/// A part that is being put together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    bytes: BytesMut,
}

impl Assembly {
    /// Takes a chunk's bytes, and gives the part when it is whole. A piece that is not the next
    /// one is passed over; one at place 0 begins anew.
    pub(super) fn add(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let len = chunk.try_get_u32_le().ok()? as usize;
        let place = chunk.try_get_u32_le().ok()? as usize;
        if place == 0 {
            self.bytes.clear();
        }
        let fits = len <= PART_BYTES_MAX && place == self.bytes.len() && place + chunk.len() <= len;
        if !fits {
            return None;
        }
        if place == 0 && chunk.len() == len {
            return Some(chunk);
        }
        self.bytes.extend_from_slice(&chunk);
        (self.bytes.len() == len).then(|| std::mem::take(&mut self.bytes).freeze())
    }
}

/// Feeds arbitrary bytes to the decoder of parts, and to what puts them together.
pub(crate) fn fuzz_part(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Some((start, part)) = decode(bytes.clone()) {
        assert_eq!(decode(encode(&start, &part)), Some((start, part)));
    }
    let mut assembly = Assembly::default();
    for piece in [bytes.clone(), bytes] {
        if let Some(part) = assembly.add(piece) {
            assert!(part.len() <= PART_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilith_types::{EntryKind, TimestampMs};

    use super::*;

    fn start() -> Start {
        Start {
            index: LogIndex(5),
            offset: Offset(50),
            earliest: Offset(51),
            prev_term: Term(2),
        }
    }

    fn some_entries() -> Part {
        let entry = |index: u64| {
            let meta = EntryMeta {
                index: LogIndex(index),
                term: Term(3),
                kind: EntryKind::BATCH,
                first_offset: Offset(index * 10),
                records: 10,
                append_time: TimestampMs(1),
                max_timestamp: TimestampMs(2),
            };
            (meta, Bytes::from(vec![index as u8; index as usize]).into())
        };
        Part::Entries((5..9).map(entry).collect())
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let image = Part::Image {
            total: 9,
            bytes: Bytes::from_static(b"abc"),
        };
        for part in [some_entries(), image, Part::Entries(Vec::new())] {
            let bytes = encode(&start(), &part);
            assert_eq!(decode(bytes), Some((start(), part)));
        }
    }

    proptest! {
        #[test]
        fn nearly_right_bytes_are_a_part_or_none(at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = encode(&start(), &some_entries()).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            fuzz_part(&bytes);
            fuzz_part(&pieces(&bytes.into(), 40)[0]);
        }
    }

    #[test]
    fn cut_entries_are_refused() {
        let bytes = encode(&start(), &some_entries());
        let whole = [34 + 60 + 5, 34 + 120 + 11, 34 + 180 + 18, bytes.len()];
        for len in 0..bytes.len() {
            let refused = decode(bytes.slice(..len)).is_none();
            assert_eq!(refused, len != 34 && !whole.contains(&len), "{len}");
        }
    }

    #[test]
    fn pieces_are_put_together_in_order_and_begun_anew() {
        let part = encode(&start(), &some_entries());
        let pieces = pieces(&part, 40);
        assert!(pieces.len() > 3 && pieces.iter().all(|p| p.len() <= 40));
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(pieces[0].clone()), None);
        assert_eq!(assembly.add(pieces[2].clone()), None, "one is missing");
        let mut whole = None;
        for piece in &pieces {
            whole = assembly.add(piece.clone());
        }
        assert_eq!(whole, Some(part));
    }
}
