//! Who sent a batch, and as which one: what makes a batch that is sent twice the same batch.

use bytes::{Bytes, BytesMut};
use trilith_types::ProducerId;

use crate::{
    BatchError, BatchHeader, HEADER_BYTES,
    header::{ABSENT, CHECKED_FROM},
};

/// A record's number among those that its producer sent to one partition: 31 bits, and 0 follows
/// the highest, as in Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u32);

/// How many sequences there are.
const SEQUENCES: u32 = 1 << 31;

impl Sequence {
    /// The first record's, in each epoch.
    pub const ZERO: Self = Self(0);
    /// The last before [`Sequence::ZERO`] comes again.
    pub const MAX: Self = Self(SEQUENCES - 1);

    /// The sequence of this number; `None` for a negative one.
    #[must_use]
    pub const fn new(number: i32) -> Option<Self> {
        if number < 0 {
            None
        } else {
            Some(Self(number as u32))
        }
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0 as i32
    }

    /// The sequence `records` further on.
    #[must_use]
    pub const fn plus(self, records: u32) -> Self {
        Self(self.0.wrapping_add(records) % SEQUENCES)
    }

    /// Whether this one comes before `other`, going the shorter way around.
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        let ahead = other.minus(self.0).0;
        ahead > 0 && ahead < SEQUENCES / 2
    }

    /// The sequence `records` before this one.
    #[must_use]
    pub const fn minus(self, records: u32) -> Self {
        Self(self.0.wrapping_sub(records) % SEQUENCES)
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// The producer's fields of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Who sent it. At most [`i64::MAX`].
    pub id: ProducerId,
    /// Which of the producer's lives, from 0; at most [`ProducerStamp::EPOCH_MAX`].
    pub epoch: u16,
    /// Its first record's number.
    pub sequence: Sequence,
}

impl ProducerStamp {
    /// The highest epoch: the field is Kafka's and has a sign.
    pub const EPOCH_MAX: u16 = i16::MAX as u16;

    pub(crate) const fn put(stamp: Option<Self>, header: &mut BatchHeader) {
        let Some(stamp) = stamp else {
            header.producer_id = ABSENT as i64;
            header.producer_epoch = ABSENT as i16;
            header.base_sequence = ABSENT as i32;
            return;
        };
        header.producer_id = stamp.id.0 as i64;
        header.producer_epoch = stamp.epoch as i16;
        header.base_sequence = stamp.sequence.get();
    }
}

impl BatchHeader {
    /// The producer's fields; `None` when all three are absent: then the batch may be stored as
    /// often as it is sent.
    ///
    /// # Errors
    /// [`BatchError::Producer`] when only some are absent, or one is negative otherwise.
    pub fn producer(&self) -> Result<Option<ProducerStamp>, BatchError> {
        let absent = (ABSENT as i64, ABSENT as i16, ABSENT as i32);
        if (self.producer_id, self.producer_epoch, self.base_sequence) == absent {
            return Ok(None);
        }
        let stamp = || {
            Some(ProducerStamp {
                id: ProducerId(u64::try_from(self.producer_id).ok()?),
                epoch: u16::try_from(self.producer_epoch).ok()?,
                sequence: Sequence::new(self.base_sequence)?,
            })
        };
        stamp().map(Some).ok_or(BatchError::Producer {
            producer_id: self.producer_id,
            epoch: self.producer_epoch,
            sequence: self.base_sequence,
        })
    }
}

/// The batch with other producer's fields, and its checksum to match. For a batch that was surely
/// not stored and goes out again under another id or epoch; one that may have been stored must
/// keep its bytes, or it may be stored twice.
///
/// # Errors
/// [`BatchError`] when `batch` does not begin with a header.
pub fn restamp(batch: &[u8], stamp: Option<ProducerStamp>) -> Result<Bytes, BatchError> {
    let mut header = BatchHeader::parse(batch)?;
    ProducerStamp::put(stamp, &mut header);
    let mut out = BytesMut::from(batch);
    seal(&mut out, header);
    Ok(out.freeze())
}

/// Writes the header into its room, with the checksum of everything behind it.
pub(crate) fn seal(batch: &mut [u8], mut header: BatchHeader) {
    let room = "a batch begins with room for its header";
    *batch.first_chunk_mut::<HEADER_BYTES>().expect(room) = header.encode();
    header.checksum = crc32c::crc32c(batch.get(CHECKED_FROM..).expect(room));
    *batch.first_chunk_mut::<HEADER_BYTES>().expect(room) = header.encode();
}

#[cfg(test)]
mod tests {
    use trilith_types::TimestampMs;

    use super::*;
    use crate::{BatchBuilder, BatchLimits, Compression, check};

    fn stamp(id: u64, epoch: u16, sequence: i32) -> ProducerStamp {
        ProducerStamp {
            id: ProducerId(id),
            epoch,
            sequence: Sequence::new(sequence).unwrap(),
        }
    }

    fn build(producer: Option<ProducerStamp>) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        builder
            .push_parts(None, Some(b"v"), &[], TimestampMs(1))
            .unwrap();
        builder.set_producer(producer);
        builder.build().unwrap()
    }

    fn stamp_of(batch: &[u8]) -> Option<ProducerStamp> {
        let header = check(batch, &BatchLimits::default()).unwrap();
        header.producer().unwrap()
    }

    #[test]
    fn zero_follows_the_highest_sequence() {
        assert_eq!(Sequence::MAX.get(), i32::MAX);
        assert_eq!(Sequence::MAX.plus(1), Sequence::ZERO);
        assert_eq!(Sequence::MAX.plus(5), Sequence(4));
        assert_eq!(Sequence(3).minus(5).plus(5), Sequence(3));
        assert_eq!(Sequence::new(-1), None);
        assert!(Sequence::MAX.is_before(Sequence::ZERO));
        assert!(Sequence(3).is_before(Sequence(4)) && !Sequence(4).is_before(Sequence(3)));
        assert!(!Sequence(3).is_before(Sequence(3)));
    }

    #[test]
    fn a_batch_carries_its_stamp_and_can_be_given_another() {
        let first = stamp(u64::MAX >> 1, ProducerStamp::EPOCH_MAX, i32::MAX);
        let batch = build(Some(first));
        assert_eq!(stamp_of(&batch), Some(first));
        let other = restamp(&batch, Some(stamp(7, 0, 0))).unwrap();
        assert_eq!(stamp_of(&other), Some(stamp(7, 0, 0)));
        assert_eq!(restamp(&other, None).unwrap(), build(None));
        assert_eq!(stamp_of(&build(None)), None);
        assert!(restamp(&batch[..60], None).is_err());
    }

    #[test]
    fn a_builder_stamps_one_batch_only() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.set_producer(Some(stamp(1, 2, 3)));
        for expected in [Some(stamp(1, 2, 3)), None] {
            builder.push_parts(None, None, &[], TimestampMs(1)).unwrap();
            assert_eq!(stamp_of(&builder.build().unwrap()), expected);
        }
    }

    #[test]
    fn fields_that_are_given_by_halves_are_refused() {
        let header = BatchHeader::parse(&build(Some(stamp(1, 2, 3)))).unwrap();
        for (producer_id, epoch, sequence) in [(-1, 2, 3), (1, -1, 3), (1, 2, -1), (-2, 2, 3)] {
            let bad = BatchHeader {
                producer_id,
                producer_epoch: epoch,
                base_sequence: sequence,
                ..header
            };
            assert_eq!(
                bad.producer(),
                Err(BatchError::Producer {
                    producer_id,
                    epoch,
                    sequence
                })
            );
        }
    }
}
