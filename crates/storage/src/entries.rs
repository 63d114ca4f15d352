//! Reading by entry: for followers, and for whoever rebuilds a state from the log.

use bytes::Bytes;
use std::sync::{Arc, atomic::Ordering};
use trilith_types::{EntryMeta, LogIndex};

use crate::{
    codec::crc,
    error::ReadError,
    frame::{FRAME_HEADER_BYTES, FrameHeader, frame_len},
    locate,
    reader::{LogReader, SegmentList},
    scan::{Found, Scan},
    segment::{OpenSegment, Segment},
    store::FIRST_FRAME,
};

/// Most bytes that are read from a segment at once.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// An entry as it was stored. Its checksums were right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Everything but the payload.
    pub meta: EntryMeta,
    /// The payload.
    pub payload: Bytes,
}

/// A segment, and where in it an entry is.
struct Place {
    segment: Arc<Segment>,
    open: Arc<OpenSegment>,
    position: u64,
}

impl LogReader {
    /// Reads entries by number, `from` and those after it up to and with `last`: as many whole
    /// ones as fit into `bytes_max`, frames included, and at least one. Entries without records
    /// are among them, and so is what was appended and is not visible yet.
    ///
    /// What may still be truncated is for the thread that owns the log; committed entries may be
    /// read from any.
    ///
    /// # Errors
    /// When the first entry is gone, was not appended, or cannot be read; damage further on ends
    /// the answer before it.
    pub fn entries(
        &self,
        from: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let end = LogIndex(self.shared.next_index.load(Ordering::Acquire));
        if from >= end {
            let last = end.prev();
            return Err(ReadError::EntryBeyond { index: from, last });
        }
        let (mut at, stop) = (from, end.min(last.next()));
        let (mut found, mut left) = (Vec::new(), bytes_max);
        while at < stop && (left > 0 || found.is_empty()) {
            match self.some_entries(at, stop, left, &mut found) {
                Ok(0) => break,
                Ok(bytes) => left = left.saturating_sub(bytes),
                Err(_) if !found.is_empty() => break,
                Err(e) => return Err(e),
            }
            at = found.last().map_or(stop, |entry| entry.meta.index.next());
        }
        Ok(found)
    }

    /// Reads from one segment; says how many bytes the frames had.
    fn some_entries(
        &self,
        from: LogIndex,
        stop: LogIndex,
        left: u64,
        found: &mut Vec<StoredEntry>,
    ) -> Result<u64, ReadError> {
        let place = self.place_of(from)?;
        // What a truncation has left behind the segment's end is no entry of it.
        let end = place.segment.end();
        let stop = end.map_or(stop, |end| stop.min(end.next_index));
        let planned = planned(&place, stop, left.min(PIECE_BYTES_MAX), found.is_empty());
        if planned == 0 {
            return Ok(0);
        }
        let chunk = self.load(&place, planned)?;
        let before = found.len();
        let mut at = 0;
        let mut next = from;
        while next < stop
            && let Some((meta, range)) = whole_frame(&place, &chunk, at)
            && (meta.index == next || meta.kind == trilith_types::EntryKind::MARK)
        {
            if meta.index == next && meta.kind != trilith_types::EntryKind::MARK {
                let payload = chunk.slice(range.clone());
                found.push(StoredEntry { meta, payload });
                next = next.next();
            }
            let payload = range.len() as u64;
            at += frame_len(payload) as usize;
        }
        if found.len() == before {
            return Err(damaged(&place, from));
        }
        Ok(at as u64)
    }

    fn load(&self, place: &Place, len: u64) -> Result<Bytes, ReadError> {
        let io = |source| ReadError::Io {
            path: place.open.store.path.clone(),
            source,
        };
        let len = usize::try_from(len).map_err(|e| io(std::io::Error::other(e)))?;
        let mut buffer = self.shared.buffers.take(len);
        let bytes = buffer.bytes_mut().get_mut(..len).unwrap_or_default();
        let store = &place.open.store;
        let read = store.file.read_at(place.position, bytes).map_err(io)?;
        Ok(buffer.share().slice(..read.min(len)))
    }

