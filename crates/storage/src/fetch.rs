//! Reads whole frames from one place in a segment and checks them.

use std::sync::Arc;

use bytes::Bytes;
use trilith_types::{
    LogIndex, Offset,
    planted::{self, Bug},
};

use crate::{
    buffer::BufferPool,
    codec::crc,
    error::ReadError,
    frame::{FRAME_HEADER_BYTES, FrameHeader, frame_len},
    locate::{self, Located, Walk},
    reader::{ReadFrame, Spot},
};

/// What a fetch gave.
pub(crate) enum Fetched {
    /// Entries, and what comes after them.
    Frames {
        /// At least one.
        frames: Vec<ReadFrame>,
        /// The offset to go on with.
        next: Offset,
        /// Where the frame after the last one begins.
        position: u64,
        /// The entry after the last one.
        index: LogIndex,
    },
    /// The segment holds nothing more.
    SegmentEnd,
    /// The place was not certain, and the frame there is not the one.
    Astray,
}

/// Why a parser stopped, and where.
enum Stop {
    /// At what may be seen, or at the end of the bytes.
    Done(u64),
    /// This frame is longer than the bytes at hand.
    Short(u64, FrameHeader),
    /// The payload of this frame is damaged.
    BadPayload(u64, FrameHeader),
    /// There is no frame here.
    BadHeader(u64),
}

/// Reads frames from `spot`, whose frame holds the first offset at or after `from`.
pub(crate) fn fetch(
    buffers: &Arc<BufferPool>,
    spot: &Spot,
    from: Offset,
    visible: Offset,
    max_bytes: usize,
) -> Result<Fetched, ReadError> {
    let mut position = spot.position;
    // The entry at `position`, as far as it is known.
    let mut index_at = spot.index;
    let mut len = planned_len(spot, index_at, position, visible, max_bytes);
    loop {
        if len < FRAME_HEADER_BYTES as u64 {
            return Ok(if spot.certain {
                Fetched::SegmentEnd
            } else {
                Fetched::Astray
            });
        }
        let chunk = load(buffers, spot, position, len)?;
        if !spot.certain && position == spot.position && !is_wanted(&chunk, spot, from) {
            return Ok(Fetched::Astray);
        }
        let mut parser = Parser {
            chunk: &chunk,
            spot,
            start: position,
            from,
            visible,
            frames: Vec::new(),
            reached: None,
        };
        let stop = parser.run();
        let (frames, reached) = (parser.frames, parser.reached);
        if let Some(last) = frames.last() {
            let (Stop::Done(at)
            | Stop::Short(at, _)
            | Stop::BadPayload(at, _)
            | Stop::BadHeader(at)) = stop;
            let next = last.next_offset();
            let index = reached.unwrap_or(last.index.next());
            return Ok(Fetched::Frames {
                next,
                position: at,
                index,
                frames,
            });
        }
        index_at = reached.unwrap_or(index_at);
        (position, len) = match stop {
            Stop::Short(at, header) if (at, header.frame_len()) == (position, len) => {
                // The file ends within the frame.
                return Err(damaged(spot, at, &header, from));
            }
            // The header's checksum vouches for the length.
            Stop::Short(at, header) => (at, header.frame_len()),
            Stop::BadPayload(at, header) => return Err(damaged(spot, at, &header, from)),
            Stop::BadHeader(at) => match beyond(spot, at, from, visible)? {
                Located::At {
                    position: next,
                    index,
                    ..
                } => {
                    index_at = index;
                    (next, planned_len(spot, index, next, visible, max_bytes))
                }
                Located::Nothing => return Ok(Fetched::SegmentEnd),
            },
            // Nothing but marks and entries without records so far.
            Stop::Done(at) if at > position => {
                (at, planned_len(spot, index_at, at, visible, max_bytes))
            }
            Stop::Done(_) => return Ok(Fetched::SegmentEnd),
        };
    }
}

/// Whether the bytes begin with the frame that the index promised.
fn is_wanted(chunk: &[u8], spot: &Spot, from: Offset) -> bool {
    chunk
        .first_chunk::<FRAME_HEADER_BYTES>()
        .and_then(|bytes| FrameHeader::decode(bytes, spot.open.store.salt, spot.position))
        .is_some_and(|header| {
            let holds = header.first_offset <= from && from < header.next_offset();
            holds && header.index == spot.index && !header.is_mark()
        })
}

/// How many bytes to read at `position`: whole frames, as far as the index knows.
fn planned_len(
    spot: &Spot,
    index_at: LogIndex,
    position: u64,
    visible: Offset,
    max_bytes: usize,
) -> u64 {
    let max_bytes = max_bytes.max(FRAME_HEADER_BYTES) as u64;
    let end = match spot.segment.end() {
        Some(end) => end.position,
        None => visible_end(spot, visible)
            .filter(|&end| end > position)
            .unwrap_or(u64::MAX),
    };
    let left = end.saturating_sub(position);
    if left <= max_bytes {
        return left;
    }
    let len = match one_frame(spot, index_at, position) {
        Some(first) if first >= max_bytes => Some(first),
        first => whole_frames(spot, index_at, position, max_bytes).or(first),
    };
    len.unwrap_or(max_bytes).min(left)
}

