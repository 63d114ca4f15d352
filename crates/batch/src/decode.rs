//! Taking a batch apart into records.

use bytes::Bytes;
use trilith_types::{Offset, TimestampMs, limits::BATCH_DECOMPRESSED_BYTES_MAX};

use crate::{
    BatchError, BatchHeader, Compression, HEADER_BYTES, Header, Record, RecordProblem, Text, lz4,
    reader::{RawHeaders, RawRecord, Reader},
    verify_checksum,
};

/// The records of a whole batch, after its length and its checksum were found right. They share
/// the memory of `batch`, or of its records decompressed.
///
/// # Errors
/// [`BatchError`] when `batch` is not one whole batch in a supported codec with the right checksum.
pub fn decode(batch: Bytes) -> Result<Records, BatchError> {
    let header = BatchHeader::parse(&batch)?;
    verify_checksum(&batch, &header)?;
    let body = batch.slice(HEADER_BYTES..);
    let body = match header.attributes.compression()? {
        Compression::None => body,
        Compression::Lz4 => decompress(&body)?,
    };
    let count = u32::try_from(header.record_count).unwrap_or_default();
    Ok(Records {
        header,
        count,
        body,
        position: 0,
        index: 0,
        done: false,
    })
}

fn decompress(frame: &[u8]) -> Result<Bytes, BatchError> {
    let lz4 = |problem| BatchError::Lz4 { problem };
    let mut decoder = lz4::Decoder::new(frame).map_err(lz4)?;
    let mut out = Vec::new();
    while let Some(block) = decoder.next().map_err(lz4)? {
        if out.len() + block.len() > BATCH_DECOMPRESSED_BYTES_MAX as usize {
            return Err(BatchError::DecompressedTooLarge {
                max: BATCH_DECOMPRESSED_BYTES_MAX,
            });
        }
        out.extend_from_slice(block);
    }
    Ok(Bytes::from(out))
}

/// Iterator over the records of a batch, each with its offset. It ends at the first error.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    count: u32,
    body: Bytes,
    position: usize,
    index: u32,
    done: bool,
}

impl Records {
    /// The batch's header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    fn read(&mut self) -> Result<(Offset, Record), BatchError> {
        let index = self.index;
        let rest = self.body.get(self.position..).unwrap_or_default();
        let mut reader = Reader(rest);
        let record = match reader.record() {
            Ok(raw) => self.record(raw),
            Err(_) if rest.is_empty() => {
                return Err(BatchError::TooFewRecords {
                    claimed: self.count,
                    found: index,
                });
            }
            Err(problem) => Err(problem),
        };
        let read = record.map_err(|problem| problem.at(index))?;
        self.position += rest.len() - reader.0.len();
        self.index += 1;
        Ok(read)
    }

    fn record(&self, raw: RawRecord<'_>) -> Result<(Offset, Record), RecordProblem> {
        let offset = self
            .header
            .base_offset
            .0
            .wrapping_add_signed(i64::from(raw.offset_delta));
        let record = Record {
            key: raw.key.map(|key| self.body.slice_ref(key)),
            value: raw.value.map(|value| self.body.slice_ref(value)),
            headers: self.headers(raw.headers)?,
            timestamp: self.timestamp(raw.timestamp_delta)?,
        };
        Ok((Offset(offset), record))
    }

    fn timestamp(&self, delta: i64) -> Result<TimestampMs, RecordProblem> {
        if self.header.attributes.is_log_append_time() {
            return Ok(self.header.max_timestamp);
        }
        let timestamp = self.header.base_timestamp.0.checked_add(delta);
        timestamp.map(TimestampMs).ok_or(RecordProblem::Timestamp)
    }

    fn headers(&self, mut raw: RawHeaders<'_>) -> Result<Vec<Header>, RecordProblem> {
        // The list grows with what is there and not to what the count claims.
        let mut headers = Vec::new();
        while let Some((name, value)) = raw.next()? {
            let name = self.body.slice_ref(name.as_bytes());
            headers.push(Header {
                name: Text::try_from(name).map_err(|_| RecordProblem::HeaderName)?,
                value: value.map(|value| self.body.slice_ref(value)),
            });
        }
        Ok(headers)
    }
}

impl Iterator for Records {
    type Item = Result<(Offset, Record), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index < self.count {
            let item = self.read();
            self.done = item.is_err();
            return Some(item);
        }
        self.done = true;
        let behind = self.body.len() - self.position;
        (behind > 0).then_some(Err(BatchError::Trailing { bytes: behind }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.count - self.index) as usize + 1))
    }
}
