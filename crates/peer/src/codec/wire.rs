//! Reading and writing numbers, with a position for every complaint.

use bytes::{BufMut, Bytes, BytesMut};
use trilith_raft::EntryId;
use trilith_types::{EntryPayload, JOIN_FROM_BYTES, LogIndex, NodeId, Term, join_checksums};

/// Why bytes are no message: what is wrong, and where in the message's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} of the message: {wrong}")]
pub struct CodecError {
    /// The position behind the message's own length.
    pub at: usize,
    /// What is wrong there.
    pub wrong: Malformed,
}

/// What can be wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends in the middle of a field.
    #[error("it ends before its {what}")]
    Short {
        /// Which field.
        what: &'static str,
    },
    /// It goes on behind its last field.
    #[error("{bytes} bytes follow its end")]
    Long {
        /// How many.
        bytes: usize,
    },
    /// A number that stands for nothing that this version knows.
    #[error("{what} {number} is unknown: a later version's?")]
    Unknown {
        /// The number's meaning.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// More of something than there may be.
    #[error("{count} {what}, at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it claims.
        count: u64,
        /// How many there may be.
        max: u64,
    },
    /// A text that is not UTF-8.
    #[error("its {what} is not UTF-8")]
    Text {
        /// Which text.
        what: &'static str,
    },
    /// Parts of it contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Reads one message's body from its start.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(body: &'a Bytes) -> Self {
        Self { body, at: 0 }
    }

    pub(crate) const fn error(&self, wrong: Malformed) -> CodecError {
        CodecError { at: self.at, wrong }
    }

    pub(crate) const fn unknown(&self, what: &'static str, number: u64) -> CodecError {
        self.error(Malformed::Unknown { what, number })
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], CodecError> {
        let found = self.body.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let Some(&bytes) = found else {
            return Err(self.error(Malformed::Short { what }));
        };
        self.at += N;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, CodecError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, CodecError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, CodecError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, CodecError> {
        self.array(what).map(u128::from_le_bytes)
    }

    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, CodecError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            number => Err(self.unknown(what, number.into())),
        }
    }

    pub(crate) fn index(&mut self, what: &'static str) -> Result<LogIndex, CodecError> {
        self.u64(what).map(LogIndex)
    }

    pub(crate) fn term(&mut self, what: &'static str) -> Result<Term, CodecError> {
        self.u64(what).map(Term)
    }

    pub(crate) fn node(&mut self, what: &'static str) -> Result<NodeId, CodecError> {
        self.u64(what).map(NodeId)
    }

    pub(crate) fn entry(&mut self, what: &'static str) -> Result<EntryId, CodecError> {
        let term = self.term(what)?;
        let index = self.index(what)?;
        Ok(EntryId { term, index })
    }

    /// A count of things that take at least `each` bytes: more than are left cannot be there, so
    /// no memory is taken for them.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        max: usize,
        each: usize,
    ) -> Result<usize, CodecError> {
        let count = self.u32(what)? as usize;
        if count > max {
            let (count, max) = (count as u64, max as u64);
            return Err(self.error(Malformed::TooMany { what, count, max }));
        }
        if count.saturating_mul(each) > self.left() {
            return Err(self.error(Malformed::Short { what }));
        }
        Ok(count)
    }

    /// The next `length` bytes, shared with the frame they came in.
    pub(crate) fn shared(
        &mut self,
        what: &'static str,
        length: usize,
    ) -> Result<Bytes, CodecError> {
        if length > self.left() {
            return Err(self.error(Malformed::Short { what }));
        }
        let end = self.at + length;
        let bytes = self.body.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self, what: &'static str, max: usize) -> Result<String, CodecError> {
        let length = self.u16(what)? as usize;
        if length > max {
            let (count, max) = (length as u64, max as u64);
            let what = "bytes of text";
            return Err(self.error(Malformed::TooMany { what, count, max }));
        }
        let bytes = self.shared(what, length)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.error(Malformed::Text { what })),
        }
    }

    pub(crate) fn left(&self) -> usize {
        self.body.len().saturating_sub(self.at)
    }

    pub(crate) fn end(self) -> Result<(), CodecError> {
        match self.left() {
            0 => Ok(()),
            bytes => Err(self.error(Malformed::Long { bytes })),
        }
    }
}

/// Payloads from this size on are referenced where they lie; smaller ones are copied, which costs
/// less than one more piece in a vectored write, and on the receiver less than the memory that
/// one of them would hold with the frame around it.
pub(crate) const SHARED_FROM_BYTES: usize = 4 << 10;

/// Writes bytes, with large payloads set between them by reference.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    small: BytesMut,
    /// Payloads, in order.
    large: Vec<Large>,
    large_bytes: usize,
}

/// A payload that is referenced.
#[derive(Debug)]
struct Large {
    /// Before which of the small bytes it belongs.
    before: usize,
    bytes: Bytes,
    checksum: Option<u32>,
}

impl Large {
    /// The checksum of all up to its end, from that of all before it.
    fn add_to(&self, sum: u32) -> u32 {
        match self.checksum {
            Some(own) if self.bytes.len() >= JOIN_FROM_BYTES => {
                join_checksums(sum, own, self.bytes.len() as u64)
            }
            _ => crc32c::crc32c_append(sum, &self.bytes),
        }
    }
}

/// How far a [`Writer`] had come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriterState {
    small: usize,
    large: usize,
    large_bytes: usize,
}

