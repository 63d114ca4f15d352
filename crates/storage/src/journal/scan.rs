//! Reads one file and says what lies where, without judging it.

use std::{io, path::PathBuf, sync::Arc};

use trilith_env::File;

use super::{
    block::{BLOCK_BYTES, End, STAMP_BYTES, Stamp, ends, gather, gather_crc},
    descriptor::{Body, Descriptor},
    file::{FILE_HEADER_BYTES, FileHeader, HeaderState},
    head::{HEAD_BYTES, HEAD_MAGIC, Head, Place},
};
use crate::codec::crc;

/// A file that is in use.
pub(super) struct ScannedFile {
    pub(super) slot: u32,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) salt: u64,
    /// The number of its use.
    pub(super) number: u32,
    pub(super) header: FirstBlock,
    pub(super) spans: Vec<Span>,
}

/// What a file's first block says of its present use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstBlock {
    Good {
        first_frame: u64,
    },
    /// It is of an earlier use, or of none: the first write of this one did not finish.
    Old,
    Damaged,
}

/// Blocks that belong together.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) block: u32,
    pub(super) blocks: u32,
    /// A block was not written, or not to its end.
    pub(super) old: bool,
    /// A stamp is wrong.
    pub(super) bad: bool,
    pub(super) what: SpanKind,
}

#[derive(Debug)]
pub(super) enum SpanKind {
    /// A frame whose header can be read.
    Frame(Box<ScannedFrame>),
    /// Blocks that this frame has written, or of which nothing is known.
    Lost(Option<u64>),
}

#[derive(Debug)]
pub(super) struct ScannedFrame {
    pub(super) head: Head,
    pub(super) descriptors: Decoded,
    /// For each descriptor, whether the bytes that belong to it are good.
    pub(super) intact: Vec<bool>,
    /// The previous frame's descriptors.
    pub(super) trailer: Decoded,
    /// Whether the bytes behind the trailer are zeros, as they must be.
    pub(super) padding_good: bool,
}

impl ScannedFrame {
    /// Whether every byte of it is what was written.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.descriptors, Decoded::Good(_) | Decoded::Newer)
            && self.intact.iter().all(|&good| good)
            && self.trailer != Decoded::Damaged
            && self.padding_good
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Good(Vec<Descriptor>),
    /// The checksum is wrong.
    Damaged,
    /// The checksum is right, and this version does not understand them.
    Newer,
}

/// What the file of these bytes is.
pub(super) enum Identity {
    /// Nothing in it counts.
    Blank,
    Foreign(crate::file_header::FoundFormat),
    Used {
        salt: u64,
        number: u32,
        header: FirstBlock,
    },
}

/// The whole content of a file. `memory` serves one file after the other: most of the time that it
/// takes to read a file of this size into new memory is the system's, for giving the memory.
pub(super) fn read_all<'a>(file: &dyn File, memory: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let len = file.len()? / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
    memory.resize(len as usize, 0);
    let n = file.read_at(0, memory)?;
    Ok(memory
        .get(..n / BLOCK_BYTES * BLOCK_BYTES)
        .unwrap_or_default())
}

/// Finds out which use the file is in: the latest one that has left a trace.
pub(super) fn identify(bytes: &[u8]) -> Identity {
    let header = bytes.first_chunk::<FILE_HEADER_BYTES>();
    let header = header.map_or(HeaderState::Blank, FileHeader::judge);
    let known = match header {
        HeaderState::Foreign(found) => return Identity::Foreign(found),
        HeaderState::Good(good) => Some(good),
        HeaderState::Blank | HeaderState::Damaged => None,
    };
    let Some(salt) = known
        .map(|good| good.salt)
        .or_else(|| stamps(bytes).next().map(|s| s.salt))
    else {
        return Identity::Blank;
    };
    let stamped = stamps(bytes).filter(|stamp| stamp.salt == salt);
    let stamped = stamped.map(|stamp| stamp.file).max();
    let number = stamped.max(known.map(|good| good.file)).unwrap_or(0);
    let header = match header {
        HeaderState::Good(good) if good.file == number => FirstBlock::Good {
            first_frame: good.first_frame,
        },
        HeaderState::Damaged => FirstBlock::Damaged,
        _ => FirstBlock::Old,
    };
    Identity::Used {
        salt,
        number,
        header,
    }
}

/// Every valid stamp in the file.
fn stamps(bytes: &[u8]) -> impl Iterator<Item = Stamp> {
    let blocks = (0..).zip(bytes.chunks_exact(BLOCK_BYTES)).skip(1);
    blocks.flat_map(|(n, block)| {
        let stamp = |bytes: Option<&[u8; STAMP_BYTES]>| Stamp::decode(bytes?, n);
        [stamp(block.first_chunk()), stamp(block.last_chunk())]
            .into_iter()
            .flatten()
    })
}

