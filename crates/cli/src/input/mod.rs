//! Where produced records come from: lines, JSON lines or whole files, read on a thread of their
//! own and handed over in blocks.

mod json;
mod lines;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use trilith_client::{Record, limits::RECORD_BYTES_MAX};

use crate::values::Delimiter;

/// Blocks of records that may wait between the reader and the producer; at the limit the reader
/// waits.
const BLOCKS_MAX: usize = 4;

/// A line that is a record as it stands.
const RECORD_LINE: lines::Limit = lines::Limit {
    bytes: RECORD_BYTES_MAX as usize,
    why: "the most a record can have",
};

/// A line of JSON. A control character is six bytes there, which no byte exceeds; the rest is
/// for the names of the fields.
const JSON_LINE: lines::Limit = lines::Limit {
    bytes: 6 * RECORD_BYTES_MAX as usize + (1 << 20),
    why: "more than any record takes in JSON",
};

/// What one record is made of: a line, which may hold a key, too; a line of JSON; a whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Lines,
    Json,
    Files,
}

/// Why input could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("cannot read {name}: {source}")]
    Io { name: String, source: io::Error },
    #[error("{name}, line {line}: {why}")]
    Line {
        name: String,
        line: u64,
        why: String,
    },
    #[error("{name} has {bytes} bytes; a record has at most {RECORD_BYTES_MAX}: split the file")]
    TooLarge { name: String, bytes: u64 },
}

/// Records as they were read together.
pub(crate) type Block = Result<Vec<Record>, InputError>;

/// Reads `files`, or standard input when there are none, on a thread of its own. The thread ends
/// with the input, at the first error, or when the receiver is dropped.
pub(crate) fn read(
    kind: Kind,
    key_delimiter: Option<Delimiter>,
    files: Vec<PathBuf>,
) -> mpsc::Receiver<Block> {
    let (blocks, receiver) = mpsc::channel(BLOCKS_MAX);
    std::thread::spawn(move || {
        let delimiter = key_delimiter.as_ref().map(|delimiter| &*delimiter.0);
        if let Err(Stop::Failed(error)) = read_all(kind, delimiter, &files, &blocks) {
            // Nobody to tell when the receiver is gone: then it has its own reason to stop.
            let _ = blocks.blocking_send(Err(error));
        }
    });
    receiver
}

/// Why reading ends early.
#[derive(Debug)]
enum Stop {
    Failed(InputError),
    /// The receiver wants no more.
    Unwanted,
}

impl From<InputError> for Stop {
    fn from(error: InputError) -> Self {
        Self::Failed(error)
    }
}

fn read_all(
    kind: Kind,
    delimiter: Option<&[u8]>,
    files: &[PathBuf],
    blocks: &mpsc::Sender<Block>,
) -> Result<(), Stop> {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    for path in files {
        let name = if is_stdin(path) {
            "standard input".into()
        } else {
            path.display().to_string()
        };
        let mut source = open(path).map_err(|source| InputError::Io {
            name: name.clone(),
            source,
        })?;
        let send = |records| {
            blocks
                .blocking_send(Ok(records))
                .map_err(|_| Stop::Unwanted)
        };
        match kind {
            Kind::Files => send(vec![whole(&mut *source, &name)?])?,
            Kind::Lines => {
                let parse = |line, _| Ok(Some(split(line, delimiter)));
                lines::read(&mut *source, &name, RECORD_LINE, parse, send)?;
            }
            Kind::Json => {
                let parse = |line: Bytes, _| json::parse(&line);
                lines::read(&mut *source, &name, JSON_LINE, parse, send)?;
            }
        }
    }
    Ok(())
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if is_stdin(path) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path)?)
    })
}

/// All of `source` as one value.
fn whole(source: &mut dyn Read, name: &str) -> Result<Record, InputError> {
    let mut value = Vec::new();
    let limit = u64::from(RECORD_BYTES_MAX);
    let read = source.take(limit + 1).read_to_end(&mut value);
    read.map_err(|source| InputError::Io {
        name: name.into(),
        source,
    })?;
    if value.len() as u64 > limit {
        return Err(InputError::TooLarge {
            name: name.into(),
            bytes: value.len() as u64,
        });
    }
    Ok(Record::new(value))
}

/// Key and value at the first `delimiter`; without one the whole line is the value.
fn split(line: Bytes, delimiter: Option<&[u8]>) -> Record {
    let at = delimiter.and_then(|delimiter| {
        line.windows(delimiter.len())
            .position(|window| window == delimiter)
            .map(|at| (at, delimiter))
    });
    match at {
        Some((at, delimiter)) => {
            Record::new(line.slice(at + delimiter.len()..)).with_key(line.slice(..at))
        }
        None => Record::new(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_delimiter_splits_and_a_line_without_one_is_a_value() {
        let record = split("a::b::c".into(), Some(b"::"));
        assert_eq!(record.key.as_deref(), Some(&b"a"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"b::c"[..]));
        let record = split("abc".into(), Some(b":"));
        assert_eq!(
            (record.key, record.value.as_deref()),
            (None, Some(&b"abc"[..]))
        );
        assert_eq!(
            split("a:b".into(), None).value.as_deref(),
            Some(&b"a:b"[..])
        );
    }

    #[test]
    fn a_file_is_one_value_up_to_the_largest_record() {
        let record = whole(&mut &b"\0binary\n"[..], "f").unwrap();
        assert_eq!(record.value.as_deref(), Some(&b"\0binary\n"[..]));
        let error = whole(&mut io::repeat(0), "big").unwrap_err();
        assert!(error.to_string().contains("split the file"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_file_is_an_error_with_its_name() {
        let mut blocks = read(Kind::Lines, None, vec!["/nonexistent/x".into()]);
        let error = blocks.recv().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x"), "{error}");
        assert!(blocks.recv().await.is_none());
    }
}