    /// Where an entry is.
    fn place_of(&self, index: LogIndex) -> Result<Place, ReadError> {
        let list = self.shared.list.load_full();
        let end = LogIndex(self.shared.next_index.load(Ordering::Acquire));
        let segment = holder(&list, index, end)?;
        if let Some(known) = segment.damage(|d| d.first_index <= index && index < d.next_index) {
            return Err(ReadError::EntryDamaged {
                path: segment.path(crate::file_header::FileKind::Store),
                position: known.position,
                index,
                next: known.next_index,
            });
        }
        let open = self.shared.files.get(segment)?;
        let segment = Arc::clone(segment);
        let position = match position_of(&segment, &open, index) {
            Ok(found) => found,
            Err(source) => {
                let path = open.store.path.clone();
                return Err(ReadError::Io { path, source });
            }
        };
        let place = |position| Place {
            segment: Arc::clone(&segment),
            open: Arc::clone(&open),
            position,
        };
        match position {
            Some(position) => Ok(place(position)),
            None => Err(damaged(&place(FIRST_FRAME), index)),
        }
    }
}

/// The segment that holds an entry of a log that ends before entry `end`.
fn holder(list: &SegmentList, index: LogIndex, end: LogIndex) -> Result<&Arc<Segment>, ReadError> {
    let after = list
        .segments
        .partition_point(|segment| segment.first_index <= index);
    let found = after.checked_sub(1).and_then(|i| list.segments.get(i));
    let earliest = list.segments.first().map(|first| first.first_index);
    let Some(segment) = found else {
        let earliest = earliest.unwrap_or(end);
        return Err(ReadError::EntryGone { index, earliest });
    };
    match segment.end() {
        Some(end) if end.next_index <= index => {
            let last = end.next_index.prev();
            Err(ReadError::EntryBeyond { index, last })
        }
        _ => Ok(segment),
    }
}

/// Where an entry's frame begins: as the index says, or else as a walk over the store finds it.
fn position_of(
    segment: &Segment,
    open: &OpenSegment,
    index: LogIndex,
) -> std::io::Result<Option<u64>> {
    let ordinal = index
        .since(segment.first_index)
        .and_then(|n| u32::try_from(n).ok());
    if let Some(ordinal) = ordinal
        && let Some((position, _)) = locate::entry_at(segment, open, ordinal)?
    {
        return Ok(Some(position));
    }
    let (store, end) = (&open.store, segment.end());
    let mut from = FIRST_FRAME;
    if let Some(ordinal) = ordinal {
        let known = end.and_then(|end| locate::placed(segment, open, ordinal, &end));
        if known.is_some() {
            // It is known where the frame was, and it is not there.
            return Ok(None);
        }
        let before = locate::intact_before(segment, open, ordinal)?;
        from = before.map_or(from, |(position, _)| position);
    }
    let end = end.map_or(u64::MAX, |end| end.position);
    let mut scan = Scan::new(&*store.file, store.salt, from, end)?;
    while let Some(found) = scan.next_found()? {
        if let Found::Frame {
            position, header, ..
        } = found
            && !header.is_mark()
            && header.index >= index
        {
            return Ok((header.index == index).then_some(position));
        }
    }
    Ok(None)
}

/// How many bytes to read: whole frames as far as the index knows, and the first one whatever its
/// length if it `must` be had.
fn planned(place: &Place, stop: LogIndex, left: u64, must: bool) -> u64 {
    let after = |index: LogIndex| {
        let ordinal = index.since(place.segment.first_index)?;
        let slot = place.open.index.as_ref()?;
        let slot = slot.slot(u32::try_from(ordinal).ok()?)?;
        (slot.position + frame_len(slot.payload_len.into())).checked_sub(place.position)
    };
    // The index is only a hint: the header says how long the first frame is.
    let header = place.open.store.header_at(place.position).ok().flatten();
    let first = header.map_or(FRAME_HEADER_BYTES as u64, |header| header.frame_len());
    if first > left {
        return if must { first } else { 0 };
    }
    let whole = after(stop.prev()).filter(|&len| len >= first);
    whole.unwrap_or(left).min(left).max(first)
}

/// The entry whose whole frame lies at `at` of `chunk`, and where its payload is.
fn whole_frame(
    place: &Place,
    chunk: &Bytes,
    at: usize,
) -> Option<(EntryMeta, std::ops::Range<usize>)> {
    let rest = chunk.get(at..)?;
    let bytes = rest.first_chunk::<FRAME_HEADER_BYTES>()?;
    let position = place.position + at as u64;
    let header = FrameHeader::decode(bytes, place.open.store.salt, position)?;
    let end = FRAME_HEADER_BYTES + header.payload_len as usize;
    let body = rest.get(FRAME_HEADER_BYTES..end)?;
    (crc(body) == header.payload_crc).then_some(())?;
    Some((header.meta(), at + FRAME_HEADER_BYTES..at + end))
}

/// The frame of an entry is not as it was written.
fn damaged(place: &Place, index: LogIndex) -> ReadError {
    ReadError::EntryDamaged {
        path: place.open.store.path.clone(),
        position: place.position,
        index,
        next: index.next(),
    }
}
