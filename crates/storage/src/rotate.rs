//! When a segment ends, and how the next one begins.

use std::sync::Arc;

use trilith_env::OpenMode;
use trilith_types::{Offset, TimestampMs};

use crate::{
    config::LogConfig,
    entry::Entry,
    error::{AppendError, ReadError},
    file_header::FileKind,
    frame::frame_len,
    index::{Index, IndexError},
    log::{Active, Log},
    meta::{SegmentEnd, SegmentId, SegmentMeta, SegmentState},
    segment::{OpenSegment, Segment},
    space::next_allocation,
    store::{FIRST_FRAME, Store},
};

/// Whether `entry` begins a new segment. The answer depends on the entries alone, so that
/// replicas that hold the same entries have the same segments.
pub(crate) fn must_rotate(
    segment: &Segment,
    end: &SegmentEnd,
    entry: &Entry<'_>,
    config: &LogConfig,
) -> bool {
    if end.next_index == segment.first_index {
        // An empty segment takes any entry that can lie in it at all.
        return entry
            .next_offset()
            .since(segment.base)
            .is_none_or(|span| span > u32::MAX.into());
    }
    let offsets = entry.next_offset().since(segment.base).unwrap_or(u64::MAX);
    let entries = entry.index.since(segment.first_index).unwrap_or(u64::MAX);
    end.entry_bytes + frame_len(entry.payload_bytes()) > config.segment_bytes
        || offsets > config.segment_offsets_max.into()
        || entries >= config.segment_entries_max.into()
        || is_old(end, entry.append_time, config)
}

/// Whether the first entry is as old as a segment's may be.
fn is_old(end: &SegmentEnd, now: TimestampMs, config: &LogConfig) -> bool {
    let age = now.millis_since(end.first_append_time);
    config
        .segment_age
        .is_some_and(|max| end.entry_bytes > 0 && u128::from(age) >= max.as_millis())
}

impl SegmentEnd {
    /// Counts an entry that follows.
    pub(crate) fn add(&mut self, header: &crate::frame::FrameHeader) {
        self.position += header.frame_len();
        if header.is_mark() {
            return;
        }
        if self.entry_bytes == 0 {
            self.first_append_time = header.append_time;
        }
        self.entry_bytes += header.frame_len();
        self.next_index = header.index.next();
        self.next_offset = header.next_offset();
        self.last_term = header.term;
        self.last_append_time = self.last_append_time.max(header.append_time);
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }
}

impl Log {
    /// Makes sure that there is a segment that takes `entry`.
    pub(crate) fn make_ready(&mut self, entry: &Entry<'_>) -> Result<(), AppendError> {
        self.unpark()?;
        if let Some(active) = &self.active {
            if !must_rotate(&active.segment, &active.end, entry, &self.config) {
                return Ok(());
            }
            self.check_room()?;
            self.end_active()?;
        }
        self.make_dir()?;
        self.check_room()?;
        match self.resumable(entry) {
            Some((meta, end)) => self.resume(meta, end, entry.first_offset),
            None => self.begin_next(entry.first_offset),
        }
    }

    /// The log's directory is made with its first entry: a log without any takes no space.
    fn make_dir(&mut self) -> Result<(), AppendError> {
        if !self.pending.lazy || self.pending.has_dir {
            return Ok(());
        }
        let (disk, dir) = (&*self.place.disk, &self.place.dir);
        let made = self.pending.make_dir(disk, dir);
        made.map_err(|e| self.space.judge(e, "make", dir, FIRST_FRAME, &self.config))?;
        self.pending.has_dir = true;
        Ok(())
    }

    /// Making and listing files takes a little space; it is not taken from the reserve.
    fn check_room(&mut self) -> Result<(), AppendError> {
        /// Three indexes with two pages each, and two copies of the manifest.
        const INDEXES_BYTES: u64 = 64 << 10;
        let bytes = INDEXES_BYTES + next_allocation(0, FIRST_FRAME, &self.config);
        self.space
            .check(&*self.place.disk, &self.place.dir, bytes, &self.config)
    }

