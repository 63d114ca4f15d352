//! Where reading begins, as text.

use trilith_types::{Offset, TimestampMs};

use crate::{consume::Start, error::ApiError};

/// `start`, `end`, an offset, `@` and milliseconds since the Unix epoch, or a time of RFC 3339.
pub(crate) fn parse(text: &str) -> Result<Start, ApiError> {
    match text {
        "start" => return Ok(Start::Earliest),
        "end" => return Ok(Start::End),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(Start::Offset(Offset(offset)));
    }
    time(text).map(Start::Time)
}

/// `@` and milliseconds since the Unix epoch, or a time of RFC 3339.
pub(crate) fn time(text: &str) -> Result<TimestampMs, ApiError> {
    let millis = match text.strip_prefix('@') {
        Some(millis) => millis.parse().ok(),
        None => text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond),
    };
    millis.map(TimestampMs).ok_or_else(|| {
        ApiError::invalid(format!(
            "{text:?} is no position: give start, end, an offset, a time such as \
             2026-01-31T12:00:00Z, or @ and milliseconds since 1970"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood_and_nothing_else() {
        assert_eq!(parse("start").unwrap(), Start::Earliest);
        assert_eq!(parse("end").unwrap(), Start::End);
        assert_eq!(parse("42").unwrap(), Start::Offset(Offset(42)));
        assert_eq!(parse("@-5").unwrap(), Start::Time(TimestampMs(-5)));
        let time = Start::Time(TimestampMs(1_000));
        assert_eq!(parse("1970-01-01T00:00:01Z").unwrap(), time);
        assert_eq!(parse("1970-01-01T01:00:01+01:00").unwrap(), time);
        for wrong in [
            "",
            "-1",
            "middle",
            "@",
            "1970-13-01T00:00:00Z",
            "1970-01-01",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
