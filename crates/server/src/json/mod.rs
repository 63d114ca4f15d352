//! A record as JSON, over HTTP and on the command line. Text stands as text, other bytes as base64
//! under a name of their own; null is not empty.

mod object;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny, ser::SerializeMap};
use trilith_batch::{Header, Record};
use trilith_types::{Offset, PartitionId, TimestampMs};

pub(crate) use self::object::{Object, parse};

/// A record as somebody wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFields {
    /// `None` when it is null or absent.
    pub key: Option<Bytes>,
    /// `None` when it is null or absent.
    pub value: Option<Bytes>,
    /// In the order given; names may repeat.
    pub headers: Vec<Header>,
    /// `None` when it is absent.
    pub timestamp: Option<TimestampMs>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordIn {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<Object<HeaderIn>>,
    timestamp_ms: Option<i64>,
    // Where a record came from, as servers and `trilith consume --output json` write it. It
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

impl RecordFields {
    /// Reads one JSON object: any of `key`, `value` (text), `key_base64`, `value_base64` (bytes),
    /// `headers` (objects of `name` and `value` or `value_base64`) and `timestamp_ms`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let record: RecordIn = parse(json)?;
        let header = |Object(h): Object<HeaderIn>| {
            Ok(Header {
                name: h.name.into(),
                value: field("value", h.value, h.value_base64)?,
            })
        };
        Ok(Self {
            key: field("key", record.key, record.key_base64)?,
            value: field("value", record.value, record.value_base64)?,
            headers: record
                .headers
                .into_iter()
                .map(header)
                .collect::<Result<_, String>>()?,
            timestamp: record.timestamp_ms.map(TimestampMs),
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

/// A record as it is printed.
#[derive(Clone, Copy, Debug)]
pub struct RecordOut<'a> {
    /// Where it is, when that is not plain from the place it is printed at.
    pub place: Option<(&'a str, PartitionId)>,
    /// Its number in its partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch.
    pub timestamp: TimestampMs,
    /// `None` is printed as null.
    pub key: Option<&'a [u8]>,
    /// `None` is printed as null.
    pub value: Option<&'a [u8]>,
    /// In their order; the field is left out when there are none.
    pub headers: &'a [Header],
}

impl<'a> RecordOut<'a> {
    /// A record that is printed without its topic and partition.
    pub(crate) fn new(offset: Offset, record: &'a Record) -> Self {
        Self {
            place: None,
            offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

impl Serialize for RecordOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some((topic, partition)) = self.place {
            map.serialize_entry("topic", topic)?;
            map.serialize_entry("partition", &partition.get())?;
        }
        map.serialize_entry("offset", &self.offset.get())?;
        map.serialize_entry("timestamp_ms", &self.timestamp.get())?;
        entry(&mut map, ("key", "key_base64"), self.key)?;
        entry(&mut map, ("value", "value_base64"), self.value)?;
        if !self.headers.is_empty() {
            let headers: Vec<_> = self.headers.iter().map(HeaderOut).collect();
            map.serialize_entry("headers", &headers)?;
        }
        map.end()
    }
}

struct HeaderOut<'a>(&'a Header);

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
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn bytes() -> impl Strategy<Value = Option<Bytes>> {
        let text = "[a-z\"\\\\\\x00-\\x1fé]{0,20}".prop_map(|text| Bytes::from(text.into_bytes()));
        let any_bytes = vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        option::of(prop_oneof![text, any_bytes])
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again_as_the_same(
            key in bytes(),
            value in bytes(),
            headers in vec(("[a-zé]{0,8}", bytes()), 0..3),
            timestamp: i64,
            wrong in option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let header = |(name, value): (String, _)| Header { name: name.into(), value };
            let headers: Vec<Header> = headers.into_iter().map(header).collect();
            let record = RecordOut {
                place: Some(("t", PartitionId(3))),
                offset: Offset(9),
                timestamp: TimestampMs(timestamp),
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            };
            let mut json = serde_json::to_vec(&record).unwrap();
            let fields = RecordFields {
                key: key.clone(),
                value: value.clone(),
                headers: headers.clone(),
                timestamp: Some(TimestampMs(timestamp)),
            };
            prop_assert_eq!(RecordFields::parse(&json), Ok(fields));
            // A slip makes another record of it, or an error that says something.
            if let Some((at, byte)) = wrong {
                let at = at.index(json.len());
                json[at] = byte;
            }
            if let Err(error) = RecordFields::parse(&json) {
                prop_assert!(!error.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(json in vec(any::<u8>(), 0..100)) {
            if let Err(error) = RecordFields::parse(&json) {
                prop_assert!(!error.is_empty());
            }
        }
    }

    #[test]
    fn null_empty_text_and_bytes_are_kept_apart() {
        let record = RecordFields::parse(br#"{"key":"","value":null}"#).unwrap();
        assert_eq!(
            (record.key.as_deref(), record.value),
            (Some(&b""[..]), None)
        );
        let record = RecordFields::parse(br#"{"value_base64":"/wA=","timestamp_ms":-1}"#).unwrap();
        assert_eq!(
            (record.key, record.timestamp),
            (None, Some(TimestampMs(-1)))
        );
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
            (b"\xff", "at byte 1"),
        ] {
            let error = RecordFields::parse(json).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn where_a_record_came_from_is_taken_and_has_no_effect() {
        let json = br#"{"topic":"t","partition":1,"offset":2,"timestamp_ms":3,"value":"v"}"#;
        let record = RecordFields::parse(json).unwrap();
        assert_eq!(record.timestamp, Some(TimestampMs(3)));
        assert_eq!(record.value.as_deref(), Some(&b"v"[..]));
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
        let json = serde_json::to_string(&RecordOut::new(Offset(3), &record)).unwrap();
        let expected = r#"{"offset":3,"timestamp_ms":7,"key_base64":"/g==","value":"","headers":[{"name":"a","value":"b"},{"name":"a","value":null},{"name":"c","value_base64":"/w=="}]}"#;
        assert_eq!(json, expected);
        let read = RecordFields::parse(json.as_bytes()).unwrap();
        assert_eq!(
            (read.key, read.value),
            (record.key.clone(), record.value.clone())
        );
        assert_eq!(read.headers, record.headers);
        let placed = RecordOut {
            place: Some(("t", PartitionId(1))),
            ..RecordOut::new(Offset(3), &record)
        };
        let json = serde_json::to_string(&placed).unwrap();
        assert!(
            json.starts_with(r#"{"topic":"t","partition":1,"offset":3,"#),
            "{json}"
        );
    }
}
