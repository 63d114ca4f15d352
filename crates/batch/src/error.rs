//! What can be wrong with a batch.

/// Why a batch was refused. Positions and lengths are bytes from the start of the batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a batch's header has.
    #[error("a batch has at least {need} bytes; there are {have}")]
    Short {
        /// How many there are.
        have: usize,
        /// How many there must be.
        need: usize,
    },
    /// Another message format than v2.
    #[error("record batch format {found} is not supported, only format 2")]
    Magic {
        /// The format's number.
        found: i8,
    },
    /// The length field does not fit the bytes that came.
    #[error("the batch says it has {claimed} bytes; there are {actual}")]
    Length {
        /// The whole length by the header; negative or too small when it is nonsense.
        claimed: i64,
        /// How many bytes there are.
        actual: usize,
    },
    /// More bytes than allowed, as it travels.
    #[error("the batch has {bytes} bytes; the most is {max}")]
    BatchTooLarge {
        /// How many it has.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// More bytes than allowed, once decompressed.
    #[error("the batch decompresses to more than {max} bytes")]
    DecompressedTooLarge {
        /// The limit.
        max: u32,
    },
    /// One record is larger than allowed.
    #[error("record {index} of the batch has {bytes} bytes; the most is {max}")]
    RecordTooLarge {
        /// The record's place in the batch, from 0.
        index: u32,
        /// Its key, value and headers together.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// One record has more headers than allowed.
    #[error("record {index} of the batch has {headers} headers; the most is {max}")]
    TooManyHeaders {
        /// The record's place in the batch, from 0.
        index: u32,
        /// How many it claims.
        headers: usize,
        /// The limit.
        max: usize,
    },
    /// More records than allowed, or none.
    #[error("the batch claims {claimed} records; a batch has 1 to {max}")]
    RecordCount {
        /// How many it claims.
        claimed: i32,
        /// The limit.
        max: u32,
    },
    /// A codec that is not supported.
    #[error("compression codec {codec} ({name}) is not supported; use none or lz4")]
    UnsupportedCodec {
        /// The codec's number.
        codec: u8,
        /// Kafka's name for it.
        name: &'static str,
    },
    /// Attribute bits that producers may not set.
    #[error(
        "a producer's batch cannot have the attribute bits {bits:#06x} (log append time, transactional, control or unknown)"
    )]
    Attributes {
        /// The bits.
        bits: i16,
    },
    /// Some of the producer's fields are given and some are not, or one is negative.
    #[error(
        "the batch carries producer id {producer_id}, epoch {epoch} and sequence {sequence}; give all three, from 0 on, or -1 for each"
    )]
    Producer {
        /// The id.
        producer_id: i64,
        /// The epoch.
        epoch: i16,
        /// The first record's sequence.
        sequence: i32,
    },
    /// The checksum does not fit the bytes.
    #[error("the batch's checksum is {stored:#010x}, its bytes have {computed:#010x}")]
    Checksum {
        /// As the header has it.
        stored: u32,
        /// As the bytes have it.
        computed: u32,
    },
    /// The last offset delta is not the record count minus one.
    #[error("the batch has {records} records but a last offset delta of {delta}")]
    LastOffsetDelta {
        /// The record count.
        records: i32,
        /// The delta.
        delta: i32,
    },
    /// Fewer records than the header claims.
    #[error("the batch claims {claimed} records and holds {found}")]
    TooFewRecords {
        /// By the header.
        claimed: u32,
        /// Whole ones that are there.
        found: u32,
    },
    /// Bytes behind the last record, or behind the compressed frame.
    #[error("{bytes} or more bytes lie behind the batch's last record")]
    Trailing {
        /// How many, at least.
        bytes: usize,
    },
    /// A record's offset delta is not its place in the batch.
    #[error("record {index} of the batch has offset delta {delta}")]
    OffsetDelta {
        /// The record's place in the batch, from 0.
        index: u32,
        /// Its delta.
        delta: i32,
    },
    /// The maximum timestamp is not the records' highest.
    #[error(
        "the batch claims a maximum timestamp of {claimed} ms; its records' highest is {found} ms"
    )]
    MaxTimestamp {
        /// By the header.
        claimed: i64,
        /// By the records.
        found: i64,
    },
    /// A record does not parse.
    #[error("record {index} of the batch: {problem}")]
    Record {
        /// The record's place in the batch, from 0.
        index: u32,
        /// What is wrong.
        problem: RecordProblem,
    },
    /// The compressed bytes are not one LZ4 frame as Kafka has it.
    #[error("the batch's LZ4 frame: {problem}")]
    Lz4 {
        /// What is wrong.
        problem: &'static str,
    },
}

/// What is wrong with a record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// The bytes end within it.
    #[error("its bytes end early")]
    Truncated,
    /// A variable-length number is longer or larger than its type.
    #[error("a variable-length number does not fit its type")]
    Number,
    /// A length or count is negative.
    #[error("a length or count is negative")]
    Negative,
    /// A header's name is not UTF-8.
    #[error("a header's name is not UTF-8")]
    HeaderName,
    /// The record's length does not fit its fields.
    #[error("its length is larger than its fields")]
    Trailing,
    /// The timestamp lies outside 64 bits.
    #[error("its timestamp lies outside 64 bits")]
    Timestamp,
}

impl RecordProblem {
    pub(crate) const fn at(self, index: u32) -> BatchError {
        BatchError::Record {
            index,
            problem: self,
        }
    }
}
