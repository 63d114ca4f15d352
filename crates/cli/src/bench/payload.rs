//! Values to send: bytes that no disk or codec can make smaller.

use bytes::Bytes;

/// Random bytes that values are cut from.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    block: Bytes,
    size: usize,
    at: usize,
}

/// Values overlap when they are larger than this divided by their number; they never repeat soon.
const BLOCK_BYTES: usize = 4 << 20;
/// From one value to the next, so that the values of a batch differ.
const STEP_BYTES: usize = 4099;

impl Payload {
    /// Values of `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        Self {
            block: random(BLOCK_BYTES + size).into(),
            size,
            at: 0,
        }
    }

    /// The next value; it shares memory with the others.
    pub(super) fn next(&mut self) -> Bytes {
        self.at = (self.at + STEP_BYTES) % BLOCK_BYTES;
        self.block.slice(self.at..self.at + self.size)
    }
}

/// Bytes of a fixed sequence (xorshift64*, Marsaglia 2003).
pub(super) fn random(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_size_and_differ() {
        for size in [0, 1, 100, 3 << 20] {
            let mut payload = Payload::new(size);
            let values: Vec<_> = (0..2000).map(|_| payload.next()).collect();
            assert!(values.iter().all(|value| value.len() == size));
            assert!(size < 8 || values[0] != values[1]);
        }
    }
}
