//! The frame: how one entry lies in a store file.
//!
//! An 80-byte header, the payload, and zeros up to the next multiple of 8. The header's checksum
//! also covers the file's salt and the frame's position, so that bytes of another file, of an
//! earlier life of this one, or from another place in it never pass for a frame.

use trilith_types::{EntryMeta, LogIndex, Offset, Term, TimestampMs};

use crate::{
    codec::{Input, crc},
    config::PAYLOAD_BYTES_MAX,
    entry::EntryKind,
};

/// Frames begin at multiples of this.
pub const FRAME_ALIGN: u64 = 8;

/// Length of the header.
pub const FRAME_HEADER_BYTES: usize = 80;

/// The first four bytes of every frame, `TFRM`.
pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"TFRM");

const _: () = assert!((FRAME_HEADER_BYTES as u64).is_multiple_of(FRAME_ALIGN));

/// What a header says. Numbers are little-endian on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the payload.
    pub payload_len: u32,
    /// CRC-32C of the payload.
    pub payload_crc: u32,
    /// The entry's number; in a mark, the number of the entry that comes next.
    pub index: LogIndex,
    /// The entry's term; in a mark, the last entry's.
    pub term: Term,
    /// The first offset it takes; in a mark, the end of the log.
    pub first_offset: Offset,
    /// When it was accepted.
    pub append_time: TimestampMs,
    /// The largest timestamp of its records.
    pub max_timestamp: TimestampMs,
    /// Every entry up to this one was synced when the header was written; 0 before the first.
    pub synced: LogIndex,
    /// How many offsets it takes.
    pub records: u32,
    /// What it is.
    pub kind: EntryKind,
}

/// Length of a whole frame with a payload of `payload_len` bytes, its padding included.
#[must_use]
pub const fn frame_len(payload_len: u64) -> u64 {
    FRAME_HEADER_BYTES as u64 + payload_len.next_multiple_of(FRAME_ALIGN)
}

/// How many zeros follow a payload.
#[must_use]
pub const fn padding_len(payload_len: u64) -> usize {
    (payload_len.next_multiple_of(FRAME_ALIGN) - payload_len) as usize
}

impl FrameHeader {
    /// Length of the whole frame.
    #[must_use]
    pub const fn frame_len(&self) -> u64 {
        frame_len(self.payload_len as u64)
    }

    /// The offset after the last that it takes.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.first_offset.plus(self.records as u64)
    }

    /// The entry's particulars.
    #[must_use]
    pub const fn meta(&self) -> EntryMeta {
        EntryMeta {
            index: self.index,
            term: self.term,
            kind: self.kind,
            first_offset: self.first_offset,
            records: self.records,
            append_time: self.append_time,
            max_timestamp: self.max_timestamp,
        }
    }

    /// Whether it is a mark and no entry.
    #[must_use]
    pub fn is_mark(&self) -> bool {
        self.kind == EntryKind::MARK
    }

    /// Whether records were here that are lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.kind == EntryKind::LOST && self.records > 0
    }

    /// The number of the entry that comes after it.
    #[must_use]
    pub fn next_index(&self) -> LogIndex {
        if self.is_mark() {
            self.index
        } else {
            self.index.next()
        }
    }

    /// The header as it lies at `position` of the file with this salt.
    #[must_use]
    pub fn encode(&self, salt: u64, position: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(field) = out.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&FRAME_MAGIC.to_le_bytes());
        put(&[0; 4]);
        put(&self.payload_len.to_le_bytes());
        put(&self.payload_crc.to_le_bytes());
        put(&self.index.0.to_le_bytes());
        put(&self.term.0.to_le_bytes());
        put(&self.first_offset.0.to_le_bytes());
        put(&self.append_time.0.to_le_bytes());
        put(&self.max_timestamp.0.to_le_bytes());
        put(&self.synced.0.to_le_bytes());
        put(&self.records.to_le_bytes());
        put(&[self.kind.0, 0, 0, 0]);
        let crc = header_crc(&out, salt, position);
        if let Some(field) = out.get_mut(4..8) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
        out
    }

    /// Reads the header that lies at `position` of the file with this salt; `None` when the bytes
    /// are no such header. The layout's version is the file's, in its header.
    #[must_use]
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES], salt: u64, position: u64) -> Option<Self> {
        let mut input = Input::new(bytes);
        let (magic, crc) = (input.u32()?, input.u32()?);
        if magic != FRAME_MAGIC || crc != header_crc(bytes, salt, position) {
            return None;
        }
        let header = Self {
            payload_len: input.u32()?,
            payload_crc: input.u32()?,
            index: LogIndex(input.u64()?),
            term: Term(input.u64()?),
            first_offset: Offset(input.u64()?),
            append_time: TimestampMs(input.i64()?),
            max_timestamp: TimestampMs(input.i64()?),
            synced: LogIndex(input.u64()?),
            records: input.u32()?,
            kind: EntryKind(input.u8()?),
        };
        (header.payload_len <= PAYLOAD_BYTES_MAX).then_some(header)
    }
}

