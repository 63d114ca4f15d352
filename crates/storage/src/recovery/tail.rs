//! Opens the segment that a mark ends in, without reading what the index already knows.
//!
//! A mark says that the segment is on disk up to a position. Its index was not synced, but a page
//! of it that was lost reads as zeros: when its slots lead from frame to frame without a gap, from
//! the first one to the mark, all of it is there. Otherwise the store is walked.

use trilith_env::OpenMode;
use trilith_types::{LogIndex, Offset, Term, TimestampMs};

use super::survey;
use crate::{
    error::{OpenError, ReadError},
    file_header::FileKind,
    frame::frame_len,
    index::Index,
    meta::{Damage, SegmentEnd, SegmentMeta, SegmentState},
    scan::{Found, Scan},
    segment::{Place, Segment},
    store::{FIRST_FRAME, Store},
    terms::Terms,
};

/// How far a segment is on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upto {
    pub(crate) position: u64,
    pub(crate) next_index: LogIndex,
    pub(crate) next_offset: Offset,
    pub(crate) last_term: Term,
}

/// A segment that was cut to what is on disk.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) end: SegmentEnd,
    pub(crate) terms: Terms,
    /// What is known to be bad in it; `None` when it was not walked.
    pub(crate) damage: Option<Vec<Damage>>,
    /// Bytes that were walked.
    pub(crate) scanned: u64,
    /// Bytes behind the mark that were cut off.
    pub(crate) cut: u64,
}

/// Cuts a segment to what is on disk, and says where it ends.
pub(crate) fn open(
    place: &Place,
    meta: &SegmentMeta,
    upto: &Upto,
    interval: u32,
) -> Result<Tail, OpenError> {
    let meta = SegmentMeta {
        state: SegmentState::Open,
        ..*meta
    };
    let segment = Segment::new(place, &meta, &[]);
    let path = segment.path(FileKind::Store);
    let store = match segment.open_store(OpenMode::Existing) {
        Ok(store) => store,
        Err(ReadError::Damaged { .. }) => return Ok(all_lost(&meta, upto)),
        Err(ReadError::Format { found, .. }) => return Err(found.into()),
        Err(other) => return Err(OpenError::io("open", &path)(std::io::Error::other(other))),
    };
    let (len, bad_header) =
        survey::measure(&segment, &store).map_err(OpenError::io("read", &path))?;
    if bad_header {
        let header = segment.header(FileKind::Store);
        store
            .write_header(&header)
            .map_err(OpenError::io("write", &path))?;
    }
    let cut = len.saturating_sub(upto.position);
    if cut > 0 {
        let file = &store.file;
        file.set_len(upto.position)
            .map_err(OpenError::io("cut", &path))?;
    }
    if len >= upto.position
        && let Some((end, terms)) = by_index(&segment, &store, upto)
    {
        return Ok(Tail {
            end,
            terms,
            damage: None,
            scanned: 0,
            cut,
        });
    }
    drop(store);
    by_walk(place, &meta, upto, interval, cut)
}

/// The file is gone.
fn all_lost(meta: &SegmentMeta, upto: &Upto) -> Tail {
    let end = SegmentEnd::empty(meta.base, meta.first_index, upto.last_term, FIRST_FRAME);
    let damage = lost_end(meta, &end, upto, FIRST_FRAME);
    Tail {
        end: ended_at(end, upto),
        terms: Terms::default(),
        damage: Some(damage.into_iter().collect()),
        scanned: 0,
        cut: 0,
    }
}

fn ended_at(end: SegmentEnd, upto: &Upto) -> SegmentEnd {
    SegmentEnd {
        position: upto.position,
        next_index: upto.next_index,
        next_offset: upto.next_offset,
        last_term: upto.last_term,
        ..end
    }
}

/// What the mark promised and the store does not have.
fn lost_end(meta: &SegmentMeta, end: &SegmentEnd, upto: &Upto, from: u64) -> Option<Damage> {
    (end.next_index < upto.next_index).then_some(Damage {
        segment: meta.id,
        position: from,
        position_end: upto.position,
        first_index: end.next_index,
        next_index: upto.next_index,
        first_offset: end.next_offset,
        next_offset: upto.next_offset,
    })
}

