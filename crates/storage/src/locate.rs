//! Finds the frame that holds an offset or reaches a time.
//!
//! The index answers; the frame it leads to is checked; when the two disagree, a walk over the
//! store decides, and tells damage from a wrong index.

use std::io;

use trilith_types::{LogIndex, Offset, TimestampMs};

use crate::{
    error::ReadError,
    frame::{FrameHeader, frame_len},
    index::Slot,
    meta::SegmentEnd,
    scan::{Found, Scan},
    segment::{OpenSegment, Segment},
    store::FIRST_FRAME,
};

/// Where an offset is.
pub(crate) enum Located {
    /// Its frame, or the frame of the first offset after it, begins here.
    At {
        /// Where the frame begins.
        position: u64,
        /// The entry it holds.
        index: LogIndex,
        /// Whether the index said something else.
        index_is_wrong: bool,
    },
    /// The segment has nothing at or after it.
    Nothing,
}

/// Finds the frame that holds the first offset at or after `from`, which lies below `visible`.
pub(crate) fn by_offset(
    segment: &Segment,
    open: &OpenSegment,
    from: Offset,
    visible: Offset,
) -> Result<Located, ReadError> {
    if let Some(damage) = known_damage(segment, open, from) {
        return Err(damage);
    }
    let io = |source| ReadError::Io {
        path: open.store.path.clone(),
        source,
    };
    if let Some((position, index)) = by_index(segment, open, from).map_err(io)? {
        return Ok(Located::At {
            position,
            index,
            index_is_wrong: false,
        });
    }
    by_walk(
        segment,
        open,
        anchor(segment, open, from).map_err(io)?,
        from,
        visible,
    )
}

/// Where the index says that the frame is that holds `from`: two array reads, and nothing checked.
pub(crate) fn by_hint(
    segment: &Segment,
    open: &OpenSegment,
    from: Offset,
) -> Option<(u64, LogIndex)> {
    let index = open.index.as_ref()?;
    let delta = from.since(segment.base)?;
    let ordinal = index.ordinal_at(delta)?;
    let slot = index.slot(ordinal)?;
    let holds = u64::from(slot.offset_delta) <= delta && !segment.is_damaged();
    holds.then(|| (slot.position, segment.first_index.plus(ordinal.into())))
}

/// The damage that recovery found at `from`, if any.
pub(crate) fn known_damage(
    segment: &Segment,
    open: &OpenSegment,
    from: Offset,
) -> Option<ReadError> {
    let damage = segment.damage(|d| d.first_offset <= from && from < d.next_offset)?;
    Some(ReadError::Damaged {
        path: open.store.path.clone(),
        position: damage.position,
        position_end: damage.position_end,
        first: damage.first_offset,
        next: damage.next_offset,
    })
}

/// What the index says, if the frame there agrees.
fn by_index(
    segment: &Segment,
    open: &OpenSegment,
    from: Offset,
) -> io::Result<Option<(u64, LogIndex)>> {
    let Some(index) = &open.index else {
        return Ok(None);
    };
    let delta = from.0.saturating_sub(segment.base.0);
    let Some(ordinal) = index.ordinal_at(delta) else {
        return Ok(None);
    };
    let Some((position, header)) = entry_at(segment, open, ordinal)? else {
        return Ok(None);
    };
    if header.next_offset() <= from {
        return Ok(None);
    }
    if header.first_offset > from {
        // A hole in the offsets, or an index that would skip entries: the one before knows.
        let Some(before) = ordinal.checked_sub(1) else {
            return Ok((position == FIRST_FRAME).then_some((position, header.index)));
        };
        let reaches = entry_at(segment, open, before)?.map(|(_, header)| header.next_offset());
        return Ok(reaches
            .filter(|&next| next <= from)
            .map(|_| (position, header.index)));
    }
    Ok(Some((position, header.index)))
}

/// The valid header of the segment's entry with this ordinal, where the index says it is.
pub(crate) fn entry_at(
    segment: &Segment,
    open: &OpenSegment,
    ordinal: u32,
) -> io::Result<Option<(u64, FrameHeader)>> {
    let Some(slot) = open.index.as_ref().and_then(|index| index.slot(ordinal)) else {
        return Ok(None);
    };
    let expected = segment.first_index.plus(ordinal.into());
    let header = open.store.header_at(slot.position)?;
    Ok(header
        .filter(|header| header.index == expected && !header.is_mark())
        .map(|header| (slot.position, header)))
}

/// Where an entry's frame lies according to the index alone, when what the index knows of the
/// entries before and after it says the same: one wrong slot is not believed.
pub(crate) struct Placed {
    pub(crate) position: u64,
    pub(crate) end: u64,
    pub(crate) first_offset: Offset,
    pub(crate) next_offset: Offset,
}