    /// The last segment, if it was settled and takes `entry`.
    fn resumable(&self, entry: &Entry<'_>) -> Option<(SegmentMeta, SegmentEnd)> {
        let meta = self.manifest.segments.last()?;
        if meta.id <= self.manifest.sealed {
            return None;
        }
        let SegmentState::Synced(end) = meta.state else {
            return None;
        };
        let segment = Segment::new(&self.place, meta, &[]);
        // After damage at its very end nobody knows where it ended.
        let damaged = self
            .manifest
            .damage
            .iter()
            .any(|d| d.segment == meta.id && d.position_end >= end.position);
        let ends_here = end.next_index == self.next_index && end.next_offset == self.next_offset;
        let takes = !must_rotate(&segment, &end, entry, &self.config);
        (ends_here && takes && !damaged).then_some((*meta, end))
    }

    /// Goes on writing the last segment. Before its first new entry, the manifest says durably
    /// that its end is open.
    fn resume(
        &mut self,
        meta: SegmentMeta,
        end: SegmentEnd,
        first_offset: Offset,
    ) -> Result<(), AppendError> {
        let meta = SegmentMeta {
            state: SegmentState::Open,
            ..meta
        };
        let segment = self.listed(&meta);
        if let Some(open) = Self::still_open(&segment) {
            // Readers go on with the same mappings, which grow in place.
            let io = |source| AppendError::Io {
                what: "measure",
                path: open.store.path.clone(),
                source,
            };
            let allocated = open.store.file.len().map_err(io)?;
            return self.activate(segment, open, end, allocated, meta);
        }
        let store = match segment.open_store(OpenMode::Existing) {
            Ok(store) => store,
            Err(ReadError::Io { path, source }) => {
                return Err(AppendError::Io {
                    what: "open",
                    path,
                    source,
                });
            }
            // Its store is gone or foreign: leave it as it is and begin another.
            Err(_) => return self.begin_next(first_offset),
        };
        let io = |source| AppendError::Io {
            what: "measure",
            path: store.path.clone(),
            source,
        };
        let allocated = store.file.len().map_err(io)?;
        if allocated < end.position {
            return self.begin_next(first_offset);
        }
        let index = self.index_for(&segment, &store, end)?;
        let time_slots = index.times_len();
        let open = Arc::new(OpenSegment {
            store,
            index: Some(index),
        });
        self.activate(
            segment,
            open,
            SegmentEnd { time_slots, ..end },
            allocated,
            meta,
        )
    }

    /// The segment as readers have it, so that those in it go on.
    pub(crate) fn listed(&self, meta: &SegmentMeta) -> Arc<Segment> {
        let list = self.shared.list.load();
        let held = list.segments.iter().find(|segment| segment.id == meta.id);
        held.map_or_else(
            || Arc::new(Segment::new(&self.place, meta, &self.manifest.damage)),
            Arc::clone,
        )
    }

    /// The open files of a segment, if they are open with an index that is to be trusted.
    fn still_open(segment: &Segment) -> Option<Arc<OpenSegment>> {
        segment
            .opened()
            .filter(|open| open.index.is_some() && !segment.is_suspect())
    }

    /// The index of a segment that is resumed, built again if it cannot be used.
    fn index_for(
        &self,
        segment: &Segment,
        store: &Store,
        end: SegmentEnd,
    ) -> Result<Index, AppendError> {
        let header = segment.header(FileKind::Store);
        match Index::open(&*self.place.disk, &self.place.dir, &header, end.time_slots) {
            Ok(index) => Ok(index),
            Err(IndexError::Format(e)) => {
                let source = std::io::Error::other(e);
                Err(AppendError::Io {
                    what: "use the index of",
                    path: store.path.clone(),
                    source,
                })
            }
            Err(IndexError::Unusable { .. } | IndexError::Io { .. }) => {
                crate::recovery::rebuild::index_upto(segment, store, &end).map_err(|source| {
                    AppendError::Io {
                        what: "build the index of",
                        path: store.path.clone(),
                        source,
                    }
                })
            }
        }
    }

    /// Makes the next segment's files, and lists them durably before anything is written to them.
    fn begin_next(&mut self, base: Offset) -> Result<(), AppendError> {
        let meta = SegmentMeta {
            id: self.manifest.next_segment,
            base,
            first_index: self.next_index,
            salt: self.env.rng.next_u64(),
            state: SegmentState::Open,
        };
        let segment = Arc::new(Segment::new(&self.place, &meta, &[]));
        let (header, path) = (
            segment.header(FileKind::Store),
            segment.path(FileKind::Store),
        );
        let disk = Arc::clone(&self.place.disk);
        // An attempt that ran out of space may have left it; no manifest lists it.
        let _ = disk.remove_file(&path);
        let allocated = next_allocation(0, FIRST_FRAME, &self.config);
        let store = Store::create(&*disk, &path, &header, allocated).map_err(|e| {
            self.space
                .judge(e, "make", &path, FIRST_FRAME, &self.config)
        })?;
        let index =
            Index::create(&*disk, &self.place.dir, &header).map_err(|e| self.judge_index(e))?;
        self.sync_names()?;
        let end = SegmentEnd::empty(meta.base, meta.first_index, self.last_term, FIRST_FRAME);
        let open = Arc::new(OpenSegment {
            store,
            index: Some(index),
        });
        self.manifest.next_segment = SegmentId(meta.id.0 + 1);
        self.activate(segment, open, end, allocated, meta)
    }

