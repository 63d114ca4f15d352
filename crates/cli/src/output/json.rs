//! A record as one line of JSON, the form that `produce --input json` reads back: text as it is,
//! other bytes as base64 under a name of their own.

use std::io::{self, Write};

use trilith_client::StoredRecord;
use trilith_server::RecordOut;

/// Writes `record` and a line break.
pub(crate) fn write_record(
    out: &mut impl Write,
    topic: &str,
    record: &StoredRecord,
) -> io::Result<()> {
    let line = RecordOut {
        place: Some((topic, record.partition)),
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use trilith_client::{Header, Offset, PartitionId, TimestampMs};

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
}
