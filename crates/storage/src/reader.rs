//! Reading: by offset, by time, without a lock that the writer could hold.

use std::sync::{Arc, atomic::AtomicU64};

use arc_swap::ArcSwap;
use bytes::Bytes;
use trilith_types::{LogIndex, Offset, Term, TimestampMs};

use crate::{
    buffer::BufferPool,
    cache::FileCache,
    cursor::LogCursor,
    entry::EntryKind,
    error::ReadError,
    fetch::{self, Fetched},
    locate::{self, Located},
    poison::Poison,
    publish::Visible,
    segment::{OpenSegment, Segment},
    store::FIRST_FRAME,
};

/// What a log and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Readers see what lies below this offset.
    pub(crate) visible: Visible,
    /// The entry after the last that was appended, visible or not.
    pub(crate) next_index: AtomicU64,
    pub(crate) list: ArcSwap<SegmentList>,
    pub(crate) files: Arc<FileCache>,
    pub(crate) poison: Poison,
    pub(crate) buffers: Arc<BufferPool>,
}

/// The segments at one moment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentList {
    /// The log's first offset.
    pub(crate) start: Offset,
    /// Oldest first.
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl SegmentList {
    /// The last segment that begins at or before `offset`, and the one after it. Of several that
    /// begin there, all but the last hold no offsets.
    pub(crate) fn at(&self, offset: Offset) -> (Option<&Arc<Segment>>, Option<&Arc<Segment>>) {
        let after = self
            .segments
            .partition_point(|segment| segment.base <= offset);
        (
            after.checked_sub(1).and_then(|i| self.segments.get(i)),
            self.segments.get(after),
        )
    }
}

/// A handle for reading a log; clones are cheap and may be used from any thread.
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(crate) shared: Arc<Shared>,
}

/// Consecutive entries, as they were stored.
#[derive(Clone, Debug, Default)]
pub struct ReadChunk {
    /// The entries, in order. Payloads are slices of one buffer.
    pub frames: Vec<ReadFrame>,
    /// Where to read next.
    pub next: Offset,
    /// The end of what could be seen when this was read.
    pub end: Offset,
}

/// One entry, as it was stored. Its checksums were right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFrame {
    /// The entry's number.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// What it is.
    pub kind: EntryKind,
    /// The first offset it takes.
    pub first_offset: Offset,
    /// How many offsets it takes.
    pub records: u32,
    /// When it was accepted.
    pub append_time: TimestampMs,
    /// The largest timestamp of its records.
    pub max_timestamp: TimestampMs,
    /// The payload.
    pub payload: Bytes,
}

impl ReadFrame {
    /// The offset after the last that it takes.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.first_offset.plus(self.records as u64)
    }
}

/// Where a read begins.
pub(crate) struct Spot {
    pub(crate) segment: Arc<Segment>,
    pub(crate) open: Arc<OpenSegment>,
    pub(crate) position: u64,
    /// The entry that begins there, or after a mark there.
    pub(crate) index: LogIndex,
    /// Whether the place is certain. What only the index says is checked against the frame.
    pub(crate) certain: bool,
}

impl LogReader {
    /// The earliest offset.
    #[must_use]
    pub fn start_offset(&self) -> Offset {
        self.shared.list.load().start
    }

    /// The offset up to which records may be seen.
    #[must_use]
    pub fn visible_upto(&self) -> Offset {
        Offset(self.shared.visible.get())
    }

