//! Walks a store from front to back, over damage to the next valid frame.
//!
//! Memory stays bounded: the file is read through one window, and a payload's checksum is taken
//! piece by piece, whatever length a header claims.

use std::io;

use trilith_env::File;

use crate::{
    codec::Crc,
    frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, padding_len},
};

/// Length of the window through which files are scanned.
pub const WINDOW_BYTES: usize = 256 << 10;

/// What lies next in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A valid header, and whether what it frames is valid too.
    Frame {
        /// Where the header begins.
        position: u64,
        /// What it says.
        header: FrameHeader,
        /// How the rest of the frame is.
        body: Body,
    },
    /// Bytes that are no frame, up to the next valid header or to the end.
    Hole {
        /// Where they begin.
        position: u64,
        /// Where they end: the next header, or after the last byte that is not zero.
        end: u64,
        /// Whether nothing but zeros follows `end`.
        at_end: bool,
    },
    /// Nothing but zeros up to the end of the file.
    End {
        /// Where the zeros begin.
        position: u64,
    },
}

/// The state of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The checksum is right.
    Good,
    /// The checksum is right, but the padding after the payload is not zero, which harms nobody.
    BadPadding,
    /// The checksum is wrong, or the file ends within.
    Bad,
}

/// A walk over a store.
#[derive(Debug)]
pub struct Scan<'a> {
    window: Window<'a>,
    salt: u64,
    position: u64,
    done: bool,
}

impl<'a> Scan<'a> {
    /// A walk over the frames of `file` from `position`, which must be that of a frame, up to
    /// `end` or the end of the file.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn new(file: &'a dyn File, salt: u64, position: u64, end: u64) -> io::Result<Self> {
        let end = end.min(file.len()?);
        let window = Window {
            file,
            end,
            start: 0,
            bytes: Vec::new(),
        };
        Ok(Self {
            window,
            salt,
            position,
            done: false,
        })
    }

    /// How far the walk has come.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next thing in the store; `None` after [`Found::End`] or a hole at the end.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn next_found(&mut self) -> io::Result<Option<Found>> {
        if self.done {
            return Ok(None);
        }
        let position = self.position;
        if let Some(header) = self.header_at(position)? {
            let body = self.body(position, &header)?;
            self.position = (position + header.frame_len()).min(self.window.end.max(position));
            return Ok(Some(Found::Frame {
                position,
                header,
                body,
            }));
        }
        if let Some(next) = self.next_header(position + FRAME_ALIGN)? {
            self.position = next;
            return Ok(Some(Found::Hole {
                position,
                end: next,
                at_end: false,
            }));
        }
        self.done = true;
        let end = self.last_nonzero(position)?;
        Ok(Some(if end > position {
            Found::Hole {
                position,
                end,
                at_end: true,
            }
        } else {
            Found::End { position }
        }))
    }

    fn header_at(&mut self, position: u64) -> io::Result<Option<FrameHeader>> {
        let bytes = self.window.get(position, FRAME_HEADER_BYTES)?;
        let Some(bytes) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        Ok(FrameHeader::decode(bytes, self.salt, position))
    }

    fn body(&mut self, position: u64, header: &FrameHeader) -> io::Result<Body> {
        let mut at = position + FRAME_HEADER_BYTES as u64;
        let end = at + u64::from(header.payload_len);
        if end > self.window.end {
            return Ok(Body::Bad);
        }
        let mut crc = Crc::default();
        while at < end {
            let wanted = (end - at).min(WINDOW_BYTES as u64) as usize;
            let piece = self.window.get(at, wanted)?;
            if piece.is_empty() {
                return Ok(Body::Bad);
            }
            crc = crc.add(piece);
            at += piece.len() as u64;
        }
        if crc.get() != header.payload_crc {
            return Ok(Body::Bad);
        }
        let padding = self
            .window
            .get(end, padding_len(header.payload_len.into()))?;
        Ok(if padding.iter().all(|&b| b == 0) {
            Body::Good
        } else {
            Body::BadPadding
        })
    }

    /// Where the next valid header at or after `from` begins.
    fn next_header(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        loop {
            let piece = self.window.get(at, WINDOW_BYTES)?;
            if piece.len() < FRAME_HEADER_BYTES {
                return Ok(None);
            }
            let magic = FRAME_MAGIC.to_le_bytes();
            let candidate = piece
                .chunks_exact(FRAME_ALIGN as usize)
                .position(|word| word.starts_with(&magic));
            let Some(words) = candidate else {
                at += (piece.len() as u64) & !(FRAME_ALIGN - 1);
                continue;
            };
            at += words as u64 * FRAME_ALIGN;
            if self.header_at(at)?.is_some() {
                return Ok(Some(at));
            }
            at += FRAME_ALIGN;
        }
    }

    /// The position after the last byte that is not zero, rounded up to where a frame could
    /// begin; at least `from`.
    fn last_nonzero(&mut self, from: u64) -> io::Result<u64> {
        let (mut at, mut last) = (from, from);
        loop {
            let piece = self.window.get(at, WINDOW_BYTES)?;
            if piece.is_empty() {
                return Ok(last);
            }
            if let Some(i) = piece.iter().rposition(|&b| b != 0) {
                last = (at + i as u64 + 1).next_multiple_of(FRAME_ALIGN);
            }
            at += piece.len() as u64;
        }
    }
}

/// A file seen through a buffer.
struct Window<'a> {
    file: &'a dyn File,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Window({}..{})",
            self.start,
            self.start + self.bytes.len() as u64
        )
    }
}

impl Window<'_> {
    /// Up to `len` bytes from `position`, fewer only at the end.
    fn get(&mut self, position: u64, len: usize) -> io::Result<&[u8]> {
        let len = (self.end.saturating_sub(position)).min(len.min(WINDOW_BYTES) as u64);
        let held = self.start + self.bytes.len() as u64;
        if position < self.start || position + len > held {
            self.fill(position)?;
        }
        let from = (position.saturating_sub(self.start) as usize).min(self.bytes.len());
        let to = (from + len as usize).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    fn fill(&mut self, position: u64) -> io::Result<()> {
        let len = self.end.saturating_sub(position).min(WINDOW_BYTES as u64) as usize;
        self.bytes.resize(len, 0);
        let n = self.file.read_at(position, &mut self.bytes)?;
        self.bytes.truncate(n);
        self.start = position;
        Ok(())
    }
}
