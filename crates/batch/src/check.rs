//! Whether a batch holds exactly what its header claims.

use trilith_types::limits;

use crate::{
    BatchError, BatchHeader, Compression, HEADER_BYTES, RecordProblem,
    header::CHECKED_FROM,
    lz4,
    reader::{RawRecord, Reader},
};

/// What a batch may be at most. The defaults are those of `trilith_types::limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The batch as it travels, in bytes.
    pub batch_bytes_max: u32,
    /// Its records once decompressed, in bytes.
    pub decompressed_bytes_max: u32,
    /// Its records.
    pub records_max: u32,
    /// One record's key, value and headers together, in bytes.
    pub record_bytes_max: u32,
    /// One record's headers.
    pub headers_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            batch_bytes_max: limits::BATCH_BYTES_MAX,
            decompressed_bytes_max: limits::BATCH_DECOMPRESSED_BYTES_MAX,
            records_max: limits::BATCH_RECORDS_MAX,
            record_bytes_max: limits::RECORD_BYTES_DEFAULT,
            headers_max: limits::RECORD_HEADERS_MAX,
        }
    }
}

/// Checks a batch as it comes from a producer: that it is one whole batch of v2 with nothing behind
/// it, that its checksum fits, that no bit is set which only a server sets, and, record by record,
/// that count, offset deltas, maximum timestamp and sizes are as the header and `limits` say.
///
/// A compressed batch is decompressed block by block; memory is held for one block and one record.
/// The base offset and the leader's epoch are not looked at: the server sets them ([`crate::prefix`]).
///
/// # Errors
/// The first thing that is wrong.
pub fn check(bytes: &[u8], limits: &BatchLimits) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    if bytes.len() > limits.batch_bytes_max as usize {
        return Err(BatchError::BatchTooLarge {
            bytes: bytes.len(),
            max: limits.batch_bytes_max,
        });
    }
    verify_length(bytes, &header)?;
    let compression = check_header(&header, limits)?;
    verify_checksum(bytes, &header)?;
    let records = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let mut walk = Walk::new(&header, limits);
    match compression {
        Compression::None => walk.whole(records)?,
        Compression::Lz4 => walk.compressed(records)?,
    }
    walk.finish(&header)?;
    Ok(header)
}

/// Checks that `bytes` has the length and the checksum that its header claims.
///
/// # Errors
/// [`BatchError::Length`] or [`BatchError::Checksum`].
pub fn verify_checksum(bytes: &[u8], header: &BatchHeader) -> Result<(), BatchError> {
    verify_length(bytes, header)?;
    let computed = crc32c::crc32c(bytes.get(CHECKED_FROM..).unwrap_or_default());
    if computed == header.checksum {
        Ok(())
    } else {
        Err(BatchError::Checksum {
            stored: header.checksum,
            computed,
        })
    }
}

fn verify_length(bytes: &[u8], header: &BatchHeader) -> Result<(), BatchError> {
    if header.encoded_len() == bytes.len() {
        Ok(())
    } else {
        Err(BatchError::Length {
            claimed: header.encoded_len() as i64,
            actual: bytes.len(),
        })
    }
}

fn check_header(header: &BatchHeader, limits: &BatchLimits) -> Result<Compression, BatchError> {
    let compression = header.attributes.compression()?;
    let bits = header.attributes.not_for_producers();
    if bits != 0 {
        return Err(BatchError::Attributes { bits });
    }
    header.producer()?;
    let records = header.record_count;
    if !u32::try_from(records).is_ok_and(|n| (1..=limits.records_max).contains(&n)) {
        return Err(BatchError::RecordCount {
            claimed: records,
            max: limits.records_max,
        });
    }
    if header.last_offset_delta != records - 1 {
        return Err(BatchError::LastOffsetDelta {
            records,
            delta: header.last_offset_delta,
        });
    }
    Ok(compression)
}

/// Framing of one record beside its key, value and headers: three numbers of its own, four lengths
/// or counts, and two lengths for each header.
const FRAMING_BYTES_MAX: usize = 64;
const HEADER_FRAMING_BYTES_MAX: usize = 10;

