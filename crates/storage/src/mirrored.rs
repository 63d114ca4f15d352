//! A small file kept twice: one copy is whole at every moment.
//!
//! The content is written to one copy and synced before the other is begun. A power cut spoils at
//! most the copy that was being written; damage to one copy leaves the other.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, OpenMode};

use crate::{
    codec::{Crc, Input, crc},
    file_header::{FormatError, FoundFormat},
};

/// Length of a copy's header.
pub const MIRRORED_HEADER_BYTES: usize = 40;

/// Largest content; what claims to be larger is damaged.
pub const MIRRORED_CONTENT_MAX: u64 = 64 << 20;

/// What distinguishes one kind of mirrored file from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirroredKind {
    /// The files are `<stem>.a` and `<stem>.b`.
    pub stem: &'static str,
    /// The first eight bytes.
    pub magic: [u8; 8],
    /// The newest version of the content that this program reads, and the one it writes.
    pub version: u16,
}

/// Why a mirrored file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MirroredError {
    /// The file system refused.
    #[error("cannot {what} {path}: {}", trilith_env::answer(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// Another kind of file, or a newer version.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Neither copy is intact.
    #[error("neither {a} nor {b} is intact; restore one of them from a copy")]
    BothDamaged {
        /// The first copy.
        a: PathBuf,
        /// The second copy.
        b: PathBuf,
    },
    /// The content is intact and makes no sense.
    #[error("the content of {path} is not valid, although its checksum is")]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The content is larger than [`MIRRORED_CONTENT_MAX`].
    #[error("{bytes} bytes do not fit {path}: at most {MIRRORED_CONTENT_MAX} do")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Length of the content.
        bytes: u64,
    },
}

/// One of the two copies as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// No such file, or an empty one.
    Missing,
    /// Whole.
    Intact {
        /// Counts the writes.
        sequence: u64,
        /// The content.
        content: Vec<u8>,
    },
    /// Damaged or half written.
    Damaged,
    /// Of another kind or version.
    Foreign(FoundFormat),
}

/// A small file kept twice.
pub struct MirroredFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    kind: MirroredKind,
    sequence: u64,
    /// The copy to write first: never the only one that is whole.
    first: Side,
    /// Which copies the directory is known to list durably.
    listed: [bool; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    A,
    B,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Debug for MirroredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MirroredFile({}, {})",
            self.dir.join(self.kind.stem).display(),
            self.sequence
        )
    }
}

/// What [`MirroredFile::load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The file, ready to store.
    pub file: MirroredFile,
    /// The newest content; `None` when there is none yet.
    pub content: Option<Vec<u8>>,
    /// Whether the copies differ: one is damaged, or a power cut came between them. Store the
    /// content again before relying on it.
    pub differ: bool,
}

impl MirroredFile {
    /// Reads both copies and takes the newest that is whole.
    ///
    /// Two copies that are missing or were never finished are "none yet": the caller knows from
    /// elsewhere whether there ought to be one.
    ///
    /// # Errors
    /// A newer version, another kind of file, or what the file system answers.
    pub fn load(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        kind: MirroredKind,
    ) -> Result<Loaded, MirroredError> {
        let a = read_copy(&**disk, &copy_path(dir, kind, Side::A), kind)?;
        let b = read_copy(&**disk, &copy_path(dir, kind, Side::B), kind)?;
        for (copy, state) in [(Side::A, &a), (Side::B, &b)] {
            if let CopyState::Foreign(found) = state {
                let expected = FoundFormat {
                    magic: kind.magic,
                    version: kind.version,
                };
                let path = copy_path(dir, kind, copy);
                return Err(FormatError {
                    path,
                    found: *found,
                    expected,
                }
                .into());
            }
        }
        let differ = a != b;
        let (first, newest) = match (a, b) {
            (
                CopyState::Intact {
                    sequence: a,
                    content,
                },
                CopyState::Intact { sequence: b, .. },
            ) if a >= b => {
                // The older copy is written first; of two equal ones, either may be.
                (if a > b { Side::B } else { Side::A }, Some((a, content)))
            }
            (_, CopyState::Intact { sequence, content }) => (Side::A, Some((sequence, content))),
            (CopyState::Intact { sequence, content }, _) => (Side::B, Some((sequence, content))),
            _ => (Side::A, None),
        };
        let (sequence, content) = newest.map_or((0, None), |(n, content)| (n, Some(content)));
        let (disk, dir) = (Arc::clone(disk), dir.to_owned());
        let file = Self {
            disk,
            dir,
            kind,
            sequence,
            first,
            listed: [false, false],
        };
        Ok(Loaded {
            file,
            content,
            differ,
        })
    }

    /// Replaces the content: one copy is written and synced, then the other. When this returns,
    /// the content is durable; when it fails, the old or the new one is.
    ///
    /// # Errors
    /// What the file system answers. After a failed sync the file must be loaded anew.
    pub fn store(&mut self, content: &[u8]) -> Result<(), MirroredError> {
        if content.len() as u64 > MIRRORED_CONTENT_MAX {
            let path = copy_path(&self.dir, self.kind, self.first);
            return Err(MirroredError::TooLarge {
                path,
                bytes: content.len() as u64,
            });
        }
        let header = encode_header(self.kind, self.sequence + 1, content);
        let first = self.first;
        self.write_copy(first, &header, content)?;
        self.first = first.other();
        self.write_copy(first.other(), &header, content)?;
        self.sequence += 1;
        self.first = Side::A;
        Ok(())
    }

