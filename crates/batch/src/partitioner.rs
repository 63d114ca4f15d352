//! Which partition a key belongs to: Kafka's default partitioner, so that a key goes where any
//! Kafka client would send it.

use trilith_types::PartitionId;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// MurmurHash2 of 32 bits with the seed that Kafka's clients use.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let rest = tail
            .iter()
            .rev()
            .fold(0, |word, &byte| (word << 8) | u32::from(byte));
        hash = (hash ^ rest).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The partition among `partitions` (at least 1) that `key` belongs to. The sign bit is dropped
/// before the remainder is taken, as Kafka's clients do.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionId {
    PartitionId((murmur2(key) & 0x7fff_ffff) % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the Kafka clients' own tests, as signed numbers.
    const VECTORS: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        ("abc", 479_470_107),
    ];

    #[test]
    fn hashes_are_those_of_kafka() {
        for (key, hash) in VECTORS {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn a_key_stays_within_the_partitions_whatever_the_sign_of_its_hash() {
        assert_eq!(partition_for_key(b"abc", 10), PartitionId(479_470_107 % 10));
        assert_eq!(
            partition_for_key(b"21", 10),
            PartitionId((-973_932_308_i32 & i32::MAX) as u32 % 10)
        );
        assert_eq!(partition_for_key(b"", 1), PartitionId(0));
        assert_eq!(partition_for_key(b"x", 0), PartitionId(0));
    }
}
