//! The fixed part of a batch.

use trilith_types::{Offset, TimestampMs};

use crate::{Attributes, BatchError};

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;

/// Bytes at the start that the producer's checksum does not cover and the server sets.
pub const PREFIX_BYTES: usize = 16;

/// The format's number.
pub const MAGIC: i8 = 2;

/// Where the bytes that the checksum covers begin.
pub const CHECKED_FROM: usize = 21;

/// Bytes that the length field does not count: the base offset and itself.
pub(crate) const UNCOUNTED_BYTES: usize = 12;

/// "No producer id", "no epoch", "no sequence".
pub(crate) const ABSENT: i8 = -1;

/// The fields of a batch's header, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The first record's offset; 0 from a producer, set by the server.
    pub base_offset: Offset,
    /// Bytes of the batch behind this field.
    pub batch_length: i32,
    /// The term of the leader that appended it; set by the server.
    pub leader_epoch: i32,
    /// CRC-32C of everything behind this field.
    pub checksum: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// The last record's offset minus the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamps are counted from.
    pub base_timestamp: TimestampMs,
    /// The highest of the records' timestamps.
    pub max_timestamp: TimestampMs,
    /// -1 when the producer is not idempotent.
    pub producer_id: i64,
    /// -1 when the producer is not idempotent.
    pub producer_epoch: i16,
    /// -1 when the producer is not idempotent.
    pub base_sequence: i32,
    /// How many records there are.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may go on behind the batch. Nothing is
    /// checked but the format's number and that the length field counts at least the header.
    ///
    /// # Errors
    /// [`BatchError::Short`], [`BatchError::Magic`] or [`BatchError::Length`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut fields = Fields(
            bytes
                .first_chunk::<HEADER_BYTES>()
                .ok_or(BatchError::Short {
                    have: bytes.len(),
                    need: HEADER_BYTES,
                })?,
        );
        let base_offset = i64::from_be_bytes(fields.take());
        let batch_length = i32::from_be_bytes(fields.take());
        let leader_epoch = i32::from_be_bytes(fields.take());
        let magic = i8::from_be_bytes(fields.take());
        if magic != MAGIC {
            return Err(BatchError::Magic { found: magic });
        }
        let claimed = i64::from(batch_length) + UNCOUNTED_BYTES as i64;
        if claimed < HEADER_BYTES as i64 {
            return Err(BatchError::Length {
                claimed,
                actual: bytes.len(),
            });
        }
        Ok(Self {
            base_offset: Offset(base_offset as u64),
            batch_length,
            leader_epoch,
            checksum: u32::from_be_bytes(fields.take()),
            attributes: Attributes(i16::from_be_bytes(fields.take())),
            last_offset_delta: i32::from_be_bytes(fields.take()),
            base_timestamp: TimestampMs(i64::from_be_bytes(fields.take())),
            max_timestamp: TimestampMs(i64::from_be_bytes(fields.take())),
            producer_id: i64::from_be_bytes(fields.take()),
            producer_epoch: i16::from_be_bytes(fields.take()),
            base_sequence: i32::from_be_bytes(fields.take()),
            record_count: i32::from_be_bytes(fields.take()),
        })
    }

    /// Bytes of the whole batch, header included.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        self.batch_length as usize + UNCOUNTED_BYTES
    }

    /// The last record's offset.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        Offset(
            self.base_offset
                .0
                .wrapping_add_signed(self.last_offset_delta as i64),
        )
    }

    /// The header's bytes.
    #[must_use]
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut rest = out.as_mut_slice();
        put(&mut rest, self.base_offset.0.to_be_bytes());
        put(&mut rest, self.batch_length.to_be_bytes());
        put(&mut rest, self.leader_epoch.to_be_bytes());
        put(&mut rest, MAGIC.to_be_bytes());
        put(&mut rest, self.checksum.to_be_bytes());
        put(&mut rest, self.attributes.0.to_be_bytes());
        put(&mut rest, self.last_offset_delta.to_be_bytes());
        put(&mut rest, self.base_timestamp.0.to_be_bytes());
        put(&mut rest, self.max_timestamp.0.to_be_bytes());
        put(&mut rest, self.producer_id.to_be_bytes());
        put(&mut rest, self.producer_epoch.to_be_bytes());
        put(&mut rest, self.base_sequence.to_be_bytes());
        put(&mut rest, self.record_count.to_be_bytes());
        out
    }
}

