//! Retention: whole segments go, oldest first, never the one that is being written.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use trilith_env::Disk;
use trilith_types::{LogIndex, Offset, TimestampMs};

use crate::{
    error::SyncError,
    file_header::FileKind,
    layout,
    log::Log,
    manifest::LogStart,
    meta::{SegmentEnd, SegmentMeta},
};

/// How much a log keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Segments go while the log without them still has this many bytes.
    pub bytes: Option<u64>,
    /// Segments go when their last entry was accepted this long ago.
    pub age: Option<Duration>,
}

/// Segments that are no longer part of the log, and whose files remain to be removed.
#[derive(Debug)]
#[must_use = "the files take space until they are removed"]
pub struct Retired {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: Vec<SegmentMeta>,
    bytes: u64,
}

impl Retired {
    /// How many segments.
    #[must_use]
    pub const fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Bytes of their stores.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes the files; on any thread, for it may take long. What a crash leaves behind goes
    /// when the log is opened next. Readers that have a file open read it to its end.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn remove_files(self) -> io::Result<()> {
        for meta in &self.segments {
            remove_segment_files(&*self.disk, &self.dir, meta)?;
        }
        if self.segments.is_empty() {
            Ok(())
        } else {
            self.disk.sync_dir(&self.dir)
        }
    }
}

