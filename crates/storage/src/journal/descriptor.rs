//! Descriptors: what is in a frame, apart from the payloads.
//!
//! Each begins with its kind, flags, its whole length and the group; what follows depends on the
//! kind. They lie one after another behind the frame's header, and again, as a copy, at the end
//! of the next frame.

use bytes::Bytes;
use trilith_types::{ENTRY_META_BYTES, EntryMeta, GroupId, LogIndex, Offset, Term};

use super::{op::Mark, replayed::ReplayReset};
use crate::{codec::Input, meta::SegmentId};

/// Bytes that every descriptor begins with.
const HEAD_BYTES: usize = 16;

/// Bytes that say where a body lies, how long it is and its checksum.
const BODY_BYTES: usize = 12;

pub(super) const APPEND_BYTES: usize = HEAD_BYTES + ENTRY_META_BYTES + 8 + BODY_BYTES;
pub(super) const MARK_BYTES: usize = HEAD_BYTES + 8 * 8 + BODY_BYTES;
pub(super) const TRUNCATE_BYTES: usize = HEAD_BYTES + 8;
pub(super) const RESET_BYTES: usize = HEAD_BYTES + 24;
pub(super) const FORGET_BYTES: usize = HEAD_BYTES;
pub(super) const COMMIT_BYTES: usize = HEAD_BYTES + 8;

const KIND_APPEND: u8 = 1;
const KIND_TRUNCATE: u8 = 2;
const KIND_MARK: u8 = 3;
const KIND_RESET: u8 = 4;
const KIND_FORGET: u8 = 5;
const KIND_COMMIT: u8 = 6;

/// The mark is a copy at the head of a file of one that was written before.
const FLAG_CARRIED: u8 = 1;

/// The checksum of no bytes at all is 0: a payload of no bytes with this one was lost before the
/// entry was written here.
pub(super) const LOST_CRC: u32 = u32::MAX;

/// Bytes in the frame that belong to a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Body {
    /// Where they begin in the frame's content.
    pub(super) position: u32,
    /// How many there are.
    pub(super) len: u32,
    /// Their CRC-32C.
    pub(super) crc: u32,
}

impl Body {
    /// Whether the frame says itself that they were lost.
    pub(super) const fn is_lost(self) -> bool {
        self.len == 0 && self.crc == LOST_CRC
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) group: GroupId,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Append {
        meta: EntryMeta,
        prev_term: Term,
        payload: Body,
    },
    Truncate {
        from: LogIndex,
    },
    Mark {
        /// Without its state.
        mark: Mark,
        state: Body,
        /// The frame in which it was first written.
        origin: u64,
        carried: bool,
    },
    Reset(ReplayReset),
    Forget,
    Commit(LogIndex),
}

