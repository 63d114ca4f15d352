//! Taking entries back: a suffix that another leader's entries replace, or all of them when a
//! snapshot takes their place.

use std::sync::{Arc, atomic::Ordering};

use trilith_types::{LogIndex, Offset, Term};

use crate::{
    error::{SyncError, TruncateError},
    file_header::FileKind,
    frame::FrameHeader,
    locate,
    log::Log,
    manifest::LogStart,
    meta::{SegmentEnd, SegmentId, SegmentMeta, SegmentState},
    scan::{Found, Scan},
    segment::{OpenSegment, Segment},
    store::FIRST_FRAME,
    sync::MarkPart,
    terms::TermRun,
};

impl Log {
    /// Takes back the entries from `from` on. Their bytes are never written over: the segment that
    /// holds `from` ends before it for good, later ones go, and the next entry begins a new one.
    /// Files are cut and removed once the manifest no longer lists what was in them.
    ///
    /// Call it when the truncation is durable in the journal. Without entries at or after `from`
    /// it does nothing.
    ///
    /// # Errors
    /// [`TruncateError::Visible`] when a reader may have seen them; nothing has changed then.
    pub fn truncate(&mut self, from: LogIndex) -> Result<(), TruncateError> {
        self.shared.poison.check()?;
        if from >= self.next_index {
            return Ok(());
        }
        let start = self.start_index();
        if from < start {
            return Err(TruncateError::BelowStart { from, start });
        }
        self.unpark()?;
        let segments = self.segments();
        let keep = segments.partition_point(|meta| meta.first_index < from);
        let (kept, gone) = segments.split_at(keep);
        let end = match kept.last() {
            Some(last) => Some(match self.end_before(last, from) {
                Err(TruncateError::Damaged { .. }) => {
                    // Its place is known once its damage is.
                    drop(self.note_damage(from.prev()));
                    self.end_before(last, from)?
                }
                other => other?,
            }),
            None => None,
        };
        let next_offset = end.map_or(self.manifest.start.offset, |end| end.next_offset);
        let visible = self.visible_upto();
        // What was trimmed may lie past the end; nobody reads it.
        if next_offset < visible && visible > self.start_offset() {
            let end = next_offset;
            return Err(TruncateError::Visible { from, end, visible });
        }
        self.seal();
        if let (Some(last), Some(end)) = (kept.last(), end) {
            self.manifest.end_damage(from, next_offset);
            self.cut_segment(last, end);
        }
        self.drop_segments(gone);
        self.end_before_entry(from, next_offset);
        self.flights.end_at(self.place_now());
        self.list_changes()
            .map_err(|e| TruncateError::Sync(self.poison_sync(&e)))
    }

    /// Begins the log anew at `next_index`, as after the installation of a snapshot: everything in
    /// it goes, and the next entry is that one, with `next_offset` and after `last_term`.
    ///
    /// # Errors
    /// The log is poisoned, or its manifest could not be stored.
    pub fn reset(
        &mut self,
        next_index: LogIndex,
        next_offset: Offset,
        last_term: Term,
    ) -> Result<(), SyncError> {
        self.shared.poison.check_sync()?;
        let segments = self.segments();
        self.seal();
        self.parked = None;
        self.drop_segments(&segments);
        self.manifest.start = LogStart {
            offset: next_offset,
            index: next_index,
            prev_term: last_term,
        };
        self.manifest.trimmed = next_offset;
        self.manifest.terms.cut(LogIndex::ZERO);
        (self.next_index, self.next_offset) = (next_index, next_offset);
        self.last_term = last_term;
        self.marked = next_index.prev();
        self.shared
            .next_index
            .store(next_index.0, Ordering::Release);
        self.shared.visible.raise(next_offset.0);
        self.show(|list| list.start = next_offset);
        self.flights.begin_at(MarkPart {
            segment: SegmentId(0),
            position: 0,
            index: next_index.prev(),
            next_offset,
            last_term,
        });
        self.list_changes().map_err(|e| self.poison_sync(&e))
    }

    /// No segment that is there now is written again.
    fn seal(&mut self) {
        self.manifest.sealed = SegmentId(self.manifest.next_segment.0.saturating_sub(1));
    }

    fn end_before_entry(&mut self, from: LogIndex, next_offset: Offset) {
        self.manifest.terms.cut(from);
        (self.next_index, self.next_offset) = (from, next_offset);
        self.last_term = self.term_at(from.prev()).unwrap_or_default();
        self.marked = self.marked.min(from.prev());
        self.shared.next_index.store(from.0, Ordering::Release);
    }

    /// Ends a segment before its end. Readers in it go no further.
    fn cut_segment(&mut self, meta: &SegmentMeta, end: SegmentEnd) {
        let segment = self.segment_of(meta);
        segment.set_end(Some(end));
        let damage = self.manifest.damage.iter();
        let here = damage.filter(|damage| damage.segment == meta.id);
        segment.set_damage(here.copied().collect());
        let was_active = self.active.take_if(|active| active.segment.id == meta.id);
        if let Some(active) = &was_active {
            let sync = active.open.store.file.submit_sync();
            self.flights.ended.push((meta.id, sync));
            segment.set_writing(false, end.time_slots);
            self.shared.files.admit(&segment);
        }
        let listed = self.manifest.segments.iter_mut();
        for listed in listed.filter(|listed| listed.id == meta.id) {
            listed.state = match listed.state {
                SegmentState::Synced(_) => SegmentState::Synced(end),
                _ => SegmentState::Closed(end),
            };
        }
        self.pending
            .cut(segment.path(FileKind::Store), end.position);
    }

