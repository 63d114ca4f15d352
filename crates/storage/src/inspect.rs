//! Looks at a log's files without changing or locking anything.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{DirEntry, Disk, OpenMode};
use trilith_types::{EntryKind, GroupId, LogIndex, Term};

use crate::{
    codec::crc,
    entries::StoredEntry,
    file_header::{FILE_HEADER_BYTES, FileHeader, FileKind},
    frame::FRAME_HEADER_BYTES,
    layout,
    manifest::{LogStart, MANIFEST, Manifest},
    meta::{SegmentMeta, SegmentState},
    mirrored::{CopyState, MirroredError, MirroredFile, read_copy},
    scan::{Body, Found, Scan},
    store::FIRST_FRAME,
};

/// Why a directory could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] MirroredError),
    /// The file system refused.
    #[error("cannot read {path}: {}", trilith_env::answer(source))]
    Io {
        /// What.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
}

/// The directories at and below `root` that hold a log, sorted: those with a manifest. A log behind
/// a journal has none before it was first synced, and everything in it is in the journal then.
///
/// # Errors
/// What the file system answers.
pub fn log_dirs(disk: &Arc<dyn Disk>, root: &Path) -> Result<Vec<PathBuf>, InspectError> {
    dirs(disk, root, has_manifest)
}

/// The directories at and below `root` that hold segments and no manifest, sorted: logs behind a
/// journal that were not synced yet.
///
/// # Errors
/// What the file system answers.
pub fn unsynced_log_dirs(disk: &Arc<dyn Disk>, root: &Path) -> Result<Vec<PathBuf>, InspectError> {
    dirs(disk, root, |entries| {
        !has_manifest(entries) && stores(entries).next().is_some()
    })
}

fn dirs(
    disk: &Arc<dyn Disk>,
    root: &Path,
    is_wanted: impl Fn(&[DirEntry]) -> bool,
) -> Result<Vec<PathBuf>, InspectError> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        let entries = disk.list(&dir).map_err(|source| InspectError::Io {
            path: dir.clone(),
            source,
        })?;
        if is_wanted(&entries) {
            found.push(dir);
        }
        let below = entries.into_iter().filter(|entry| entry.is_dir);
        waiting.extend(below.map(|entry| entry.path));
    }
    found.sort();
    Ok(found)
}

fn has_manifest(entries: &[DirEntry]) -> bool {
    let names = MirroredFile::paths(Path::new(""), MANIFEST);
    let is_one = |entry: &DirEntry| {
        let mut names = names.iter();
        names.any(|name| entry.path.file_name() == name.file_name())
    };
    entries.iter().any(is_one)
}

/// The segments' stores in a directory.
fn stores(entries: &[DirEntry]) -> impl Iterator<Item = &Path> {
    let is_store =
        |entry: &&DirEntry| matches!(layout::parse(&entry.path), Some((_, _, FileKind::Store)));
    entries.iter().filter(is_store).map(|entry| &*entry.path)
}

