//! Looks at a log's files without changing or locking anything.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, OpenMode};

use crate::{
    file_header::FileKind,
    layout,
    manifest::{MANIFEST, Manifest},
    meta::SegmentMeta,
    mirrored::{CopyState, MirroredError, MirroredFile, read_copy},
    scan::{Found, Scan},
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
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    let names = MirroredFile::paths(Path::new(""), MANIFEST);
    while let Some(dir) = waiting.pop() {
        let entries = disk.list(&dir).map_err(|source| InspectError::Io {
            path: dir.clone(),
            source,
        })?;
        let is_log = entries.iter().any(|entry| {
            names
                .iter()
                .any(|name| entry.path.file_name() == name.file_name())
        });
        waiting.extend(
            entries
                .into_iter()
                .filter(|entry| entry.is_dir)
                .map(|entry| entry.path),
        );
        if is_log {
            found.push(dir);
        }
    }
    found.sort();
    Ok(found)
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

/// The path of a segment's store.
#[must_use]
pub fn store_path(dir: &Path, meta: &SegmentMeta) -> PathBuf {
    layout::segment_path(dir, meta.base, meta.id, FileKind::Store)
}
