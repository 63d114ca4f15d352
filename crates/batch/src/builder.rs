//! Building a batch.

use bytes::Bytes;
use trilith_types::{
    Offset, TimestampMs,
    limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, RECORD_BYTES_MAX, RECORD_HEADERS_MAX},
};

use crate::{
    Attributes, BatchHeader, Compression, HEADER_BYTES, Header, ProducerStamp, Record,
    header::{ABSENT, UNCOUNTED_BYTES},
    lz4::Encoder,
    producer::seal,
    varint,
};

/// Collects records into one batch at a time. It is used again for the next batch, and takes
/// memory for a batch, not for a record.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    /// Room for the header, then the records.
    buffer: Vec<u8>,
    records: u32,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    /// How large the last batch was: the next is likely to be as large.
    capacity: usize,
    encoder: Option<Encoder>,
    /// Of the next batch.
    producer: Option<ProducerStamp>,
}

/// Why a record was not taken. The batch is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The batch is as large as batches get: build it and push the record to the next.
    #[error(
        "the batch is full: it has {records} records and {bytes} bytes, and this record {record} bytes more"
    )]
    Full {
        /// Records in the batch.
        records: u32,
        /// Bytes in the batch.
        bytes: usize,
        /// Bytes the record would add.
        record: usize,
    },
    /// No batch can hold the record.
    #[error("the record has {bytes} bytes; the most is {RECORD_BYTES_MAX}")]
    RecordTooLarge {
        /// Key, value and headers together.
        bytes: usize,
    },
    /// Too many headers.
    #[error("the record has {headers} headers; the most is {RECORD_HEADERS_MAX}")]
    TooManyHeaders {
        /// How many it has.
        headers: usize,
    },
    /// A batch holds timestamps as differences from the first record's, and this difference does
    /// not fit 64 bits.
    #[error("the record's timestamp {timestamp} is too far from the batch's first, {base}")]
    Timestamp {
        /// The record's.
        timestamp: TimestampMs,
        /// The batch's first.
        base: TimestampMs,
    },
}

impl BatchBuilder {
    /// An empty builder of batches that are compressed so.
    #[must_use]
    pub const fn new(compression: Compression) -> Self {
        Self {
            compression,
            buffer: Vec::new(),
            records: 0,
            base_timestamp: TimestampMs(0),
            max_timestamp: TimestampMs::MIN,
            capacity: 0,
            encoder: None,
            producer: None,
        }
    }

    /// Records pushed since the last build.
    #[must_use]
    pub const fn records(&self) -> u32 {
        self.records
    }

    /// Whether no record was pushed since the last build.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of the batch so far, header included, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len().max(HEADER_BYTES)
    }

    /// Says who sends the next batch that is built; the ones after it are nobody's again, because
    /// each has a sequence of its own.
    pub const fn set_producer(&mut self, producer: Option<ProducerStamp>) {
        self.producer = producer;
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The record is too large for any batch or for this one; the batch is as it was.
    pub fn push(&mut self, record: &Record) -> Result<(), PushError> {
        self.push_parts(
            record.key.as_deref(),
            record.value.as_deref(),
            &record.headers,
            record.timestamp,
        )
    }

    /// Adds a record given by its parts.
    ///
    /// # Errors
    /// As [`BatchBuilder::push`].
    #[inline]
    pub fn push_parts(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
        timestamp: TimestampMs,
    ) -> Result<(), PushError> {
        let base = if self.records == 0 {
            timestamp
        } else {
            self.base_timestamp
        };
        let delta = timestamp
            .0
            .checked_sub(base.0)
            .ok_or(PushError::Timestamp { timestamp, base })?;
        let length = record_len(delta, self.records, key, value, headers);
        self.make_room(key, value, headers, length)?;
        self.base_timestamp = base;
        self.max_timestamp = self.max_timestamp.max(timestamp);

        let out = &mut self.buffer;
        varint::put(out, length as i64);
        out.push(0);
        varint::put(out, delta);
        varint::put(out, i64::from(self.records));
        put_nullable(out, key);
        put_nullable(out, value);
        varint::put(out, headers.len() as i64);
        for header in headers {
            put_nullable(out, Some(header.name.as_bytes()));
            put_nullable(out, header.value.as_deref());
        }
        self.records += 1;
        Ok(())
    }

    /// Checks the limits and reserves memory for a record whose fields take `length` bytes.
    #[inline]
    fn make_room(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
        length: usize,
    ) -> Result<(), PushError> {
        let record = length + varint::len(length as i64);
        let bytes = self.bytes();
        if headers.len() > RECORD_HEADERS_MAX {
            return Err(PushError::TooManyHeaders {
                headers: headers.len(),
            });
        }
        // The framing counts in `length` and not against the record, so only a record that is
        // close to the limit is measured by itself.
        if length > RECORD_BYTES_MAX as usize {
            let own = key.map_or(0, <[u8]>::len)
                + value.map_or(0, <[u8]>::len)
                + headers.iter().map(Header::bytes).sum::<usize>();
            if own > RECORD_BYTES_MAX as usize {
                return Err(PushError::RecordTooLarge { bytes: own });
            }
        }
        if self.records >= BATCH_RECORDS_MAX || bytes + record > BATCH_BYTES_MAX as usize {
            return Err(PushError::Full {
                records: self.records,
                bytes,
                record,
            });
        }
        if self.buffer.is_empty() {
            self.buffer
                .reserve(self.capacity.max(HEADER_BYTES + record));
            self.buffer.extend_from_slice(&[0; HEADER_BYTES]);
        }
        self.buffer.reserve(record);
        Ok(())
    }

    /// The batch with the records pushed so far and base offset 0, or `None` without any; the
    /// builder is empty then. A batch that compression would not make smaller is left as it is.
    pub fn build(&mut self) -> Option<Bytes> {
        if self.records == 0 {
            return None;
        }
        self.capacity = self.buffer.len();
        let mut bytes = std::mem::take(&mut self.buffer);
        let mut compression = Compression::None;
        if self.compression == Compression::Lz4
            && let Some(smaller) = self.compress(&bytes)
        {
            compression = Compression::Lz4;
            bytes = smaller;
        }
        let header = self.header(compression, bytes.len());
        self.finish(&mut bytes, header);
        self.records = 0;
        self.max_timestamp = TimestampMs::MIN;
        Some(Bytes::from(bytes))
    }

    fn compress(&mut self, batch: &[u8]) -> Option<Vec<u8>> {
        let records = batch.get(HEADER_BYTES..)?;
        let mut out = Vec::with_capacity(HEADER_BYTES + records.len() / 2);
        out.extend_from_slice(&[0; HEADER_BYTES]);
        self.encoder
            .get_or_insert_with(Encoder::new)
            .encode(records, &mut out);
        (out.len() < batch.len()).then_some(out)
    }

    fn header(&self, compression: Compression, bytes: usize) -> BatchHeader {
        BatchHeader {
            base_offset: Offset::ZERO,
            // Both fit: `make_room` bounds them far below.
            batch_length: (bytes - UNCOUNTED_BYTES) as i32,
            leader_epoch: i32::from(ABSENT),
            checksum: 0,
            attributes: Attributes::compressed(compression),
            last_offset_delta: self.records as i32 - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: i64::from(ABSENT),
            producer_epoch: i16::from(ABSENT),
            base_sequence: i32::from(ABSENT),
            record_count: self.records as i32,
        }
    }

    fn finish(&mut self, batch: &mut [u8], mut header: BatchHeader) {
        ProducerStamp::put(self.producer.take(), &mut header);
        seal(batch, header);
    }
}

