//! Checks every checksum of a log and changes nothing.
//!
//! For a log that nobody writes: hold its [`crate::DataDir`] meanwhile, which a running process
//! refuses to give.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, OpenMode};
use trilith_types::{LogIndex, Offset};

use crate::{
    file_header::{FILE_HEADER_BYTES, FileHeader, FileKind, HeaderState},
    frame::FrameHeader,
    index::Index,
    inspect::{self, InspectError},
    layout,
    manifest::Manifest,
    meta::{SegmentMeta, SegmentState},
    mirrored::CopyState,
    scan::{Body, Found},
};

/// How many of the bytes behind a segment's end are looked at.
const TRAILING_BYTES: usize = 64 << 10;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// What is wrong.
    pub what: String,
    /// Whether records are lost by it. Manifest copies, headers, marks, padding and indexes can
    /// all be made again.
    pub loses_records: bool,
}

impl Finding {
    /// Something about a file as a whole.
    #[must_use]
    pub fn of_file(path: PathBuf, what: impl Into<String>, loses_records: bool) -> Self {
        Self {
            path,
            position: 0,
            what: what.into(),
            loses_records,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: at byte {}: {}",
            self.path.display(),
            self.position,
            self.what
        )
    }
}

/// What was checked, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments that were checked.
    pub segments: usize,
    /// Entries whose checksums are right.
    pub entries: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Checks one log: both copies of its manifest, every frame, every file's header, and that the
/// indexes lead where they should.
///
/// # Errors
/// What the file system answers, or a manifest that is lost altogether.
pub fn verify(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Verified, InspectError> {
    let mut out = Verified::default();
    for (path, state) in inspect::manifest_copies(disk, dir)? {
        let what = match state {
            CopyState::Intact { .. } => continue,
            CopyState::Missing => "this copy of the manifest is missing",
            CopyState::Damaged => "this copy of the manifest is damaged",
            CopyState::Foreign(_) => "this copy of the manifest is of another format or version",
        };
        out.add(path, 0, what, false);
    }
    let manifest = inspect::manifest(disk, dir)?;
    for meta in &manifest.segments {
        out.segments += 1;
        Checker::new(disk, dir, &manifest, meta, &mut out).run()?;
    }
    Ok(out)
}

impl Verified {
    fn add(&mut self, path: PathBuf, position: u64, what: impl Into<String>, loses_records: bool) {
        self.findings.push(Finding {
            path,
            position,
            what: what.into(),
            loses_records,
        });
    }
}

struct Checker<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    meta: &'a SegmentMeta,
    header: FileHeader,
    path: PathBuf,
    index: Option<Index>,
    expected: (LogIndex, Offset),
    out: &'a mut Verified,
}

impl<'a> Checker<'a> {
    fn new(
        disk: &'a Arc<dyn Disk>,
        dir: &'a Path,
        manifest: &Manifest,
        meta: &'a SegmentMeta,
        out: &'a mut Verified,
    ) -> Self {
        let header = FileHeader {
            kind: FileKind::Store,
            group: manifest.group,
            segment: meta.id,
            base: meta.base,
            first_index: meta.first_index,
            salt: meta.salt,
        };
        let path = inspect::store_path(dir, meta);
        let expected = (meta.first_index, meta.base);
        Self {
            disk,
            dir,
            meta,
            header,
            path,
            index: None,
            expected,
            out,
        }
    }

    fn run(mut self) -> Result<(), InspectError> {
        if !self.headers()? {
            return Ok(());
        }
        if self.meta.state.is_synced() {
            let slots = self.meta.state.end().map_or(0, |end| end.time_slots);
            self.index = Index::open(&**self.disk, self.dir, &self.header, slots).ok();
        }
        let (disk, dir, meta) = (self.disk, self.dir, self.meta);
        inspect::frames(disk, dir, meta, &mut |found| {
            self.found(found);
            true
        })?;
        self.trailing()?;
        let end = self.meta.state.end();
        if let Some(end) = end.filter(|end| end.next_index > self.expected.0) {
            let what = format!(
                "entries {}..{} with offsets {}..{} are missing at the end",
                self.expected.0, end.next_index, self.expected.1, end.next_offset
            );
            self.out.add(self.path.clone(), end.position, what, true);
        }
        Ok(())
    }

    /// A segment that has ended holds nothing behind its end; reading never comes there.
    fn trailing(&mut self) -> Result<(), InspectError> {
        let Some(end) = self.meta.state.end() else {
            return Ok(());
        };
        let io = |source| InspectError::Io {
            path: self.path.clone(),
            source,
        };
        let file = self.disk.open(&self.path, OpenMode::ReadOnly).map_err(io)?;
        let len = file.len().map_err(io)?;
        if len > end.position {
            let mut found = vec![0; TRAILING_BYTES];
            let n = file.read_at(end.position, &mut found).map_err(io)?;
            // What was reserved ahead of the writes is zeros, and no finding.
            if found.iter().take(n).any(|&byte| byte != 0) {
                let what = format!("{} bytes behind the segment's end", len - end.position);
                self.out.add(self.path.clone(), end.position, what, false);
            }
        }
        Ok(())
    }