    /// Takes whole segments out of the log.
    fn drop_segments(&mut self, gone: &[SegmentMeta]) {
        let is_gone = |id| gone.iter().any(|meta| meta.id == id);
        if let Some(active) = self.active.take_if(|active| is_gone(active.segment.id)) {
            active.segment.set_writing(false, active.end.time_slots);
        }
        for meta in gone {
            // Whoever is in it reads it to its end.
            self.segment_of(meta).keep_open();
            self.pending.remove(*meta);
        }
        self.manifest.segments.retain(|meta| !is_gone(meta.id));
        self.manifest
            .damage
            .retain(|damage| !is_gone(damage.segment));
        self.show(|list| list.segments.retain(|segment| !is_gone(segment.id)));
    }

    /// Where a segment ends without its entries from `from` on.
    fn end_before(&self, meta: &SegmentMeta, from: LogIndex) -> Result<SegmentEnd, TruncateError> {
        let segment = self.segment_of(meta);
        let unknown = || TruncateError::Damaged {
            path: segment.path(FileKind::Store),
            from,
        };
        let end = meta.state.end().ok_or_else(unknown)?;
        if end.next_index <= from {
            return Ok(end);
        }
        let open = self.files_of(&segment)?;
        let found = before(&segment, &open, from, &end).map_err(|source| TruncateError::Io {
            path: open.store.path.clone(),
            source,
        })?;
        let Some((position, last)) = found else {
            return self.end_in_damage(meta, from, &end).ok_or_else(unknown);
        };
        let ordinal = from.since(segment.first_index).unwrap_or_default();
        let in_time = |slots: &u32| {
            let index = open.index.as_ref();
            let slot = index.and_then(|index| index.time_slot(u64::from(*slots)));
            slot.is_some_and(|(_, entry)| u64::from(entry) < ordinal)
        };
        let time_slots = (0..end.time_slots).take_while(in_time).count() as u32;
        Ok(SegmentEnd {
            position,
            next_index: from,
            next_offset: last.next_offset(),
            last_term: last.term,
            entry_bytes: end.entry_bytes.saturating_sub(end.position - position),
            last_append_time: last.append_time,
            time_slots,
            ..end
        })
    }

    /// Where a segment ends without its entries from `from` on, when the entry before is damaged:
    /// where the damage does. It stays what it is.
    fn end_in_damage(
        &self,
        meta: &SegmentMeta,
        from: LogIndex,
        end: &SegmentEnd,
    ) -> Option<SegmentEnd> {
        let mut known = self.manifest.damage.iter();
        let damage = known.find(|damage| {
            damage.segment == meta.id && damage.first_index < from && from <= damage.next_index
        })?;
        let next_offset = if damage.next_index == from {
            damage.next_offset
        } else {
            // How many of the lost offsets were before `from` is not known: the rest is a hole.
            damage.first_offset
        };
        Some(SegmentEnd {
            position: damage.position_end,
            next_index: from,
            next_offset,
            last_term: self.term_at(from.prev()).unwrap_or_default(),
            entry_bytes: end
                .entry_bytes
                .saturating_sub(end.position.saturating_sub(damage.position_end)),
            time_slots: 0,
            ..*end
        })
    }

    /// The segment as readers have it.
    pub(crate) fn segment_of(&self, meta: &SegmentMeta) -> Arc<Segment> {
        self.listed(meta)
    }

    /// The segment's open files.
    pub(crate) fn files_of(
        &self,
        segment: &Arc<Segment>,
    ) -> Result<Arc<OpenSegment>, TruncateError> {
        match &self.active {
            Some(active) if active.segment.id == segment.id => Ok(Arc::clone(&active.open)),
            _ => Ok(self.shared.files.get(segment)?),
        }
    }

    /// The terms of all entries, oldest first, without reading any. Of entries that were damaged
    /// when the log was opened, the term is that of their neighbours where nothing else is known.
    #[must_use]
    pub fn term_runs(&self) -> Vec<TermRun> {
        self.manifest.terms.runs(self.next_index)
    }

    /// The term of an entry, or of the one before the first.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index.next() == self.start_index() {
            return Some(self.manifest.start.prev_term);
        }
        if index >= self.next_index {
            return None;
        }
        self.manifest.terms.at(index)
    }
}

/// Where the entry before `from` ends, and its header; `None` when it cannot be found.
fn before(
    segment: &Segment,
    open: &OpenSegment,
    from: LogIndex,
    end: &SegmentEnd,
) -> std::io::Result<Option<(u64, FrameHeader)>> {
    let ordinal = from
        .prev()
        .since(segment.first_index)
        .and_then(|n| u32::try_from(n).ok());
    if let Some(ordinal) = ordinal
        && let Some((position, header)) = locate::entry_at(segment, open, ordinal)?
    {
        return Ok(Some((position + header.frame_len(), header)));
    }
    let store = &open.store;
    let mut scan = Scan::new(&*store.file, store.salt, FIRST_FRAME, end.position)?;
    while let Some(found) = scan.next_found()? {
        if let Found::Frame {
            position, header, ..
        } = found
            && header.index == from.prev()
            && !header.is_mark()
        {
            return Ok(Some((position + header.frame_len(), header)));
        }
    }
    Ok(None)
}
