//! One record's bytes, taken apart without copying.

use crate::{
    RecordProblem,
    varint::{VARINT_BYTES_MAX, VARLONG_BYTES_MAX, unzigzag},
};

/// What is left of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

/// A record as it lies in its batch. Its headers are still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: RawHeaders<'a>,
}

/// The headers of a record: each is read, and checked, as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawHeaders<'a> {
    rest: Reader<'a>,
    left: usize,
}

/// A header's name and value.
pub(crate) type RawHeader<'a> = (&'a str, Option<&'a [u8]>);

impl<'a> Reader<'a> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordProblem> {
        let (&first, rest) = self.0.split_first().ok_or(RecordProblem::Truncated)?;
        self.0 = rest;
        Ok(first)
    }

    #[inline]
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], RecordProblem> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(RecordProblem::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    #[inline]
    fn number(&mut self, bytes_max: usize) -> Result<i64, RecordProblem> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(unzigzag(u64::from(first)));
        }
        self.number_rest(first, bytes_max)
    }

    fn number_rest(&mut self, first: u8, bytes_max: usize) -> Result<i64, RecordProblem> {
        let mut n = u64::from(first & 0x7f);
        for place in 1..bytes_max {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * place);
            if shifted >> (7 * place) != bits {
                return Err(RecordProblem::Number);
            }
            n |= shifted;
            if byte < 0x80 {
                return Ok(unzigzag(n));
            }
        }
        Err(RecordProblem::Number)
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, RecordProblem> {
        self.number(VARLONG_BYTES_MAX)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<i32, RecordProblem> {
        i32::try_from(self.number(VARINT_BYTES_MAX)?).map_err(|_| RecordProblem::Number)
    }

    #[inline]
    pub(crate) fn count(&mut self) -> Result<usize, RecordProblem> {
        usize::try_from(self.varint()?).map_err(|_| RecordProblem::Negative)
    }

    /// Bytes behind their length, which is -1 for null.
    #[inline]
    fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordProblem> {
        match self.varint()? {
            -1 => Ok(None),
            n => self
                .bytes(usize::try_from(n).map_err(|_| RecordProblem::Negative)?)
                .map(Some),
        }
    }

    /// Takes the next record.
    #[inline]
    pub(crate) fn record(&mut self) -> Result<RawRecord<'a>, RecordProblem> {
        let length = self.count()?;
        let mut fields = Reader(self.bytes(length)?);
        // Kafka keeps a byte of record attributes of which no bit has a meaning yet.
        fields.byte()?;
        Ok(RawRecord {
            timestamp_delta: fields.varlong()?,
            offset_delta: fields.varint()?,
            key: fields.nullable()?,
            value: fields.nullable()?,
            headers: RawHeaders {
                left: fields.count()?,
                rest: fields,
            },
        })
    }
}

impl<'a> RawHeaders<'a> {
    /// How many headers the record claims; as yet a claim.
    pub(crate) const fn claimed(&self) -> usize {
        self.left
    }

    /// The next header; `None` once all were read and nothing lies behind them.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<RawHeader<'a>>, RecordProblem> {
        if self.left == 0 {
            return if self.rest.0.is_empty() {
                Ok(None)
            } else {
                Err(RecordProblem::Trailing)
            };
        }
        self.left -= 1;
        let name_len = self.rest.count()?;
        let name = std::str::from_utf8(self.rest.bytes(name_len)?)
            .map_err(|_| RecordProblem::HeaderName)?;
        Ok(Some((name, self.rest.nullable()?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::varint;

    proptest! {
        #[test]
        fn numbers_round_trip(n: i64, m: i32) {
            let mut bytes = Vec::new();
            varint::put(&mut bytes, n);
            varint::put(&mut bytes, i64::from(m));
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.varlong(), Ok(n));
            prop_assert_eq!(reader.varint(), Ok(m));
            prop_assert!(reader.0.is_empty());
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(Reader(&[0x80]).varint(), Err(RecordProblem::Truncated));
        assert_eq!(Reader(&[0xff; 5]).varint(), Err(RecordProblem::Number));
        assert_eq!(
            Reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).varint(),
            Err(RecordProblem::Number)
        );
        assert_eq!(
            Reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(),
            Ok(i32::MIN)
        );
        assert_eq!(Reader(&[0xff; 10]).varlong(), Err(RecordProblem::Number));
        let tenth_byte_too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(
            Reader(&tenth_byte_too_large).varlong(),
            Err(RecordProblem::Number)
        );
    }

    #[test]
    fn each_misuse_of_a_length_is_named() {
        assert_eq!(Reader(&[3]).count(), Err(RecordProblem::Negative));
        assert_eq!(Reader(&[3]).nullable(), Err(RecordProblem::Negative));
        assert_eq!(Reader(&[1]).nullable(), Ok(None));
        assert_eq!(Reader(&[0]).nullable(), Ok(Some(&[][..])));
        assert_eq!(Reader(&[4, 0]).nullable(), Err(RecordProblem::Truncated));
    }
}
