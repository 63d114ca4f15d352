//! The log of a replicated group: its entries lie in a journal as well, and a mark in there says
//! how far the segments are on disk.
//!
//! Nothing here waits for a sync. Making a log, beginning a segment, truncating, trimming and
//! starting anew change files and the manifest in memory; the manifest is stored with the next
//! sync, and a mark counts only what such a sync has covered. So whatever a power cut takes, the
//! journal still has all that follows the mark.

use std::{io, path::Path, sync::Arc};

use trilith_env::{Env, OpenMode};
use trilith_types::{GroupId, LogIndex};

use crate::{
    cache::FileCache,
    config::LogConfig,
    error::OpenError,
    file_header::FileKind,
    layout,
    log::Log,
    manifest::{LogStart, MANIFEST, Manifest},
    meta::{Damage, SegmentEnd, SegmentMeta, SegmentState},
    mirrored::MirroredFile,
    recovery::{
        self,
        tail::{self, Upto},
    },
    segment::Place,
    sync::MarkPart,
    upkeep::Pending,
};

/// What the opening of a replicated group's log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Damage that is in the log, old and new; see [`Log::rewrite`].
    pub damage: Vec<Damage>,
    /// The last entry that the mark promised, when it or one before it is gone and the log ends
    /// earlier. Nothing is known of the lost ones but their numbers.
    pub missing: Option<LogIndex>,
    /// Bytes behind the mark that were cut off, space reserved ahead included.
    pub cut_bytes: u64,
    /// Bytes that were walked because an index could not be used.
    pub scanned_bytes: u64,
    /// Files that belonged to no segment any more, removed.
    pub leftovers_removed: usize,
}

/// What is on disk of a segment.
enum OnDisk {
    Whole(SegmentEnd),
    Upto(Upto),
    Nothing,
}

impl Log {
    /// Opens the log of a replicated group as far as `mark` and the manifest say that it is on
    /// disk. All that follows is cut off: the journal has it, and a page that reads back fine may
    /// not be on disk.
    ///
    /// Of each segment that the manifest lists, this is on disk: all of one listed as synced; all
    /// of one before the mark's segment; the mark's own up to the mark's position, or to its end
    /// when that comes first; nothing of a later one. A mark may be older than the manifest: then
    /// less is kept, and the journal has the rest. It is never younger, see [`Log::mark`].
    ///
    /// A log of which nothing is there is begun, without touching the disk.
    ///
    /// # Errors
    /// When the files are another group's, of a newer version, or the file system refuses.
    pub fn open_replicated(
        env: &Env,
        files: Arc<FileCache>,
        dir: &Path,
        group: GroupId,
        config: LogConfig,
        mark: Option<&MarkPart>,
    ) -> Result<(Self, Opened), OpenError> {
        config.check()?;
        let place = Place {
            disk: Arc::clone(&env.disk),
            dir: dir.to_owned(),
            group,
        };
        let loaded = MirroredFile::load(&place.disk, dir, MANIFEST)?;
        let mut manifest = match &loaded.content {
            Some(content) => recovery::decode(&place, content)?,
            None if mark.is_some_and(|mark| mark.index > LogIndex::ZERO) => {
                let dir = dir.to_owned();
                return Err(OpenError::ManifestMissing { dir });
            }
            None => Manifest::new(group, LogStart::FIRST),
        };
        let open_on_disk = open_segment(&manifest);
        let mut opened = Opened::default();
        keep_what_is_on_disk(&place, &config, &mut manifest, mark, &mut opened)?;
        opened.damage.clone_from(&manifest.damage);
        opened.leftovers_removed = recovery::remove_leftovers(&place, &manifest)?;
        let mut pending = Pending::new(loaded.file, true);
        pending.doubt_names_of(dir);
        let last = manifest.segments.last().map(|meta| meta.id);
        pending.open_on_disk = open_on_disk.filter(|&id| last == Some(id));
        pending.manifest = loaded.differ;
        pending.has_dir = loaded.content.is_some();
        let mut log = Self::from_manifest(env, files, place, config, manifest, pending);
        if loaded.differ {
            // The newer copy may not be on disk: nothing rests on it until it was stored again.
            log.flights.end_at(log.place_now());
        }
        Ok((log, opened))
    }
}

