//! Zigzag variable-length numbers, as in protobuf's `sint64` and Kafka's `varint` and `varlong`.

/// Longest encoding of a 64-bit number, in bytes.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;
/// Longest encoding of a 32-bit number, in bytes.
pub(crate) const VARINT_BYTES_MAX: usize = 5;

pub(crate) const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

pub(crate) const fn unzigzag(n: u64) -> i64 {
    ((n >> 1) as i64) ^ -((n & 1) as i64)
}

/// Bytes that [`put`] writes for `n`.
pub(crate) const fn len(n: i64) -> usize {
    let bits = 64 - (zigzag(n) | 1).leading_zeros();
    (bits as usize).div_ceil(7)
}

/// Appends `n`. A number within 32 bits has the same bytes as a varint and as a varlong.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, n: i64) {
    let mut rest = zigzag(n);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(n: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, n);
        out
    }

    #[test]
    fn known_encodings() {
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(-1), [1]);
        assert_eq!(encoded(1), [2]);
        assert_eq!(encoded(-64), [0x7f]);
        assert_eq!(encoded(64), [0x80, 0x01]);
        assert_eq!(encoded(i64::MIN).len(), VARLONG_BYTES_MAX);
        assert_eq!(encoded(i64::from(i32::MIN)).len(), VARINT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn the_length_is_foretold(n in any::<i64>()) {
            prop_assert_eq!(encoded(n).len(), len(n));
            prop_assert_eq!(unzigzag(zigzag(n)), n);
        }
    }
}
