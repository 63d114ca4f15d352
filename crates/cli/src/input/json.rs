//! A record from one line of JSON.

use trilith_client::Record;
use trilith_server::RecordFields;

/// The record that `line` describes; none when there is nothing on it. Where a record came from
/// (`topic`, `partition`, `offset`) is accepted and has no effect, so that what
/// `consume --output json` prints can be produced again.
pub(super) fn parse(line: &[u8]) -> Result<Option<Record>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let fields = RecordFields::parse(line).map_err(|why| {
        format!("not a record in JSON: {why}; --input lines takes any text as it is")
    })?;
    Ok(Some(Record {
        key: fields.key,
        value: fields.value,
        headers: fields.headers,
        timestamp: fields.timestamp,
    }))
}

#[cfg(test)]
mod tests {
    use trilith_client::TimestampMs;

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
        assert!(message(r#"{"key":"a","key_base64":"YQ=="}"#).contains("not both"));
        assert!(message(r#"{"value_base64":"%"}"#).contains("value_base64"));
    }
}
