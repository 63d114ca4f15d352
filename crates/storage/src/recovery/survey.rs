//! Walks one segment and says what is there.

use trilith_env::OpenMode;
use trilith_types::{LogIndex, Offset};

use crate::{
    error::{OpenError, ReadError},
    file_header::{FILE_HEADER_BYTES, FileKind, HeaderState},
    frame::FrameHeader,
    index::Index,
    meta::{Damage, SegmentEnd, SegmentMeta, SegmentState},
    recovery::rebuild::Builder,
    scan::{Body, Found, Scan},
    segment::{Place, Segment},
    store::{FIRST_FRAME, Store},
    terms::Terms,
};

/// What a walk over a segment found.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) meta: SegmentMeta,
    pub(crate) segment: Segment,
    /// None when the file is missing.
    pub(crate) store: Option<Store>,
    pub(crate) index: Option<Index>,
    pub(crate) file_len: u64,
    /// Whether the store's header is damaged.
    pub(crate) bad_header: bool,
    /// Where the frames end, as if every hole that has frames behind it were kept.
    pub(crate) end: SegmentEnd,
    /// The terms of the entries that were found.
    pub(crate) terms: Terms,
    /// The largest mark in any valid header.
    pub(crate) mark: LogIndex,
    /// The holes, in order.
    pub(crate) holes: Vec<Hole>,
}

/// A place where there ought to be frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    /// Where it is, and what is missing.
    pub(crate) damage: Damage,
    /// The segment's end if it is cut here.
    pub(crate) before: SegmentEnd,
    /// Whether nothing valid follows in the segment.
    pub(crate) last: bool,
}

/// Walks a segment and builds its index on the way.
pub(crate) fn survey(
    place: &Place,
    meta: &SegmentMeta,
    interval: u32,
) -> Result<Survey, OpenError> {
    let open = SegmentMeta {
        state: SegmentState::Open,
        ..*meta
    };
    let segment = Segment::new(place, &open, &[]);
    let store = match segment.open_store(OpenMode::Existing) {
        Ok(store) => Some(store),
        Err(ReadError::Damaged { .. }) => None,
        Err(ReadError::Format { found, .. }) => return Err(found.into()),
        Err(other) => {
            let path = segment.path(FileKind::Store);
            return Err(OpenError::io("open", &path)(std::io::Error::other(other)));
        }
    };
    let path = segment.path(FileKind::Store);
    let (file_len, bad_header) = match &store {
        Some(store) => measure(&segment, store).map_err(OpenError::io("read", &path))?,
        None => (0, false),
    };
    let end = SegmentEnd::empty(
        meta.base,
        meta.first_index,
        trilith_types::Term::ZERO,
        FIRST_FRAME,
    );
    let mut walk = Walk {
        meta,
        end,
        terms: Terms::default(),
        mark: LogIndex::ZERO,
        holes: Vec::new(),
        pending: None,
    };
    let mut index = None;
    if let Some(store) = &store {
        let mut builder = Builder::over(&segment, interval);
        walk.run(store, &mut builder)
            .map_err(OpenError::io("read", &path))?;
        index = builder.finish();
    }
    walk.finish();
    let Walk {
        end,
        terms,
        mark,
        holes,
        ..
    } = walk;
    Ok(Survey {
        meta: *meta,
        segment,
        store,
        index,
        file_len,
        bad_header,
        end,
        terms,
        mark,
        holes,
    })
}

pub(super) fn measure(segment: &Segment, store: &Store) -> std::io::Result<(u64, bool)> {
    let mut found = [0; FILE_HEADER_BYTES];
    let n = store.file.read_at(0, &mut found)?;
    let bad = n < FILE_HEADER_BYTES
        || segment.header(FileKind::Store).judge(&found) == HeaderState::Damaged;
    Ok((store.file.len()?, bad))
}

struct Walk<'a> {
    meta: &'a SegmentMeta,
    end: SegmentEnd,
    terms: Terms,
    mark: LogIndex,
    holes: Vec<Hole>,
    /// Bytes that are no frame, until it is known what follows.
    pending: Option<(u64, u64)>,
}

impl Walk<'_> {
    fn run(&mut self, store: &Store, builder: &mut Builder) -> std::io::Result<()> {
        let mut scan = Scan::new(&*store.file, store.salt, FIRST_FRAME, u64::MAX)?;
        while let Some(found) = scan.next_found()? {
            match found {
                Found::Frame {
                    position,
                    header,
                    body,
                } => {
                    self.frame(position, &header, body, builder);
                }
                Found::Hole { position, end, .. } => {
                    let start = self.pending.map_or(position, |(start, _)| start);
                    self.pending = Some((start, end));
                }
                Found::End { .. } => {}
            }
        }
        Ok(())
    }

    fn frame(&mut self, position: u64, header: &FrameHeader, body: Body, builder: &mut Builder) {
        if header.index < self.end.next_index {
            // It cannot follow what is before it, so it is none of ours.
            let start = self.pending.map_or(position, |(start, _)| start);
            self.pending = Some((start, position + header.frame_len()));
            return;
        }
        self.mark = self.mark.max(header.synced);
        let before = self.end;
        // What lies between: bytes that are no frame, or entries that never came to be there.
        let pending = self.pending.take();
        if pending.is_some() || header.index > before.next_index {
            let start = pending.map_or(position, |(start, _)| start);
            self.hole(before, (start, position), header.index, header.first_offset);
            self.end.entry_bytes += position - start;
        }
        let before = self.end;
        builder.put(position, header, before.next_offset);
        self.end.position = position;
        self.end.add(header);
        if !header.is_mark() {
            self.terms.note(header.term, header.index);
        }
        self.end.time_slots = builder.time_slots();
        if body == Body::Bad {
            let bytes = (position, position + header.frame_len());
            self.hole(before, bytes, header.next_index(), header.next_offset());
        }
    }

    fn hole(&mut self, before: SegmentEnd, bytes: (u64, u64), next: LogIndex, next_offset: Offset) {
        let damage = Damage {
            segment: self.meta.id,
            position: bytes.0,
            position_end: bytes.1,
            first_index: before.next_index,
            next_index: next.max(before.next_index),
            first_offset: before.next_offset,
            next_offset: next_offset.max(before.next_offset),
        };
        self.holes.push(Hole {
            damage,
            before,
            last: false,
        });
        // What follows goes on after the missing entries.
        self.end.next_index = damage.next_index;
        self.end.next_offset = damage.next_offset;
    }

    /// What is missing at the end: bytes that are no frame, and what the manifest says was there.
    fn finish(&mut self) {
        let before = self.end;
        let known = self
            .meta
            .state
            .end()
            .filter(|end| end.next_index > before.next_index);
        if self.pending.is_none() && known.is_none() {
            return;
        }
        let (start, end) = self.pending.unwrap_or((before.position, before.position));
        let (index, offset, end) = known
            .map_or((before.next_index, before.next_offset, end), |known| {
                (known.next_index, known.next_offset, end.max(known.position))
            });
        self.hole(before, (start, end), index, offset);
        self.end.position = end;
        if let Some(hole) = self.holes.last_mut() {
            hole.last = true;
        }
    }
}
