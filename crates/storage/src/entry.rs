//! What is appended.

use std::fmt;

use trilith_types::{LogIndex, Offset, Term, TimestampMs};

/// What an entry is. The log stores the number and gives it back; only [`EntryKind::MARK`] means
/// something to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKind(pub u8);

impl EntryKind {
    /// Nothing: a new leader's first entry. Takes no offsets.
    pub const NOOP: Self = Self(0);
    /// A batch of records.
    pub const BATCH: Self = Self(1);
    /// A configuration of the group.
    pub const CONFIGURATION: Self = Self(2);
    /// A command of the state machine above.
    pub const COMMAND: Self = Self(3);
    /// Kept for transactions that span groups: prepare.
    pub const PREPARE: Self = Self(16);
    /// Kept for transactions: commit.
    pub const COMMIT: Self = Self(17);
    /// Kept for transactions: abort.
    pub const ABORT: Self = Self(18);
    /// The log's own: no entry, only the mark "all up to here was synced".
    pub const MARK: Self = Self(255);
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NOOP => f.write_str("no-op"),
            Self::BATCH => f.write_str("batch"),
            Self::CONFIGURATION => f.write_str("configuration"),
            Self::COMMAND => f.write_str("command"),
            Self::PREPARE => f.write_str("prepare"),
            Self::COMMIT => f.write_str("commit"),
            Self::ABORT => f.write_str("abort"),
            Self::MARK => f.write_str("mark"),
            Self(other) => write!(f, "kind {other}"),
        }
    }
}

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

impl Entry<'_> {
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
