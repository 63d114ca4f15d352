//! A record: what a producer writes.

use std::fmt;

use bytes::Bytes;
use trilith_types::TimestampMs;

/// What a producer writes. Null and empty are kept apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition and, later, what compaction keeps.
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    /// In the order given; names may repeat.
    pub headers: Vec<Header>,
    /// Set by the producer, milliseconds since the Unix epoch.
    pub timestamp: TimestampMs,
}

impl Record {
    /// The record's size as limits count it: key, value, header names and header values, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(Header::bytes).sum();
        length(&self.key) + length(&self.value) + headers
    }
}

/// A name and a value beside the record's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Any text, empty too.
    pub name: Text,
    /// Any bytes or none.
    pub value: Option<Bytes>,
}

impl Header {
    /// A header with a value.
    pub fn new(name: impl Into<Text>, value: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            value: Some(value.into()),
        }
    }

    /// Name and value together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.name.as_bytes().len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// UTF-8 text that shares its bytes with the batch it came from.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

/// The bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not UTF-8 from byte {valid_up_to} on")]
pub struct TextError {
    /// How many bytes at the start are.
    pub valid_up_to: usize,
}

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0)
            .expect("a Text is made of checked bytes only and they never change")
    }

    /// The text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Bytes> for Text {
    type Error = TextError;

    fn try_from(bytes: Bytes) -> Result<Self, TextError> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(error) => Err(TextError {
                valid_up_to: error.valid_up_to(),
            }),
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_parts_and_not_its_framing() {
        let record = Record {
            key: Some("ab".into()),
            value: None,
            headers: vec![
                Header::new("name", "v"),
                Header {
                    name: "x".into(),
                    value: None,
                },
            ],
            timestamp: TimestampMs(1),
        };
        assert_eq!(record.bytes(), 2 + 4 + 1 + 1);
    }

    #[test]
    fn text_is_checked_when_it_is_made() {
        let text = Text::try_from(Bytes::from_static("päß".as_bytes())).unwrap();
        assert_eq!(
            (text.as_str(), text.to_string(), format!("{text:?}")),
            ("päß", "päß".into(), "\"päß\"".into())
        );
        let error = Text::try_from(Bytes::from_static(b"ab\xff")).unwrap_err();
        assert_eq!(error, TextError { valid_up_to: 2 });
        assert_eq!(Text::from(String::from("x")), Text::from("x"));
    }
}