/// See [`Placed`]; `end` is the segment's, as far as entries go.
pub(crate) fn placed(
    segment: &Segment,
    open: &OpenSegment,
    ordinal: u32,
    end: &SegmentEnd,
) -> Option<Placed> {
    let index = open.index.as_ref()?;
    let slot = index.slot(ordinal)?;
    let behind = |slot: &Slot| slot.position + frame_len(slot.payload_len.into());
    let begins = match ordinal.checked_sub(1) {
        Some(before) => behind(&index.slot(before)?) == slot.position,
        None => slot.position == FIRST_FRAME && slot.offset_delta == 0,
    };
    let entries = end.next_index.since(segment.first_index)?;
    let (next, next_offset) = if u64::from(ordinal) + 1 < entries {
        let after = index.slot(ordinal + 1)?;
        (after.position, segment.base.plus(after.offset_delta.into()))
    } else {
        (end.position, end.next_offset)
    };
    let first_offset = segment.base.plus(slot.offset_delta.into());
    let agrees = begins && behind(&slot) == next && first_offset <= next_offset;
    agrees.then_some(Placed {
        position: slot.position,
        end: next,
        first_offset,
        next_offset,
    })
}

/// The last entry before this one, by ordinal, whose frame's header is where the index says; looks
/// further back in steps that double.
pub(crate) fn intact_before(
    segment: &Segment,
    open: &OpenSegment,
    ordinal: u32,
) -> io::Result<Option<(u64, FrameHeader)>> {
    let mut step = 1;
    while let Some(before) = ordinal.checked_sub(step) {
        if let Some(found) = entry_at(segment, open, before)? {
            return Ok(Some(found));
        }
        step = step.saturating_mul(2);
    }
    Ok(None)
}

/// A frame before `from` where a walk may begin, with the entry that is expected there.
fn anchor(segment: &Segment, open: &OpenSegment, from: Offset) -> io::Result<Walk> {
    let delta = from.0.saturating_sub(segment.base.0);
    let hint = open
        .index
        .as_ref()
        .and_then(|index| index.ordinal_at(delta));
    if let Some(ordinal) = hint
        && let Some((position, header)) = intact_before(segment, open, ordinal)?
        && header.first_offset <= from
    {
        return Ok(Walk {
            position,
            index: header.index,
            offset: header.first_offset,
        });
    }
    Ok(Walk {
        position: FIRST_FRAME,
        index: segment.first_index,
        offset: segment.base,
    })
}

/// Where a walk is: what it expects to find at `position`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) position: u64,
    pub(crate) index: LogIndex,
    pub(crate) offset: Offset,
}

/// Walks the store to the first entry that reaches past `from`.
pub(crate) fn by_walk(
    segment: &Segment,
    open: &OpenSegment,
    mut at: Walk,
    from: Offset,
    visible: Offset,
) -> Result<Located, ReadError> {
    let io = |source| ReadError::Io {
        path: open.store.path.clone(),
        source,
    };
    let end = segment.end().map_or(u64::MAX, |end| end.position);
    let mut scan = Scan::new(&*open.store.file, open.store.salt, at.position, end).map_err(io)?;
    let mut hole: Option<(u64, u64)> = None;
    while let Some(found) = scan.next_found().map_err(io)? {
        match found {
            Found::Frame {
                position, header, ..
            } => {
                // Entries are missing before this one, and `from` may be in them.
                if let Some(hole) = hole.take().filter(|_| header.index > at.index)
                    && header.first_offset > from
                {
                    return Err(lost(open, hole, from.max(at.offset), header.first_offset));
                }
                if header.first_offset >= visible {
                    return Ok(Located::Nothing);
                }
                if !header.is_mark() && header.next_offset() > from {
                    let index = header.index;
                    return Ok(Located::At {
                        position,
                        index,
                        index_is_wrong: true,
                    });
                }
                at.index = header.next_index();
                at.offset = header.next_offset();
            }
            Found::Hole { position, end, .. } => {
                hole = Some((hole.map_or(position, |(start, _)| start), end));
            }
            Found::End { position } if hole.is_none() => hole = Some((position, position)),
            Found::End { .. } => {}
        }
    }
    // The store ends before what was published does: the rest is lost.
    let next = segment
        .end()
        .map_or(visible, |end| end.next_offset.min(visible));
    match hole {
        Some(hole) if from < next => Err(lost(open, hole, from.max(at.offset), next)),
        _ => Ok(Located::Nothing),
    }
}

fn lost(open: &OpenSegment, hole: (u64, u64), first: Offset, next: Offset) -> ReadError {
    ReadError::Damaged {
        path: open.store.path.clone(),
        position: hole.0,
        position_end: hole.1,
        first,
        next,
    }
}

/// The first offset of the segment's first entry that reaches `time`, if it has one below
/// `visible`.
pub(crate) fn by_time(
    segment: &Segment,
    open: &OpenSegment,
    time: TimestampMs,
    visible: Offset,
) -> Result<Option<Offset>, ReadError> {
    let io = |source| ReadError::Io {
        path: open.store.path.clone(),
        source,
    };
    let ordinal = open
        .index
        .as_ref()
        .map_or(0, |index| index.ordinal_before_time(time));
    let start = entry_at(segment, open, ordinal)
        .map_err(io)?
        .map_or(FIRST_FRAME, |(at, _)| at);
    let end = segment.end().map_or(u64::MAX, |end| end.position);
    let mut scan = Scan::new(&*open.store.file, open.store.salt, start, end).map_err(io)?;
    while let Some(found) = scan.next_found().map_err(io)? {
        let Found::Frame { header, .. } = found else {
            continue;
        };
        if header.first_offset >= visible {
            return Ok(None);
        }
        if !header.is_mark() && header.records > 0 && header.max_timestamp >= time {
            return Ok(Some(header.first_offset));
        }
    }
    Ok(None)
}
