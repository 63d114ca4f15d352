//! Frames: what is written to a connection at once, and what is checked at once when it is read.

use bytes::Bytes;
use trilith_types::{JOIN_FROM_BYTES, join_checksums};

use crate::{
    codec::{CodecError, message, wire::Writer},
    config::{FRAME_BYTES_MAX, FRAME_BYTES_TARGET},
    handshake::{self, Handshake},
    message::NodeMessage,
};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 16;

/// The version of frames. What is in them is agreed on by the handshake.
const VERSION: u8 = 1;

const HANDSHAKE: u8 = 1;
const MESSAGES: u8 = 2;

/// Where the header's own checksum stands.
const HEADER_CHECKED: usize = 12;

/// Why what came is no frame, or not what is in one. The connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header's checksum is wrong.
    #[error("no frame header: is that another program, or were bytes lost on the way?")]
    Header,
    /// A version that this node does not speak.
    #[error("frames of version {version}; this node reads version {VERSION}")]
    Version {
        /// The version.
        version: u8,
    },
    /// A kind that this version does not have.
    #[error("a frame of unknown kind {kind}")]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// Longer than any frame may be.
    #[error("a frame of {bytes} bytes; at most {FRAME_BYTES_MAX} are taken")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The body's checksum is wrong.
    #[error("a frame of {bytes} bytes whose checksum is wrong: it was damaged on the way")]
    Checksum {
        /// Its length.
        bytes: usize,
    },
    /// A message claims to reach beyond its frame.
    #[error("at byte {at} of a frame of {bytes}: a message that reaches beyond its end")]
    Overrun {
        /// Where the message begins.
        at: usize,
        /// The frame's length.
        bytes: usize,
    },
    /// A message that cannot be read.
    #[error("at byte {at} of a frame: {source}")]
    Message {
        /// Where the message begins.
        at: usize,
        /// What is wrong with it.
        source: CodecError,
    },
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A step of the handshake.
    Handshake(Handshake),
    /// Messages, in order.
    Messages(Vec<NodeMessage>),
}

/// A message that cannot be sent: it breaks a limit of [`crate`], and the other side would close
/// the connection. A bug of its sender; it was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of about {bytes} bytes breaks the limits of the protocol and is not sent")]
pub struct Unfit {
    /// About how large it is.
    pub bytes: usize,
}

/// Puts messages together into a frame. Its memory serves the next one.
#[derive(Debug, Default)]
pub struct FrameWriter {
    writer: Writer,
}

impl FrameWriter {
    /// Whether it holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writer.len() <= FRAME_HEADER_BYTES
    }

    /// Whether it holds enough: what comes then should go into the next frame.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.writer.len() >= FRAME_BYTES_TARGET
    }

    /// Adds a message.
    ///
    /// # Errors
    /// [`Unfit`]; the frame is as it was.
    pub fn push(&mut self, message: &NodeMessage) -> Result<(), Unfit> {
        let bytes = message.wire_bytes();
        if !message.is_within_limits() {
            return Err(Unfit { bytes });
        }
        self.begin();
        let before = self.writer.state();
        let at = self.writer.mark();
        let length_before = self.writer.len();
        self.writer.u32(0);
        message::write(&mut self.writer, message);
        if self.writer.len() > FRAME_HEADER_BYTES + FRAME_BYTES_MAX {
            self.writer.restore(before);
            return Err(Unfit { bytes });
        }
        let length = self.writer.len() - length_before - 4;
        self.writer.set_u32(at, length as u32);
        Ok(())
    }

    /// The frame, as pieces to be written one after another; nothing when it holds no message.
    #[must_use]
    pub fn finish(&mut self) -> Vec<Bytes> {
        if self.is_empty() {
            return Vec::new();
        }
        self.seal(MESSAGES)
    }

    /// A frame with a step of the handshake.
    #[must_use]
    pub fn handshake(step: &Handshake) -> Bytes {
        let mut frame = Self::default();
        frame.begin();
        handshake::codec::write(&mut frame.writer, step);
        Bytes::from(frame.seal(HANDSHAKE).concat())
    }

    /// The kinds of frames.
    pub(crate) const KINDS: [u8; 2] = [HANDSHAKE, MESSAGES];

    /// A frame of any kind with any body, its lengths and checksums right.
    pub(crate) fn raw(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = Self::default();
        frame.begin();
        frame.writer.put(body);
        frame.seal(kind).concat()
    }

    fn begin(&mut self) {
        if self.writer.len() == 0 {
            self.writer.put(&[0; FRAME_HEADER_BYTES]);
        }
    }

    fn seal(&mut self, kind: u8) -> Vec<Bytes> {
        let length = self.writer.len() - FRAME_HEADER_BYTES;
        let checksum = self.writer.checksum(FRAME_HEADER_BYTES);
        self.writer.set_u32(0, length as u32);
        self.writer
            .set_u32(4, u32::from_le_bytes([VERSION, kind, 0, 0]));
        self.writer.set_u32(8, checksum);
        let header = self.writer.small(HEADER_CHECKED);
        let header = crc32c::crc32c(header);
        self.writer.set_u32(HEADER_CHECKED, header);
        self.writer.take()
    }
}

