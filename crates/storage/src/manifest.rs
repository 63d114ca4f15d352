//! The manifest: which segments a log has. It is the truth; the directory listing is not.

use trilith_types::{GroupId, LogIndex, Offset, Term};

use crate::{
    codec::Input,
    meta::{Damage, SegmentId, SegmentMeta, SegmentState},
    mirrored::MirroredKind,
    terms::Terms,
};

/// Names the manifest's two files and fixes their magic.
pub const MANIFEST: MirroredKind = MirroredKind {
    stem: "manifest",
    magic: *b"TRILMANI",
    version: 2,
};

/// Most pieces of damage that the manifest remembers. Damage beyond it is still met, and told,
/// by whoever reads it.
pub const DAMAGE_REMEMBERED_MAX: usize = 4096;

/// A log's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Whose log it is.
    pub group: GroupId,
    /// The next new segment's number.
    pub next_segment: SegmentId,
    /// Where the log begins: the first offset, entry, and the term before that entry.
    pub start: LogStart,
    /// All entries below this are known to be on disk, and so is the offset they end at.
    pub durable: (LogIndex, Offset),
    /// Marks showed that all entries up to this one were synced. Recovery writes it down before
    /// it cuts off anything, for the marks may lie in what is cut; 0 otherwise.
    pub proven: LogIndex,
    /// Segments up to this one are never written again: what followed in one of them was
    /// truncated, and a mark of that time must not speak for other bytes at the same place.
    pub sealed: SegmentId,
    /// Records below this offset were removed, as far as readers are concerned: it may lie within
    /// a segment, and even past the last one, whose entries the journal then still holds.
    pub trimmed: Offset,
    /// The terms of the entries, as far as they were known when this was written.
    pub terms: Terms,
    /// The segments, oldest first.
    pub segments: Vec<SegmentMeta>,
    /// Damage that was found, ordered by segment and position.
    pub damage: Vec<Damage>,
}

/// Where a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// The first offset.
    pub offset: Offset,
    /// The first entry.
    pub index: LogIndex,
    /// The term of the entry before it.
    pub prev_term: Term,
}

impl LogStart {
    /// The beginning of a log of which nothing was removed.
    pub const FIRST: Self = Self {
        offset: Offset::ZERO,
        index: LogIndex(1),
        prev_term: Term::ZERO,
    };
}

impl Manifest {
    /// The manifest of a log that has no entries yet and begins at `start`.
    #[must_use]
    pub const fn new(group: GroupId, start: LogStart) -> Self {
        Self {
            group,
            next_segment: SegmentId(1),
            start,
            durable: (start.index, start.offset),
            proven: LogIndex::ZERO,
            sealed: SegmentId(0),
            trimmed: Offset::ZERO,
            terms: Terms::new(),
            segments: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// Whether the log was closed in order: nothing needs to be scanned.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.segments
            .iter()
            .all(|segment| segment.state.is_synced())
    }

    /// The first offset that readers may ask for.
    #[must_use]
    pub fn start_offset(&self) -> Offset {
        self.start.offset.max(self.trimmed)
    }

    /// Forgets the damage to entries from `from` on, whose first offset is `offset`.
    pub(crate) fn end_damage(&mut self, from: LogIndex, offset: Offset) {
        self.damage.retain(|damage| damage.first_index < from);
        for damage in &mut self.damage {
            damage.next_index = damage.next_index.min(from);
            damage.next_offset = damage.next_offset.min(offset);
        }
    }

    /// The last entry's term.
    #[must_use]
    pub fn last_term(&self) -> Term {
        let terms = self
            .segments
            .iter()
            .filter_map(|segment| segment.state.end());
        terms
            .map(|end| end.last_term)
            .fold(self.start.prev_term, Term::max)
    }

    /// The manifest's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            96 + self.segments.len() * 112 + self.damage.len() * 56 + self.terms.len() * 16,
        );
        let numbers = [
            self.group.0,
            self.next_segment.0,
            self.start.offset.0,
            self.start.index.0,
            self.start.prev_term.0,
            self.durable.0.0,
            self.durable.1.0,
            self.proven.0,
            self.sealed.0,
            self.trimmed.0,
        ];
        for n in numbers {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.damage.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.terms.len() as u32).to_le_bytes());
        self.segments
            .iter()
            .for_each(|segment| segment.encode(&mut out));
        self.damage
            .iter()
            .for_each(|damage| damage.encode(&mut out));
        self.terms.encode(&mut out);
        out
    }

    /// Reads a manifest; `None` when the bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input::new(bytes);
        let group = GroupId(input.u64()?);
        let next_segment = SegmentId(input.u64()?);
        let start = LogStart {
            offset: Offset(input.u64()?),
            index: LogIndex(input.u64()?),
            prev_term: Term(input.u64()?),
        };
        let durable = (LogIndex(input.u64()?), Offset(input.u64()?));
        let proven = LogIndex(input.u64()?);
        let sealed = SegmentId(input.u64()?);
        let trimmed = Offset(input.u64()?);
        let (segment_count, damage_count) = (input.u32()?, input.u32()?);
        let term_count = input.u32()?;
        let segments: Option<Vec<_>> = (0..segment_count)
            .map(|_| SegmentMeta::decode(&mut input))
            .collect();
        let damage: Option<Vec<_>> = (0..damage_count)
            .map(|_| Damage::decode(&mut input))
            .collect();
        let (segments, damage) = (segments?, damage?);
        let terms = Terms::decode(&mut input, term_count)?;
        let manifest = Self {
            group,
            next_segment,
            start,
            durable,
            proven,
            sealed,
            trimmed,
            terms,
            segments,
            damage,
        };
        (input.remaining() == 0 && manifest.is_ordered()).then_some(manifest)
    }

    /// Whether the segments follow each other: ids and entries rise, and only the last is open
    /// to writes without a known end.
    fn is_ordered(&self) -> bool {
        let rising = self.segments.is_sorted_by(|a, b| {
            a.id < b.id
                && a.base <= b.base
                && a.first_index <= b.first_index
                && a.state != SegmentState::Open
        });
        rising
            && self
                .segments
                .iter()
                .all(|segment| segment.id < self.next_segment)
    }
}