/// Removes all files of a segment that are there.
pub(crate) fn remove_segment_files(
    disk: &dyn Disk,
    dir: &std::path::Path,
    meta: &SegmentMeta,
) -> io::Result<()> {
    for kind in [
        FileKind::Store,
        FileKind::Offsets,
        FileKind::Entries,
        FileKind::Times,
    ] {
        match disk.remove_file(&layout::segment_path(dir, meta.base, meta.id, kind)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

impl Log {
    /// Takes out of the log what `policy` no longer keeps: durably first, then from the readers'
    /// sight. A reader that comes later is told where the log begins now.
    ///
    /// # Errors
    /// The manifest could not be made durable; the log is poisoned.
    pub fn enforce_retention(
        &mut self,
        now: TimestampMs,
        policy: &RetentionPolicy,
    ) -> Result<Retired, SyncError> {
        self.shared.poison.check_sync()?;
        let segments = self.segments();
        let is_written = self.active.is_some() || self.parked.is_some();
        let count = expired(&segments, is_written, now, policy);
        self.retire(segments.get(..count).unwrap_or_default())
    }

    fn retire(&mut self, gone: &[SegmentMeta]) -> Result<Retired, SyncError> {
        let ends = gone.iter().filter_map(|meta| meta.state.end());
        let bytes = ends.map(|end| end.position).sum();
        let (disk, dir) = (Arc::clone(&self.place.disk), self.place.dir.clone());
        let Some(end) = gone.last().and_then(|meta| meta.state.end()) else {
            return Ok(Retired {
                disk,
                dir,
                segments: Vec::new(),
                bytes: 0,
            });
        };
        self.forget(gone, &end);
        self.store_manifest().map_err(|e| self.poison_sync(&e))?;
        // What is gone must not be taken for something that is yet to come.
        self.publish(end.next_offset);
        self.hide(gone);
        self.show(|list| list.start = list.start.max(end.next_offset));
        Ok(Retired {
            disk,
            dir,
            segments: gone.to_vec(),
            bytes,
        })
    }

    /// Moves the log's beginning to `to`, as a replicated command says: readers find nothing below
    /// it, and segments go that hold nothing else and no entry after `applied`. In a log without
    /// any records `applied` alone decides. Their files are
    /// removed once the manifest no longer lists them. Returns how many segments went.
    ///
    /// # Errors
    /// The log is poisoned, or its manifest could not be stored.
    pub fn trim(&mut self, to: Offset, applied: LogIndex) -> Result<usize, SyncError> {
        self.shared.poison.check_sync()?;
        let segments = self.segments();
        let is_written = self.active.is_some() || self.parked.is_some();
        let removable = segments.len().saturating_sub(usize::from(is_written));
        let is_below = |meta: &&SegmentMeta| {
            let end = meta.state.end();
            end.is_some_and(|end| end.next_offset <= to && end.next_index <= applied.next())
        };
        let count = segments.iter().take(removable).take_while(is_below).count();
        let gone = segments.get(..count).unwrap_or_default();
        if count == 0 && to <= self.start_offset() {
            return Ok(0);
        }
        self.manifest.trimmed = self.manifest.trimmed.max(to);
        if let Some(end) = gone.last().and_then(|meta| meta.state.end()) {
            self.hide(gone);
            self.forget(gone, &end);
            gone.iter().for_each(|meta| self.pending.remove(*meta));
        }
        self.show(|list| list.start = list.start.max(to));
        self.shared.visible.raise(self.start_offset().0);
        self.list_changes().map_err(|e| self.poison_sync(&e))?;
        Ok(count)
    }

    /// Takes segments out of readers' sight; whoever is in one reads it to its end.
    fn hide(&self, gone: &[SegmentMeta]) {
        let is_gone = |id| gone.iter().any(|meta| meta.id == id);
        let list = self.shared.list.load_full();
        for segment in list.segments.iter().filter(|segment| is_gone(segment.id)) {
            segment.keep_open();
        }
        self.show(|list| list.segments.retain(|segment| !is_gone(segment.id)));
    }

    fn forget(&mut self, gone: &[SegmentMeta], end: &SegmentEnd) {
        let is_gone = |id| gone.iter().any(|meta| meta.id == id);
        self.manifest.segments.retain(|meta| !is_gone(meta.id));
        self.manifest
            .damage
            .retain(|damage| !is_gone(damage.segment));
        self.manifest.start = LogStart {
            offset: end.next_offset,
            index: end.next_index,
            prev_term: end.last_term,
        };
        self.manifest
            .terms
            .begin_at(end.next_index, self.next_index);
    }

    /// Where the log would begin if `policy` were enforced now, its entry and its offset; `None`
    /// when nothing would go. For a log whose start moves by a replicated command, see
    /// [`Log::trim`].
    #[must_use]
    pub fn retention_target(
        &self,
        now: TimestampMs,
        policy: &RetentionPolicy,
    ) -> Option<(LogIndex, Offset)> {
        let segments = self.segments();
        let is_written = self.active.is_some() || self.parked.is_some();
        let count = expired(&segments, is_written, now, policy);
        let end = segments.get(count.checked_sub(1)?)?.state.end()?;
        (end.next_offset > self.start_offset()).then_some((end.next_index, end.next_offset))
    }

    /// The offset at which the log would begin if `policy` were enforced now.
    #[must_use]
    pub fn retention_start(&self, now: TimestampMs, policy: &RetentionPolicy) -> Offset {
        let segments = self.segments();
        let is_written = self.active.is_some() || self.parked.is_some();
        let count = expired(&segments, is_written, now, policy);
        let last = count.checked_sub(1).and_then(|i| segments.get(i));
        last.and_then(|meta| meta.state.end())
            .map_or(self.start_offset(), |end| end.next_offset)
    }
}

/// How many segments from the front are no longer kept.
fn expired(
    segments: &[SegmentMeta],
    has_active: bool,
    now: TimestampMs,
    policy: &RetentionPolicy,
) -> usize {
    let ends: Vec<SegmentEnd> = segments
        .iter()
        .filter_map(|meta| meta.state.end())
        .collect();
    let mut left: u64 = ends.iter().map(|end| end.position).sum();
    let removable = ends.len().saturating_sub(usize::from(has_active));
    let mut count = 0;
    for end in ends.iter().take(removable) {
        left -= end.position;
        let too_much = policy.bytes.is_some_and(|keep| left >= keep);
        let age = u128::from(now.millis_since(end.last_append_time));
        let too_old = policy.age.is_some_and(|keep| age >= keep.as_millis());
        if !too_much && !too_old {
            break;
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use trilith_types::Term;

    use super::*;
    use crate::meta::{SegmentId, SegmentState};

    fn segments() -> Vec<SegmentMeta> {
        let meta = |n: u64| SegmentMeta {
            id: SegmentId(n),
            base: Offset(n),
            first_index: LogIndex(n),
            salt: 0,
            state: SegmentState::Synced(SegmentEnd {
                last_append_time: TimestampMs(n as i64 * 10),
                ..SegmentEnd::empty(Offset(n + 1), LogIndex(n + 1), Term(1), 100)
            }),
        };
        (1..=4).map(meta).collect()
    }

    fn count(now: i64, bytes: Option<u64>, age_ms: Option<u64>) -> usize {
        let policy = RetentionPolicy {
            bytes,
            age: age_ms.map(Duration::from_millis),
        };
        expired(&segments(), true, TimestampMs(now), &policy)
    }

    #[test]
    fn the_oldest_go_and_the_active_one_never_does() {
        assert_eq!(count(99, None, None), 0);
        assert_eq!(
            count(99, Some(250), None),
            1,
            "300 bytes are left after the first"
        );
        assert_eq!(count(99, Some(0), None), 3);
        assert_eq!(count(30, None, Some(10)), 2);
        assert_eq!(count(99, None, Some(1)), 3);
        assert_eq!(
            count(-5, None, Some(1)),
            0,
            "a clock that went backwards removes nothing"
        );
        let all = RetentionPolicy {
            bytes: Some(0),
            age: None,
        };
        assert_eq!(
            expired(&segments(), false, TimestampMs(0), &all),
            4,
            "all have ended"
        );
    }
}
