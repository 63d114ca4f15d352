//! Blocks: the unit in which the journal is written, each stamped at both ends.
//!
//! A device writes a frame's blocks in any order, and a block from its beginning. So after a
//! power cut a block that was not written, or not to its end, shows an older stamp or zeros at one
//! end at least. Bytes that were written and went bad later show no valid stamp, or the right ones
//! around a wrong checksum.

use crate::codec::{Crc, Input};

/// Length of a block; frames begin and end at multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// Length of the stamp at either end of a block.
pub const STAMP_BYTES: usize = 24;

/// What a block holds between its stamps.
pub const BLOCK_DATA_BYTES: usize = BLOCK_BYTES - 2 * STAMP_BYTES;

/// What a stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The journal's salt.
    pub(super) salt: u64,
    /// The frame's number.
    pub(super) frame: u64,
    /// The number of the file's use.
    pub(super) file: u32,
}

impl Stamp {
    /// The stamp as it lies in block `block` of its file. The checksum covers the place, so that
    /// a block that was put elsewhere is not taken for its own.
    pub(super) fn encode(&self, block: u32) -> [u8; STAMP_BYTES] {
        let mut out = [0; STAMP_BYTES];
        let numbers = self.salt.to_le_bytes().into_iter();
        let numbers = numbers
            .chain(self.frame.to_le_bytes())
            .chain(self.file.to_le_bytes());
        for (slot, byte) in out.iter_mut().zip(numbers) {
            *slot = byte;
        }
        let check = check(&out, block);
        if let Some(field) = out.last_chunk_mut::<4>() {
            *field = check.to_le_bytes();
        }
        out
    }

    /// Reads the stamp of a block; `None` when it is none.
    pub(super) fn decode(bytes: &[u8; STAMP_BYTES], block: u32) -> Option<Self> {
        let mut input = Input::new(bytes);
        let stamp = Self {
            salt: input.u64()?,
            frame: input.u64()?,
            file: input.u32()?,
        };
        (input.u32()? == check(bytes, block)).then_some(stamp)
    }
}

fn check(stamp: &[u8; STAMP_BYTES], block: u32) -> u32 {
    let covered = stamp.first_chunk::<{ STAMP_BYTES - 4 }>();
    Crc::default()
        .add(&block.to_le_bytes())
        .add(covered.map_or(&[], |c| &c[..]))
        .get()
}

/// What one end of a block says about who wrote it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// This frame of the file's present use.
    Frame(u64),
    /// An earlier use of the file, or none.
    Old,
    /// Nobody writes this.
    Bad,
}

/// The ends of a block, `block`th of a file in its use number `file`.
pub(super) fn ends(bytes: &[u8], salt: u64, file: u32, block: u32) -> [End; 2] {
    let judge = |stamp: Option<&[u8; STAMP_BYTES]>| {
        let Some(stamp) = stamp else { return End::Bad };
        if *stamp == [0; STAMP_BYTES] {
            return End::Old;
        }
        match Stamp::decode(stamp, block) {
            Some(stamp) if stamp.salt == salt && stamp.file == file => End::Frame(stamp.frame),
            Some(stamp) if stamp.salt == salt && stamp.file < file => End::Old,
            _ => End::Bad,
        }
    };
    [judge(bytes.first_chunk()), judge(bytes.last_chunk())]
}

/// How many blocks hold so many bytes.
pub(super) const fn blocks_for(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_DATA_BYTES as u64)
}

/// The pieces of `len` bytes at `position` of a frame's content, as ranges of the frame's bytes
/// with their stamps.
pub(super) fn pieces(position: u64, len: u64) -> impl Iterator<Item = std::ops::Range<usize>> {
    let (mut at, end) = (position, position.saturating_add(len));
    let data = BLOCK_DATA_BYTES as u64;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (block, within) = (at / data, at % data);
        let n = (data - within).min(end - at);
        let start = block * BLOCK_BYTES as u64 + STAMP_BYTES as u64 + within;
        at += n;
        Some(start as usize..(start + n) as usize)
    })
}