impl Writer {
    pub(crate) fn len(&self) -> usize {
        self.small.len() + self.large_bytes
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.small.put_slice(bytes);
    }

    pub(crate) fn u8(&mut self, n: u8) {
        self.small.put_u8(n);
    }

    pub(crate) fn u16(&mut self, n: u16) {
        self.small.put_u16_le(n);
    }

    pub(crate) fn u32(&mut self, n: u32) {
        self.small.put_u32_le(n);
    }

    pub(crate) fn u64(&mut self, n: u64) {
        self.small.put_u64_le(n);
    }

    pub(crate) fn u128(&mut self, n: u128) {
        self.small.put_u128_le(n);
    }

    pub(crate) fn entry(&mut self, id: EntryId) {
        self.u64(id.term.0);
        self.u64(id.index.0);
    }

    /// A text of a length that a limit bounds; a longer one is cut at a character.
    pub(crate) fn text(&mut self, text: &str, max: usize) {
        let text = cut(text, max.min(usize::from(u16::MAX)));
        self.u16(text.len() as u16);
        self.put(text.as_bytes());
    }

    pub(crate) fn payload(&mut self, payload: &EntryPayload) {
        if payload.rest().is_empty() {
            self.shared(payload.head(), Some(payload.checksum()));
        } else {
            self.shared(payload.head(), None);
            self.shared(payload.rest(), Some(payload.rest_checksum()));
        }
    }

    /// Bytes that are shared when they are many, and their checksum if it is known.
    pub(crate) fn shared(&mut self, bytes: &Bytes, checksum: Option<u32>) {
        if bytes.len() < SHARED_FROM_BYTES {
            self.put(bytes);
        } else {
            self.large.push(Large {
                before: self.small.len(),
                bytes: bytes.clone(),
                checksum,
            });
            self.large_bytes += bytes.len();
        }
    }

    /// Writes over four bytes that are there already.
    pub(crate) fn set_u32(&mut self, at: usize, n: u32) {
        if let Some(slot) = self.small.get_mut(at..at + 4) {
            slot.copy_from_slice(&n.to_le_bytes());
        }
    }

    /// The first `count` small bytes.
    pub(crate) fn small(&self, count: usize) -> &[u8] {
        self.small.get(..count).unwrap_or_default()
    }

    /// What [`Writer::restore`] goes back to.
    pub(crate) fn state(&self) -> WriterState {
        WriterState {
            small: self.small.len(),
            large: self.large.len(),
            large_bytes: self.large_bytes,
        }
    }

    /// Drops what was written since.
    pub(crate) fn restore(&mut self, state: WriterState) {
        self.small.truncate(state.small);
        self.large.truncate(state.large);
        self.large_bytes = state.large_bytes;
    }

    /// Where the next small byte goes; for [`Writer::set_u32`].
    pub(crate) fn mark(&self) -> usize {
        self.small.len()
    }

    /// CRC-32C of everything from byte `from` of the small ones on, payloads included.
    pub(crate) fn checksum(&self, from: usize) -> u32 {
        let mut sum = 0;
        let mut at = from;
        for large in &self.large {
            let piece = self.small.get(at..large.before).unwrap_or_default();
            sum = large.add_to(crc32c::crc32c_append(sum, piece));
            at = large.before;
        }
        crc32c::crc32c_append(sum, self.small.get(at..).unwrap_or_default())
    }

    /// Everything in order, in as few pieces as it takes. Leaves the writer empty.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        let mut small = self.small.split().freeze();
        let mut parts = Vec::with_capacity(2 * self.large.len() + 1);
        let mut taken = 0;
        for Large { before, bytes, .. } in self.large.drain(..) {
            let piece = small.split_to(before - taken);
            taken = before;
            parts.extend([piece, bytes].into_iter().filter(|part| !part.is_empty()));
        }
        if !small.is_empty() {
            parts.push(small);
        }
        self.large_bytes = 0;
        parts
    }
}

/// The longest start of `text` that has at most `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_payloads_are_referenced_and_small_ones_copied() {
        let mut writer = Writer::default();
        let large = Bytes::from(vec![7; SHARED_FROM_BYTES]);
        writer.u32(1);
        writer.payload(&Bytes::from_static(b"small").into());
        writer.payload(&EntryPayload::new(large.clone()));
        writer.shared(&large, None);
        writer.u8(9);
        let flat_len = writer.len();
        let checksum = writer.checksum(4);
        let parts = writer.take();
        assert_eq!(parts.len(), 4);
        assert_eq!(parts[1].as_ptr(), large.as_ptr());
        let flat = parts.concat();
        assert_eq!(flat.len(), flat_len);
        assert_eq!(crc32c::crc32c(&flat[4..]), checksum);
        assert_eq!((writer.len(), writer.take().len()), (0, 0));
    }

    #[test]
    fn a_count_beyond_the_bytes_takes_no_memory() {
        let body = Bytes::from(1_000_u32.to_le_bytes().to_vec());
        let error = Reader::new(&body).count("things", 2_000, 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "at byte 4 of the message: it ends before its things"
        );
        let error = Reader::new(&body).count("things", 10, 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "at byte 4 of the message: 1000 things, at most 10"
        );
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        let mut writer = Writer::default();
        writer.text("aé", 2);
        let body = Bytes::from(writer.take().concat());
        let mut reader = Reader::new(&body);
        assert_eq!(reader.text("name", 2).unwrap(), "a");
        reader.end().unwrap();
    }
}
