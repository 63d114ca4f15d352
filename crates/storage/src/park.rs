//! A quiet log closes its files without a sync, and opens them again with the next append.

use std::sync::Arc;

use trilith_env::{File, OpenMode};

use crate::{
    error::{AppendError, ReadError, SyncError},
    index::Index,
    log::{Active, Log},
    meta::SegmentEnd,
    recovery::rebuild,
    segment::{OpenSegment, Segment},
};

/// The segment that is being written, with its files closed.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: SegmentEnd,
    pub(crate) allocated: u64,
    pub(crate) since_time_slot: u64,
    pub(crate) dirty: bool,
}

impl Log {
    /// Closes the files that are being written, and does nothing else: no sync, nothing written
    /// down. The next append opens them again. For logs that have gone quiet, of which there may
    /// be more than a process may have open files.
    ///
    /// What was not synced is synced later through another descriptor. Linux reports a failed
    /// write-back to the next one that syncs, whoever that is, unless the file has left the
    /// kernel's memory meanwhile; use it where a journal holds what is not synced.
    pub fn park(&mut self) {
        let Some(active) = self.active.take() else {
            return;
        };
        active.segment.set_writing(false, active.end.time_slots);
        active.segment.close_files();
        self.parked = Some(Parked {
            segment: active.segment,
            end: active.end,
            allocated: active.allocated,
            since_time_slot: active.since_time_slot,
            dirty: active.dirty,
        });
    }

    /// Opens again what was parked.
    pub(crate) fn unpark(&mut self) -> Result<(), AppendError> {
        let Some(parked) = &self.parked else {
            return Ok(());
        };
        let open = writable(&parked.segment, &parked.end)?;
        let Some(parked) = self.parked.take() else {
            return Ok(());
        };
        let segment = parked.segment;
        segment.set_writing(true, 0);
        segment.set_open(Arc::clone(&open));
        let time_slots = open.index.as_ref().map_or(0, Index::times_len);
        self.active = Some(Active {
            segment,
            open,
            end: SegmentEnd {
                time_slots,
                ..parked.end
            },
            allocated: parked.allocated,
            since_time_slot: parked.since_time_slot,
            dirty: parked.dirty,
        });
        Ok(())
    }

    /// The store of what was parked without a sync, to be synced. Without a descriptor to open it
    /// nothing has happened, and it may be tried again.
    pub(crate) fn parked_file(&mut self) -> Result<Option<Arc<dyn File>>, SyncError> {
        let Some(parked) = self.parked.as_mut().filter(|parked| parked.dirty) else {
            return Ok(None);
        };
        let store = match parked.segment.open_store(OpenMode::Existing) {
            Ok(store) => store,
            Err(ReadError::Io { source, .. }) if trilith_env::is_out_of_files(&source) => {
                let reason = source.to_string();
                return Err(SyncError { reason });
            }
            Err(error) => return Err(self.poison_sync(&error)),
        };
        parked.dirty = false;
        Ok(Some(store.file))
    }
}

/// The open files of a segment that ends at `end` so far, with an index to write to.
pub(crate) fn writable(
    segment: &Segment,
    end: &SegmentEnd,
) -> Result<Arc<OpenSegment>, AppendError> {
    let failed = |what, error: ReadError| {
        let path = segment.path(crate::file_header::FileKind::Store);
        let source = match error {
            ReadError::Io { source, .. } => source,
            other => std::io::Error::other(other),
        };
        AppendError::Io { what, path, source }
    };
    let open = segment.open_files().map_err(|e| failed("open", e))?;
    if open.index.is_some() && !segment.is_suspect() {
        return Ok(open);
    }
    let path = open.store.path.clone();
    let index =
        rebuild::index_upto(segment, &open.store, end).map_err(|source| AppendError::Io {
            what: "build the index of",
            path,
            source,
        })?;
    segment.trust_index();
    Ok(Arc::new(OpenSegment {
        store: open.store.clone(),
        index: Some(index),
    }))
}
