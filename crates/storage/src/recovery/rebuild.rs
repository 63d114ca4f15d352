//! Builds an index again from its store.

use std::io;

use trilith_types::{Offset, TimestampMs};

use crate::{
    file_header::FileKind,
    frame::FrameHeader,
    index::{Capacity, Index, IndexError, Slot},
    meta::SegmentEnd,
    scan::{Found, Scan},
    segment::Segment,
    store::{FIRST_FRAME, Store},
};

/// Bytes of entries for each slot of the time index when it is built again later.
const TIME_INTERVAL: u32 = 16 << 10;

/// Fills an index with frames as they are found.
pub(crate) struct Builder {
    /// None once there was no room for it.
    index: Option<Index>,
    base: Offset,
    first_index: trilith_types::LogIndex,
    max_timestamp: TimestampMs,
    since_time_slot: u64,
    interval: u32,
}

impl Builder {
    /// An index over the one that is there: slots of entries that are damaged now keep what they
    /// knew. A new one is made when there is none to use.
    pub(crate) fn over(segment: &Segment, interval: u32) -> Self {
        let (disk, dir) = (&*segment.place.disk, &segment.place.dir);
        let header = segment.header(FileKind::Store);
        let index = match Index::open(disk, dir, &header, 0) {
            Ok(index) => Some(index),
            Err(_) => Index::create(disk, dir, &header).ok(),
        };
        Self::new(segment, index, interval)
    }

    fn new(segment: &Segment, index: Option<Index>, interval: u32) -> Self {
        Self {
            index,
            base: segment.base,
            first_index: segment.first_index,
            max_timestamp: TimestampMs::MIN,
            since_time_slot: 0,
            interval,
        }
    }

    /// Adds a frame; `expected` is the offset after the frame before it.
    pub(crate) fn put(&mut self, position: u64, header: &FrameHeader, expected: Offset) {
        let (Some(ordinal), Some(delta), false) = (
            header
                .index
                .since(self.first_index)
                .and_then(|n| u32::try_from(n).ok()),
            header
                .first_offset
                .since(self.base)
                .and_then(|n| u32::try_from(n).ok()),
            header.is_mark(),
        ) else {
            return;
        };
        let Some(index) = &self.index else { return };
        let capacity = Capacity {
            entries: u64::from(ordinal) + 1,
            offsets: u64::from(delta) + u64::from(header.records),
            times: u64::from(index.times_len()) + 1,
        };
        if index.reserve(capacity).is_err() {
            self.index = None;
            return;
        }
        let slot = Slot {
            position,
            payload_len: header.payload_len,
            term: header.term,
            payload_crc: header.payload_crc,
            offset_delta: delta,
        };
        let gap = header
            .first_offset
            .since(expected)
            .unwrap_or_default()
            .min(delta.into());
        index.put(ordinal, &slot, gap as u32, header.records);
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.since_time_slot += header.frame_len();
        if self.since_time_slot >= u64::from(self.interval) {
            index.push_time(self.max_timestamp, ordinal);
            self.since_time_slot = 0;
        }
    }

    /// Slots in the time index so far.
    pub(crate) fn time_slots(&self) -> u32 {
        self.index.as_ref().map_or(0, Index::times_len)
    }

    /// The index, unless there was no room for it.
    pub(crate) fn finish(self) -> Option<Index> {
        self.index
    }
}

/// Builds the index of a segment that has ended.
pub(crate) fn index_of(segment: &Segment, store: &Store) -> io::Result<Index> {
    let end = segment.end().map_or(u64::MAX, |end| end.position);
    build(segment, store, end)
}

/// Builds the index of a segment that ends at `end` so far.
pub(crate) fn index_upto(segment: &Segment, store: &Store, end: &SegmentEnd) -> io::Result<Index> {
    build(segment, store, end.position)
}

fn build(segment: &Segment, store: &Store, end: u64) -> io::Result<Index> {
    let header = segment.header(FileKind::Store);
    let index = match Index::create(&*segment.place.disk, &segment.place.dir, &header) {
        Ok(index) => index,
        Err(IndexError::Io { source, .. }) => return Err(source),
        Err(other) => return Err(io::Error::other(other)),
    };
    let mut builder = Builder::new(segment, Some(index), TIME_INTERVAL);
    let mut scan = Scan::new(&*store.file, store.salt, FIRST_FRAME, end)?;
    let mut expected = segment.base;
    while let Some(found) = scan.next_found()? {
        if let Found::Frame {
            position, header, ..
        } = found
        {
            builder.put(position, &header, expected);
            expected = header.next_offset();
        }
    }
    builder
        .finish()
        .ok_or_else(|| io::ErrorKind::StorageFull.into())
}
