//! LZ4 frames as Kafka has them: one frame, independent blocks, an end mark, nothing behind it.
//!
//! The frame format is read and written here, block by block, and not by the compression library:
//! a decoder of streams takes the end of its input for the end of a frame and goes on with a next
//! frame, while here a batch must be exactly one whole frame. Source: lz4_Frame_format.md, 1.6.3.

use std::hash::Hasher;

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use twox_hash::XxHash32;

const FRAME_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

/// Version 01, independent blocks, no checksums, no content size; blocks of up to 64 KiB; and the
/// header's checksum. What Kafka's Java client writes.
const ENCODED_DESCRIPTOR: [u8; 3] = [0x60, 0x40, 0x82];
const ENCODED_BLOCK_BYTES: usize = 64 << 10;

const FLAG_VERSION_MASK: u8 = 0b1100_0000;
const FLAG_VERSION_1: u8 = 0b0100_0000;
const FLAG_INDEPENDENT: u8 = 0b0010_0000;
const FLAG_BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const FLAG_CONTENT_SIZE: u8 = 0b0000_1000;
const FLAG_CONTENT_CHECKSUM: u8 = 0b0000_0100;
const FLAG_RESERVED: u8 = 0b0000_0010;
const FLAG_DICTIONARY: u8 = 0b0000_0001;

/// The high bit of a block's length: the block is stored as it is.
const STORED: u32 = 1 << 31;

/// No block grows by more than this when it is decompressed: a byte of an LZ4 length stands for
/// at most 255 bytes.
const EXPANSION_MAX: usize = 255;

/// What is wrong with a frame.
pub(crate) type Problem = &'static str;

/// Compresses; keeps its tables between frames.
pub(crate) struct Encoder {
    table: CompressTable,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    pub(crate) fn new() -> Self {
        let scratch = vec![0; get_maximum_output_size(ENCODED_BLOCK_BYTES)];
        Self {
            table: CompressTable::large(),
            scratch,
        }
    }

    /// Appends `content` as one frame.
    pub(crate) fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&ENCODED_DESCRIPTOR);
        for block in content.chunks(ENCODED_BLOCK_BYTES) {
            let compressed = compress_into_with_table(block, &mut self.scratch, &mut self.table)
                .ok()
                .and_then(|len| self.scratch.get(..len))
                .filter(|compressed| compressed.len() < block.len());
            let (mark, bytes) = match compressed {
                Some(compressed) => (0, compressed),
                None => (STORED, block),
            };
            out.extend_from_slice(&(bytes.len() as u32 | mark).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        out.extend_from_slice(&[0; 4]);
    }
}

/// Reads one frame, block by block; holds one block at a time.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    flags: u8,
    block_bytes_max: usize,
    content_size: Option<u64>,
    content: u64,
    hasher: XxHash32,
    block: Vec<u8>,
}

impl<'a> Decoder<'a> {
    /// Reads the frame's header.
    pub(crate) fn new(frame: &'a [u8]) -> Result<Self, Problem> {
        let mut rest = frame;
        if take::<4>(&mut rest)? != FRAME_MAGIC {
            return Err("it does not begin with the magic number of LZ4 frames");
        }
        let descriptor = rest;
        let [flags, block_descriptor] = take::<2>(&mut rest)?;
        check_flags(flags, block_descriptor)?;
        let content_size = match flags & FLAG_CONTENT_SIZE {
            0 => None,
            _ => Some(u64::from_le_bytes(take(&mut rest)?)),
        };
        let described = descriptor.len() - rest.len();
        let [checksum] = take::<1>(&mut rest)?;
        let described = descriptor.get(..described).ok_or(ENDS_EARLY)?;
        if checksum != (XxHash32::oneshot(0, described) >> 8) as u8 {
            return Err("its header's checksum is wrong");
        }
        Ok(Self {
            rest,
            flags,
            block_bytes_max: 1 << (8 + 2 * u32::from(block_descriptor >> 4)),
            content_size,
            content: 0,
            hasher: XxHash32::with_seed(0),
            block: Vec::new(),
        })
    }

