//! Carries out what was decided, in an order that a power cut cannot spoil.

use std::io::IoSlice;

use trilith_env::{File, OpenMode};
use trilith_types::LogIndex;

use super::{
    Recovery, Torn,
    judge::{Kept, Verdict},
    survey::Survey,
};
use crate::{
    error::OpenError,
    file_header::FileKind,
    layout,
    manifest::{DAMAGE_REMEMBERED_MAX, Manifest},
    meta::{Damage, SegmentMeta, SegmentState},
    mirrored::MirroredFile,
    retention::remove_segment_files,
    segment::Place,
    store::FIRST_FRAME,
};

/// Bytes that are copied or written again at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Carries out a verdict. Afterwards the manifest lists every segment as synced.
pub(crate) fn apply(
    place: &Place,
    manifest: &mut Manifest,
    file: &mut MirroredFile,
    verdict: Verdict,
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    let Verdict {
        proven,
        kept,
        dropped,
    } = verdict;
    let cuts = !dropped.is_empty() || kept.iter().any(|kept| kept.cut);
    if cuts && manifest.proven < proven {
        // The proof may lie in what is about to be cut.
        manifest.proven = proven;
        file.store(&manifest.encode())?;
    }
    for kept in &kept {
        keep_torn_end(kept, recovery)?;
    }
    for survey in &dropped {
        drop_segment(place, survey, recovery)?;
    }
    for kept in &kept {
        make_durable(kept, proven, recovery)?;
    }
    place
        .disk
        .sync_dir(&place.dir)
        .map_err(OpenError::io("sync", &place.dir))?;
    conclude(manifest, &kept, &dropped);
    file.store(&manifest.encode())?;
    Ok(())
}

/// Copies what will be cut off into a file of its own.
fn keep_torn_end(kept: &Kept, recovery: &mut Recovery) -> Result<(), OpenError> {
    let (true, Some(store)) = (kept.cut, &kept.survey.store) else {
        return Ok(());
    };
    let place = &kept.survey.segment.place;
    let position = kept.end.position;
    let end = last_byte(&*store.file, position).map_err(OpenError::io("read", &store.path))?;
    if end <= position {
        return Ok(());
    }
    let kept_in = layout::torn_path(
        &place.dir,
        kept.survey.meta.base,
        kept.survey.meta.id,
        position,
    );
    let torn = place
        .disk
        .open(&kept_in, OpenMode::CreateIfMissing)
        .map_err(OpenError::io("make", &kept_in))?;
    torn.set_len(0).map_err(OpenError::io("cut", &kept_in))?;
    copy(&*store.file, position..end, &*torn, 0).map_err(OpenError::io("write", &kept_in))?;
    torn.sync().map_err(OpenError::io("sync", &kept_in))?;
    // The copy is found again before the original is cut.
    place
        .disk
        .sync_dir(&place.dir)
        .map_err(OpenError::io("sync", &place.dir))?;
    let (file, bytes) = (store.path.clone(), end - position);
    recovery.torn.push(Torn {
        file,
        position,
        bytes,
        kept_in,
    });
    Ok(())
}

/// Renames a store that lies behind a cut, and removes its indexes.
fn drop_segment(place: &Place, survey: &Survey, recovery: &mut Recovery) -> Result<(), OpenError> {
    if let Some(store) = &survey.store {
        let kept_in = layout::torn_path(&place.dir, survey.meta.base, survey.meta.id, 0);
        place
            .disk
            .rename(&store.path, &kept_in)
            .map_err(OpenError::io("rename", &store.path))?;
        let (file, bytes) = (store.path.clone(), survey.end.position);
        recovery.torn.push(Torn {
            file,
            position: 0,
            bytes,
            kept_in,
        });
    }
    remove_segment_files(&*place.disk, &place.dir, &survey.meta)
        .map_err(OpenError::io("remove a segment in", &place.dir))
}