    /// Makes the names of new files durable before the manifest lists them.
    fn sync_names(&self) -> Result<(), AppendError> {
        if self.pending.lazy {
            return Ok(());
        }
        self.place.disk.sync_dir(&self.place.dir).map_err(|source| {
            // A directory that could not be opened was not synced, and may be another time.
            let was_tried = !trilith_env::is_out_of_files(&source);
            let error = AppendError::Io {
                what: "sync the directory",
                path: self.place.dir.clone(),
                source,
            };
            if was_tried { self.poison(error) } else { error }
        })
    }

    fn judge_index(&mut self, error: IndexError) -> AppendError {
        match error {
            IndexError::Io { path, source } => {
                self.space
                    .judge(source, "make", &path, FIRST_FRAME, &self.config)
            }
            IndexError::Format(_) | IndexError::Unusable { .. } => {
                let (path, source) = (self.place.dir.clone(), std::io::Error::other(error));
                AppendError::Io {
                    what: "make the index in",
                    path,
                    source,
                }
            }
        }
    }

    /// Lists the segment as open in the manifest, shows it to readers, and writes to it from now on.
    fn activate(
        &mut self,
        segment: Arc<Segment>,
        open: Arc<OpenSegment>,
        end: SegmentEnd,
        allocated: u64,
        meta: SegmentMeta,
    ) -> Result<(), AppendError> {
        self.manifest.segments.retain(|held| held.id != meta.id);
        self.manifest.segments.push(meta);
        let is_listed_open = self.pending.open_on_disk == Some(meta.id);
        if !(self.pending.lazy && is_listed_open)
            && let Err(e) = self.manifest_changed()
        {
            let (path, source) = (self.place.dir.clone(), std::io::Error::other(e));
            return Err(self.poison(AppendError::Io {
                what: "update the manifest in",
                path,
                source,
            }));
        }
        segment.trust_index();
        segment.set_writing(true, 0);
        segment.set_open(Arc::clone(&open));
        segment.set_end(None);
        let shown = Arc::clone(&segment);
        self.show(move |list| {
            list.segments.retain(|held| held.id != shown.id);
            list.segments.push(shown);
        });
        self.active = Some(Active {
            segment,
            open,
            end,
            allocated,
            since_time_slot: 0,
            dirty: true,
        });
        Ok(())
    }

    /// Ends the segment that is being written: gives back the space reserved ahead and submits
    /// its sync. The manifest learns of it with its next change.
    pub(crate) fn end_active(&mut self) -> Result<(), AppendError> {
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        let store = &active.open.store;
        if let Err(source) = store.file.set_len(active.end.position) {
            let path = store.path.clone();
            return Err(self.poison(AppendError::Io {
                what: "cut",
                path,
                source,
            }));
        }
        if let Some(meta) = self
            .manifest
            .segments
            .iter_mut()
            .find(|m| m.id == active.segment.id)
        {
            meta.state = SegmentState::Closed(active.end);
        }
        self.flights
            .ended
            .push((active.segment.id, store.file.submit_sync()));
        active.segment.set_end(Some(active.end));
        active.segment.set_writing(false, active.end.time_slots);
        self.shared.files.admit(&active.segment);
        Ok(())
    }

    /// Ends the segment that is being written when its first entry is older than `segment_age`
    /// allows, so that retention can remove it in an idle log. The next entry, which is accepted
    /// later still, would have ended it too. Returns whether it did.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn rotate_if_old(&mut self, now: TimestampMs) -> Result<bool, AppendError> {
        self.shared.poison.check()?;
        let parked = self.parked.as_ref().map(|parked| &parked.end);
        let end = self.active.as_ref().map(|active| &active.end).or(parked);
        if !end.is_some_and(|end| is_old(end, now, &self.config)) {
            return Ok(false);
        }
        self.unpark()?;
        self.end_active()?;
        Ok(true)
    }
}