/// The segment that a manifest lists as being written.
fn open_segment(manifest: &Manifest) -> Option<crate::meta::SegmentId> {
    let last = manifest.segments.last()?;
    (last.state == SegmentState::Open).then_some(last.id)
}

/// Reduces the manifest to what is on disk, and lists that as synced.
fn keep_what_is_on_disk(
    place: &Place,
    config: &LogConfig,
    manifest: &mut Manifest,
    mark: Option<&MarkPart>,
    opened: &mut Opened,
) -> Result<(), OpenError> {
    let listed = std::mem::take(&mut manifest.segments);
    let mut next = (manifest.start.index, manifest.start.offset);
    let sealed = listed.iter().rfind(|meta| meta.id <= manifest.sealed);
    let sealed = sealed.map(|meta| meta.id);
    for meta in listed {
        let end = match on_disk(&meta, mark) {
            // What lies before it is gone.
            _ if !manifest.segments.is_empty() && meta.first_index != next.0 => break,
            OnDisk::Nothing => break,
            OnDisk::Whole(end) => {
                if !meta.state.is_synced() || sealed == Some(meta.id) {
                    cut_behind(place, &meta, &end)?;
                }
                end
            }
            OnDisk::Upto(upto) => {
                let found = tail::open(place, &meta, &upto, config.time_index_interval)?;
                opened.cut_bytes += found.cut;
                opened.scanned_bytes += found.scanned;
                manifest.terms.cut(meta.first_index);
                for run in found.terms.runs(found.end.next_index) {
                    manifest.terms.note(run.term, run.first);
                }
                if let Some(damage) = found.damage {
                    manifest.damage.retain(|known| known.segment != meta.id);
                    manifest.damage.extend(damage);
                }
                found.end
            }
        };
        next = (end.next_index, end.next_offset);
        let state = SegmentState::Synced(end);
        manifest.segments.push(SegmentMeta { state, ..meta });
    }
    manifest.durable = next;
    manifest.terms.cut(next.0);
    let segments = &manifest.segments;
    manifest
        .damage
        .retain(|known| segments.iter().any(|meta| meta.id == known.segment));
    manifest.end_damage(next.0, next.1);
    if let Some(mark) = mark
        && mark.segment > manifest.sealed
        && mark.index >= next.0
    {
        opened.missing = Some(mark.index);
    }
    Ok(())
}

/// What is on disk of a segment that the manifest lists.
fn on_disk(meta: &SegmentMeta, mark: Option<&MarkPart>) -> OnDisk {
    match (meta.state, mark) {
        (SegmentState::Synced(end), _) => OnDisk::Whole(end),
        (SegmentState::Closed(end), Some(mark))
            if mark.segment > meta.id
                || (mark.segment == meta.id && mark.position >= end.position) =>
        {
            OnDisk::Whole(end)
        }
        (_, Some(mark)) if mark.segment == meta.id && mark.index >= meta.first_index => {
            OnDisk::Upto(Upto {
                position: mark.position,
                next_index: mark.index.next(),
                next_offset: mark.next_offset,
                last_term: mark.last_term,
            })
        }
        _ => OnDisk::Nothing,
    }
}

/// Removes what a truncation has left behind a segment's end.
fn cut_behind(place: &Place, meta: &SegmentMeta, end: &SegmentEnd) -> Result<(), OpenError> {
    let path = layout::segment_path(&place.dir, meta.base, meta.id, FileKind::Store);
    let cut = |file: Arc<dyn trilith_env::File>| {
        if file.len()? > end.position {
            file.set_len(end.position)?;
        }
        Ok(())
    };
    match place.disk.open(&path, OpenMode::Existing).and_then(cut) {
        // Whoever reads it is told.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(OpenError::io("cut", &path)),
    }
}