    /// The next block's content; `None` after the end mark, once nothing lies behind the frame.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Problem> {
        let length = u32::from_le_bytes(take(&mut self.rest)?);
        if length == 0 {
            return self.finish().map(|()| None);
        }
        let len = (length & !STORED) as usize;
        if len > self.block_bytes_max {
            return Err("a block is larger than the frame allows");
        }
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        if self.flags & FLAG_BLOCK_CHECKSUMS != 0
            && u32::from_le_bytes(take(&mut self.rest)?) != XxHash32::oneshot(0, bytes)
        {
            return Err("a block's checksum is wrong");
        }
        let content = if length & STORED == 0 {
            decompress(&mut self.block, bytes, self.block_bytes_max)?
        } else {
            bytes
        };
        self.content += content.len() as u64;
        if self.flags & FLAG_CONTENT_CHECKSUM != 0 {
            self.hasher.write(content);
        }
        Ok(Some(content))
    }

    fn finish(&mut self) -> Result<(), Problem> {
        if self.content_size.is_some_and(|size| size != self.content) {
            return Err("its content has another size than its header says");
        }
        if self.flags & FLAG_CONTENT_CHECKSUM != 0
            && u32::from_le_bytes(take(&mut self.rest)?) != self.hasher.finish_32()
        {
            return Err("its content's checksum is wrong");
        }
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err("bytes lie behind its end mark")
        }
    }
}

const ENDS_EARLY: Problem = "it ends early";

