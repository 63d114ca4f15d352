//! Appending: the log's only way to grow.

use std::{io, sync::atomic::Ordering};

use trilith_types::{
    TimestampMs,
    planted::{self, Bug},
};

use crate::{
    config::LogConfig,
    entry::{Entry, EntryKind},
    error::{AppendError, PartialAppend},
    frame::{FrameHeader, frame_len},
    index::{Capacity, Slot},
    log::{Active, Log},
    space,
    store::payload_crc,
};

/// Most entries that go to disk in one vectored write.
const GROUP_ENTRIES_MAX: usize = 256;

/// A group of entries is written once it has this many bytes.
const GROUP_BYTES_MAX: u64 = 4 << 20;

impl Log {
    /// Appends one entry to the page cache. It is neither durable nor visible yet.
    ///
    /// # Errors
    /// Nothing of the entry is in the log then. After [`AppendError::DiskFull`] try again later;
    /// after [`AppendError::Io`] from a write the log is poisoned.
    pub fn append(&mut self, entry: &Entry<'_>) -> Result<(), AppendError> {
        self.append_all(std::slice::from_ref(entry))
            .map_err(|partial| partial.source)
    }

    /// Appends entries, as many as possible with one write.
    ///
    /// # Errors
    /// Says how many of the entries are in the log, counted from the first.
    pub fn append_all(&mut self, entries: &[Entry<'_>]) -> Result<(), PartialAppend> {
        self.append_checked(entries, &[])
    }

    /// The same for entries whose payloads' checksums are known, in the same order.
    ///
    /// # Errors
    /// As [`Log::append_all`].
    pub fn append_checked(
        &mut self,
        entries: &[Entry<'_>],
        checksums: &[u32],
    ) -> Result<(), PartialAppend> {
        let mut appended = 0;
        while let Some(rest) = entries.get(appended..).filter(|rest| !rest.is_empty()) {
            let known = checksums.get(appended..).unwrap_or_default();
            appended += self
                .append_some(rest, known)
                .map_err(|source| PartialAppend { appended, source })?;
        }
        if planted::is_on(Bug::VisibleBeforeCommit) {
            self.publish(self.next_offset);
        }
        Ok(())
    }

    /// [`Log::append_checked`] for entries that are promised already: where the disk has no room
    /// for them, they take what is kept free, no more than they need and down to `kept` bytes. The
    /// log counts as full from then on, until there is clearly enough space again: what is kept free
    /// is for nothing that can be refused.
    ///
    /// # Errors
    /// As [`Log::append_all`]; [`AppendError::DiskFull`] when no more than `kept` is free.
    pub fn append_promised(
        &mut self,
        entries: &[Entry<'_>],
        checksums: &[u32],
        kept: u64,
    ) -> Result<(), PartialAppend> {
        let Err(full) = self.append_checked(entries, checksums) else {
            return Ok(());
        };
        if !matches!(full.source, AppendError::DiskFull { .. }) {
            return Err(full);
        }
        let rest = entries.get(full.appended..).unwrap_or_default();
        let known = checksums.get(full.appended..).unwrap_or_default();
        let in_reserve = LogConfig {
            reserve_bytes: kept,
            resume_bytes: 0,
            preallocate_bytes_min: 0,
            preallocate_bytes_max: 0,
            ..self.config.clone()
        };
        let config = std::mem::replace(&mut self.config, in_reserve);
        let result = self.append_checked(rest, known);
        self.config = config;
        self.space.note_full();
        result.map_err(|partial| PartialAppend {
            appended: full.appended + partial.appended,
            ..partial
        })
    }

    /// Appends the place of an entry, without its bytes.
    pub(crate) fn append_hole(&mut self, entry: &Entry<'_>) -> Result<(), AppendError> {
        self.shared.poison.check()?;
        self.check(entry)?;
        self.make_ready(entry)?;
        let mut group = Group::default();
        let header = self.header_of(entry, Some(0));
        group.push(header, entry);
        self.reserve(&group)?;
        if let Some(active) = &mut self.active {
            active.dirty = true;
        }
        self.note_group(&group);
        Ok(())
    }

    /// Sees to it that `entry` finds room, as the last of entries with `bytes` of frames that are
    /// to be appended next: for whoever must not promise what the disk cannot take. Cheap while
    /// enough is reserved. An append may find no room all the same.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn make_room(&mut self, entry: &Entry<'_>, bytes: u64) -> Result<(), AppendError> {
        self.shared.poison.check()?;
        let has_room =
            |active: &Active| active.end.position.saturating_add(bytes) <= active.allocated;
        if self.active.as_ref().is_some_and(has_room) {
            if !self.space.is_full() {
                return Ok(());
            }
            // What is there may have been taken from what is kept free.
            let (dir, disk) = (&self.place.dir, &*self.place.disk);
            return self.space.check(disk, dir, bytes, &self.config);
        }
        if entry.index == self.next_index {
            self.make_ready(entry)?;
        }
        let max = self.config.segment_bytes;
        let fits = |active: &Active| active.end.position.saturating_add(bytes) <= max;
        if self.active.as_ref().is_some_and(fits) {
            return self.reserve(&Group {
                frames: Vec::new(),
                bytes,
                records: 0,
            });
        }
        let (dir, disk) = (&self.place.dir, &*self.place.disk);
        self.space.check(disk, dir, bytes, &self.config)
    }

    /// Appends the longest run from the front that fits one write and one segment.
    fn append_some(
        &mut self,
        entries: &[Entry<'_>],
        checksums: &[u32],
    ) -> Result<usize, AppendError> {
        self.shared.poison.check()?;
        let Some(first) = entries.first() else {
            return Ok(0);
        };
        self.check(first)?;
        self.make_ready(first)?;
        let mut group = Group::default();
        for (n, entry) in entries.iter().enumerate().take(GROUP_ENTRIES_MAX) {
            let fits = group.frames.is_empty()
                || (group.bytes < GROUP_BYTES_MAX && self.fits_after(entry, &group));
            if !fits || (!group.frames.is_empty() && self.check_after(entry, &group).is_err()) {
                break;
            }
            group.push(self.header_of(entry, checksums.get(n).copied()), entry);
        }
        self.write_group(&group)?;
        Ok(group.frames.len())
    }

    fn check(&self, entry: &Entry<'_>) -> Result<(), AppendError> {
        let end = (self.next_index, self.next_offset, self.last_term);
        check_entry(entry, end, &self.config)
    }

    fn check_after(&self, entry: &Entry<'_>, group: &Group<'_, '_>) -> Result<(), AppendError> {
        match group.frames.last() {
            Some((_, last)) => {
                let end = (last.index.next(), last.next_offset(), last.term);
                check_entry(entry, end, &self.config)
            }
            None => self.check(entry),
        }
    }

    fn header_of(&self, entry: &Entry<'_>, checksum: Option<u32>) -> FrameHeader {
        FrameHeader {
            payload_len: entry.payload_bytes() as u32,
            payload_crc: checksum.unwrap_or_else(|| payload_crc(entry)),
            index: entry.index,
            term: entry.term,
            first_offset: entry.first_offset,
            append_time: entry.append_time,
            max_timestamp: entry.max_timestamp,
            synced: self.synced().index,
            records: entry.records,
            kind: entry.kind,
        }
    }

    /// Whether `entry` belongs into the active segment after the entries of `group`.
    fn fits_after(&self, entry: &Entry<'_>, group: &Group<'_, '_>) -> bool {
        let Some(active) = &self.active else {
            return false;
        };
        let mut end = active.end;
        end.entry_bytes += group.bytes;
        end.next_index = end.next_index.plus(group.frames.len() as u64);
        if let (Some((_, first)), true) = (
            group.frames.first(),
            end.first_append_time == TimestampMs::MIN,
        ) {
            end.first_append_time = first.append_time;
        }
        !crate::rotate::must_rotate(&active.segment, &end, entry, &self.config)
    }

    fn write_group(&mut self, group: &Group<'_, '_>) -> Result<(), AppendError> {
        self.reserve(group)?;
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        active.dirty = true;
        let position = active.end.position;
        if let Err(source) = active.open.store.write(position, &group.frames) {
            let path = active.open.store.path.clone();
            return Err(self.poison(AppendError::Io {
                what: "write",
                path,
                source,
            }));
        }
        self.note_group(group);
        Ok(())
    }

    /// Takes note of entries that lie at the end of the active segment.
    fn note_group(&mut self, group: &Group<'_, '_>) {
        let Some(active) = &mut self.active else {
            return;
        };
        for (header, _) in &group.frames {
            active.note(header, self.config.time_index_interval);
            self.marked = self.marked.max(header.synced);
            self.manifest.terms.note(header.term, header.index);
        }
        self.next_index = active.end.next_index;
        self.next_offset = active.end.next_offset;
        self.last_term = active.end.last_term;
        self.shared
            .next_index
            .store(self.next_index.0, Ordering::Release);
    }

    /// Reserves disk space for the group and room in the indexes, before anything is written.
    fn reserve(&mut self, group: &Group<'_, '_>) -> Result<(), AppendError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let (dir, disk) = (&self.place.dir, &*self.place.disk);
        let needed = active.end.position + group.bytes;
        if needed > active.allocated {
            let (from, exact) = (active.allocated, needed - active.allocated);
            let ahead = space::next_allocation(from, needed, &self.config) - from;
            // Near the end of the disk, a smaller step may still fit.
            let step = match self.space.check(disk, dir, ahead, &self.config) {
                Ok(()) => ahead,
                Err(_) => self
                    .space
                    .check(disk, dir, exact, &self.config)
                    .map(|()| exact)?,
            };
            let store = &active.open.store;
            store.file.allocate(from, step).map_err(|e| {
                self.space
                    .judge(e, "reserve space in", &store.path, step, &self.config)
            })?;
            active.allocated = from + step;
        }
        let Some(index) = &active.open.index else {
            return Ok(());
        };
        let capacity = active.capacity_after(group);
        index.reserve(capacity).map_err(|e| {
            self.space
                .judge(e, "extend an index in", dir, group.bytes, &self.config)
        })
    }

    /// Writes down, in a frame of its own, how far the log is synced, if the disk does not say so
    /// yet: afterwards damage to the last entries is told from an unfinished write. For logs that
    /// are idle for a moment. Returns whether a mark was written; it counts once it is synced.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn mark_if_idle(&mut self) -> Result<bool, AppendError> {
        self.shared.poison.check()?;
        if self.marked >= self.synced().index || self.active.is_none() {
            return Ok(false);
        }
        let synced = self.synced().index;
        let header = FrameHeader {
            payload_len: 0,
            payload_crc: 0,
            index: self.next_index,
            term: self.last_term,
            first_offset: self.next_offset,
            append_time: TimestampMs::MIN,
            max_timestamp: TimestampMs::MIN,
            synced,
            records: 0,
            kind: EntryKind::MARK,
        };
        self.reserve(&Group {
            frames: Vec::new(),
            bytes: frame_len(0),
            records: 0,
        })?;
        let Some(active) = &mut self.active else {
            return Ok(false);
        };
        active.dirty = true;
        if let Err(source) = active.open.store.write_mark(active.end.position, &header) {
            let path = active.open.store.path.clone();
            return Err(self.poison(AppendError::Io {
                what: "write",
                path,
                source,
            }));
        }
        active.end.position += frame_len(0);
        self.marked = synced;
        Ok(true)
    }
}

/// Entries that are written together.
#[derive(Default)]
struct Group<'e, 'p> {
    frames: Vec<(FrameHeader, &'e Entry<'p>)>,
    bytes: u64,
    /// Offsets that they span, holes included.
    records: u64,
}

impl<'e, 'p> Group<'e, 'p> {
    fn push(&mut self, header: FrameHeader, entry: &'e Entry<'p>) {
        let start = self
            .frames
            .first()
            .map_or(entry.first_offset, |(first, _)| first.first_offset);
        self.bytes += header.frame_len();
        self.records = header.next_offset().since(start).unwrap_or_default();
        self.frames.push((header, entry));
    }
}

impl Active {
    /// Room that the indexes need once `group` is in.
    fn capacity_after(&self, group: &Group<'_, '_>) -> Capacity {
        let entries = self
            .end
            .next_index
            .since(self.segment.first_index)
            .unwrap_or_default();
        let next_offset = group
            .frames
            .last()
            .map_or(self.end.next_offset, |(last, _)| last.next_offset());
        Capacity {
            entries: entries + group.frames.len() as u64,
            offsets: next_offset.since(self.segment.base).unwrap_or_default(),
            times: u64::from(self.end.time_slots) + group.frames.len() as u64,
        }
    }