    /// Writes one copy without a sync, and turns to the other. After the second one, and a sync
    /// after each, comes [`MirroredFile::is_stored`].
    pub(crate) fn write_half(&mut self, content: &[u8]) -> Result<(), MirroredError> {
        let path = copy_path(&self.dir, self.kind, self.first);
        let bytes = content.len() as u64;
        if bytes > MIRRORED_CONTENT_MAX {
            return Err(MirroredError::TooLarge { path, bytes });
        }
        let header = encode_header(self.kind, self.sequence + 1, content);
        let parts = [io::IoSlice::new(&header), io::IoSlice::new(content)];
        let file = self.disk.open(&path, OpenMode::CreateIfMissing);
        let written = file.and_then(|file| file.write_at(0, &parts));
        let what = "write";
        written.map_err(|source| MirroredError::Io { what, path, source })?;
        self.first = self.first.other();
        Ok(())
    }

    /// The copy that was written last goes first again.
    pub(crate) const fn turn_back(&mut self) {
        self.first = self.first.other();
    }

    /// Both halves are on disk.
    pub(crate) const fn is_stored(&mut self) {
        self.sequence += 1;
        self.first = Side::A;
    }

    /// Makes both copies, empty if they are new: "none yet" to whoever loads them.
    ///
    /// # Errors
    /// What the file system answers.
    pub(crate) fn make(&self) -> Result<(), MirroredError> {
        if self.listed == [true, true] {
            return Ok(());
        }
        for path in Self::paths(&self.dir, self.kind) {
            let made = self.disk.open(&path, OpenMode::CreateIfMissing);
            let what = "make";
            made.map_err(|source| MirroredError::Io { what, path, source })?;
        }
        Ok(())
    }

    /// Both copies were made, and their directory was synced since.
    pub(crate) const fn is_listed(&mut self) {
        self.listed = [true, true];
    }

    fn write_copy(
        &mut self,
        copy: Side,
        header: &[u8],
        content: &[u8],
    ) -> Result<(), MirroredError> {
        let path = copy_path(&self.dir, self.kind, copy);
        let io = |what| {
            let path = path.clone();
            move |source| MirroredError::Io { what, path, source }
        };
        // Opened for each write: there are two such files a log, and open files are few.
        let file = self
            .disk
            .open(&path, OpenMode::CreateIfMissing)
            .map_err(io("open"))?;
        let parts = [io::IoSlice::new(header), io::IoSlice::new(content)];
        file.write_at(0, &parts).map_err(io("write"))?;
        file.sync().map_err(io("sync"))?;
        let [a, b] = &mut self.listed;
        let listed = match copy {
            Side::A => a,
            Side::B => b,
        };
        if !*listed {
            self.disk
                .sync_dir(&self.dir)
                .map_err(io("sync the directory of"))?;
            *listed = true;
        }
        Ok(())
    }

    /// The paths of the two copies.
    #[must_use]
    pub fn paths(dir: &Path, kind: MirroredKind) -> [PathBuf; 2] {
        [copy_path(dir, kind, Side::A), copy_path(dir, kind, Side::B)]
    }
}

fn copy_path(dir: &Path, kind: MirroredKind, copy: Side) -> PathBuf {
    dir.join(format!("{}.{}", kind.stem, copy.suffix()))
}

/// Reads one copy and says what it is.
///
/// # Errors
/// What the file system answers.
pub fn read_copy(
    disk: &dyn Disk,
    path: &Path,
    kind: MirroredKind,
) -> Result<CopyState, MirroredError> {
    let io = |source| MirroredError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let file = match disk.open(path, OpenMode::ReadOnly) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(CopyState::Missing),
        Err(e) => return Err(io(e)),
    };
    let len = file.len().map_err(io)?;
    if len == 0 {
        return Ok(CopyState::Missing);
    }
    let len = len.min(MIRRORED_CONTENT_MAX + MIRRORED_HEADER_BYTES as u64);
    let mut bytes = vec![0; len as usize];
    let n = file.read_at(0, &mut bytes).map_err(io)?;
    bytes.truncate(n);
    Ok(decode_copy(&bytes, kind))
}

fn encode_header(kind: MirroredKind, sequence: u64, content: &[u8]) -> [u8; MIRRORED_HEADER_BYTES] {
    let mut out = Vec::with_capacity(MIRRORED_HEADER_BYTES);
    out.extend_from_slice(&kind.magic);
    out.extend_from_slice(&kind.version.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&(content.len() as u64).to_le_bytes());
    out.extend_from_slice(&crc(content).to_le_bytes());
    let sum = crc(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    let mut header = [0; MIRRORED_HEADER_BYTES];
    header.copy_from_slice(&out);
    header
}

/// Says what the bytes of a copy are.
#[must_use]
pub fn decode_copy(bytes: &[u8], kind: MirroredKind) -> CopyState {
    decode(bytes, kind).unwrap_or(CopyState::Damaged)
}

fn decode(bytes: &[u8], kind: MirroredKind) -> Option<CopyState> {
    let (header, rest) = bytes.split_first_chunk::<MIRRORED_HEADER_BYTES>()?;
    let mut input = Input::new(header);
    let (magic, version, _) = (input.array::<8>()?, input.u16()?, input.array::<6>()?);
    let (sequence, len, content_crc, header_crc) =
        (input.u64()?, input.u64()?, input.u32()?, input.u32()?);
    if Crc::default().add(header.split_last_chunk::<4>()?.0).get() != header_crc {
        return None;
    }
    if magic != kind.magic || version != kind.version {
        return Some(CopyState::Foreign(FoundFormat { magic, version }));
    }
    let content = rest.get(..usize::try_from(len).ok()?)?;
    (crc(content) == content_crc).then(|| CopyState::Intact {
        sequence,
        content: content.to_vec(),
    })
}
