//! The first 64 bytes of every segment file: what it is and whose.

use std::{fmt, path::PathBuf};

use trilith_types::{GroupId, LogIndex, Offset};

use crate::{
    codec::{Input, crc},
    meta::SegmentId,
};

/// Length of the header.
pub const FILE_HEADER_BYTES: usize = 64;

/// The first eight bytes of every segment file.
pub const FILE_MAGIC: [u8; 8] = *b"TRILITHS";

/// The newest version of the layout of segment files, and the only one so far.
pub const FILE_VERSION: u16 = 1;

/// Which of a segment's files it is. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The frames.
    Store = 1,
    /// Offset to entry.
    Offsets = 2,
    /// Entry to place.
    Entries = 3,
    /// Time to entry.
    Times = 4,
}

impl FileKind {
    /// How the file's name ends.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Store => "log",
            Self::Offsets => "offsets",
            Self::Entries => "entries",
            Self::Times => "times",
        }
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Which of the segment's files.
    pub kind: FileKind,
    /// Whose log.
    pub group: GroupId,
    /// Which segment.
    pub segment: SegmentId,
    /// The segment's first offset.
    pub base: Offset,
    /// The segment's first entry.
    pub first_index: LogIndex,
    /// A random number that every frame's checksum covers.
    pub salt: u64,
}

impl FileHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut out = [0; FILE_HEADER_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(field) = out.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&FILE_MAGIC);
        put(&FILE_VERSION.to_le_bytes());
        put(&(self.kind as u16).to_le_bytes());
        put(&[0; 4]);
        put(&self.group.0.to_le_bytes());
        put(&self.segment.0.to_le_bytes());
        put(&self.base.0.to_le_bytes());
        put(&self.first_index.0.to_le_bytes());
        put(&self.salt.to_le_bytes());
        put(&[0; 4]);
        let (covered, _) = out.split_at(FILE_HEADER_BYTES - 4);
        let sum = crc(covered).to_le_bytes();
        if let Some(field) = out.get_mut(FILE_HEADER_BYTES - 4..) {
            field.copy_from_slice(&sum);
        }
        out
    }

    /// What an intact header of this version says.
    #[must_use]
    pub fn decode(bytes: &[u8; FILE_HEADER_BYTES]) -> Option<Self> {
        let mut input = Input::new(bytes);
        let (_magic, _version) = (input.array::<8>()?, input.u16()?);
        let kind = match input.u16()? {
            1 => FileKind::Store,
            2 => FileKind::Offsets,
            3 => FileKind::Entries,
            4 => FileKind::Times,
            _ => return None,
        };
        let _reserved = input.u32()?;
        let header = Self {
            kind,
            group: GroupId(input.u64()?),
            segment: SegmentId(input.u64()?),
            base: Offset(input.u64()?),
            first_index: LogIndex(input.u64()?),
            salt: input.u64()?,
        };
        (header.judge(bytes) == HeaderState::Good).then_some(header)
    }

    /// Compares the bytes of a file with the header that the manifest asks for.
    #[must_use]
    pub fn judge(&self, bytes: &[u8; FILE_HEADER_BYTES]) -> HeaderState {
        if *bytes == self.encode() {
            return HeaderState::Good;
        }
        let Some((magic, version, sum)) = parts(bytes) else {
            return HeaderState::Damaged;
        };
        let (covered, _) = bytes.split_at(FILE_HEADER_BYTES - 4);
        if crc(covered) != sum {
            return HeaderState::Damaged;
        }
        if magic != FILE_MAGIC {
            return HeaderState::Foreign {
                found: FoundFormat { magic, version },
            };
        }
        if version != FILE_VERSION {
            return HeaderState::Foreign {
                found: FoundFormat { magic, version },
            };
        }
        HeaderState::Misplaced
    }
}

fn parts(bytes: &[u8; FILE_HEADER_BYTES]) -> Option<([u8; 8], u16, u32)> {
    let mut input = Input::new(bytes);
    let (magic, version) = (input.array::<8>()?, input.u16()?);
    let mut sum = Input::new(bytes.last_chunk::<4>()?);
    Some((magic, version, sum.u32()?))
}

/// How a file's header compares with what the manifest asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderState {
    /// It is the one.
    Good,
    /// Its checksum is wrong. The manifest knows all it said, so nothing is lost.
    Damaged,
    /// It is intact and of another format or version.
    Foreign {
        /// What it claims to be.
        found: FoundFormat,
    },
    /// It is intact and of this format, but of another segment or log.
    Misplaced,
}

/// The magic and version that a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundFormat {
    /// The first eight bytes.
    pub magic: [u8; 8],
    /// The version.
    pub version: u16,
}

impl fmt::Display for FoundFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "magic \"{}\", version {}",
            self.magic.escape_ascii(),
            self.version
        )
    }
}

/// A file that this version of the program must not touch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path} has {found}, expected {expected}; it was written by a newer version or by another program, and is left as it is"
)]
pub struct FormatError {
    /// The file.
    pub path: PathBuf,
    /// What it claims to be.
    pub found: FoundFormat,
    /// What was expected.
    pub expected: FoundFormat,
}

/// What this program writes into segment files.
pub const EXPECTED_FORMAT: FoundFormat = FoundFormat {
    magic: FILE_MAGIC,
    version: FILE_VERSION,
};

/// Judges `bytes` as a header: the fuzzer's way in.
pub fn fuzz(bytes: &[u8]) {
    let wanted = FileHeader {
        kind: FileKind::Store,
        group: GroupId(1),
        segment: SegmentId(1),
        base: Offset(0),
        first_index: LogIndex(1),
        salt: 1,
    };
    if let Some(head) = bytes.first_chunk::<FILE_HEADER_BYTES>() {
        let good = wanted.judge(head) == HeaderState::Good;
        assert_eq!(
            good,
            *head == wanted.encode(),
            "only the very header is good"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: FileHeader = FileHeader {
        kind: FileKind::Entries,
        group: GroupId(9),
        segment: SegmentId(3),
        base: Offset(100),
        first_index: LogIndex(12),
        salt: 77,
    };

    fn with(change: impl FnOnce(&mut [u8; FILE_HEADER_BYTES])) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = HEADER.encode();
        change(&mut bytes);
        let sum = crc(&bytes[..60]).to_le_bytes();
        bytes[60..].copy_from_slice(&sum);
        bytes
    }

    #[test]
    fn each_state_is_told_from_the_others() {
        assert_eq!(HEADER.judge(&HEADER.encode()), HeaderState::Good);
        let newer = with(|b| b[8] = 2);
        let HeaderState::Foreign { found } = HEADER.judge(&newer) else {
            panic!("a newer version passed")
        };
        assert_eq!(found.to_string(), "magic \"TRILITHS\", version 2");
        assert!(matches!(
            HEADER.judge(&with(|b| b[0] = b'X')),
            HeaderState::Foreign { .. }
        ));
        assert_eq!(HEADER.judge(&with(|b| b[24] = 8)), HeaderState::Misplaced);
        assert_eq!(HEADER.judge(&[0; FILE_HEADER_BYTES]), HeaderState::Damaged);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        for bit in 0..FILE_HEADER_BYTES * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(HEADER.judge(&bytes), HeaderState::Damaged, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            fuzz(&bytes);
        }
    }
}