    /// Checks the headers of all files; false when there is no store.
    fn headers(&mut self) -> Result<bool, InspectError> {
        for kind in [
            FileKind::Store,
            FileKind::Offsets,
            FileKind::Entries,
            FileKind::Times,
        ] {
            let path = layout::segment_path(self.dir, self.meta.base, self.meta.id, kind);
            let header = FileHeader {
                kind,
                ..self.header
            };
            let is_store = kind == FileKind::Store;
            let state = match self.header_state(&path, &header) {
                Err(InspectError::Io { path, source }) if !is_store => {
                    // An index can be made again, whatever stands in its place.
                    let what = format!("this index cannot be read: {source}");
                    self.out.add(path, 0, what, false);
                    continue;
                }
                other => other?,
            };
            match state {
                Some(HeaderState::Good) => {}
                Some(HeaderState::Foreign { found }) => {
                    let what = format!(
                        "the file is of another format or of a newer version ({found}): this \
                         version does not serve its segment"
                    );
                    self.out.add(path, 0, what, true);
                }
                Some(_) => self.out.add(
                    path,
                    0,
                    "the file's header is damaged or not its own",
                    false,
                ),
                None => {
                    self.out.add(path, 0, "the file is missing", is_store);
                    if is_store {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn header_state(
        &self,
        path: &Path,
        header: &FileHeader,
    ) -> Result<Option<HeaderState>, InspectError> {
        let io = |source| InspectError::Io {
            path: path.to_owned(),
            source,
        };
        let file = match self.disk.open(path, OpenMode::ReadOnly) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        let mut found = [0; FILE_HEADER_BYTES];
        file.read_at(0, &mut found).map_err(io)?;
        Ok(Some(header.judge(&found)))
    }

    fn found(&mut self, found: &Found) {
        match found {
            Found::Frame {
                position,
                header,
                body,
            } => self.frame(*position, header, *body),
            Found::Hole {
                position,
                end,
                at_end,
            } => {
                if *at_end && self.meta.state == SegmentState::Open {
                    let what = format!("{} bytes of an unfinished write", end - position);
                    self.out.add(self.path.clone(), *position, what, false);
                } else {
                    let what = format!("no valid frame in the {} bytes from here", end - position);
                    self.out.add(self.path.clone(), *position, what, false);
                }
            }
            Found::End { .. } => {}
        }
    }

    fn frame(&mut self, position: u64, header: &FrameHeader, body: Body) {
        self.out.bytes += header.frame_len();
        if header.index > self.expected.0 {
            let what = format!(
                "entries {}..{} with offsets {}..{} are missing before this frame",
                self.expected.0, header.index, self.expected.1, header.first_offset
            );
            self.out.add(self.path.clone(), position, what, true);
        }
        self.expected = (header.next_index(), header.next_offset());
        match body {
            Body::Good => {}
            Body::BadPadding => {
                let what = "the padding after the payload is not zero";
                self.out.add(self.path.clone(), position, what, false);
            }
            Body::Bad => {
                let what = format!(
                    "the payload's checksum is wrong: entry {}, offsets {}..{}",
                    header.index,
                    header.first_offset,
                    header.next_offset()
                );
                self.out.add(self.path.clone(), position, what, true);
                return;
            }
        }
        if header.is_mark() {
            return;
        }
        if header.is_lost() {
            let what = format!(
                "records were lost before they came here, and nobody else had them: entry {}, \
                 offsets {}..{}",
                header.index,
                header.first_offset,
                header.next_offset()
            );
            self.out.add(self.path.clone(), position, what, true);
            return;
        }
        self.out.entries += 1;
        self.out.records += u64::from(header.records);
        self.check_index(position, header);
    }

    /// Checks that the indexes lead to this frame.
    fn check_index(&mut self, position: u64, header: &FrameHeader) {
        let Some(index) = &self.index else { return };
        let ordinal = header
            .index
            .since(self.meta.first_index)
            .unwrap_or_default();
        let delta = header
            .first_offset
            .since(self.meta.base)
            .unwrap_or_default();
        let slot = u32::try_from(ordinal).ok().and_then(|n| index.slot(n));
        let right_slot = slot.is_some_and(|slot| {
            (
                slot.position,
                slot.payload_len,
                slot.term,
                slot.payload_crc,
                u64::from(slot.offset_delta),
            ) == (
                position,
                header.payload_len,
                header.term,
                header.payload_crc,
                delta,
            )
        });
        if !right_slot {
            let path =
                layout::segment_path(self.dir, self.meta.base, self.meta.id, FileKind::Entries);
            let at = ordinal * 24 + 4096;
            self.out.add(
                path,
                at,
                format!("the slot of entry {} is wrong", header.index),
                false,
            );
        }
        let wrong = (delta..delta + u64::from(header.records))
            .find(|&delta| index.ordinal_at(delta).map(u64::from) != Some(ordinal));
        if let Some(delta) = wrong {
            let path =
                layout::segment_path(self.dir, self.meta.base, self.meta.id, FileKind::Offsets);
            let offset = self.meta.base.plus(delta);
            self.out.add(
                path,
                delta * 8 + 4096,
                format!("the slot of offset {offset} is wrong"),
                false,
            );
        }
    }
}