/// A checked header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    length: usize,
    kind: u8,
    checksum: u32,
}

impl Header {
    fn read(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, FrameError> {
        let (words, _) = bytes.as_chunks::<4>();
        let &[length, what, checksum, own] = words else {
            return Err(FrameError::Header);
        };
        let checked = bytes.first_chunk::<HEADER_CHECKED>();
        if checked.map(|checked| crc32c::crc32c(checked)) != Some(u32::from_le_bytes(own)) {
            return Err(FrameError::Header);
        }
        let length = u32::from_le_bytes(length) as usize;
        let [version, kind, _, _] = what;
        if version != VERSION {
            return Err(FrameError::Version { version });
        }
        if !matches!(kind, HANDSHAKE | MESSAGES) {
            return Err(FrameError::Kind { kind });
        }
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { bytes: length });
        }
        Ok(Self {
            length,
            kind,
            checksum: u32::from_le_bytes(checksum),
        })
    }

    fn open(self, body: &Bytes) -> Result<Frame, FrameError> {
        if self.kind == MESSAGES && body.len() >= JOIN_FROM_BYTES {
            return self.open_large(body);
        }
        if crc32c::crc32c(body) != self.checksum {
            return Err(FrameError::Checksum { bytes: body.len() });
        }
        if self.kind == HANDSHAKE {
            let step = handshake::codec::read(body);
            return step
                .map(Frame::Handshake)
                .map_err(|source| FrameError::Message { at: 0, source });
        }
        messages_in(body).map(Frame::Messages)
    }

    /// The same with one pass over each payload: reading computes their checksums, and that of
    /// the frame follows from them. What was read counts only when it is right.
    fn open_large(self, body: &Bytes) -> Result<Frame, FrameError> {
        let messages = messages_in(body);
        let checksum = match &messages {
            Ok(messages) => checksum_of(body, messages),
            Err(_) => crc32c::crc32c(body),
        };
        if checksum != self.checksum {
            return Err(FrameError::Checksum { bytes: body.len() });
        }
        messages.map(Frame::Messages)
    }
}

fn messages_in(body: &Bytes) -> Result<Vec<NodeMessage>, FrameError> {
    let mut messages = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let (message, next) = one_message(body, at)?;
        messages.push(message);
        at = next;
    }
    Ok(messages)
}

/// The checksum of a body of which `messages` were read.
fn checksum_of(body: &Bytes, messages: &[NodeMessage]) -> u32 {
    let groups = messages.iter().filter_map(|message| match message {
        NodeMessage::Group(group) => Some(group),
        _ => None,
    });
    let payloads = groups.flat_map(|group| &group.entries);
    let (mut sum, mut at) = (0, 0);
    for (_, payload) in payloads {
        let place = (payload.head().as_ptr() as usize).checked_sub(body.as_ptr() as usize);
        let piece = place.and_then(|place| body.get(at..place));
        // Small ones were copied out of the body, and are summed with what is around them.
        if let (Some(piece), true) = (piece, payload.len() >= JOIN_FROM_BYTES) {
            sum = crc32c::crc32c_append(sum, piece);
            sum = join_checksums(sum, payload.checksum(), payload.len() as u64);
            at += piece.len() + payload.len();
        }
    }
    crc32c::crc32c_append(sum, body.get(at..).unwrap_or_default())
}