    /// Takes note of an entry that was written at the end.
    pub(crate) fn note(&mut self, header: &FrameHeader, time_index_interval: u32) {
        let end = &mut self.end;
        let ordinal = header
            .index
            .since(self.segment.first_index)
            .unwrap_or_default() as u32;
        let slot = Slot {
            position: end.position,
            payload_len: header.payload_len,
            term: header.term,
            payload_crc: header.payload_crc,
            offset_delta: header
                .first_offset
                .since(self.segment.base)
                .unwrap_or_default() as u32,
        };
        let gap = header
            .first_offset
            .since(end.next_offset)
            .unwrap_or_default() as u32;
        end.add(header);
        self.since_time_slot += header.frame_len();
        let Some(index) = &self.open.index else {
            return;
        };
        index.put(ordinal, &slot, gap, header.records);
        if self.since_time_slot >= u64::from(time_index_interval) {
            index.push_time(end.max_timestamp, ordinal);
            end.time_slots = index.times_len();
            self.since_time_slot = 0;
        }
    }
}

type End = (
    trilith_types::LogIndex,
    trilith_types::Offset,
    trilith_types::Term,
);

/// Checks that an entry can follow the end of the log.
fn check_entry(
    entry: &Entry<'_>,
    (index, offset, term): End,
    config: &crate::config::LogConfig,
) -> Result<(), AppendError> {
    if entry.index != index {
        return Err(AppendError::IndexOutOfOrder {
            expected: index,
            found: entry.index,
        });
    }
    if entry.first_offset < offset {
        return Err(AppendError::OffsetTaken {
            end: offset,
            found: entry.first_offset,
        });
    }
    if entry.term < term {
        return Err(AppendError::TermOutOfOrder {
            last: term,
            found: entry.term,
        });
    }
    let bytes = entry.payload_bytes();
    if bytes > config.payload_bytes_max.into() {
        return Err(AppendError::TooLarge {
            bytes,
            max: config.payload_bytes_max,
        });
    }
    if entry.records > config.segment_offsets_max {
        let (records, max) = (entry.records, config.segment_offsets_max);
        return Err(AppendError::TooManyRecords { records, max });
    }
    if entry.kind == EntryKind::MARK {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "marks are the log's own");
        return Err(AppendError::Io {
            what: "append to",
            path: std::path::PathBuf::new(),
            source,
        });
    }
    Ok(())
}