impl Descriptor {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, flags) = match &self.what {
            What::Append { .. } => (KIND_APPEND, 0),
            What::Truncate { .. } => (KIND_TRUNCATE, 0),
            What::Mark { carried, .. } => (KIND_MARK, if *carried { FLAG_CARRIED } else { 0 }),
            What::Reset(_) => (KIND_RESET, 0),
            What::Forget => (KIND_FORGET, 0),
            What::Commit(_) => (KIND_COMMIT, 0),
        };
        out.extend_from_slice(&[kind, flags, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.group.0.to_le_bytes());
        self.encode_rest(out);
        let len = (out.len() - start) as u16;
        if let Some(field) = out.get_mut(start + 2..start + 4) {
            field.copy_from_slice(&len.to_le_bytes());
        }
    }

    fn encode_rest(&self, out: &mut Vec<u8>) {
        let mut words = |numbers: &[u64]| {
            for n in numbers {
                out.extend_from_slice(&n.to_le_bytes());
            }
        };
        match &self.what {
            What::Append {
                meta,
                prev_term,
                payload,
            } => {
                out.extend_from_slice(&meta.encode());
                out.extend_from_slice(&prev_term.0.to_le_bytes());
                payload.encode(out);
            }
            What::Truncate { from: index } | What::Commit(index) => words(&[index.0]),
            What::Mark {
                mark,
                state,
                origin,
                ..
            } => {
                words(&[
                    mark.segment.0,
                    mark.position,
                    mark.index.0,
                    mark.next_offset.0,
                ]);
                words(&[mark.last_term.0, mark.applied.0, mark.commit.0, *origin]);
                state.encode(out);
            }
            What::Reset(reset) => {
                words(&[reset.next_index.0, reset.next_offset.0, reset.term.0]);
            }
            What::Forget => {}
        }
    }

    /// Reads `count` descriptors that fill `bytes`; `None` when they make no sense to this
    /// version.
    pub(super) fn decode_all(bytes: &[u8], count: u32) -> Option<Vec<Self>> {
        // No more room is taken than there can be descriptors.
        let most = bytes.len() / HEAD_BYTES;
        let mut out = Vec::with_capacity((count as usize).min(most));
        let mut rest = bytes;
        for _ in 0..count {
            let len = usize::from(u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?]));
            let (one, more) = rest.split_at_checked(len)?;
            out.push(Self::decode(one)?);
            rest = more;
        }
        rest.is_empty().then_some(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input::new(bytes);
        let (kind, flags, _, zeros) = (input.u8()?, input.u8()?, input.u16()?, input.u32()?);
        let group = GroupId(input.u64()?);
        let (what, known) = match kind {
            KIND_APPEND => (What::decode_append(&mut input)?, 0),
            KIND_TRUNCATE => {
                let from = LogIndex(input.u64()?);
                (What::Truncate { from }, 0)
            }
            KIND_MARK => (What::decode_mark(&mut input, flags)?, FLAG_CARRIED),
            KIND_RESET => {
                let reset = ReplayReset {
                    next_index: LogIndex(input.u64()?),
                    next_offset: Offset(input.u64()?),
                    term: Term(input.u64()?),
                };
                (What::Reset(reset), 0)
            }
            KIND_FORGET => (What::Forget, 0),
            KIND_COMMIT => (What::Commit(LogIndex(input.u64()?)), 0),
            _ => return None,
        };
        (input.remaining() == 0 && zeros == 0 && flags & !known == 0)
            .then_some(Self { group, what })
    }

    /// The bytes in the frame that belong to it.
    pub(super) const fn body(&self) -> Option<Body> {
        match &self.what {
            What::Append { payload, .. } => Some(*payload),
            What::Mark { state, .. } => Some(*state),
            _ => None,
        }
    }
}

impl What {
    fn decode_append(input: &mut Input<'_>) -> Option<Self> {
        Some(Self::Append {
            meta: EntryMeta::decode(&input.array()?)?,
            prev_term: Term(input.u64()?),
            payload: Body::decode(input)?,
        })
    }

    fn decode_mark(input: &mut Input<'_>, flags: u8) -> Option<Self> {
        let mark = Mark {
            segment: SegmentId(input.u64()?),
            position: input.u64()?,
            index: LogIndex(input.u64()?),
            next_offset: Offset(input.u64()?),
            last_term: Term(input.u64()?),
            applied: LogIndex(input.u64()?),
            commit: LogIndex(input.u64()?),
            state: Bytes::new(),
        };
        Some(Self::Mark {
            mark,
            origin: input.u64()?,
            state: Body::decode(input)?,
            carried: flags & FLAG_CARRIED != 0,
        })
    }
}

