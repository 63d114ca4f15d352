//! Records, as they are written and as they are read.

use bytes::Bytes;
use trilith_batch::{Header, Text};
use trilith_types::{Offset, PartitionId, TimestampMs};

/// A record to be written. Null and empty are kept apart.
///
/// ```
/// use trilith_client::Record;
///
/// let record = Record::new("lintel").with_key("stone").with_header("site", "Wiltshire");
/// assert_eq!(record.bytes(), 6 + 5 + 4 + 9);
/// let tombstone = Record::tombstone("stone");
/// assert_eq!(tombstone.value, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition. Records with one key keep their order.
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    /// In the order given; names may repeat.
    pub headers: Vec<Header>,
    /// `None`: the time at which the record is sent.
    pub timestamp: Option<TimestampMs>,
}

impl Record {
    /// A record with a value and nothing else.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::default()
        }
    }

    /// A record that says that its key has no value any more.
    pub fn tombstone(key: impl Into<Bytes>) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::default()
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header behind those there are.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Text>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Sets the timestamp.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: TimestampMs) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The size as limits count it: key, value, header names and header values, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(Header::bytes).sum();
        length(&self.key) + length(&self.value) + headers
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The partition it is in.
    pub partition: PartitionId,
    /// Its number in the partition.
    pub offset: Offset,
    /// Set by its producer, milliseconds since the Unix epoch.
    pub timestamp: TimestampMs,
    /// `None` when it has no key.
    pub key: Option<Bytes>,
    /// `None` for a tombstone.
    pub value: Option<Bytes>,
    /// In the order they were given.
    pub headers: Vec<Header>,
}

impl From<StoredRecord> for Record {
    /// The same record, to be written elsewhere.
    fn from(stored: StoredRecord) -> Self {
        Self {
            key: stored.key,
            value: stored.value,
            headers: stored.headers,
            timestamp: Some(stored.timestamp),
        }
    }
}
