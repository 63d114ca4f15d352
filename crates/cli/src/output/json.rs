//! A record as one line of JSON, the form that `produce --input json` reads back: text as it is,
//! other bytes as base64 under a name of their own.

use std::io::{self, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap};
use trilith_client::{Header, StoredRecord};

/// Writes `record` and a line break.
pub(crate) fn write_record(
    out: &mut impl Write,
    topic: &str,
    record: &StoredRecord,
) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Line { topic, record })?;
    out.write_all(b"\n")
}

struct Line<'a> {
    topic: &'a str,
    record: &'a StoredRecord,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { topic, record } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("topic", topic)?;
        map.serialize_entry("partition", &record.partition.get())?;
        map.serialize_entry("offset", &record.offset.get())?;
        map.serialize_entry("timestamp_ms", &record.timestamp.get())?;
        entry(&mut map, "key", "key_base64", record.key.as_deref())?;
        entry(&mut map, "value", "value_base64", record.value.as_deref())?;
        if !record.headers.is_empty() {
            let headers: Vec<HeaderLine<'_>> = record.headers.iter().map(HeaderLine).collect();
            map.serialize_entry("headers", &headers)?;
        }
        map.end()
    }
}

struct HeaderLine<'a>(&'a Header);

impl Serialize for HeaderLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.0.name.as_str())?;
        entry(&mut map, "value", "value_base64", self.0.value.as_deref())?;
        map.end()
    }
}

/// Text under `text`, other bytes under `binary`, null as `null` under `text`.
fn entry<M: SerializeMap>(
    map: &mut M,
    text: &'static str,
    binary: &'static str,
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| (bytes, as_text(bytes))) {
        None => map.serialize_entry(text, &None::<&str>),
        Some((_, Some(utf8))) => map.serialize_entry(text, utf8),
        Some((bytes, None)) => map.serialize_entry(binary, &STANDARD.encode(bytes)),
    }
}

/// The text that `bytes` are. What is UTF-8 and would more than double in JSON is no text: it is
/// mostly control characters, of which each takes six bytes there, and base64 bounds it.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let escaped: usize = bytes.iter().map(|&byte| usize::from(extra(byte))).sum();
    (escaped <= bytes.len()).then_some(text)
}

/// How many bytes longer than itself `byte` is in a JSON string.
const fn extra(byte: u8) -> u8 {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use trilith_client::{Offset, PartitionId, TimestampMs};

    use super::*;

    #[test]
    fn text_is_text_and_other_bytes_are_base64() {
        let record = StoredRecord {
            partition: PartitionId(1),
            offset: Offset(2),
            timestamp: TimestampMs(3),
            key: None,
            value: Some(vec![0xff, 0xfe].into()),
            headers: vec![Header {
                name: "n".into(),
                value: Some("v".into()),
            }],
        };
        let mut out = Vec::new();
        write_record(&mut out, "t", &record).unwrap();
        let expected = concat!(
            r#"{"topic":"t","partition":1,"offset":2,"timestamp_ms":3,"key":null,"#,
            r#""value_base64":"//4=","headers":[{"name":"n","value":"v"}]}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn bytes_that_json_would_more_than_double_are_no_text() {
        assert_eq!(as_text(b"\"\n\t\\"), Some("\"\n\t\\"), "twice as long");
        assert_eq!(as_text(b"\x1b[1mbold"), Some("\x1b[1mbold"));
        assert_eq!(as_text(b""), Some(""));
        assert_eq!(as_text(b"\0\0\0\x07"), None);
        assert_eq!(as_text(b"\xff"), None);
        for byte in 0..0x80_u8 {
            let json = serde_json::to_vec(std::str::from_utf8(&[byte]).unwrap()).unwrap();
            assert_eq!(usize::from(extra(byte)), json.len() - 3, "{byte:#x}");
        }
    }
}
