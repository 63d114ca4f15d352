//! A record from one line of JSON.

use std::{fmt, marker::PhantomData};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use trilith_client::{Header, Record, TimestampMs};

/// What a line may hold. Where a record came from (`topic`, `partition`, `offset`) is accepted and
/// has no effect, so that what `consume --output json` prints can be produced again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<Object<HeaderLine>>,
    timestamp_ms: Option<i64>,
    #[serde(default, rename = "topic")]
    _topic: serde::de::IgnoredAny,
    #[serde(default, rename = "partition")]
    _partition: serde::de::IgnoredAny,
    #[serde(default, rename = "offset")]
    _offset: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

/// A JSON object that holds a `T`. Derived readers take an array of the fields' values, too, which
/// would make a record of any array that happens to fit.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object {…}")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// The record that `line` describes; none when there is nothing on it.
pub(super) fn parse(line: &[u8]) -> Result<Option<Record>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let Object(line): Object<Line> = serde_json::from_slice(line).map_err(|error| {
        let why = explain(&error);
        format!("not a record in JSON: {why}; --input lines takes any text as it is")
    })?;
    let mut record = Record {
        key: bytes("key", line.key, line.key_base64)?,
        value: bytes("value", line.value, line.value_base64)?,
        headers: Vec::with_capacity(line.headers.len()),
        timestamp: line.timestamp_ms.map(TimestampMs),
    };
    for Object(header) in line.headers {
        let value = bytes("value", header.value, header.value_base64)?;
        record.headers.push(Header {
            name: header.name.into(),
            value,
        });
    }
    Ok(Some(record))
}

/// What is wrong, and at which byte: the parser counts lines, of which it sees but one.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what}, at byte {}", error.column()),
        None => text,
    }
}

/// Text or base64 under `name`, or null.
fn bytes(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("both {name:?} and \"{name}_base64\" are given")),
        (Some(text), None) => Ok(Some(text.into())),
        (None, None) => Ok(None),
        (None, Some(base64)) => match STANDARD.decode(&base64) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(format!("\"{name}_base64\" is not base64: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        let line = r#"{"key":"k","value_base64":"//4=","timestamp_ms":5,"topic":"t","offset":9,
            "headers":[{"name":"a","value":"1"},{"name":"a"}]}"#;
        let record = parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(&[0xff, 0xfe][..]));
        assert_eq!(record.timestamp, Some(TimestampMs(5)));
        assert_eq!(record.headers.len(), 2);
        assert_eq!(record.headers[1].value, None);
    }

    #[test]
    fn null_and_absent_are_null_and_empty_is_empty() {
        let record = parse(br#"{"key":"","value":null}"#).unwrap().unwrap();
        assert_eq!(
            (record.key.as_deref(), record.value),
            (Some(&b""[..]), None)
        );
    }

    #[test]
    fn a_line_with_nothing_on_it_is_passed_over() {
        for line in ["", "\r", "  \t"] {
            assert!(parse(line.as_bytes()).unwrap().is_none());
        }
    }

    #[test]
    fn mistakes_are_named() {
        let message = |line: &str| parse(line.as_bytes()).unwrap_err();
        assert!(message("plain text").contains("--input lines"));
        for not_an_object in [
            "[]",
            "7",
            r#"["k",null,"v",null,[],5]"#,
            r#"{"headers":[["name","value",null]]}"#,
        ] {
            let said = message(not_an_object);
            assert!(said.contains("expected an object {…}, at byte"), "{said}");
        }
        assert!(message(r#"{"val":"x"}"#).contains("val"));
        assert!(message(r#"{"key":"a","key_base64":"YQ=="}"#).contains("both"));
        assert!(message(r#"{"value_base64":"%"}"#).contains("not base64"));
    }
}
