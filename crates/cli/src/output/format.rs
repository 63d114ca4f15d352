//! `--output`: what is printed for each record.

use std::{
    io::{self, Write},
    str::FromStr,
};

use trilith_client::StoredRecord;

use super::write_record;
use crate::values::unescape;

/// How records are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The value and a line break.
    Value,
    /// One JSON object a line; `produce --input json` reads it back.
    Json,
    /// A pattern in the manner of kcat's `-f`.
    Pattern(Vec<Part>),
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Printed as it stands.
    Text(Vec<u8>),
    /// Replaced by a property of the record.
    Field(Field),
}

/// A property of a record that a pattern can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Value,
    ValueLength,
    ValueLengthBinary,
    Key,
    KeyLength,
    Offset,
    Partition,
    Timestamp,
    Topic,
    Headers,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "value" => Ok(Self::Value),
            "json" => Ok(Self::Json),
            _ if text.contains(['%', '\\']) => parse_pattern(text).map(Self::Pattern),
            _ => Err(format!(
                "{text:?} is not a format; give value, json or a pattern such as '%p:%o %k=%s\\n'"
            )),
        }
    }
}

fn parse_pattern(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match parse_field(chars.next())? {
                Some(field) => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Field(field));
                }
                None => literal.push(b'%'),
            },
            '\\' => literal.push(unescape(&mut chars)?),
            c => literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

/// The field of `%c`; `None` for `%%`.
fn parse_field(c: Option<char>) -> Result<Option<Field>, String> {
    Ok(Some(match c {
        Some('s') => Field::Value,
        Some('S') => Field::ValueLength,
        Some('R') => Field::ValueLengthBinary,
        Some('k') => Field::Key,
        Some('K') => Field::KeyLength,
        Some('o') => Field::Offset,
        Some('p') => Field::Partition,
        Some('T') => Field::Timestamp,
        Some('t') => Field::Topic,
        Some('h') => Field::Headers,
        Some('%') => return Ok(None),
        Some(c) => {
            return Err(format!(
                "%{c} is not known; there are %s %S %R %k %K %o %p %T %t %h and %%"
            ));
        }
        None => return Err("the pattern ends in a single %; write %% for a percent sign".into()),
    }))
}

impl Format {
    /// Writes one record.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        topic: &str,
        record: &StoredRecord,
    ) -> io::Result<()> {
        match self {
            Self::Value => {
                out.write_all(record.value.as_deref().unwrap_or_default())?;
                out.write_all(b"\n")
            }
            Self::Json => write_record(out, topic, record),
            Self::Pattern(parts) => parts.iter().try_for_each(|part| match part {
                Part::Text(text) => out.write_all(text),
                Part::Field(field) => field.write(out, topic, record),
            }),
        }
    }
}

impl Field {
    fn write(self, out: &mut impl Write, topic: &str, record: &StoredRecord) -> io::Result<()> {
        match self {
            Self::Value => out.write_all(record.value.as_deref().unwrap_or_default()),
            Self::ValueLength => write!(out, "{}", length(record.value.as_deref())),
            Self::ValueLengthBinary => {
                let length = i32::try_from(length(record.value.as_deref())).unwrap_or(i32::MAX);
                out.write_all(&length.to_be_bytes())
            }
            Self::Key => out.write_all(record.key.as_deref().unwrap_or_default()),
            Self::KeyLength => write!(out, "{}", length(record.key.as_deref())),
            Self::Offset => write!(out, "{}", record.offset),
            Self::Partition => write!(out, "{}", record.partition),
            Self::Timestamp => write!(out, "{}", record.timestamp),
            Self::Topic => out.write_all(topic.as_bytes()),
            Self::Headers => write_headers(out, record),
        }
    }
}

/// The length as kcat has it: -1 for null.
fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX))
}

/// `name=value` with commas between; a null value is `NULL`, as kcat has it.
fn write_headers(out: &mut impl Write, record: &StoredRecord) -> io::Result<()> {
    for (at, header) in record.headers.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        write!(out, "{}=", header.name)?;
        out.write_all(header.value.as_deref().unwrap_or(b"NULL"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use trilith_client::{Header, Offset, PartitionId, TimestampMs};

    use super::*;

    fn record() -> StoredRecord {
        StoredRecord {
            partition: PartitionId(3),
            offset: Offset(42),
            timestamp: TimestampMs(1_700_000_000_000),
            key: Some("k".into()),
            value: Some("hello".into()),
            headers: vec![
                Header {
                    name: "a".into(),
                    value: Some("1".into()),
                },
                Header {
                    name: "b".into(),
                    value: None,
                },
            ],
        }
    }

    fn show(format: &str, record: &StoredRecord) -> String {
        let mut out = Vec::new();
        format
            .parse::<Format>()
            .unwrap()
            .write(&mut out, "orders", record)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pattern_shows_every_field() {
        let shown = show("%t[%p]@%o\\t%T %k(%K)=%s(%S) {%h} 100%%\\n", &record());
        assert_eq!(
            shown,
            "orders[3]@42\t1700000000000 k(1)=hello(5) {a=1,b=NULL} 100%\n"
        );
    }

    #[test]
    fn null_has_length_minus_one_and_prints_nothing() {
        let record = StoredRecord {
            key: None,
            value: None,
            ..record()
        };
        assert_eq!(show("%k%K|%s%S", &record), "-1|-1");
        assert_eq!(show("value", &record), "\n");
    }

    #[test]
    fn escapes_and_the_binary_length() {
        assert_eq!(show("\\x41\\\\\\0\\r%R", &record()), "A\\\0\r\0\0\0\u{5}");
    }

    #[test]
    fn mistakes_say_what_there_is() {
        let message = |text: &str| text.parse::<Format>().unwrap_err();
        assert!(message("%q").contains("%s"));
        assert!(message("%").contains("%%"));
        assert!(message("\\q").contains("\\n"));
        assert!(message("\\").contains("backslash"));
        assert!(message("\\xZZ").contains("hexadecimal"));
        assert!(message("yaml").contains("value, json"));
    }
}
