//! The journal's files: their names and their first block.

use std::path::{Path, PathBuf};

use super::block::BLOCK_BYTES;
use crate::{
    codec::{Input, crc},
    file_header::FoundFormat,
};

/// What a file's name ends with.
pub const EXTENSION: &str = "journal";

/// What the names of cut off ends end with.
pub const TORN_EXTENSION: &str = "torn";

/// The first eight bytes of every file.
pub const MAGIC: [u8; 8] = *b"TRILITHJ";

/// The newest version of the layout, and the only one so far.
pub const VERSION: u16 = 1;

/// What of the first block is used.
pub(super) const FILE_HEADER_BYTES: usize = 64;

/// What the first block of a file says of its present use. Files keep their names when they are
/// written again; the number of their use grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// The journal's own: random, the same in all of its files.
    pub(super) salt: u64,
    /// Counts the files that were begun.
    pub(super) file: u32,
    /// The number of the first frame. Frames of that number or a higher one in files before it
    /// were cut off when this one was begun.
    pub(super) first_frame: u64,
}

/// What a file's first block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderState {
    /// The file was never used.
    Blank,
    Good(FileHeader),
    Damaged,
    /// Intact, and of another kind or version.
    Foreign(FoundFormat),
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(FILE_HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.file.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.first_frame.to_le_bytes());
        bytes.resize(FILE_HEADER_BYTES - 4, 0);
        let sum = crc(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        let mut out = [0; FILE_HEADER_BYTES];
        for (slot, byte) in out.iter_mut().zip(bytes) {
            *slot = byte;
        }
        out
    }

    pub(super) fn judge(bytes: &[u8; FILE_HEADER_BYTES]) -> HeaderState {
        if *bytes == [0; FILE_HEADER_BYTES] {
            return HeaderState::Blank;
        }
        Self::decode(bytes).unwrap_or(HeaderState::Damaged)
    }

    fn decode(bytes: &[u8; FILE_HEADER_BYTES]) -> Option<HeaderState> {
        let (covered, sum) = bytes.split_last_chunk::<4>()?;
        if crc(covered) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut input = Input::new(bytes);
        let (magic, version, _) = (input.array::<8>()?, input.u16()?, input.u16()?);
        if magic != MAGIC || version != VERSION {
            return Some(HeaderState::Foreign(FoundFormat { magic, version }));
        }
        let file = input.u32()?;
        Some(HeaderState::Good(Self {
            file,
            salt: input.u64()?,
            first_frame: input.u64()?,
        }))
    }
}

/// The path of a file: six digits or more that stay the same over its uses.
pub(super) fn path(dir: &Path, slot: u32) -> PathBuf {
    dir.join(format!("{slot:06}.{EXTENSION}"))
}

/// The number in a file's name.
pub(super) fn parse(path: &Path) -> Option<u32> {
    let (stem, extension) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let digits = stem.len() >= 6 && stem.bytes().all(|b| b.is_ascii_digit());
    (extension == EXTENSION && digits).then(|| stem.parse().ok())?
}

/// Where the end that was cut off at block `block` of a file is kept: `frame` is the first in it.
pub(super) fn torn_path(dir: &Path, slot: u32, frame: u64, block: u32) -> PathBuf {
    let position = u64::from(block) * BLOCK_BYTES as u64;
    dir.join(format!(
        "frame-{frame:020}.{slot:06}.at-{position}.{TORN_EXTENSION}"
    ))
}

/// Whether a path is one of [`torn_path`].
pub(super) fn is_torn(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == TORN_EXTENSION)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_left_alone() {
        let dir = Path::new("d");
        assert_eq!(path(dir, 7), Path::new("d/000007.journal"));
        assert_eq!(parse(&path(dir, 7)), Some(7));
        for other in [
            "votes.a",
            "7.journal",
            "00000x.journal",
            "000007.log",
            "journal",
        ] {
            assert_eq!(parse(Path::new(other)), None, "{other}");
        }
        let torn = torn_path(dir, 7, 12, 2);
        assert_eq!(
            torn,
            Path::new("d/frame-00000000000000000012.000007.at-8192.torn")
        );
        assert!(is_torn(&torn) && parse(&torn).is_none() && !is_torn(&path(dir, 7)));
    }

    #[test]
    fn each_state_is_told_from_the_others() {
        let header = FileHeader {
            salt: 5,
            file: 6,
            first_frame: 7,
        };
        assert_eq!(
            FileHeader::judge(&header.encode()),
            HeaderState::Good(header)
        );
        assert_eq!(
            FileHeader::judge(&[0; FILE_HEADER_BYTES]),
            HeaderState::Blank
        );
        let mut newer = header.encode();
        newer[8] = 2;
        assert_eq!(FileHeader::judge(&newer), HeaderState::Damaged);
        let sum = crc(&newer[..60]).to_le_bytes();
        newer[60..].copy_from_slice(&sum);
        let HeaderState::Foreign(found) = FileHeader::judge(&newer) else {
            panic!("a newer version passed")
        };
        assert_eq!(found.to_string(), "magic \"TRILITHJ\", version 2");
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_seen(salt: u64, file: u32, first_frame: u64, bit in 0..512_usize) {
            let mut bytes = FileHeader { salt, file, first_frame }.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(FileHeader::judge(&bytes), HeaderState::Damaged);
        }
    }
}
