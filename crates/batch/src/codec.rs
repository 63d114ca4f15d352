//! The attributes of a batch, the compression codec among them.

use crate::BatchError;

/// How the records of a batch are compressed. The numbers are Kafka's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// One LZ4 frame of independent blocks.
    Lz4,
}

impl Compression {
    /// The codec's number in the attributes.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 3,
        }
    }
}

/// The 16 attribute bits of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub i16);

const CODEC: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

impl Attributes {
    /// Attributes of a batch that is compressed so and has no other bit.
    #[must_use]
    pub const fn compressed(compression: Compression) -> Self {
        Self(compression.number() as i16)
    }

    /// The codec.
    ///
    /// # Errors
    /// [`BatchError::UnsupportedCodec`] with the codec's number and Kafka's name for it.
    pub const fn compression(self) -> Result<Compression, BatchError> {
        let (codec, name) = match self.0 & CODEC {
            0 => return Ok(Compression::None),
            3 => return Ok(Compression::Lz4),
            1 => (1, "gzip"),
            2 => (2, "snappy"),
            4 => (4, "zstd"),
            other => (other as u8, "unknown"),
        };
        Err(BatchError::UnsupportedCodec { codec, name })
    }

    /// Whether the records' timestamps are the log's append time, which then stands in the
    /// batch's maximum timestamp, and not the producer's.
    #[must_use]
    pub const fn is_log_append_time(self) -> bool {
        self.0 & LOG_APPEND_TIME != 0
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// Whether the batch holds the log's own control records and not a producer's.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// The bits that a producer may not set: all but the codec.
    #[must_use]
    pub(crate) const fn not_for_producers(self) -> i16 {
        self.0 & !CODEC
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_have_the_numbers_of_kafka() {
        for compression in [Compression::None, Compression::Lz4] {
            assert_eq!(
                Attributes::compressed(compression).compression(),
                Ok(compression)
            );
        }
        let names = [1, 2, 4, 5, 6, 7].map(|n| match Attributes(n).compression() {
            Err(BatchError::UnsupportedCodec { codec, name }) => (codec, name),
            other => panic!("{n}: {other:?}"),
        });
        assert_eq!(
            names,
            [
                (1, "gzip"),
                (2, "snappy"),
                (4, "zstd"),
                (5, "unknown"),
                (6, "unknown"),
                (7, "unknown")
            ]
        );
    }

    #[test]
    fn each_bit_is_read_from_its_place() {
        assert!(Attributes(8).is_log_append_time());
        assert!(Attributes(16).is_transactional());
        assert!(Attributes(32).is_control());
        let none = Attributes::compressed(Compression::Lz4);
        assert!(!none.is_log_append_time() && !none.is_transactional() && !none.is_control());
        assert_eq!(none.not_for_producers(), 0);
        assert_eq!(Attributes(-1).not_for_producers(), !0b111);
    }
}
