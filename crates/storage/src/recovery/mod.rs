//! Opening a log that was not closed.
//!
//! What the manifest does not list as synced is walked frame by frame. A hole that nothing shows
//! to have been synced is an unfinished write: the log is cut there, and what is cut is kept in a
//! `.torn` file. A hole that a mark proves to have been synced is damage: it stays, is remembered
//! in the manifest, and only its entries are refused.
//!
//! A page that reads back fine may not be on disk: an earlier sync may have failed, and the kernel
//! then marks pages clean. So all that no mark vouches for is written once more and synced before
//! it is relied on (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
//!
//! Every step can be repeated: a power cut in the middle starts recovery over.

pub(crate) mod judge;
pub(crate) mod rebuild;
mod repair;
pub(crate) mod survey;
pub(crate) mod tail;

use std::path::PathBuf;

use self::judge::Verdict;
use crate::{
    config::LogConfig,
    error::OpenError,
    layout,
    manifest::{LogStart, MANIFEST, Manifest},
    meta::Damage,
    mirrored::{MirroredError, MirroredFile},
    segment::Place,
};

/// What an opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the log had been closed in order, so that nothing was looked at.
    pub clean: bool,
    /// Segments that were walked.
    pub scanned_segments: usize,
    /// Bytes that were walked.
    pub scanned_bytes: u64,
    /// Bytes that were written again because nothing showed that they were on disk.
    pub rewritten_bytes: u64,
    /// Unfinished ends that were cut off and kept aside.
    pub torn: Vec<Torn>,
    /// Damage that is in the log, old and new.
    pub damage: Vec<Damage>,
    /// Stores whose header was damaged and was written again.
    pub headers_repaired: usize,
    /// Files that belonged to no segment any more, removed.
    pub leftovers_removed: usize,
}

/// The end of a store that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The store.
    pub file: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// How many bytes went.
    pub bytes: u64,
    /// Where they are kept.
    pub kept_in: PathBuf,
}

/// Loads the manifest, recovers what was not closed in order, and leaves a log that is.
pub(crate) fn recover(
    place: &Place,
    config: &LogConfig,
) -> Result<(Manifest, MirroredFile, Recovery), OpenError> {
    place
        .disk
        .create_dir_all(&place.dir)
        .map_err(OpenError::io("make", &place.dir))?;
    let loaded = MirroredFile::load(&place.disk, &place.dir, MANIFEST)?;
    let mut file = loaded.file;
    let Some(content) = loaded.content else {
        let manifest = begin(place, &mut file)?;
        return Ok((
            manifest,
            file,
            Recovery {
                clean: true,
                ..Recovery::default()
            },
        ));
    };
    let mut manifest = decode(place, &content)?;
    if loaded.differ {
        // The newer copy may not be on disk, or the other one is damaged.
        file.store(&content)?;
    }
    let mut recovery = Recovery {
        clean: manifest.is_clean(),
        ..Recovery::default()
    };
    if !recovery.clean {
        let verdict = examine(place, config, &manifest, &mut recovery)?;
        repair::apply(place, &mut manifest, &mut file, verdict, &mut recovery)?;
    }
    recovery.damage.clone_from(&manifest.damage);
    recovery.leftovers_removed = remove_leftovers(place, &manifest)?;
    Ok((manifest, file, recovery))
}

/// Begins a log where there is none.
fn begin(place: &Place, file: &mut MirroredFile) -> Result<Manifest, OpenError> {
    let entries = place
        .disk
        .list(&place.dir)
        .map_err(OpenError::io("list", &place.dir))?;
    if entries
        .iter()
        .any(|entry| layout::parse(&entry.path).is_some())
    {
        // Segments are made after the manifest: theirs is lost.
        return Err(OpenError::ManifestMissing {
            dir: place.dir.clone(),
        });
    }
    let manifest = Manifest::new(place.group, LogStart::FIRST);
    file.store(&manifest.encode())?;
    Ok(manifest)
}

pub(crate) fn decode(place: &Place, content: &[u8]) -> Result<Manifest, OpenError> {
    let [path, _] = MirroredFile::paths(&place.dir, MANIFEST);
    let manifest = Manifest::decode(content).ok_or(MirroredError::Content { path })?;
    if manifest.group != place.group {
        let (expected, found) = (place.group, manifest.group);
        return Err(OpenError::WrongGroup {
            dir: place.dir.clone(),
            expected,
            found,
        });
    }
    Ok(manifest)
}

fn examine(
    place: &Place,
    config: &LogConfig,
    manifest: &Manifest,
    recovery: &mut Recovery,
) -> Result<Verdict, OpenError> {
    let mut surveys = Vec::new();
    for meta in manifest
        .segments
        .iter()
        .filter(|meta| !meta.state.is_synced())
    {
        let survey = survey::survey(place, meta, config.time_index_interval)?;
        recovery.scanned_segments += 1;
        recovery.scanned_bytes += survey.file_len;
        surveys.push(survey);
    }
    Ok(judge::judge(manifest, surveys))
}

/// Removes files that are named like a segment's and that the manifest does not list: what
/// retention, or the making of a segment, left when it was interrupted.
pub(crate) fn remove_leftovers(place: &Place, manifest: &Manifest) -> Result<usize, OpenError> {
    let entries = match place.disk.list(&place.dir) {
        // A log that was never written to has no directory.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(OpenError::io("list", &place.dir))?,
    };
    let mut removed = 0;
    for entry in entries {
        let Some((base, id, _)) = layout::parse(&entry.path) else {
            continue;
        };
        if manifest
            .segments
            .iter()
            .any(|meta| (meta.base, meta.id) == (base, id))
        {
            continue;
        }
        place
            .disk
            .remove_file(&entry.path)
            .map_err(OpenError::io("remove", &entry.path))?;
        removed += 1;
    }
    Ok(removed)
}