/// What the manifest of a log would say that has none yet, as far as its segments' headers tell:
/// nothing of it is known to be synced.
///
/// # Errors
/// What the file system answers, and when there is no segment.
pub fn manifest_by_headers(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Manifest, InspectError> {
    let io = |path: &Path, source| InspectError::Io {
        path: path.to_owned(),
        source,
    };
    let entries = disk.list(dir).map_err(|source| io(dir, source))?;
    let mut headers = Vec::new();
    for path in stores(&entries) {
        let mut bytes = [0; FILE_HEADER_BYTES];
        let read = disk
            .open(path, OpenMode::ReadOnly)
            .and_then(|file| file.read_at(0, &mut bytes));
        // One that is being made has no header yet.
        let is_whole = read.map_err(|source| io(path, source))? == FILE_HEADER_BYTES;
        headers.extend(is_whole.then(|| FileHeader::decode(&bytes)).flatten());
    }
    headers.sort_by_key(|header| header.segment);
    let Some(first) = headers.first() else {
        let source = io::Error::new(io::ErrorKind::NotFound, "there is no segment with a header");
        return Err(io(dir, source));
    };
    let start = LogStart {
        offset: first.base,
        index: first.first_index,
        prev_term: Term::ZERO,
    };
    let mut manifest = Manifest::new(first.group, start);
    let segments = headers.iter().map(|header| SegmentMeta {
        id: header.segment,
        base: header.base,
        first_index: header.first_index,
        salt: header.salt,
        state: SegmentState::Open,
    });
    manifest.segments.extend(segments);
    Ok(manifest)
}

/// A log's manifest, the newest copy that is whole.
///
/// # Errors
/// When there is none, or it is of a newer version.
pub fn manifest(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Manifest, InspectError> {
    let loaded = MirroredFile::load(disk, dir, MANIFEST)?;
    let [a, b] = MirroredFile::paths(dir, MANIFEST);
    let content = loaded
        .content
        .ok_or(MirroredError::BothDamaged { a: a.clone(), b })?;
    Ok(Manifest::decode(&content).ok_or(MirroredError::Content { path: a })?)
}

/// How the two copies of a log's manifest are.
///
/// # Errors
/// What the file system answers.
pub fn manifest_copies(
    disk: &Arc<dyn Disk>,
    dir: &Path,
) -> Result<Vec<(PathBuf, CopyState)>, InspectError> {
    let read = |path: PathBuf| Ok((path.clone(), read_copy(&**disk, &path, MANIFEST)?));
    MirroredFile::paths(dir, MANIFEST)
        .into_iter()
        .map(read)
        .collect()
}

/// Walks the store of one segment and shows `visit` what is there, in order, until it answers
/// false. In a log that is being written, the end of the last segment may be in the middle of a
/// write.
///
/// # Errors
/// What the file system answers; a store that is missing is `NotFound`.
pub fn frames(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    meta: &SegmentMeta,
    visit: &mut dyn FnMut(&Found) -> bool,
) -> Result<(), InspectError> {
    let path = layout::segment_path(dir, meta.base, meta.id, FileKind::Store);
    let io = |source| InspectError::Io {
        path: path.clone(),
        source,
    };
    let file = disk.open(&path, OpenMode::ReadOnly).map_err(io)?;
    let end = meta.state.end().map_or(u64::MAX, |end| end.position);
    let mut scan = Scan::new(&*file, meta.salt, FIRST_FRAME, end).map_err(io)?;
    while let Some(found) = scan.next_found().map_err(io)? {
        if !visit(&found) {
            break;
        }
    }
    Ok(())
}

/// Entries that lie whole in the stores of a log's directory, whatever its manifest says of these:
/// `wanted` has their indices and terms. An entry's frame has a checksum over its bytes and over who
/// it is, so that it is the one, wherever it is found. What cannot be read is passed over.
#[must_use]
pub fn salvage(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    group: GroupId,
    wanted: &BTreeMap<LogIndex, Term>,
) -> BTreeMap<LogIndex, StoredEntry> {
    let mut found = BTreeMap::new();
    let entries = disk.list(dir).unwrap_or_default();
    for path in stores(&entries) {
        // One that cannot be read has nothing to give.
        let _ = salvage_from(disk, path, group, wanted, &mut found);
    }
    found
}

fn salvage_from(
    disk: &Arc<dyn Disk>,
    path: &Path,
    group: GroupId,
    wanted: &BTreeMap<LogIndex, Term>,
    found: &mut BTreeMap<LogIndex, StoredEntry>,
) -> io::Result<()> {
    let file = disk.open(path, OpenMode::ReadOnly)?;
    let mut bytes = [0; FILE_HEADER_BYTES];
    let read = file.read_at(0, &mut bytes)?;
    let header = (read == FILE_HEADER_BYTES).then(|| FileHeader::decode(&bytes));
    let Some(header) = header.flatten().filter(|header| header.group == group) else {
        return Ok(());
    };
    let mut scan = Scan::new(&*file, header.salt, FIRST_FRAME, u64::MAX)?;
    while let Some(next) = scan.next_found()? {
        let Found::Frame {
            position,
            header,
            body: Body::Good | Body::BadPadding,
        } = next
        else {
            continue;
        };
        let is_wanted = wanted.get(&header.index) == Some(&header.term);
        if !is_wanted || header.is_mark() || header.kind == EntryKind::LOST {
            continue;
        }
        let mut payload = vec![0; header.payload_len as usize];
        let read = file.read_at(position + FRAME_HEADER_BYTES as u64, &mut payload)?;
        if read == payload.len() && crc(&payload) == header.payload_crc {
            let meta = header.meta();
            let payload = payload.into();
            found.insert(meta.index, StoredEntry { meta, payload });
        }
    }
    Ok(())
}

/// The path of a segment's store.
#[must_use]
pub fn store_path(dir: &Path, meta: &SegmentMeta) -> PathBuf {
    layout::segment_path(dir, meta.base, meta.id, FileKind::Store)
}
