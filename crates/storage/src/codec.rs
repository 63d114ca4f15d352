//! Little-endian numbers in byte strings, with every length checked.

/// Takes numbers off the front of a byte string.
#[derive(Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.0.len()
    }
}

/// CRC-32C (Castagnoli; RFC 3720 appendix B.4) over several pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crc(u32);

impl Crc {
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        Self(crc32c::crc32c_append(self.0, bytes))
    }

    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

/// CRC-32C of one piece.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    Crc::default().add(bytes).get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli() {
        assert_eq!(crc(b"123456789"), 0xE306_9283);
        assert_eq!(
            Crc::default().add(b"1234").add(b"56789").get(),
            crc(b"123456789")
        );
    }

    #[test]
    fn input_ends_with_none() {
        let mut input = Input::new(&[1, 2, 0, 3, 0, 0, 0]);
        assert_eq!(
            (input.u8(), input.u16(), input.remaining()),
            (Some(1), Some(2), 4)
        );
        assert_eq!(
            (input.u64(), input.u32(), input.u8()),
            (None, Some(3), None)
        );
    }
}
