//! What is known of an entry beside its payload.

use std::fmt;

use crate::{LogIndex, Offset, Term, TimestampMs};

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
    /// What was here is lost, and nobody else had it: the only replica of a group goes on without.
    /// It has no payload, and takes the offsets that were taken, so that no other record gets them.
    pub const LOST: Self = Self(4);
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
            Self::LOST => f.write_str("lost entry"),
            Self::PREPARE => f.write_str("prepare"),
            Self::COMMIT => f.write_str("commit"),
            Self::ABORT => f.write_str("abort"),
            Self::MARK => f.write_str("mark"),
            Self(other) => write!(f, "kind {other}"),
        }
    }
}

/// Bytes of an encoded [`EntryMeta`].
pub const ENTRY_META_BYTES: usize = 56;

/// Everything about an entry but its payload: the same in a segment, in the journal and between
/// nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMeta {
    /// The entry's number in its group.
    pub index: LogIndex,
    /// The term it was proposed in.
    pub term: Term,
    /// What it is.
    pub kind: EntryKind,
    /// The first offset it takes; where it takes none, the offset of the next record.
    pub first_offset: Offset,
    /// How many offsets it takes; 0 for an entry without records.
    pub records: u32,
    /// When its leader accepted it, in milliseconds; never goes back within a group.
    pub append_time: TimestampMs,
    /// The largest timestamp of its records, or [`TimestampMs::MIN`] without records.
    pub max_timestamp: TimestampMs,
}

impl EntryMeta {
    /// The offset after its last.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.first_offset.plus(self.records as u64)
    }

    /// Little-endian: index, term, first offset, append time, largest timestamp (8 bytes each),
    /// records (4), kind (1), then zeros.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_META_BYTES] {
        let mut out = [0; ENTRY_META_BYTES];
        let words = [
            self.index.0,
            self.term.0,
            self.first_offset.0,
            self.append_time.0 as u64,
            self.max_timestamp.0 as u64,
        ];
        let bytes = words
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .chain(self.records.to_le_bytes())
            .chain([self.kind.0]);
        for (slot, byte) in out.iter_mut().zip(bytes) {
            *slot = byte;
        }
        out
    }

    /// Reads what [`EntryMeta::encode`] wrote; `None` when what must be zero is not, which a later
    /// version may use.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY_META_BYTES]) -> Option<Self> {
        let (words, rest) = bytes.split_first_chunk::<40>()?;
        let (records, rest) = rest.split_first_chunk::<4>()?;
        let (kind, zeros) = rest.split_first()?;
        let mut words = words
            .chunks_exact(8)
            .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)));
        let meta = Self {
            index: LogIndex(words.next()?),
            term: Term(words.next()?),
            first_offset: Offset(words.next()?),
            append_time: TimestampMs(words.next()? as i64),
            max_timestamp: TimestampMs(words.next()? as i64),
            records: u32::from_le_bytes(*records),
            kind: EntryKind(*kind),
        };
        zeros.iter().all(|&byte| byte == 0).then_some(meta)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_what_they_encode_or_refused(bytes: [u8; ENTRY_META_BYTES], later: bool) {
            let mut bytes = bytes;
            if !later {
                bytes[45..].fill(0);
            }
            match EntryMeta::decode(&bytes) {
                Some(meta) => prop_assert_eq!(meta.encode(), bytes),
                None => prop_assert!(bytes[45..].iter().any(|&byte| byte != 0)),
            }
        }
    }

    fn meta() -> EntryMeta {
        EntryMeta {
            index: LogIndex(0x0102_0304_0506_0708),
            term: Term(9),
            kind: EntryKind::BATCH,
            first_offset: Offset(77),
            records: 3,
            append_time: TimestampMs(-5),
            max_timestamp: TimestampMs::MIN,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(EntryMeta::decode(&meta().encode()), Some(meta()));
        assert_eq!(meta().next_offset(), Offset(80));
    }

    #[test]
    fn bytes_of_a_later_version_are_refused() {
        let mut bytes = meta().encode();
        bytes[ENTRY_META_BYTES - 1] = 1;
        assert_eq!(EntryMeta::decode(&bytes), None);
    }

    #[test]
    fn kinds_have_names() {
        let names = [0, 1, 2, 3, 4, 16, 17, 18, 255, 77].map(|n| EntryKind(n).to_string());
        assert_eq!(
            names.join(" "),
            "no-op batch configuration command lost entry prepare commit abort mark kind 77"
        );
    }
}