    /// Why the log takes no more writes, if that is so. What was visible stays readable.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.shared.poison.reason()
    }

    /// Reads entries from the one that holds the first offset at or after `from`: as many whole
    /// ones as fit into `max_bytes`, and at least one. An empty chunk means that `from` is the end.
    ///
    /// # Errors
    /// [`ReadError::OffsetGone`] when retention was faster, [`ReadError::Damaged`] when the very
    /// first entry cannot be read.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<ReadChunk, ReadError> {
        if let Some(found) = self.read_brief(from, self.visible_upto(), max_bytes) {
            return found;
        }
        self.read_from(None, from, max_bytes)
            .map(|(chunk, _)| chunk)
    }

    /// A cursor that reads on from `from` and finishes each segment that it has begun, even when
    /// retention removes it.
    #[must_use]
    pub fn cursor(&self, from: Offset) -> LogCursor {
        LogCursor::new(self, from)
    }

    /// The first offset of the first entry that holds a record with a timestamp at or after
    /// `time`; the end of what may be seen when there is none. Look into the entry for the record.
    ///
    /// # Errors
    /// As [`LogReader::read`]; damaged entries are passed over.
    pub fn offset_at_time(&self, time: TimestampMs) -> Result<Offset, ReadError> {
        let visible = self.visible_upto();
        let list = self.shared.list.load_full();
        for segment in &list.segments {
            if segment.end().is_some_and(|end| end.max_timestamp < time) {
                continue;
            }
            let open = self.shared.files.get(segment)?;
            if let Some(found) = locate::by_time(segment, &open, time, visible)? {
                return Ok(found.max(list.start));
            }
        }
        Ok(visible)
    }

    /// A place where an earlier read ended, in a segment that may have been closed meanwhile.
    pub(crate) fn open_spot(
        &self,
        segment: Arc<Segment>,
        position: u64,
        index: LogIndex,
    ) -> Result<Spot, ReadError> {
        let open = self.shared.files.get(&segment)?;
        Ok(Spot {
            segment,
            open,
            position,
            index,
            certain: true,
        })
    }

    /// Reads from `spot` when that is known to be right for `from`, and else finds it.
    pub(crate) fn read_from(
        &self,
        spot: Option<Spot>,
        from: Offset,
        max_bytes: usize,
    ) -> Result<(ReadChunk, Option<Spot>), ReadError> {
        // The order matters: what is visible is in a list that is loaded afterwards.
        let visible = self.visible_upto();
        if from > visible {
            return Err(ReadError::Beyond {
                offset: from,
                end: visible,
            });
        }
        if from == visible {
            return Ok((
                ReadChunk {
                    frames: Vec::new(),
                    next: from,
                    end: visible,
                },
                spot,
            ));
        }
        let spot = match spot {
            Some(spot) => Some(spot),
            None => self.find(from, visible, Look::Briefly)?,
        };
        let Some(spot) = spot else {
            return Ok((
                ReadChunk {
                    frames: Vec::new(),
                    next: visible,
                    end: visible,
                },
                None,
            ));
        };
        match fetch::fetch(&self.shared.buffers, &spot, from, visible, max_bytes)? {
            // The index led astray, or the frame is damaged: look closely.
            Fetched::Astray => match self.find(from, visible, Look::Closely)? {
                Some(spot) => self.read_from(Some(spot), from, max_bytes),
                None => Ok((
                    ReadChunk {
                        frames: Vec::new(),
                        next: visible,
                        end: visible,
                    },
                    None,
                )),
            },
            Fetched::Frames {
                frames,
                next,
                position,
                index,
            } => {
                let spot = Spot {
                    position,
                    index,
                    certain: true,
                    ..spot
                };
                Ok((
                    ReadChunk {
                        frames,
                        next,
                        end: visible,
                    },
                    Some(spot),
                ))
            }
            Fetched::SegmentEnd => {
                lost_end(&spot, from)?;
                self.read_after(&spot.segment, from, visible, max_bytes)
            }
        }
    }

    /// Goes on in the segment after one that holds nothing at or after `from`.
    fn read_after(
        &self,
        ended: &Segment,
        from: Offset,
        visible: Offset,
        max_bytes: usize,
    ) -> Result<(ReadChunk, Option<Spot>), ReadError> {
        let list = self.shared.list.load_full();
        if from < list.start {
            return Err(ReadError::OffsetGone {
                offset: from,
                earliest: list.start,
            });
        }
        let next = list
            .segments
            .iter()
            .find(|segment| segment.id > ended.id && segment.base < visible);
        let Some(next) = next else {
            return Ok((
                ReadChunk {
                    frames: Vec::new(),
                    next: visible,
                    end: visible,
                },
                None,
            ));
        };
        let spot = Spot {
            segment: Arc::clone(next),
            open: self.shared.files.get(next)?,
            position: FIRST_FRAME,
            index: next.first_index,
            certain: true,
        };
        self.read_from(Some(spot), from.max(next.base), max_bytes)
    }

    /// Finds where the first offset at or after `from` is stored.
    fn find(&self, from: Offset, visible: Offset, look: Look) -> Result<Option<Spot>, ReadError> {
        let list = self.shared.list.load();
        if from < list.start {
            return Err(ReadError::OffsetGone {
                offset: from,
                earliest: list.start,
            });
        }
        let (at, after) = list.at(from);
        for segment in at.into_iter().chain(after) {
            if segment.base >= visible || segment.end().is_some_and(|end| end.next_offset <= from) {
                continue;
            }
            let open = self.shared.files.get(segment)?;
            if look == Look::Briefly
                && let Some((position, index)) = locate::by_hint(segment, &open, from)
            {
                let segment = Arc::clone(segment);
                return Ok(Some(Spot {
                    segment,
                    open,
                    position,
                    index,
                    certain: false,
                }));
            }
            match locate::by_offset(segment, &open, from, visible)? {
                Located::At {
                    position,
                    index,
                    index_is_wrong,
                } => {
                    if index_is_wrong {
                        self.suspect(segment);
                    }
                    return Ok(Some(Spot {
                        segment: Arc::clone(segment),
                        open,
                        position,
                        index,
                        certain: true,
                    }));
                }
                Located::Nothing => {}
            }
        }
        Ok(None)
    }

    /// The index of a segment led astray. One that has ended is opened anew with its index built
    /// again; one that is being written is served without it until then.
    fn suspect(&self, segment: &Arc<Segment>) {
        segment.suspect_index();
        if segment.end().is_some() {
            self.shared.files.forget(segment);
        }
    }
}

/// How an offset is looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The index is believed, and the frame is checked when it has been read.
    Briefly,
    /// The frame is read first, and a walk over the store decides if it disagrees.
    Closely,
}

/// The frames of a segment end before its entries do: the last ones are damaged.
fn lost_end(spot: &Spot, from: Offset) -> Result<(), ReadError> {
    match spot.segment.end() {
        Some(end) if from < end.next_offset => Err(ReadError::Damaged {
            path: spot.open.store.path.clone(),
            position: spot.position,
            position_end: end.position,
            first: from,
            next: end.next_offset,
        }),
        _ => Ok(()),
    }
}
