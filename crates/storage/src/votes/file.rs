//! The two files: their names, their first block, and where slots lie.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{DIRECT_ALIGN, Disk, File, OpenMode};

use super::{
    VotesOpenError,
    slot::{FoundSlot, SLOT_BYTES, Slot},
};
use crate::{
    codec::{Input, crc},
    file_header::{FormatError, FoundFormat},
};

/// The names of the two files.
pub const FILE_NAMES: [&str; 2] = ["votes.a", "votes.b"];

/// The first eight bytes of both files.
pub const MAGIC: [u8; 8] = *b"TRILITHV";

/// The newest version of the layout, and the only one so far.
pub const VERSION: u16 = 1;

/// Bytes that are written at once, so that writes can bypass the page cache: the slots of eight
/// groups. The first block is the file's header.
pub(super) const BLOCK_BYTES: usize = DIRECT_ALIGN;

pub(super) const SLOTS_PER_BLOCK: u32 = (BLOCK_BYTES / SLOT_BYTES) as u32;

/// Length of what is used of the first block.
const HEADER_BYTES: usize = 16;

/// One of the two files as it was found.
pub(super) struct Copy {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) content: Content,
}

/// What was in it; nothing when it is missing.
#[derive(Default)]
pub(super) struct Content {
    bytes: Vec<u8>,
    /// Whether the file was written by this program: its zeros are slots that were never used.
    pub(super) header_good: bool,
}

pub(super) fn header() -> [u8; BLOCK_BYTES] {
    let mut out = [0; BLOCK_BYTES];
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    let sum = crc(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    for (slot, byte) in out.iter_mut().zip(bytes) {
        *slot = byte;
    }
    out
}

/// Whether the header is good; an error when it is another's.
fn judge(bytes: &[u8], path: &Path) -> Result<bool, VotesOpenError> {
    let decode = || {
        let (covered, sum) = bytes.get(..HEADER_BYTES)?.split_last_chunk::<4>()?;
        let mut input = Input::new(covered);
        let found = FoundFormat {
            magic: input.array()?,
            version: input.u16()?,
        };
        (crc(covered) == u32::from_le_bytes(*sum)).then_some(found)
    };
    let expected = FoundFormat {
        magic: MAGIC,
        version: VERSION,
    };
    match decode() {
        None => Ok(false),
        Some(found) if found == expected => Ok(true),
        Some(found) => Err(FormatError {
            path: path.to_owned(),
            found,
            expected,
        }
        .into()),
    }
}

impl Copy {
    pub(super) fn read(
        disk: &dyn Disk,
        dir: &Path,
        name: &str,
        mode: OpenMode,
    ) -> Result<Self, VotesOpenError> {
        let path = dir.join(name);
        let io = |what| VotesOpenError::io(what, &path);
        let file = disk.open(&path, mode).map_err(io("open"))?;
        let len = file.len().map_err(io("measure"))?;
        let mut bytes = vec![0; len as usize];
        let n = file.read_at(0, &mut bytes).map_err(io("read"))?;
        bytes.truncate(n);
        let header_good = judge(&bytes, &path)?;
        let content = Content { bytes, header_good };
        Ok(Self {
            path,
            file,
            content,
        })
    }
}

impl Content {
    /// Whether there is nothing in it.
    pub(super) fn is_new(&self) -> bool {
        self.bytes.iter().all(|&byte| byte == 0)
    }

    /// How many slots it has room for.
    pub(super) fn slots(&self) -> u32 {
        let blocks = (self.bytes.len() / BLOCK_BYTES) as u32;
        blocks.saturating_sub(1) * SLOTS_PER_BLOCK
    }

    /// The bytes of a slot; zeros past the end.
    pub(super) fn raw(&self, number: u32) -> [u8; SLOT_BYTES] {
        let start = slot_position(number) as usize;
        let found = self.bytes.get(start..start + SLOT_BYTES);
        found
            .and_then(|f| f.try_into().ok())
            .unwrap_or([0; SLOT_BYTES])
    }

    /// A slot as this copy has it.
    pub(super) fn slot(&self, number: u32) -> FoundSlot {
        match Slot::decode(&self.raw(number), number) {
            // Zeros of a file that was lost say nothing.
            FoundSlot::Blank if !self.header_good => FoundSlot::Bad,
            found => found,
        }
    }
}

/// Where a slot lies.
pub(super) const fn slot_position(number: u32) -> u64 {
    BLOCK_BYTES as u64 + number as u64 * SLOT_BYTES as u64
}

/// Makes both names durable.
pub(super) fn sync_names(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.sync_dir(dir)
}