/// The bytes at `position` of a frame's content; `None` when they go past its end.
pub(super) fn gather(frame: &[u8], position: u64, len: u64) -> Option<Vec<u8>> {
    // Nothing is taken for lengths that cannot be there.
    (len <= frame.len() as u64).then_some(())?;
    let mut out = Vec::with_capacity(len as usize);
    for range in pieces(position, len) {
        out.extend_from_slice(frame.get(range)?);
    }
    Some(out)
}

/// The checksum of the bytes at `position` of a frame's content; `None` past its end.
pub(super) fn gather_crc(frame: &[u8], position: u64, len: u64) -> Option<u32> {
    let mut crc = Crc::default();
    for range in pieces(position, len) {
        crc = crc.add(frame.get(range)?);
    }
    Some(crc.get())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(stamp: Stamp, number: u32) -> Vec<u8> {
        let mut bytes = vec![7; BLOCK_BYTES];
        bytes[..STAMP_BYTES].copy_from_slice(&stamp.encode(number));
        bytes[BLOCK_BYTES - STAMP_BYTES..].copy_from_slice(&stamp.encode(number));
        bytes
    }

    const STAMP: Stamp = Stamp {
        salt: 9,
        frame: 70,
        file: 4,
    };

    #[test]
    fn a_block_says_who_wrote_each_end() {
        let bytes = block(STAMP, 3);
        assert_eq!(ends(&bytes, 9, 4, 3), [End::Frame(70); 2]);
        assert_eq!(ends(&bytes, 9, 5, 3), [End::Old; 2], "an earlier use");
        assert_eq!(ends(&bytes, 9, 3, 3), [End::Bad; 2], "a later use");
        assert_eq!(ends(&bytes, 8, 4, 3), [End::Bad; 2], "another journal");
        assert_eq!(ends(&bytes, 9, 4, 2), [End::Bad; 2], "another place");
        assert_eq!(ends(&[0; BLOCK_BYTES], 9, 4, 3), [End::Old; 2]);
        let mut begun = vec![0; BLOCK_BYTES];
        begun[..1024].copy_from_slice(&bytes[..1024]);
        assert_eq!(ends(&begun, 9, 4, 3), [End::Frame(70), End::Old]);
    }

    proptest! {
        #[test]
        fn a_stamp_comes_back_and_a_flipped_bit_is_seen(
            salt: u64, frame: u64, file: u32, number: u32, bit in 0..STAMP_BYTES * 8,
        ) {
            let stamp = Stamp { salt, frame, file };
            let mut bytes = stamp.encode(number);
            prop_assert_eq!(Stamp::decode(&bytes, number), Some(stamp));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Stamp::decode(&bytes, number), None);
        }

        #[test]
        fn pieces_cover_the_content_and_no_stamp(position in 0..20_000_u64, len in 0..20_000_u64) {
            let blocks = blocks_for(position + len) as usize;
            let mut frame = Vec::new();
            let mut next = 0_u64;
            for _ in 0..blocks {
                frame.extend_from_slice(&[0xff; STAMP_BYTES]);
                frame.extend((next..next + BLOCK_DATA_BYTES as u64).map(|n| (n % 251) as u8));
                frame.extend_from_slice(&[0xff; STAMP_BYTES]);
                next += BLOCK_DATA_BYTES as u64;
            }
            let expected: Vec<u8> = (position..position + len).map(|n| (n % 251) as u8).collect();
            prop_assert_eq!(gather(&frame, position, len), Some(expected.clone()));
            prop_assert_eq!(gather_crc(&frame, position, len), Some(crate::codec::crc(&expected)));
            prop_assert_eq!(gather(&frame, position, frame.len() as u64 + 1), None);
        }
    }
}