/// Where the last entry that may be seen ends in a segment that is being written.
fn visible_end(spot: &Spot, visible: Offset) -> Option<u64> {
    let index = spot.open.index.as_ref()?;
    let slot = index.slot(index.ordinal_at(visible.prev().since(spot.segment.base)?)?)?;
    Some(slot.position + frame_len(slot.payload_len.into()))
}

/// The length of the whole frames among the next `max_bytes`, found by bisection in the entry
/// index; `None` when not even one fits or the index makes no sense.
fn whole_frames(spot: &Spot, index_at: LogIndex, position: u64, max_bytes: u64) -> Option<u64> {
    let index = spot.open.index.as_ref()?;
    let here = u32::try_from(index_at.since(spot.segment.first_index)?).ok()?;
    let fits = |ordinal: u32| {
        index
            .slot(ordinal)
            .is_some_and(|slot| slot.position >= position && slot.position - position <= max_bytes)
    };
    // Frames have at least a header, which bounds how many there can be.
    let most = u32::try_from(max_bytes / FRAME_HEADER_BYTES as u64).ok()?;
    let (mut low, mut high) = (here, here.checked_add(most)?);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle
        } else {
            high = middle - 1
        }
    }
    let len = index.slot(low)?.position.checked_sub(position)?;
    (len >= FRAME_HEADER_BYTES as u64).then_some(len)
}

/// The length of the next frame as the index has it, unless it is so long that only the frame
/// itself is believed.
fn one_frame(spot: &Spot, index_at: LogIndex, position: u64) -> Option<u64> {
    const BELIEVED_BYTES_MAX: u64 = 256 << 10;
    let ordinal = u32::try_from(index_at.since(spot.segment.first_index)?).ok()?;
    let slot = spot.open.index.as_ref()?.slot(ordinal)?;
    let len = frame_len(slot.payload_len.into());
    (slot.position == position && len <= BELIEVED_BYTES_MAX).then_some(len)
}

fn load(
    buffers: &Arc<BufferPool>,
    spot: &Spot,
    position: u64,
    len: u64,
) -> Result<Bytes, ReadError> {
    let io = |source| ReadError::Io {
        path: spot.open.store.path.clone(),
        source,
    };
    let len = usize::try_from(len).map_err(|e| io(std::io::Error::other(e)))?;
    let mut buffer = buffers.take(len);
    let bytes = buffer.bytes_mut().get_mut(..len).unwrap_or_default();
    let read = spot.open.store.file.read_at(position, bytes).map_err(io)?;
    Ok(buffer.share().slice(..read.min(len)))
}

/// Walks on from a place where there is no frame.
fn beyond(spot: &Spot, position: u64, from: Offset, visible: Offset) -> Result<Located, ReadError> {
    let walk = Walk {
        position,
        index: LogIndex::ZERO,
        offset: from,
    };
    locate::by_walk(&spot.segment, &spot.open, walk, from, visible)
}

fn damaged(spot: &Spot, position: u64, header: &FrameHeader, from: Offset) -> ReadError {
    ReadError::Damaged {
        path: spot.open.store.path.clone(),
        position,
        position_end: position + header.frame_len(),
        first: header.first_offset.max(from),
        next: header.next_offset(),
    }
}

struct Parser<'a> {
    chunk: &'a Bytes,
    spot: &'a Spot,
    /// Where the bytes lie in the store.
    start: u64,
    from: Offset,
    visible: Offset,
    frames: Vec<ReadFrame>,
    /// The entry after the last one that was passed.
    reached: Option<LogIndex>,
}

impl Parser<'_> {
    fn run(&mut self) -> Stop {
        let mut at = 0;
        let mut offset = Offset::ZERO;
        loop {
            let position = self.start + at as u64;
            // What follows may yet be truncated, also where it takes no offsets.
            if offset >= self.visible {
                return Stop::Done(position);
            }
            let rest = self.chunk.get(at..).unwrap_or_default();
            let Some(bytes) = rest.first_chunk::<FRAME_HEADER_BYTES>() else {
                return if rest.is_empty() || at > 0 {
                    Stop::Done(position)
                } else {
                    Stop::BadHeader(position)
                };
            };
            let salt = self.spot.open.store.salt;
            let Some(header) = FrameHeader::decode(bytes, salt, position) else {
                return Stop::BadHeader(position);
            };
            if self.reached.is_some_and(|reached| header.index != reached) {
                return Stop::BadHeader(position);
            }
            if header.next_offset() > self.visible {
                return Stop::Done(position);
            }
            let payload = FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_len as usize;
            let Some(body) = rest.get(payload.clone()) else {
                return Stop::Short(position, header);
            };
            let is_bad = crc(body) != header.payload_crc && !planted::is_on(Bug::DamageServed);
            if is_bad || header.is_lost() {
                return Stop::BadPayload(position, header);
            }
            // Consumers see records. What takes no offsets is between the replicas.
            if header.records > 0 && header.next_offset() > self.from {
                let slice = self.chunk.slice(at + payload.start..at + payload.end);
                self.frames.push(frame(&header, slice));
            }
            self.reached = Some(header.next_index());
            offset = header.next_offset();
            at += header.frame_len() as usize;
        }
    }
}

pub(crate) const fn frame(header: &FrameHeader, payload: Bytes) -> ReadFrame {
    ReadFrame {
        index: header.index,
        term: header.term,
        kind: header.kind,
        first_offset: header.first_offset,
        records: header.records,
        append_time: header.append_time,
        max_timestamp: header.max_timestamp,
        payload,
    }
}