/// The first [`PREFIX_BYTES`] of a stored batch, to be written in place of those that came: the
/// offset that the server assigned, the length as it was, the leader's epoch. The bytes behind
/// them, the checksum included, stay the producer's.
#[must_use]
pub fn prefix(header: &BatchHeader, base_offset: Offset, leader_epoch: i32) -> [u8; PREFIX_BYTES] {
    let mut out = [0; PREFIX_BYTES];
    let mut rest = out.as_mut_slice();
    put(&mut rest, base_offset.0.to_be_bytes());
    put(&mut rest, header.batch_length.to_be_bytes());
    put(&mut rest, leader_epoch.to_be_bytes());
    out
}

/// Sets the base offset of an encoded batch in place.
///
/// # Errors
/// [`BatchError::Short`] when there is no room for it.
pub fn set_base_offset(batch: &mut [u8], base_offset: Offset) -> Result<(), BatchError> {
    let have = batch.len();
    let field = batch.first_chunk_mut::<8>().ok_or(BatchError::Short {
        have,
        need: HEADER_BYTES,
    })?;
    *field = base_offset.0.to_be_bytes();
    Ok(())
}

fn put<const N: usize>(rest: &mut &mut [u8], field: [u8; N]) {
    let (head, tail) = std::mem::take(rest)
        .split_first_chunk_mut::<N>()
        .expect("the fields' sizes add up to the array's");
    *head = field;
    *rest = tail;
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, tail) = self
            .0
            .split_first_chunk::<N>()
            .expect("the fields' sizes add up to the array's");
        self.0 = tail;
        *head
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_header() -> impl Strategy<Value = BatchHeader> {
        let first = (
            any::<u64>(),
            49..=i32::MAX,
            any::<i32>(),
            any::<u32>(),
            any::<i16>(),
            any::<i32>(),
        );
        let second = (
            any::<i64>(),
            any::<i64>(),
            any::<i64>(),
            any::<i16>(),
            any::<i32>(),
            any::<i32>(),
        );
        (first, second).prop_map(|(a, b)| BatchHeader {
            base_offset: Offset(a.0),
            batch_length: a.1,
            leader_epoch: a.2,
            checksum: a.3,
            attributes: Attributes(a.4),
            last_offset_delta: a.5,
            base_timestamp: TimestampMs(b.0),
            max_timestamp: TimestampMs(b.1),
            producer_id: b.2,
            producer_epoch: b.3,
            base_sequence: b.4,
            record_count: b.5,
        })
    }

    proptest! {
        #[test]
        fn headers_round_trip(header in any_header()) {
            prop_assert_eq!(BatchHeader::parse(&header.encode()), Ok(header));
        }

        #[test]
        fn the_prefix_changes_offset_and_epoch_alone(header in any_header(), offset: u64, epoch: i32) {
            let mut bytes = header.encode();
            bytes[..PREFIX_BYTES].copy_from_slice(&prefix(&header, Offset(offset), epoch));
            let expected = BatchHeader { base_offset: Offset(offset), leader_epoch: epoch, ..header };
            prop_assert_eq!(BatchHeader::parse(&bytes), Ok(expected));
        }
    }

    #[test]
    fn short_foreign_and_senseless_headers_are_refused() {
        assert_eq!(
            BatchHeader::parse(&[0; 60]),
            Err(BatchError::Short { have: 60, need: 61 })
        );
        let mut bytes = [0; HEADER_BYTES];
        bytes[16] = 1;
        assert_eq!(
            BatchHeader::parse(&bytes),
            Err(BatchError::Magic { found: 1 })
        );
        bytes[16] = 2;
        assert_eq!(
            BatchHeader::parse(&bytes),
            Err(BatchError::Length {
                claimed: 12,
                actual: 61
            })
        );
        bytes[8..12].copy_from_slice(&(-13_i32).to_be_bytes());
        assert_eq!(
            BatchHeader::parse(&bytes),
            Err(BatchError::Length {
                claimed: -1,
                actual: 61
            })
        );
    }

    #[test]
    fn the_base_offset_is_set_in_place() {
        let mut bytes = [0; HEADER_BYTES];
        bytes[16] = 2;
        bytes[8..12].copy_from_slice(&49_i32.to_be_bytes());
        bytes[26] = 4;
        set_base_offset(&mut bytes, Offset(1 << 40)).unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(
            (header.base_offset, header.last_offset()),
            (Offset(1 << 40), Offset((1 << 40) + 4))
        );
        assert_eq!(header.encoded_len(), HEADER_BYTES);
        assert!(set_base_offset(&mut [0; 7], Offset(1)).is_err());
    }
}