/// Writes again what no mark vouches for, cuts the store to its end, and syncs it.
fn make_durable(kept: &Kept, proven: LogIndex, recovery: &mut Recovery) -> Result<(), OpenError> {
    let Some(store) = &kept.survey.store else {
        return Ok(());
    };
    let io = |what| OpenError::io(what, &store.path);
    if kept.survey.bad_header {
        let header = kept.survey.segment.header(FileKind::Store);
        store.write_header(&header).map_err(io("write"))?;
        recovery.headers_repaired += 1;
    }
    store.file.set_len(kept.end.position).map_err(io("cut"))?;
    let from = unproven_from(kept, proven);
    if from < kept.end.position {
        copy(&*store.file, from..kept.end.position, &*store.file, from).map_err(io("write"))?;
        recovery.rewritten_bytes += kept.end.position - from;
    }
    store.file.sync().map_err(io("sync"))?;
    if let Some(index) = &kept.survey.index {
        index.flush().map_err(io("sync the index of"))?;
    }
    Ok(())
}

/// Where the first entry begins that is not proven to be on disk.
fn unproven_from(kept: &Kept, proven: LogIndex) -> u64 {
    let first = kept.survey.meta.first_index;
    if proven < first {
        // Not even the header is.
        return 0;
    }
    if kept.end.next_index <= proven.next() {
        // Marks may follow the last entry, but nobody relies on those.
        return kept.end.position;
    }
    let ordinal = proven
        .next()
        .since(first)
        .and_then(|n| u32::try_from(n).ok());
    let slot = ordinal.and_then(|n| kept.survey.index.as_ref()?.slot(n));
    slot.map_or(FIRST_FRAME, |slot| slot.position.min(kept.end.position))
}

/// Lists what is left as synced.
fn conclude(manifest: &mut Manifest, kept: &[Kept], dropped: &[Survey]) {
    if let Some(first) = kept.first() {
        manifest.terms.cut(first.survey.meta.first_index);
    }
    for kept in kept {
        let runs = kept.survey.terms.runs(kept.end.next_index).into_iter();
        for run in runs.filter(|run| run.first < kept.end.next_index) {
            manifest.terms.note(run.term, run.first);
        }
    }
    for kept in kept {
        let id = kept.survey.meta.id;
        let is_void = kept.survey.store.is_none() && kept.damage.is_empty();
        manifest.segments.retain(|meta| meta.id != id || !is_void);
        if let Some(meta) = manifest.segments.iter_mut().find(|meta| meta.id == id) {
            *meta = SegmentMeta {
                state: SegmentState::Synced(kept.end),
                ..*meta
            };
        }
        manifest.damage.retain(|damage| damage.segment != id);
        manifest.damage.extend(kept.damage.iter().copied());
    }
    for survey in dropped {
        manifest.segments.retain(|meta| meta.id != survey.meta.id);
        manifest
            .damage
            .retain(|damage| damage.segment != survey.meta.id);
    }
    manifest
        .damage
        .sort_by_key(|damage: &Damage| (damage.segment, damage.position));
    manifest.damage.truncate(DAMAGE_REMEMBERED_MAX);
    let end = manifest.segments.last().and_then(|meta| meta.state.end());
    manifest.durable = end.map_or((manifest.start.index, manifest.start.offset), |end| {
        (end.next_index, end.next_offset)
    });
    manifest.proven = LogIndex::ZERO;
}

/// The position after the last byte at or after `from` that is not zero; `from` if there is none.
fn last_byte(file: &dyn File, from: u64) -> std::io::Result<u64> {
    let (mut at, mut last) = (from, from);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let n = file.read_at(at, &mut piece)?;
        let read = piece.get(..n).unwrap_or_default();
        if read.is_empty() {
            return Ok(last);
        }
        if let Some(i) = read.iter().rposition(|&b| b != 0) {
            last = at + i as u64 + 1;
        }
        at += n as u64;
    }
}

/// Copies a range of bytes, piece by piece; also onto itself, which makes its pages dirty again.
fn copy(
    from: &dyn File,
    range: std::ops::Range<u64>,
    to: &dyn File,
    at: u64,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut done = 0;
    while range.start + done < range.end {
        let wanted = (range.end - range.start - done).min(PIECE_BYTES as u64) as usize;
        let buffer = piece.get_mut(..wanted).unwrap_or_default();
        let n = from.read_at(range.start + done, buffer)?;
        let read = buffer.get(..n).unwrap_or_default();
        if read.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(at + done, &[IoSlice::new(read)])?;
        done += n as u64;
    }
    Ok(())
}
