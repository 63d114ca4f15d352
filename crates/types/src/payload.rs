//! An entry's payload with its checksum, which is computed once.

use bytes::Bytes;

/// Bytes and their CRC-32C (Castagnoli). Segments, the journal and frames between nodes each want
/// the checksum of the same bytes; going over them again for each costs more than copying them.
///
/// The two always belong together: bytes that change in memory later are found by whoever reads
/// them, since what is stored and sent is the checksum from the beginning.
///
/// The bytes may lie in two pieces, so that whoever sets some at their beginning need not copy
/// the others.
#[derive(Clone, Debug, Default)]
pub struct EntryPayload {
    head: Bytes,
    rest: Bytes,
    checksum: u32,
}

impl EntryPayload {
    /// Goes over the bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let checksum = crc32c::crc32c(&bytes);
        Self {
            head: bytes,
            rest: Bytes::new(),
            checksum,
        }
    }

    /// Bytes in two pieces whose checksum the caller has computed, or derived with
    /// [`join_checksums`].
    #[must_use]
    pub fn in_two(head: Bytes, rest: Bytes, checksum: u32) -> Self {
        let whole = crc32c::crc32c_append;
        debug_assert_eq!(
            whole(whole(0, &head), &rest),
            checksum,
            "it is these bytes'"
        );
        Self {
            head,
            rest,
            checksum,
        }
    }

    /// All of the bytes, or the first of the two pieces that they were put together from.
    #[must_use]
    pub const fn head(&self) -> &Bytes {
        &self.head
    }

    /// What follows the head.
    #[must_use]
    pub const fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// The bytes, one piece after the other; the second one is mostly empty.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.head, &self.rest]
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// CRC-32C of all bytes.
    #[must_use]
    pub const fn checksum(&self) -> u32 {
        self.checksum
    }

    /// CRC-32C of the rest, derived from the other two.
    #[must_use]
    pub fn rest_checksum(&self) -> u32 {
        if self.rest.len() < JOIN_FROM_BYTES {
            return crc32c::crc32c(&self.rest);
        }
        // Joining adds the second one's, and over GF(2) adding takes away as well.
        let head = crc32c::crc32c(&self.head);
        join_checksums(head, self.checksum, self.rest.len() as u64)
    }
}

impl From<Bytes> for EntryPayload {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes)
    }
}

/// However they are cut.
impl PartialEq for EntryPayload {
    fn eq(&self, other: &Self) -> bool {
        let all = |payload: &Self| payload.parts().concat();
        self.checksum == other.checksum && self.len() == other.len() && all(self) == all(other)
    }
}

impl Eq for EntryPayload {}

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
    fn the_checksum_is_castagnoli_in_one_piece_and_in_two() {
        let payload = EntryPayload::new(Bytes::from_static(b"123456789"));
        assert_eq!((payload.checksum(), payload.len()), (0xE306_9283, 9));
        assert!(!payload.is_empty() && payload.rest().is_empty());
        let (head, rest) = (payload.head().slice(..4), payload.head().slice(4..));
        let same = EntryPayload::in_two(head, rest, 0xE306_9283);
        assert_eq!(same, payload);
        assert_eq!(same.rest_checksum(), crc32c::crc32c(b"56789"));
        assert_ne!(same, EntryPayload::from(Bytes::from_static(b"123456780")));
        assert_eq!(EntryPayload::from(Bytes::new()), EntryPayload::default());
    }

    #[test]
    fn the_checksum_of_a_long_rest_is_derived() {
        let bytes = Bytes::from(vec![0xa7; JOIN_FROM_BYTES + 100]);
        let whole = crc32c::crc32c(&bytes);
        let (head, rest) = (bytes.slice(..61), bytes.slice(61..));
        let sum = crc32c::crc32c(&rest);
        assert_eq!(EntryPayload::in_two(head, rest, whole).rest_checksum(), sum);
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