impl Body {
    fn encode(&self, out: &mut Vec<u8>) {
        for n in [self.position, self.len, self.crc] {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Self {
            position: input.u32()?,
            len: input.u32()?,
            crc: input.u32()?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use trilith_types::{EntryKind, TimestampMs};

    use super::*;

    fn body() -> impl Strategy<Value = Body> {
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(position, len, crc)| Body {
            position,
            len,
            crc,
        })
    }

    fn what() -> impl Strategy<Value = What> {
        let append = (any::<[u64; 6]>(), any::<u32>(), any::<u8>(), body());
        let append = append.prop_map(|(n, records, kind, payload)| What::Append {
            meta: EntryMeta {
                index: LogIndex(n[0]),
                term: Term(n[1]),
                kind: EntryKind(kind),
                first_offset: Offset(n[2]),
                records,
                append_time: TimestampMs(n[3] as i64),
                max_timestamp: TimestampMs(n[4] as i64),
            },
            prev_term: Term(n[5]),
            payload,
        });
        let mark = (any::<[u64; 8]>(), body(), any::<bool>());
        let mark = mark.prop_map(|(n, state, carried)| What::Mark {
            mark: Mark {
                segment: SegmentId(n[0]),
                position: n[1],
                index: LogIndex(n[2]),
                next_offset: Offset(n[3]),
                last_term: Term(n[4]),
                applied: LogIndex(n[5]),
                commit: LogIndex(n[6]),
                state: Bytes::new(),
            },
            state,
            origin: n[7],
            carried,
        });
        let reset = any::<[u64; 3]>().prop_map(|[index, offset, term]| {
            What::Reset(ReplayReset {
                next_index: LogIndex(index),
                next_offset: Offset(offset),
                term: Term(term),
            })
        });
        let index = any::<u64>().prop_map(LogIndex);
        prop_oneof![
            append,
            mark,
            reset,
            Just(What::Forget),
            index.clone().prop_map(|from| What::Truncate { from }),
            index.prop_map(What::Commit),
        ]
    }

    proptest! {
        #[test]
        fn descriptors_come_back_as_they_were(
            all in proptest::collection::vec((any::<u64>(), what()), 0..20),
        ) {
            let all: Vec<_> = all
                .into_iter()
                .map(|(group, what)| Descriptor { group: GroupId(group), what })
                .collect();
            let mut bytes = Vec::new();
            all.iter().for_each(|d| d.encode(&mut bytes));
            let count = all.len() as u32;
            prop_assert_eq!(Descriptor::decode_all(&bytes, count), Some(all));
            prop_assert_eq!(Descriptor::decode_all(&bytes, count + 1), None);
            bytes.push(0);
            prop_assert_eq!(Descriptor::decode_all(&bytes, count), None);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), count: u32,
        ) {
            let decoded = Descriptor::decode_all(&bytes, count);
            prop_assert!(decoded.is_none_or(|all| all.len() == count as usize));
        }
    }

    #[test]
    fn each_kind_has_the_length_it_is_counted_with() {
        let len = |what| {
            let mut out = Vec::new();
            let group = GroupId(1);
            Descriptor { group, what }.encode(&mut out);
            out.len()
        };
        let index = LogIndex(1);
        assert_eq!(len(What::Truncate { from: index }), TRUNCATE_BYTES);
        assert_eq!(len(What::Commit(index)), COMMIT_BYTES);
        assert_eq!(len(What::Forget), FORGET_BYTES);
        let reset = ReplayReset {
            next_index: index,
            next_offset: Offset(0),
            term: Term(0),
        };
        assert_eq!(len(What::Reset(reset)), RESET_BYTES);
        let mark = What::Mark {
            mark: Mark::default(),
            state: Body::default(),
            origin: 1,
            carried: true,
        };
        assert_eq!(len(mark), MARK_BYTES);
        let meta = EntryMeta {
            index,
            term: Term(1),
            kind: EntryKind::BATCH,
            first_offset: Offset(0),
            records: 0,
            append_time: TimestampMs(0),
            max_timestamp: TimestampMs(0),
        };
        let append = What::Append {
            meta,
            prev_term: Term(0),
            payload: Body::default(),
        };
        assert_eq!(len(append), APPEND_BYTES);
    }
}