/// The message at `at`, and where the next one begins.
fn one_message(body: &Bytes, at: usize) -> Result<(NodeMessage, usize), FrameError> {
    let overrun = FrameError::Overrun {
        at,
        bytes: body.len(),
    };
    let length = body.get(at..).and_then(<[u8]>::first_chunk::<4>);
    let Some(&length) = length else {
        return Err(overrun);
    };
    let length = u32::from_le_bytes(length) as usize;
    let start = at + 4;
    if length > body.len() - start {
        return Err(overrun);
    }
    let end = start + length;
    match message::read(&body.slice(start..end)) {
        Ok(message) => Ok((message, end)),
        Err(source) => Err(FrameError::Message { at, source }),
    }
}

/// Bytes that are read at once at most, and the largest frame that is copied out of them. Larger
/// ones get memory of their own size, and their payloads are used where they lie.
const READ_BYTES: usize = 64 << 10;

/// Takes a connection's bytes as they come, and gives frames. After an error it is of no use.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Box<[u8]>,
    /// What of the buffer is filled and not yet taken.
    start: usize,
    end: usize,
    large: Option<Large>,
}

/// A frame that is too large for the buffer, as far as it has come.
#[derive(Debug)]
struct Large {
    header: Header,
    /// Has room for all of it.
    body: Vec<u8>,
}

impl Large {
    const fn missing(&self) -> usize {
        self.header.length.saturating_sub(self.body.len())
    }
}

/// Where the bytes belong that come next.
#[derive(Debug)]
pub enum Space<'a> {
    /// Here, from the start; [`FrameReader::filled`] is told how many. Never empty once
    /// [`FrameReader::next_frame`] has given `None`.
    Buffer(&'a mut [u8]),
    /// At the end of this body, which has room for them, and no more than so many.
    Body(&'a mut Vec<u8>, usize),
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            large: None,
        }
    }
}

impl FrameReader {
    /// Where the next bytes belong.
    pub fn space(&mut self) -> Space<'_> {
        match &mut self.large {
            Some(large) => {
                let missing = large.missing();
                Space::Body(&mut large.body, missing)
            }
            None => Space::Buffer(self.buffer.get_mut(self.end..).unwrap_or_default()),
        }
    }

    /// `count` bytes were put into the buffer of [`FrameReader::space`].
    pub fn filled(&mut self, count: usize) {
        self.end = self.buffer.len().min(self.end + count);
    }

    /// Copies bytes in, as many as fit, and says how many. [`FrameReader::next_frame`] makes
    /// room.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        match self.space() {
            Space::Buffer(space) => {
                let count = space.len().min(bytes.len());
                for (to, from) in space.iter_mut().zip(bytes) {
                    *to = *from;
                }
                self.filled(count);
                count
            }
            Space::Body(body, missing) => {
                let fits = bytes.get(..missing).unwrap_or(bytes);
                body.extend_from_slice(fits);
                fits.len()
            }
        }
    }

    /// The next frame, once all of it has come.
    ///
    /// # Errors
    /// [`FrameError`]; the connection must be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(large) = self.large.take_if(|large| large.missing() == 0) {
            return large.header.open(&Bytes::from(large.body)).map(Some);
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(header) = waiting.first_chunk::<FRAME_HEADER_BYTES>() else {
            self.make_room();
            return Ok(None);
        };
        let header = Header::read(header)?;
        let whole = FRAME_HEADER_BYTES + header.length;
        if let Some(body) = waiting.get(FRAME_HEADER_BYTES..whole) {
            let body = Bytes::copy_from_slice(body);
            self.start += whole;
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
            }
            return header.open(&body).map(Some);
        }
        if whole > self.buffer.len() {
            self.begin_large(header);
        } else {
            self.make_room();
        }
        Ok(None)
    }

    /// Whether it is in the middle of a frame.
    #[must_use]
    pub fn is_within_frame(&self) -> bool {
        self.large.is_some() || self.start < self.end
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    fn begin_large(&mut self, header: Header) {
        let from = self.start + FRAME_HEADER_BYTES;
        let come = self.buffer.get(from..self.end).unwrap_or_default();
        // Not filled with zeros first: that would cost as much as reading it.
        let mut body = Vec::with_capacity(header.length);
        body.extend_from_slice(come);
        self.large = Some(Large { header, body });
        (self.start, self.end) = (0, 0);
    }
}
