//! Slots of the time index: the largest timestamp so far, and up to which entry.
//!
//! Producers' timestamps may go backwards. The running maximum does not: the first entry whose
//! running maximum reaches a time is the first entry with a timestamp at or after it.

use trilith_types::TimestampMs;

use crate::codec::Crc;

/// A slot's two words; the second carries a checksum, for nothing else could tell a wrong
/// timestamp.
pub(super) fn encode(max: TimestampMs, ordinal: u32) -> [u64; 2] {
    [
        max.0 as u64,
        u64::from(ordinal) | (u64::from(check(max, ordinal)) << 32),
    ]
}

/// The slot in two words; `None` when they are damaged or were never written.
pub(super) fn decode(words: [u64; 2]) -> Option<(TimestampMs, u32)> {
    let (max, ordinal) = (TimestampMs(words[0] as i64), words[1] as u32);
    (check(max, ordinal) == (words[1] >> 32) as u32).then_some((max, ordinal))
}

fn check(max: TimestampMs, ordinal: u32) -> u32 {
    // Inverted, so that a slot of zeros is not a valid one.
    !Crc::default()
        .add(&max.0.to_le_bytes())
        .add(&ordinal.to_le_bytes())
        .get()
}

/// The entry of the last of `len` slots whose maximum lies below `time`; 0 when there is none.
/// A damaged slot counts as too late, which only moves the answer towards the front.
pub(super) fn last_before(
    len: u64,
    time: TimestampMs,
    slot: impl Fn(u64) -> Option<(TimestampMs, u32)>,
) -> u32 {
    let (mut low, mut high) = (0, len);
    let mut found = 0;
    while low < high {
        let middle = low + (high - low) / 2;
        match slot(middle) {
            Some((max, ordinal)) if max < time => {
                found = ordinal;
                low = middle + 1;
            }
            _ => high = middle,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slot_comes_back_and_a_flipped_bit_is_seen(max: i64, ordinal: u32, bit in 0..128_u32) {
            let mut words = encode(TimestampMs(max), ordinal);
            prop_assert_eq!(decode(words), Some((TimestampMs(max), ordinal)));
            words[(bit / 64) as usize] ^= 1 << (bit % 64);
            prop_assert_eq!(decode(words), None);
        }

        #[test]
        fn the_answer_never_skips_an_entry(
            steps in proptest::collection::vec(0..5_i64, 0..40),
            time in 0..100_i64,
            bad in 0..40_usize,
        ) {
            let mut slots = Vec::new();
            let mut max = 0;
            for (i, step) in steps.iter().enumerate() {
                max += step;
                slots.push(Some((TimestampMs(max), i as u32)));
            }
            if let Some(slot) = slots.get_mut(bad) {
                *slot = None;
            }
            let found = last_before(slots.len() as u64, TimestampMs(time), |n| slots[n as usize]);
            for (max, ordinal) in slots.iter().flatten() {
                prop_assert!(*ordinal > found || *max < TimestampMs(time) || found == 0);
            }
        }
    }

    #[test]
    fn a_slot_of_zeros_is_none() {
        assert_eq!(decode([0, 0]), None);
    }
}