fn check_flags(flags: u8, block_descriptor: u8) -> Result<(), Problem> {
    if flags & FLAG_VERSION_MASK != FLAG_VERSION_1 {
        return Err("its version is not 01");
    }
    if flags & FLAG_RESERVED != 0 || block_descriptor & 0b1000_1111 != 0 {
        return Err("a reserved bit of its header is set");
    }
    if flags & FLAG_DICTIONARY != 0 {
        return Err("it needs a dictionary");
    }
    if flags & FLAG_INDEPENDENT == 0 {
        return Err("its blocks depend on one another, which Kafka's clients do not read");
    }
    if block_descriptor >> 4 < 4 {
        return Err("its block size is not one of 64 KiB, 256 KiB, 1 MiB and 4 MiB");
    }
    Ok(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Problem> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(ENDS_EARLY)?;
    *rest = tail;
    Ok(*head)
}

/// Decompresses into `block`, which grows to what `bytes` can stand for and not to what the frame
/// merely claims.
fn decompress<'b>(block: &'b mut Vec<u8>, bytes: &[u8], max: usize) -> Result<&'b [u8], Problem> {
    let most = bytes.len().saturating_mul(EXPANSION_MAX).min(max);
    if block.len() < most {
        block.resize(most, 0);
    }
    let room = block.get_mut(..most).ok_or(ENDS_EARLY)?;
    let len = decompress_into(bytes, room).map_err(|_| "a block does not decompress")?;
    block.get(..len).ok_or(ENDS_EARLY)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
    use proptest::prelude::*;

    use super::*;

    fn decode(frame: &[u8]) -> Result<Vec<u8>, Problem> {
        let mut decoder = Decoder::new(frame)?;
        let mut out = Vec::new();
        while let Some(block) = decoder.next()? {
            out.extend_from_slice(block);
        }
        Ok(out)
    }

    fn encode(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new().encode(content, &mut out);
        out
    }

    fn foreign(info: FrameInfo, content: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len)
            .map(|n| b"three standing stones, one lintel. "[n % 35] ^ ((n / 5000) as u8))
            .collect()
    }

    #[test]
    fn another_implementation_reads_our_frames() {
        for len in [
            0,
            1,
            100,
            ENCODED_BLOCK_BYTES,
            ENCODED_BLOCK_BYTES + 1,
            300_000,
        ] {
            let content = text(len);
            let frame = encode(&content);
            let mut read = Vec::new();
            FrameDecoder::new(frame.as_slice())
                .read_to_end(&mut read)
                .unwrap();
            assert!(read == content, "{len}");
            assert!(decode(&frame).unwrap() == content, "{len}");
        }
    }

    #[test]
    fn the_header_is_that_of_the_java_client() {
        assert_eq!(encode(b"")[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    }

    #[test]
    fn frames_of_another_implementation_are_read_with_every_option() {
        let content = text(700_000);
        for size in [
            BlockSize::Max64KB,
            BlockSize::Max256KB,
            BlockSize::Max1MB,
            BlockSize::Max4MB,
        ] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_size(size)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(checksums.then_some(700_000));
                assert!(
                    decode(&foreign(info, &content)).unwrap() == content,
                    "{size:?} {checksums}"
                );
            }
        }
    }

    #[test]
    fn what_kafka_does_not_read_is_refused() {
        let linked = foreign(FrameInfo::new().block_mode(BlockMode::Linked), &text(1000));
        assert!(
            decode(&linked)
                .unwrap_err()
                .contains("depend on one another")
        );
        let mut two = encode(b"one");
        two.extend(encode(b"two"));
        assert_eq!(decode(&two), Err("bytes lie behind its end mark"));
        let mut unfinished = encode(&text(1000));
        unfinished.truncate(unfinished.len() - 4);
        assert_eq!(decode(&unfinished), Err(ENDS_EARLY));
        assert_eq!(
            decode(&0x184C_2102_u32.to_le_bytes()),
            Err("it does not begin with the magic number of LZ4 frames")
        );
    }

    #[test]
    fn each_wrong_header_is_named() {
        let with = |flags: u8, descriptor: u8| {
            let mut frame = encode(b"x");
            (frame[4], frame[5]) = (flags, descriptor);
            decode(&frame).unwrap_err()
        };
        assert_eq!(with(0x20, 0x40), "its version is not 01");
        assert_eq!(with(0x62, 0x40), "a reserved bit of its header is set");
        assert_eq!(with(0x60, 0xc0), "a reserved bit of its header is set");
        assert_eq!(with(0x61, 0x40), "it needs a dictionary");
        assert_eq!(
            with(0x60, 0x30),
            "its block size is not one of 64 KiB, 256 KiB, 1 MiB and 4 MiB"
        );
        assert_eq!(with(0x60, 0x50), "its header's checksum is wrong");
    }

    #[test]
    fn wrong_checksums_and_sizes_are_found() {
        let info = || FrameInfo::new().block_checksums(true);
        let mut frame = foreign(info(), &text(1000));
        frame[20] ^= 1;
        assert_eq!(decode(&frame), Err("a block's checksum is wrong"));
        let mut frame = foreign(info().content_checksum(true), &text(1000));
        let last = frame.len() - 1;
        frame[last] ^= 1;
        assert_eq!(decode(&frame), Err("its content's checksum is wrong"));
        let mut frame = encode(b"");
        let end = frame.len() - 4;
        frame[end..].copy_from_slice(&(ENCODED_BLOCK_BYTES as u32 + 1).to_le_bytes());
        assert_eq!(
            decode(&frame),
            Err("a block is larger than the frame allows")
        );
    }

    #[test]
    fn a_wrong_content_size_is_found() {
        let mut frame = foreign(FrameInfo::new().content_size(Some(3)), b"abc");
        frame[6] = 4;
        frame[14] = (XxHash32::oneshot(0, &frame[4..14]) >> 8) as u8;
        assert_eq!(
            decode(&frame),
            Err("its content has another size than its header says")
        );
    }

    proptest! {
        #[test]
        fn frames_round_trip(content in proptest::collection::vec(0..4_u8, 0..2000)) {
            prop_assert_eq!(decode(&encode(&content)), Ok(content));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(flags: u8, descriptor: u8, tail: Vec<u8>) {
            let mut frame = FRAME_MAGIC.to_vec();
            frame.extend([flags, descriptor]);
            frame.push((XxHash32::oneshot(0, &[flags, descriptor]) >> 8) as u8);
            frame.extend(&tail);
            if let Ok(content) = decode(&frame) {
                prop_assert!(content.len() <= tail.len() * EXPANSION_MAX);
            }
        }
    }
}