fn record_len(
    timestamp_delta: i64,
    offset_delta: u32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header],
) -> usize {
    let headers_len: usize = headers
        .iter()
        .map(|h| nullable_len(Some(h.name.as_bytes())) + nullable_len(h.value.as_deref()))
        .sum();
    let attributes = 1;
    attributes
        + varint::len(timestamp_delta)
        + varint::len(i64::from(offset_delta))
        + nullable_len(key)
        + nullable_len(value)
        + varint::len(headers.len() as i64)
        + headers_len
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::len(bytes.len() as i64) + bytes.len())
}

#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => varint::put(out, -1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_builder_builds_nothing() {
        let mut builder = BatchBuilder::new(Compression::None);
        assert!(builder.is_empty() && builder.build().is_none());
        assert_eq!(builder.bytes(), HEADER_BYTES);
    }

    #[test]
    fn a_batch_has_the_bytes_it_foretold() {
        let mut builder = BatchBuilder::new(Compression::None);
        for n in 0..300_i64 {
            let headers = [Header::new("n", vec![0; n as usize])];
            builder
                .push_parts(Some(b"k"), None, &headers, TimestampMs(n * 1000))
                .unwrap();
        }
        let foretold = builder.bytes();
        assert_eq!(builder.records(), 300);
        assert_eq!(builder.build().unwrap().len(), foretold);
        assert!(builder.is_empty());
    }

    #[test]
    fn limits_are_named_and_leave_the_batch_as_it_was() {
        let mut builder = BatchBuilder::new(Compression::None);
        let large = vec![0; RECORD_BYTES_MAX as usize];
        let push = |b: &mut BatchBuilder, value: &[u8], headers: &[Header]| {
            b.push_parts(None, Some(value), headers, TimestampMs(0))
        };
        let too_many = vec![Header::default(); RECORD_HEADERS_MAX + 1];
        assert_eq!(
            push(&mut builder, b"", &too_many),
            Err(PushError::TooManyHeaders {
                headers: RECORD_HEADERS_MAX + 1
            })
        );
        let over = [Header::new("x", "")];
        let bytes = RECORD_BYTES_MAX as usize + 1;
        assert_eq!(
            push(&mut builder, &large, &over),
            Err(PushError::RecordTooLarge { bytes })
        );
        push(&mut builder, &large, &[]).unwrap();
        let before = builder.bytes();
        assert!(matches!(
            push(&mut builder, &large, &[]),
            Err(PushError::Full { records: 1, .. })
        ));
        assert_eq!((builder.bytes(), builder.records()), (before, 1));
        let far = builder.push_parts(None, None, &[], TimestampMs::MIN);
        assert!(far.is_ok(), "0 - 2^63 fits: {far:?}");
        let farther = builder.push_parts(None, None, &[], TimestampMs(i64::MIN));
        assert!(farther.is_ok());
    }

    #[test]
    fn a_timestamp_too_far_from_the_first_is_refused() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push_parts(None, None, &[], TimestampMs(1)).unwrap();
        let refused = builder.push_parts(None, None, &[], TimestampMs::MIN);
        assert_eq!(
            refused,
            Err(PushError::Timestamp {
                timestamp: TimestampMs::MIN,
                base: TimestampMs(1)
            })
        );
        assert_eq!(builder.records(), 1);
    }
}