/// Goes over the records once, in pieces as they come.
struct Walk<'a> {
    limits: &'a BatchLimits,
    count: u32,
    /// Whole records seen.
    seen: u32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl<'a> Walk<'a> {
    fn new(header: &BatchHeader, limits: &'a BatchLimits) -> Self {
        Self {
            limits,
            count: header.record_count as u32,
            seen: 0,
            base_timestamp: header.base_timestamp.0,
            max_timestamp: i64::MIN,
        }
    }

    fn whole(&mut self, records: &[u8]) -> Result<(), BatchError> {
        let mut reader = Reader(records);
        while self.seen < self.count && !reader.0.is_empty() {
            let record = reader.record().map_err(|problem| problem.at(self.seen))?;
            self.record(&record)?;
        }
        nothing_behind(reader.0)
    }

    /// Takes the frame block by block. A record that crosses into the next block is kept until it
    /// is whole.
    fn compressed(&mut self, frame: &[u8]) -> Result<(), BatchError> {
        let lz4 = |problem| BatchError::Lz4 { problem };
        let mut decoder = lz4::Decoder::new(frame).map_err(lz4)?;
        let mut kept: Vec<u8> = Vec::new();
        let mut decompressed = 0;
        while let Some(block) = decoder.next().map_err(lz4)? {
            decompressed += block.len();
            if decompressed > self.limits.decompressed_bytes_max as usize {
                return Err(BatchError::DecompressedTooLarge {
                    max: self.limits.decompressed_bytes_max,
                });
            }
            if kept.is_empty() {
                let rest = self.as_many_as_whole(block)?;
                kept.extend_from_slice(rest);
            } else {
                kept.extend_from_slice(block);
                let rest = self.as_many_as_whole(&kept)?.len();
                kept.drain(..kept.len() - rest);
            }
        }
        if self.seen < self.count && !kept.is_empty() {
            return Err(RecordProblem::Truncated.at(self.seen));
        }
        nothing_behind(&kept)
    }

    /// Takes whole records from the front and gives back what is left.
    fn as_many_as_whole<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], BatchError> {
        let mut reader = Reader(bytes);
        while self.seen < self.count && self.is_whole(reader)? {
            let record = reader.record().map_err(|problem| problem.at(self.seen))?;
            self.record(&record)?;
        }
        if self.seen == self.count {
            nothing_behind(reader.0)?;
        }
        Ok(reader.0)
    }

    /// Whether `reader` holds all of the next record. A record that will be too large is refused
    /// before it is waited for.
    fn is_whole(&self, mut reader: Reader<'_>) -> Result<bool, BatchError> {
        let length = match reader.count() {
            Ok(length) => length,
            Err(RecordProblem::Truncated) => return Ok(false),
            Err(problem) => return Err(problem.at(self.seen)),
        };
        let max = self.limits.record_bytes_max;
        let framing = FRAMING_BYTES_MAX + self.limits.headers_max * HEADER_FRAMING_BYTES_MAX;
        if length > max as usize + framing {
            return Err(BatchError::RecordTooLarge {
                index: self.seen,
                bytes: length,
                max,
            });
        }
        Ok(reader.0.len() >= length)
    }

    #[inline]
    fn record(&mut self, record: &RawRecord<'_>) -> Result<(), BatchError> {
        let index = self.seen;
        if record.offset_delta as u32 != index {
            return Err(BatchError::OffsetDelta {
                index,
                delta: record.offset_delta,
            });
        }
        let timestamp = self
            .base_timestamp
            .checked_add(record.timestamp_delta)
            .ok_or(RecordProblem::Timestamp.at(index))?;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let bytes = record.key.map_or(0, <[u8]>::len)
            + record.value.map_or(0, <[u8]>::len)
            + self.headers(record)?;
        if bytes > self.limits.record_bytes_max as usize {
            return Err(BatchError::RecordTooLarge {
                index,
                bytes,
                max: self.limits.record_bytes_max,
            });
        }
        self.seen += 1;
        Ok(())
    }

    /// Checks the record's headers and counts their bytes.
    #[inline]
    fn headers(&self, record: &RawRecord<'_>) -> Result<usize, BatchError> {
        let index = self.seen;
        let mut headers = record.headers;
        if headers.claimed() > self.limits.headers_max {
            let (headers, max) = (headers.claimed(), self.limits.headers_max);
            return Err(BatchError::TooManyHeaders {
                index,
                headers,
                max,
            });
        }
        let mut bytes = 0;
        while let Some((name, value)) = headers.next().map_err(|problem| problem.at(index))? {
            bytes += name.len() + value.map_or(0, <[u8]>::len);
        }
        Ok(bytes)
    }

    fn finish(&self, header: &BatchHeader) -> Result<(), BatchError> {
        if self.seen < self.count {
            return Err(BatchError::TooFewRecords {
                claimed: self.count,
                found: self.seen,
            });
        }
        let claimed = header.max_timestamp.0;
        if claimed != self.max_timestamp {
            return Err(BatchError::MaxTimestamp {
                claimed,
                found: self.max_timestamp,
            });
        }
        Ok(())
    }
}

fn nothing_behind(rest: &[u8]) -> Result<(), BatchError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(BatchError::Trailing { bytes: rest.len() })
    }
}
