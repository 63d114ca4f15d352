//! Cutting a byte stream into lines without copying them.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use trilith_client::Record;

use super::{InputError, Stop};

/// Read at once; each read that completes a line hands over a block, so that what a person types
/// or a pipe trickles is not held back.
const READ_BYTES: usize = 256 << 10;

/// The longest line that is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Its length.
    pub(super) bytes: usize,
    /// Why there is no longer one, for people.
    pub(super) why: &'static str,
}

/// Parses each line of `source` and hands over the records of each read together. A line may hold
/// no record.
pub(super) fn read(
    source: &mut dyn Read,
    name: &str,
    limit: Limit,
    parse: impl Fn(Bytes, u64) -> Result<Option<Record>, String>,
    mut send: impl FnMut(Vec<Record>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut pending = BytesMut::new();
    let mut line = 0;
    loop {
        let held = pending.len();
        let got = fill(source, &mut pending).map_err(|source| InputError::Io {
            name: name.into(),
            source,
        })?;
        let whole = match pending.iter().skip(held).rposition(|&byte| byte == b'\n') {
            Some(at) => pending.split_to(held + at + 1).freeze(),
            // The last line may lack its line break.
            None if got == 0 => pending.split().freeze(),
            None => Bytes::new(),
        };
        let mut records = Vec::new();
        for text in cut(&whole) {
            line += 1;
            let record = parse(text, line).map_err(|why| InputError::Line {
                name: name.into(),
                line,
                why,
            });
            match record {
                Ok(record) => records.extend(record),
                Err(error) => {
                    // What stands before the bad line is good.
                    send(records)?;
                    return Err(error.into());
                }
            }
        }
        if !records.is_empty() {
            send(records)?;
        }
        if got == 0 {
            return Ok(());
        }
        if pending.len() > limit.bytes {
            let why = format!("longer than {} bytes, {}", limit.bytes, limit.why);
            return Err(InputError::Line {
                name: name.into(),
                line: line + 1,
                why,
            }
            .into());
        }
    }
}

/// Reads once into the end of `buffer`; 0 at the end of the input.
fn fill(source: &mut dyn Read, buffer: &mut BytesMut) -> std::io::Result<usize> {
    let held = buffer.len();
    buffer.resize(held + READ_BYTES, 0);
    let got = loop {
        match source.read(buffer.get_mut(held..).unwrap_or_default()) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    buffer.truncate(held + got.as_ref().copied().unwrap_or(0));
    got
}

/// The lines of `block`, without their line breaks.
fn cut(block: &Bytes) -> impl Iterator<Item = Bytes> {
    let text = block.strip_suffix(b"\n").unwrap_or(block);
    let lines = (!block.is_empty()).then(|| text.split(|&byte| byte == b'\n'));
    lines
        .into_iter()
        .flatten()
        .map(|line| block.slice_ref(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out a few bytes at a time, as a pipe may.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    const LIMIT: Limit = Limit {
        bytes: 1 << 20,
        why: "for this test",
    };

    fn lines(text: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let parse = |line: Bytes, _| Ok(Some(Record::new(line)));
        let send = |records: Vec<Record>| {
            all.extend(
                records
                    .into_iter()
                    .map(|record| record.value.unwrap().to_vec()),
            );
            Ok(())
        };
        read(&mut Trickle(text, step), "test", LIMIT, parse, send).unwrap();
        all
    }

    #[test]
    fn lines_are_the_same_however_they_trickle_in() {
        let text = b"one\n\ntwo\r\nthree\0\xff\nlast without an end";
        let expected: Vec<&[u8]> = vec![
            b"one",
            b"",
            b"two\r",
            b"three\0\xff",
            b"last without an end",
        ];
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(lines(text, step), expected, "in steps of {step}");
        }
        assert_eq!(lines(b"", 1), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"\n", 1), vec![Vec::<u8>::new()]);
        assert_eq!(lines(b"a\n", 9), vec![b"a".to_vec()]);
    }

    #[test]
    fn what_stands_before_a_bad_line_is_handed_over_and_the_line_is_named() {
        let mut good = 0;
        let parse = |line: Bytes, at| {
            if at == 3 {
                Err("bad".into())
            } else {
                Ok(Some(Record::new(line)))
            }
        };
        let send = |records: Vec<Record>| {
            good += records.len();
            Ok(())
        };
        let stop = read(&mut &b"a\nb\nc\nd\n"[..], "input", LIMIT, parse, send).unwrap_err();
        let Stop::Failed(error) = stop else {
            panic!("expected an error")
        };
        assert_eq!(
            (good, error.to_string().as_str()),
            (2, "input, line 3: bad")
        );
    }

    #[test]
    fn a_line_without_end_stops_at_the_limit() {
        let parse = |line: Bytes, _| Ok(Some(Record::new(line)));
        let stop = read(&mut std::io::repeat(b'x'), "zero", LIMIT, parse, |_| Ok(())).unwrap_err();
        let Stop::Failed(error) = stop else {
            panic!("expected an error")
        };
        assert!(
            error
                .to_string()
                .contains("line 1: longer than 1048576 bytes, for this test"),
            "{error}"
        );
    }
}