/// Walks the store and builds its index again.
fn by_walk(
    place: &Place,
    meta: &SegmentMeta,
    upto: &Upto,
    interval: u32,
    cut: u64,
) -> Result<Tail, OpenError> {
    let survey = survey::survey(place, meta, interval)?;
    if let Some(index) = &survey.index {
        index.clear_times();
    }
    let mut damage: Vec<Damage> = survey
        .holes
        .iter()
        .map(|hole| hole.damage)
        .filter(|damage| !damage.is_harmless())
        .collect();
    if let Some(lost) = lost_end(meta, &survey.end, upto, survey.end.position) {
        damage.push(lost);
    }
    Ok(Tail {
        end: ended_at(survey.end, upto),
        terms: survey.terms,
        damage: Some(damage),
        scanned: survey.file_len,
        cut,
    })
}

/// What the index knows, when it is whole up to the mark.
fn by_index(segment: &Segment, store: &Store, upto: &Upto) -> Option<(SegmentEnd, Terms)> {
    let count = u32::try_from(upto.next_index.since(segment.first_index)?).ok()?;
    let span = upto.next_offset.since(segment.base)?;
    let place = &segment.place;
    let header = segment.header(FileKind::Store);
    let index = Index::open(&*place.disk, &place.dir, &header, 0).ok()?;
    let terms = chained(&index, segment.first_index, count, upto)?;
    is_dense(&index, span, count).then_some(())?;
    let (time_slots, timed) = times(&index, count);
    let mut end = SegmentEnd {
        time_slots,
        entry_bytes: upto.position.checked_sub(FIRST_FRAME)?,
        ..ended_at(
            SegmentEnd::empty(segment.base, segment.first_index, upto.last_term, 0),
            upto,
        )
    };
    if let Some(last) = count.checked_sub(1) {
        let first = store.header_at(FIRST_FRAME).ok()??;
        let last = store.header_at(index.slot(last)?.position).ok()??;
        let fits = first.index == segment.first_index
            && last.next_index() == upto.next_index
            && last.next_offset() == upto.next_offset
            && last.term == upto.last_term;
        fits.then_some(())?;
        (end.first_append_time, end.last_append_time) = (first.append_time, last.append_time);
        end.max_timestamp = largest_time(&index, store, timed, upto.position)?;
    }
    index.restore_times(time_slots);
    Some((end, terms))
}

/// The terms of the first `count` entries, when their slots lead from one frame to the next up to
/// where the segment ends.
fn chained(index: &Index, first: LogIndex, count: u32, upto: &Upto) -> Option<Terms> {
    let mut terms = Terms::default();
    let (mut position, mut term, mut delta) = (FIRST_FRAME, Term(1), 0);
    for ordinal in 0..count {
        let slot = index.slot(ordinal)?;
        let follows = slot.position == position && slot.term >= term && slot.offset_delta >= delta;
        follows.then_some(())?;
        (term, delta) = (slot.term, slot.offset_delta);
        position += frame_len(slot.payload_len.into());
        terms.note(term, first.plus(ordinal.into()));
    }
    (position == upto.position).then_some(terms)
}

/// Whether each of the first `span` offsets leads to an entry, and they to rising ones.
fn is_dense(index: &Index, span: u64, count: u32) -> bool {
    let mut last = 0;
    (0..span).all(|delta| {
        let found = index.ordinal_at(delta);
        let follows = found.is_some_and(|ordinal| ordinal >= last && ordinal < count);
        last = found.unwrap_or(last);
        follows
    })
}

/// How many time slots are whole and of the first `count` entries, and what the last one says.
fn times(index: &Index, count: u32) -> (u32, Option<(TimestampMs, u32)>) {
    let (mut slots, mut last) = (0, None);
    while let Some(found) = index
        .time_slot(slots.into())
        .filter(|&(_, ordinal)| ordinal < count)
    {
        slots += 1;
        last = Some(found);
    }
    (slots, last)
}

/// The largest timestamp of all entries: of those up to the last time slot, and of those after.
fn largest_time(
    index: &Index,
    store: &Store,
    timed: Option<(TimestampMs, u32)>,
    end: u64,
) -> Option<TimestampMs> {
    let (mut max, from) = match timed {
        Some((max, ordinal)) => (max, index.slot(ordinal)?.position),
        None => (TimestampMs::MIN, FIRST_FRAME),
    };
    let mut scan = Scan::new(&*store.file, store.salt, from, end).ok()?;
    while let Some(found) = scan.next_found().ok()? {
        match found {
            Found::Frame { header, .. } => max = max.max(header.max_timestamp),
            Found::Hole { .. } => return None,
            Found::End { .. } => {}
        }
    }
    Some(max)
}