fn header_crc(header: &[u8; FRAME_HEADER_BYTES], salt: u64, position: u64) -> u32 {
    // In one piece: a header is checked with every read, and each piece costs a call.
    let mut covered = [0; FRAME_HEADER_BYTES + 12];
    let (bound, rest) = covered.split_at_mut(16);
    let (low, high) = bound.split_at_mut(8);
    low.copy_from_slice(&salt.to_le_bytes());
    high.copy_from_slice(&position.to_le_bytes());
    let (magic, fields) = rest.split_at_mut(4);
    let (found_magic, found) = header.split_at(4);
    let (_, found_fields) = found.split_at(4);
    magic.copy_from_slice(found_magic);
    fields.copy_from_slice(found_fields);
    crc(&covered)
}

/// Decodes `bytes` as a header at position 64 of a file with salt 0: the fuzzer's way in.
pub fn fuzz(bytes: &[u8]) {
    let mut header = [0; FRAME_HEADER_BYTES];
    for (to, from) in header.iter_mut().zip(bytes) {
        *to = *from;
    }
    if let Some(found) = FrameHeader::decode(&header, 0, 64) {
        assert!(
            found.payload_len <= PAYLOAD_BYTES_MAX,
            "a length beyond the limit was accepted"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers() -> impl Strategy<Value = FrameHeader> {
        (
            (
                0..=PAYLOAD_BYTES_MAX,
                any::<u32>(),
                any::<u64>(),
                any::<u64>(),
                any::<u64>(),
            ),
            (
                any::<i64>(),
                any::<i64>(),
                any::<u64>(),
                any::<u32>(),
                any::<u8>(),
            ),
        )
            .prop_map(
                |(
                    (payload_len, payload_crc, index, term, first),
                    (at, max, synced, records, kind),
                )| {
                    FrameHeader {
                        payload_len,
                        payload_crc,
                        index: LogIndex(index),
                        term: Term(term),
                        first_offset: Offset(first),
                        append_time: TimestampMs(at),
                        max_timestamp: TimestampMs(max),
                        synced: LogIndex(synced),
                        records,
                        kind: EntryKind(kind),
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_header_comes_back_as_it_was(header in headers(), salt: u64, position: u64) {
            let bytes = header.encode(salt, position);
            prop_assert_eq!(FrameHeader::decode(&bytes, salt, position), Some(header));
        }

        #[test]
        fn a_flipped_bit_another_place_or_another_file_is_seen(
            header in headers(), salt: u64, position: u64, bit in 0..FRAME_HEADER_BYTES * 8,
        ) {
            let mut bytes = header.encode(salt, position);
            prop_assert_eq!(FrameHeader::decode(&bytes, salt, position ^ 8), None);
            prop_assert_eq!(FrameHeader::decode(&bytes, salt ^ 1, position), None);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(FrameHeader::decode(&bytes, salt, position), None);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            fuzz(&bytes);
        }
    }

    #[test]
    fn frames_are_padded_to_eight() {
        assert_eq!((frame_len(0), frame_len(1), frame_len(8)), (80, 88, 88));
        assert_eq!((padding_len(0), padding_len(1), padding_len(8)), (0, 7, 0));
    }
}
