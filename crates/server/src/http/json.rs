//! A record as JSON. Text stands as text, other bytes as base64 beside it; null is not empty.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny, ser::SerializeMap};
use trilith_batch::Record;
use trilith_proto::v1;
use trilith_types::Offset;

use super::object::{self, Object};

/// A record as clients write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordIn {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<Object<HeaderIn>>,
    timestamp_ms: Option<i64>,
    // Where a record came from, as this server and `trilith consume --output json` write it. It
    // is taken, so that what was read can be sent again, and has no effect.
    #[serde(default, rename = "topic")]
    _topic: IgnoredAny,
    #[serde(default, rename = "partition")]
    _partition: IgnoredAny,
    #[serde(default, rename = "offset")]
    _offset: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderIn {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

impl RecordIn {
    /// Reads one JSON object.
    pub(crate) fn parse(json: &[u8]) -> Result<v1::Record, String> {
        let record: Self = object::parse(json)?;
        let header = |Object(h): Object<HeaderIn>| {
            Ok(v1::Header {
                name: h.name,
                value: field("value", h.value, h.value_base64)?,
            })
        };
        Ok(v1::Record {
            key: field("key", record.key, record.key_base64)?,
            value: field("value", record.value, record.value_base64)?,
            headers: record
                .headers
                .into_iter()
                .map(header)
                .collect::<Result<_, String>>()?,
            timestamp_ms: record.timestamp_ms,
            offset: 0,
        })
    }
}

fn field(
    name: &str,
    text: Option<String>,
    encoded: Option<String>,
) -> Result<Option<Bytes>, String> {
    match (text, encoded) {
        (Some(_), Some(_)) => Err(format!("give {name} or {name}_base64, not both")),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(encoded)) => base64(&encoded)
            .map(Some)
            .map_err(|e| format!("{name}_base64: {e}")),
        (None, None) => Ok(None),
    }
}

/// Bytes from standard base64 with padding.
pub(crate) fn base64(encoded: &str) -> Result<Bytes, String> {
    STANDARD
        .decode(encoded)
        .map(Bytes::from)
        .map_err(|e| e.to_string())
}

/// A record as this server writes it.
pub(crate) struct RecordOut<'a>(pub(crate) Offset, pub(crate) &'a Record);

impl Serialize for RecordOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(offset, record) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("offset", &offset.get())?;
        map.serialize_entry("timestamp_ms", &record.timestamp.get())?;
        entry(&mut map, ("key", "key_base64"), record.key.as_deref())?;
        entry(&mut map, ("value", "value_base64"), record.value.as_deref())?;
        if !record.headers.is_empty() {
            let headers: Vec<_> = record.headers.iter().map(HeaderOut).collect();
            map.serialize_entry("headers", &headers)?;
        }
        map.end()
    }
}

struct HeaderOut<'a>(&'a trilith_batch::Header);

impl Serialize for HeaderOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.0.name.as_str())?;
        entry(&mut map, ("value", "value_base64"), self.0.value.as_deref())?;
        map.end()
    }
}

fn entry<M: SerializeMap>(
    map: &mut M,
    (text, encoded): (&str, &str),
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| (as_text(bytes), bytes)) {
        None => map.serialize_entry(text, &()),
        Some((Some(valid), _)) => map.serialize_entry(text, valid),
        Some((None, bytes)) => map.serialize_entry(encoded, &STANDARD.encode(bytes)),
    }
}

/// The text that `bytes` are. What is UTF-8 and would more than double in JSON is no text: it is
/// mostly control characters, of which each takes six bytes there, and base64 bounds it. So no
/// record is longer than [`JSON_RECORD_BYTES_MAX`](trilith_types::limits::JSON_RECORD_BYTES_MAX),
/// and what was read can be sent again.
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
    use trilith_batch::Header;
    use trilith_types::TimestampMs;

    use super::*;

    #[test]
    fn null_empty_text_and_bytes_are_kept_apart() {
        let record = RecordIn::parse(br#"{"key":"","value":null}"#).unwrap();
        assert_eq!(
            (record.key.as_deref(), record.value),
            (Some(&b""[..]), None)
        );
        let record = RecordIn::parse(br#"{"value_base64":"/wA=","timestamp_ms":-1}"#).unwrap();
        assert_eq!((record.key, record.timestamp_ms), (None, Some(-1)));
        assert_eq!(record.value.as_deref(), Some(&b"\xff\0"[..]));
    }

    #[test]
    fn what_is_not_a_record_is_named() {
        for (json, part) in [
            (&br#"{"value":"a","value_base64":"YQ=="}"#[..], "not both"),
            (br#"{"value_base64":"?"}"#, "value_base64"),
            (br#"{"valeu":"a"}"#, "valeu"),
            (br#"{"value":{"a":1}}"#, "string"),
            (br#"{"headers":[{"value":"x"}]}"#, "name"),
            (b"[]", "expected an object"),
            (br#"["k",null,"v"]"#, "expected an object"),
            (br#"{"headers":[["name","x"]]}"#, "expected an object"),
            (b"", "empty"),
            (b"{", "EOF"),
            (b"\xff", "column"),
        ] {
            let error = RecordIn::parse(json).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn where_a_record_came_from_is_taken_and_has_no_effect() {
        let json = br#"{"topic":"t","partition":1,"offset":2,"timestamp_ms":3,"value":"v"}"#;
        let record = RecordIn::parse(json).unwrap();
        assert_eq!((record.timestamp_ms, record.offset), (Some(3), 0));
    }

    #[test]
    fn bytes_that_json_would_more_than_double_are_no_text() {
        assert_eq!(as_text(b"\"\n\t\\"), Some("\"\n\t\\"), "twice as long");
        assert_eq!(as_text(b"\x1b[1mbold"), Some("\x1b[1mbold"));
        assert_eq!(as_text(b"\0\0\0\x07"), None);
        assert_eq!((as_text(b""), as_text(b"\xff")), (Some(""), None));
        for byte in 0..0x80_u8 {
            let json = serde_json::to_vec(std::str::from_utf8(&[byte]).unwrap()).unwrap();
            assert_eq!(usize::from(extra(byte)), json.len() - 3, "{byte:#x}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let record = Record {
            key: Some(Bytes::from_static(b"\xfe")),
            value: Some(Bytes::new()),
            headers: vec![
                Header::new("a", "b"),
                Header {
                    name: "a".into(),
                    value: None,
                },
                Header::new("c", &b"\xff"[..]),
            ],
            timestamp: TimestampMs(7),
        };
        let json = serde_json::to_string(&RecordOut(Offset(3), &record)).unwrap();
        let expected = r#"{"offset":3,"timestamp_ms":7,"key_base64":"/g==","value":"","headers":[{"name":"a","value":"b"},{"name":"a","value":null},{"name":"c","value_base64":"/w=="}]}"#;
        assert_eq!(json, expected);
        let read = RecordIn::parse(json.as_bytes()).unwrap();
        assert_eq!((read.key, read.value), (record.key, record.value));
        assert_eq!(read.headers.len(), 3);
    }
}
