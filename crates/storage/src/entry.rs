//! What is appended.

pub use trilith_types::EntryKind;
use trilith_types::{EntryMeta, LogIndex, Offset, Term, TimestampMs};

/// One entry to append.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The entry's number: exactly one more than the last entry's.
    pub index: LogIndex,
    /// The term it was proposed in: at least the last entry's.
    pub term: Term,
    /// What it is.
    pub kind: EntryKind,
    /// The first offset it takes: at least the log's end offset; a larger one leaves a hole.
    pub first_offset: Offset,
    /// How many offsets it takes; 0 for an entry without records.
    pub records: u32,
    /// When it was accepted, in milliseconds. Segment age and retention count from it.
    pub append_time: TimestampMs,
    /// The largest timestamp of its records, or [`TimestampMs::MIN`] without records.
    pub max_timestamp: TimestampMs,
    /// The payload in pieces, written one after another without being copied together.
    pub payload: &'a [&'a [u8]],
}

impl<'a> Entry<'a> {
    /// The entry of these particulars and payload.
    #[must_use]
    pub const fn new(meta: &EntryMeta, payload: &'a [&'a [u8]]) -> Self {
        Self {
            index: meta.index,
            term: meta.term,
            kind: meta.kind,
            first_offset: meta.first_offset,
            records: meta.records,
            append_time: meta.append_time,
            max_timestamp: meta.max_timestamp,
            payload,
        }
    }

    /// Length of the payload in bytes.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload.iter().map(|part| part.len() as u64).sum()
    }

    /// The offset after its last.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.first_offset.plus(self.records as u64)
    }
}