/// Decodes `bytes` and encodes what came out: the fuzzer's way in.
pub fn fuzz(bytes: &[u8]) {
    if let Some(manifest) = Manifest::decode(bytes) {
        assert_eq!(manifest.encode(), bytes, "one manifest has one form");
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use trilith_types::TimestampMs;

    use super::*;
    use crate::meta::SegmentEnd;

    fn ends() -> impl Strategy<Value = SegmentEnd> {
        (any::<[u64; 5]>(), any::<[i64; 3]>(), any::<u32>()).prop_map(|(n, t, time_slots)| {
            SegmentEnd {
                position: n[0],
                next_index: LogIndex(n[1]),
                next_offset: Offset(n[2]),
                last_term: Term(n[3]),
                entry_bytes: n[4],
                first_append_time: TimestampMs(t[0]),
                last_append_time: TimestampMs(t[1]),
                max_timestamp: TimestampMs(t[2]),
                time_slots,
            }
        })
    }

    fn manifests() -> impl Strategy<Value = Manifest> {
        let segments = vec(
            (1..9_u64, 0..9_u64, any::<u64>(), ends(), any::<bool>()),
            0..6,
        );
        (
            any::<[u64; 9]>(),
            segments,
            vec(any::<[u64; 7]>(), 0..4),
            any::<bool>(),
            vec((1..9_u64, 1..9_u64), 0..4),
        )
            .prop_map(|(n, steps, damage, open, runs)| {
                let (mut term, mut first) = (Term(0), LogIndex(0));
                let mut terms = Terms::default();
                for (later, further) in runs {
                    (term, first) = (Term(term.0 + later), LogIndex(first.0 + further));
                    terms.note(term, first);
                }
                let mut last = SegmentMeta {
                    id: SegmentId(0),
                    base: Offset(0),
                    first_index: LogIndex(0),
                    salt: 0,
                    state: SegmentState::Open,
                };
                let mut segments = Vec::new();
                for (id, more, salt, end, synced) in steps {
                    last.id.0 += id;
                    last.base.0 += more;
                    last.first_index.0 += more;
                    last.salt = salt;
                    last.state = if synced {
                        SegmentState::Synced(end)
                    } else {
                        SegmentState::Closed(end)
                    };
                    segments.push(last);
                }
                if let (true, Some(segment)) = (open, segments.last_mut()) {
                    segment.state = SegmentState::Open;
                }
                let damage = damage
                    .into_iter()
                    .map(|d| Damage {
                        segment: SegmentId(d[0]),
                        position: d[1],
                        position_end: d[2],
                        first_index: LogIndex(d[3]),
                        next_index: LogIndex(d[4]),
                        first_offset: Offset(d[5]),
                        next_offset: Offset(d[6]),
                    })
                    .collect();
                Manifest {
                    group: GroupId(n[0]),
                    next_segment: SegmentId(last.id.0 + 1),
                    start: LogStart {
                        offset: Offset(n[1]),
                        index: LogIndex(n[2]),
                        prev_term: Term(n[3]),
                    },
                    durable: (LogIndex(n[4]), Offset(n[5])),
                    proven: LogIndex(n[6]),
                    sealed: SegmentId(n[7]),
                    trimmed: Offset(n[8]),
                    terms,
                    segments,
                    damage,
                }
            })
    }

    proptest! {
        #[test]
        fn a_manifest_comes_back_as_it_was(manifest in manifests()) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()), Some(manifest));
        }

        #[test]
        fn a_cut_manifest_is_refused(manifest in manifests(), cut in 1..60_usize) {
            let bytes = manifest.encode();
            prop_assert_eq!(Manifest::decode(&bytes[..bytes.len() - cut.min(bytes.len())]), None);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in vec(any::<u8>(), 0..300)) {
            fuzz(&bytes);
        }
    }

    #[test]
    fn segments_out_of_order_are_refused() {
        let start = LogStart {
            offset: Offset(0),
            index: LogIndex(1),
            prev_term: Term(0),
        };
        let mut manifest = Manifest::new(GroupId(1), start);
        let meta = |id| SegmentMeta {
            id: SegmentId(id),
            base: Offset(id),
            first_index: LogIndex(id),
            salt: 0,
            state: SegmentState::Open,
        };
        manifest.next_segment = SegmentId(9);
        manifest.segments = vec![meta(2), meta(3)];
        assert_eq!(
            Manifest::decode(&manifest.encode()),
            None,
            "an open segment before the last"
        );
        manifest.segments = vec![meta(9)];
        assert_eq!(
            Manifest::decode(&manifest.encode()),
            None,
            "a segment with a number yet to come"
        );
        assert!(Manifest::new(GroupId(1), start).is_clean());
    }
}
