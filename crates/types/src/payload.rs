//! An entry's payload with its checksum, which is computed once.

use std::ops::Deref;

use bytes::Bytes;

/// Bytes and their CRC-32C (Castagnoli). Segments, the journal and frames between nodes each want
/// the checksum of the same bytes; going over them again for each costs more than copying them.
///
/// The two always belong together: bytes that change in memory later are found by whoever reads
/// them, since what is stored and sent is the checksum from the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPayload {
    bytes: Bytes,
    checksum: u32,
}

impl EntryPayload {
    /// Goes over the bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let checksum = crc32c::crc32c(&bytes);
        Self { bytes, checksum }
    }

    /// Bytes whose checksum the caller has computed, or derived with [`join_checksums`].
    #[must_use]
    pub fn with_checksum(bytes: Bytes, checksum: u32) -> Self {
        debug_assert_eq!(crc32c::crc32c(&bytes), checksum, "a checksum is its bytes'");
        Self { bytes, checksum }
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes alone.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// CRC-32C of the bytes.
    #[must_use]
    pub const fn checksum(&self) -> u32 {
        self.checksum
    }
}

impl From<Bytes> for EntryPayload {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes)
    }
}

impl Deref for EntryPayload {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// From this length on, [`join_checksums`] is faster than going over the bytes again.
pub const JOIN_FROM_BYTES: usize = 32 << 10;

/// The generator polynomial of CRC-32C, lowest power in the highest bit, without its own highest.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The number 1, as a polynomial in that order.
const ONE: u32 = 1 << 31;

/// `x` to the power of 2^n, for each n: what a checksum is multiplied with when 2^n zero bits
/// follow.
const POWERS: [u32; 64] = {
    let mut powers = [0; 64];
    // x to the power of 1.
    let mut power = ONE >> 1;
    let mut n = 0;
    while n < 64 {
        #[allow(clippy::indexing_slicing)] // In bounds, or it does not compile.
        {
            powers[n] = power;
        }
        power = multiply(power, power);
        n += 1;
    }
    powers
};

/// The product of two polynomials over GF(2), modulo the generator.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 {
            b >> 1
        } else {
            (b >> 1) ^ POLYNOMIAL
        };
        bit >>= 1;
    }
    product
}

/// The CRC-32C of two pieces one after the other, from their own checksums and the second one's
/// length in bytes: some hundred steps, however long they are (Mark Adler's method, as in zlib).
#[must_use]
pub fn join_checksums(first: u32, second: u32, second_len: u64) -> u32 {
    let mut shift = ONE;
    // Powers count bits, of which a byte has 2^3.
    for (n, power) in POWERS.iter().skip(3).enumerate() {
        if second_len >> n & 1 == 1 {
            shift = multiply(shift, *power);
        }
        if second_len >> n <= 1 {
            break;
        }
    }
    multiply(shift, first) ^ second
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_castagnoli() {
        let payload = EntryPayload::new(Bytes::from_static(b"123456789"));
        assert_eq!(payload.checksum(), 0xE306_9283);
        assert_eq!(payload.bytes().len(), payload.len());
        let same = EntryPayload::with_checksum(payload.clone().into_bytes(), 0xE306_9283);
        assert_eq!(same, payload);
        assert_eq!(EntryPayload::from(Bytes::new()), EntryPayload::default());
    }

    #[test]
    fn long_pieces_are_joined_like_short_ones() {
        let bytes = vec![0x5a; 3_000_001];
        for at in [0, 1, 4096, 1 << 20, bytes.len()] {
            let (first, second) = bytes.split_at(at);
            let joined = join_checksums(
                crc32c::crc32c(first),
                crc32c::crc32c(second),
                second.len() as u64,
            );
            assert_eq!(joined, crc32c::crc32c(&bytes), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn joined_checksums_are_those_of_the_whole(
            first in proptest::collection::vec(any::<u8>(), 0..200),
            second in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let joined = join_checksums(
                crc32c::crc32c(&first),
                crc32c::crc32c(&second),
                second.len() as u64,
            );
            let whole = [first, second].concat();
            prop_assert_eq!(joined, crc32c::crc32c(&whole));
        }
    }
}