/// Splits a file into frames and what lies between them. Blocks behind the last trace of this use
/// are left out.
pub(super) fn scan(bytes: &[u8], salt: u64, number: u32) -> Vec<Span> {
    let scanner = Scanner {
        bytes,
        salt,
        number,
        blocks: (bytes.len() / BLOCK_BYTES) as u32,
    };
    let mut spans = Vec::new();
    let mut block = 1;
    while block < scanner.blocks {
        if let Some(head) = scanner.head(block) {
            spans.push(scanner.frame(block, head));
            block += head.blocks;
        } else {
            let next = (block + 1..scanner.blocks).find(|&b| scanner.head(b).is_some());
            scanner.lost(block, next, &mut spans);
            block = next.unwrap_or(scanner.blocks);
        }
    }
    spans
}

struct Scanner<'a> {
    bytes: &'a [u8],
    salt: u64,
    number: u32,
    blocks: u32,
}

impl Scanner<'_> {
    fn blocks(&self, block: u32, count: u32) -> &[u8] {
        let start = block as usize * BLOCK_BYTES;
        let end = start + count as usize * BLOCK_BYTES;
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The header of the frame that begins here.
    fn head(&self, block: u32) -> Option<Head> {
        let content = self.blocks(block, 1).get(STAMP_BYTES..)?;
        if *content.first_chunk::<4>()? != HEAD_MAGIC.to_le_bytes() {
            return None;
        }
        let place = Place {
            salt: self.salt,
            file: self.number,
            block,
        };
        let head = Head::decode(content.first_chunk::<HEAD_BYTES>()?, place)?;
        (head.blocks <= self.blocks - block).then_some(head)
    }

    fn ends(&self, block: u32) -> [End; 2] {
        ends(self.blocks(block, 1), self.salt, self.number, block)
    }

    fn frame(&self, block: u32, head: Head) -> Span {
        let all = || (block..block + head.blocks).flat_map(|b| self.ends(b));
        let frame = read_frame(self.blocks(block, head.blocks), head);
        Span {
            block,
            blocks: head.blocks,
            old: all().any(|end| end == End::Old),
            bad: all().any(|end| end != End::Frame(head.frame) && end != End::Old),
            what: SpanKind::Frame(Box::new(frame)),
        }
    }

    /// Blocks up to `next` without a header that can be read, split where another frame begins.
    fn lost(&self, from: u32, next: Option<u32>, spans: &mut Vec<Span>) {
        let stamped = |block: u32| {
            self.ends(block).into_iter().find_map(|end| match end {
                End::Frame(frame) => Some(frame),
                End::Old | End::Bad => None,
            })
        };
        let to = next.unwrap_or_else(|| {
            let last = (from..self.blocks).rev().find(|&b| stamped(b).is_some());
            // With no trace behind it, a block that nobody can have left so may be a frame.
            let ruined = self.ends(from) == [End::Bad; 2];
            last.map_or(if ruined { from + 1 } else { from }, |b| b + 1)
        });
        let mut span: Option<Span> = None;
        for block in from..to {
            let ends = self.ends(block);
            let frame = stamped(block);
            let starts = match span.as_ref().map(|span| &span.what) {
                Some(SpanKind::Lost(at)) => frame.is_some() && *at != frame,
                _ => true,
            };
            if starts {
                spans.extend(span.take());
            }
            let span = span.get_or_insert(Span {
                block,
                blocks: 0,
                old: false,
                bad: false,
                what: SpanKind::Lost(frame),
            });
            span.blocks += 1;
            span.old |= ends.contains(&End::Old);
            span.bad |= ends.contains(&End::Bad);
        }
        spans.extend(span);
    }
}

fn read_frame(bytes: &[u8], head: Head) -> ScannedFrame {
    let decoded = |position, len: u32, sum, count| {
        let Some(found) = gather(bytes, position, len.into()).filter(|f| crc(f) == sum) else {
            return Decoded::Damaged;
        };
        Descriptor::decode_all(&found, count).map_or(Decoded::Newer, Decoded::Good)
    };
    let Head {
        descriptor_bytes,
        descriptor_crc,
        ops,
        ..
    } = head;
    let descriptors = decoded(HEAD_BYTES as u64, descriptor_bytes, descriptor_crc, ops);
    let previous = head.previous;
    let at = head.trailer_position();
    let trailer = decoded(
        at,
        previous.descriptor_bytes,
        head.trailer_crc,
        previous.ops,
    );
    let end = at + u64::from(previous.descriptor_bytes);
    let all = bytes.len() / BLOCK_BYTES * super::block::BLOCK_DATA_BYTES;
    let padding = gather(bytes, end, (all as u64).saturating_sub(end));
    ScannedFrame {
        head,
        intact: intact(bytes, &descriptors),
        descriptors,
        trailer,
        padding_good: padding.is_some_and(|padding| padding.iter().all(|&b| b == 0)),
    }
}

/// For each descriptor, whether the bytes that belong to it are good.
pub(super) fn intact(frame: &[u8], descriptors: &Decoded) -> Vec<bool> {
    let Decoded::Good(all) = descriptors else {
        return Vec::new();
    };
    let good = |body: Body| {
        let (position, len) = (body.position.into(), body.len.into());
        body.is_lost() || gather_crc(frame, position, len) == Some(body.crc)
    };
    all.iter().map(|d| d.body().is_none_or(good)).collect()
}
