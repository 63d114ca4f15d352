//! The header of a frame.

use crate::codec::{Crc, Input};

/// Length of a frame's header; it is the first thing in a frame's content.
pub const HEAD_BYTES: usize = 120;

/// The first four bytes of a frame's header, `TJFR`.
pub const HEAD_MAGIC: u32 = u32::from_le_bytes(*b"TJFR");

/// Nothing in it: it only says that everything before it is durable.
pub(super) const FLAG_SEAL: u16 = 1;
/// The journal was closed; nothing follows in this file.
pub(super) const FLAG_CLEAN: u16 = 2;
/// The first of a file, with the marks of all groups.
pub(super) const FLAG_FIRST: u16 = 4;

/// Its answer did not wait for the disk.
pub(super) const FLAG_LOOSE: u16 = 8;

const FLAGS_KNOWN: u16 = FLAG_SEAL | FLAG_CLEAN | FLAG_FIRST | FLAG_LOOSE;

/// What the header says. Lengths are of the content, without stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) flags: u16,
    /// The frame's number: one more than the one before it, over all files.
    pub(super) frame: u64,
    /// Length of the whole frame in blocks.
    pub(super) blocks: u32,
    /// How many descriptors there are.
    pub(super) ops: u32,
    pub(super) descriptor_bytes: u32,
    /// Payloads and states.
    pub(super) body_bytes: u32,
    /// Every frame up to this one was durable when this one was begun.
    pub(super) durable_upto: u64,
    /// Files in an earlier use than this one are no longer needed.
    pub(super) oldest_file: u32,
    pub(super) descriptor_crc: u32,
    /// The frame before, whose descriptors the trailer repeats.
    pub(super) previous: Previous,
    pub(super) trailer_crc: u32,
}

/// What a frame says of the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Previous {
    /// Its [`Head::hash`].
    pub(super) hash: u64,
    /// The number of its file's use.
    pub(super) file: u32,
    /// Where it begins there.
    pub(super) block: u32,
    /// Its length in blocks; 0 when there was none or it was not readable.
    pub(super) blocks: u32,
    /// How many descriptors the trailer has.
    pub(super) ops: u32,
    /// Their length.
    pub(super) descriptor_bytes: u32,
}

/// Where a frame lies: part of its checksum, so that it is nothing anywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The journal's salt.
    pub(super) salt: u64,
    /// The number of the file's use.
    pub(super) file: u32,
    /// Its first block.
    pub(super) block: u32,
}

impl Head {
    pub(super) fn encode(&self, place: Place) -> [u8; HEAD_BYTES] {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        let previous = &self.previous;
        bytes.extend_from_slice(&HEAD_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        for n in [self.frame, self.durable_upto, previous.hash] {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        let numbers = [
            self.blocks,
            self.ops,
            self.descriptor_bytes,
            self.body_bytes,
            self.oldest_file,
            self.descriptor_crc,
            self.trailer_crc,
            previous.file,
            previous.block,
            previous.blocks,
            previous.ops,
            previous.descriptor_bytes,
        ];
        for n in numbers {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        let mut out = [0; HEAD_BYTES];
        for (slot, byte) in out.iter_mut().zip(bytes) {
            *slot = byte;
        }
        let crc = head_crc(&out, place);
        if let Some(field) = out.last_chunk_mut::<4>() {
            *field = crc.to_le_bytes();
        }
        out
    }

    /// Reads the header of the frame that begins at `place`; `None` when the bytes are none.
    pub(super) fn decode(bytes: &[u8; HEAD_BYTES], place: Place) -> Option<Self> {
        let mut input = Input::new(bytes);
        if input.u32()? != HEAD_MAGIC
            || u32::from_le_bytes(*bytes.last_chunk()?) != head_crc(bytes, place)
        {
            return None;
        }
        let (flags, _) = (input.u16()?, input.u16()?);
        let (frame, durable_upto, hash) = (input.u64()?, input.u64()?, input.u64()?);
        let head = Self {
            flags,
            frame,
            durable_upto,
            blocks: input.u32()?,
            ops: input.u32()?,
            descriptor_bytes: input.u32()?,
            body_bytes: input.u32()?,
            oldest_file: input.u32()?,
            descriptor_crc: input.u32()?,
            trailer_crc: input.u32()?,
            previous: Previous {
                hash,
                file: input.u32()?,
                block: input.u32()?,
                blocks: input.u32()?,
                ops: input.u32()?,
                descriptor_bytes: input.u32()?,
            },
        };
        (head.blocks > 0).then_some(head)
    }

    /// Whether it says something that this version does not know.
    pub(super) const fn is_newer(&self) -> bool {
        self.flags & !FLAGS_KNOWN != 0
    }

    pub(super) const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Stands for everything in the frame: its header has the checksums of the rest.
    pub(super) fn hash(&self, place: Place) -> u64 {
        let bytes = self.encode(place);
        let crc = bytes
            .last_chunk::<4>()
            .map_or(0, |c| u32::from_le_bytes(*c));
        u64::from(crc) << 32 | u64::from(self.descriptor_crc)
    }

    /// Where the payloads and states begin in the content.
    pub(super) const fn body_position(&self) -> u64 {
        HEAD_BYTES as u64 + self.descriptor_bytes as u64
    }

    /// Where the trailer begins in the content.
    pub(super) const fn trailer_position(&self) -> u64 {
        self.body_position() + self.body_bytes as u64
    }
}

fn head_crc(bytes: &[u8; HEAD_BYTES], place: Place) -> u32 {
    let covered = bytes.split_last_chunk::<4>().map_or(&[][..], |(c, _)| c);
    Crc::default()
        .add(&place.salt.to_le_bytes())
        .add(&place.file.to_le_bytes())
        .add(&place.block.to_le_bytes())
        .add(covered)
        .get()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(n: [u64; 3], small: [u32; 12], flags: u16) -> Head {
        Head {
            flags,
            frame: n[0],
            durable_upto: n[1],
            blocks: small[0].max(1),
            ops: small[1],
            descriptor_bytes: small[2],
            body_bytes: small[3],
            oldest_file: small[4],
            descriptor_crc: small[5],
            trailer_crc: small[6],
            previous: Previous {
                hash: n[2],
                file: small[7],
                block: small[8],
                blocks: small[9],
                ops: small[10],
                descriptor_bytes: small[11],
            },
        }
    }

    proptest! {
        #[test]
        fn a_header_comes_back_and_a_flipped_bit_or_another_place_is_seen(
            n: [u64; 3], small: [u32; 12], flags: u16, salt: u64, file: u32, block: u32,
            bit in 0..HEAD_BYTES * 8,
        ) {
            let place = Place { salt, file, block };
            let head = head(n, small, flags);
            let mut bytes = head.encode(place);
            prop_assert_eq!(Head::decode(&bytes, place), Some(head));
            prop_assert_eq!(head.is_newer(), flags > 15);
            for other in [
                Place { salt: salt ^ 1, ..place },
                Place { file: file ^ 1, ..place },
                Place { block: block ^ 1, ..place },
            ] {
                prop_assert_eq!(Head::decode(&bytes, other), None);
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Head::decode(&bytes, place), None);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), HEAD_BYTES)) {
            let bytes = bytes.try_into().unwrap();
            let place = Place { salt: 1, file: 1, block: 1 };
            prop_assert_eq!(Head::decode(&bytes, place), None);
        }
    }
}
