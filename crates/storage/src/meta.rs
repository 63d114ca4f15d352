//! What the manifest knows about one segment.

use std::fmt;

use trilith_types::{LogIndex, Offset, Term, TimestampMs};

use crate::codec::Input;

/// A segment's number within its log; never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One segment as the manifest lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its number.
    pub id: SegmentId,
    /// Its first offset.
    pub base: Offset,
    /// Its first entry.
    pub first_index: LogIndex,
    /// The random number in the checksums of its frames.
    pub salt: u64,
    /// What is known about its end.
    pub state: SegmentState,
}

/// What is known about a segment's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// It is being written: a scan finds its end.
    Open,
    /// It was ended here, but it is not known whether all of it is on disk.
    Closed(SegmentEnd),
    /// It ends here, and all of it and of its indexes was synced.
    Synced(SegmentEnd),
}

impl SegmentState {
    /// The end, where it is known.
    #[must_use]
    pub const fn end(&self) -> Option<SegmentEnd> {
        match self {
            Self::Open => None,
            Self::Closed(end) | Self::Synced(end) => Some(*end),
        }
    }

    /// Whether all of it was synced.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        matches!(self, Self::Synced(_))
    }
}

/// Where a segment ends and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    /// Position in the store after the last frame.
    pub position: u64,
    /// The entry that comes after its last.
    pub next_index: LogIndex,
    /// The offset that comes after its last.
    pub next_offset: Offset,
    /// The last entry's term.
    pub last_term: Term,
    /// Bytes of the frames of its entries; marks do not count, so that boundaries depend on the
    /// entries alone.
    pub entry_bytes: u64,
    /// When its first entry was accepted; [`TimestampMs::MIN`] while it has none.
    pub first_append_time: TimestampMs,
    /// When its last entry was accepted.
    pub last_append_time: TimestampMs,
    /// The largest timestamp in it.
    pub max_timestamp: TimestampMs,
    /// Slots in its time index.
    pub time_slots: u32,
}

impl SegmentEnd {
    /// The end of a segment that holds nothing yet.
    #[must_use]
    pub const fn empty(
        base: Offset,
        first_index: LogIndex,
        last_term: Term,
        position: u64,
    ) -> Self {
        Self {
            position,
            next_index: first_index,
            next_offset: base,
            last_term,
            entry_bytes: 0,
            first_append_time: TimestampMs::MIN,
            last_append_time: TimestampMs::MIN,
            max_timestamp: TimestampMs::MIN,
            time_slots: 0,
        }
    }
}

/// Entries that were stored and can no longer be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: SegmentId,
    /// Where the bad bytes begin in its store.
    pub position: u64,
    /// Where they end.
    pub position_end: u64,
    /// The first entry that is lost.
    pub first_index: LogIndex,
    /// The first entry after the damage.
    pub next_index: LogIndex,
    /// The first offset that is lost.
    pub first_offset: Offset,
    /// The first offset after the damage.
    pub next_offset: Offset,
}

impl Damage {
    /// Whether no entry is lost: only a mark or padding was hit.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        self.first_index == self.next_index
    }
}

const STATE_OPEN: u8 = 0;
const STATE_CLOSED: u8 = 1;
const STATE_SYNCED: u8 = 2;

impl SegmentMeta {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for n in [self.id.0, self.base.0, self.first_index.0, self.salt] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        match &self.state {
            SegmentState::Open => out.push(STATE_OPEN),
            SegmentState::Closed(end) => {
                out.push(STATE_CLOSED);
                end.encode(out);
            }
            SegmentState::Synced(end) => {
                out.push(STATE_SYNCED);
                end.encode(out);
            }
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Self {
            id: SegmentId(input.u64()?),
            base: Offset(input.u64()?),
            first_index: LogIndex(input.u64()?),
            salt: input.u64()?,
            state: match input.u8()? {
                STATE_OPEN => SegmentState::Open,
                STATE_CLOSED => SegmentState::Closed(SegmentEnd::decode(input)?),
                STATE_SYNCED => SegmentState::Synced(SegmentEnd::decode(input)?),
                _ => return None,
            },
        })
    }
}

impl SegmentEnd {
    fn encode(&self, out: &mut Vec<u8>) {
        let positions = [
            self.position,
            self.next_index.0,
            self.next_offset.0,
            self.last_term.0,
            self.entry_bytes,
        ];
        for n in positions {
            out.extend_from_slice(&n.to_le_bytes());
        }
        for t in [
            self.first_append_time,
            self.last_append_time,
            self.max_timestamp,
        ] {
            out.extend_from_slice(&t.0.to_le_bytes());
        }
        out.extend_from_slice(&self.time_slots.to_le_bytes());
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Self {
            position: input.u64()?,
            next_index: LogIndex(input.u64()?),
            next_offset: Offset(input.u64()?),
            last_term: Term(input.u64()?),
            entry_bytes: input.u64()?,
            first_append_time: TimestampMs(input.i64()?),
            last_append_time: TimestampMs(input.i64()?),
            max_timestamp: TimestampMs(input.i64()?),
            time_slots: input.u32()?,
        })
    }
}

impl Damage {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let numbers = [
            self.segment.0,
            self.position,
            self.position_end,
            self.first_index.0,
            self.next_index.0,
            self.first_offset.0,
            self.next_offset.0,
        ];
        for n in numbers {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Self {
            segment: SegmentId(input.u64()?),
            position: input.u64()?,
            position_end: input.u64()?,
            first_index: LogIndex(input.u64()?),
            next_index: LogIndex(input.u64()?),
            first_offset: Offset(input.u64()?),
            next_offset: Offset(input.u64()?),
        })
    }
}
