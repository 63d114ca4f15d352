//! Points in time.

use std::time::SystemTime;

use super::Span;

/// A point in time, in milliseconds since the Unix epoch: RFC 3339 (`2026-01-31T12:00:00Z`),
/// relative to now (`-1h`, `-7d`), or `@` and milliseconds (`@1767225600000`).
pub(crate) fn parse_time(text: &str, now_ms: i64) -> Result<i64, String> {
    if let Some(millis) = text.strip_prefix('@') {
        return millis
            .parse()
            .map_err(|_| format!("{text:?}: after '@' come milliseconds"));
    }
    if let Some(ago) = text.strip_prefix('-') {
        let span: Span = ago.parse()?;
        let millis = i64::try_from(span.millis()).unwrap_or(i64::MAX);
        return Ok(now_ms.saturating_sub(millis));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        format!(
            "{text:?} is not a time; write it like 2026-01-31T12:00:00Z, -1h (an hour ago) or \
             @1767225600000 (milliseconds since 1970)"
        )
    })?;
    Ok(time.as_millisecond())
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// `2026-01-31T12:00:00.000Z`, or the bare number where a calendar has no such day.
pub(crate) fn format_time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_write_a_time() {
        assert_eq!(parse_time("2026-01-01T00:00:00Z", 0), Ok(1_767_225_600_000));
        assert_eq!(
            parse_time("2026-01-01T02:00:00+02:00", 0),
            Ok(1_767_225_600_000)
        );
        assert_eq!(parse_time("@1767225600000", 0), Ok(1_767_225_600_000));
        assert_eq!(parse_time("-1h", 5_000_000), Ok(1_400_000));
    }

    #[test]
    fn what_is_not_a_time_says_how_to_write_one() {
        assert!(
            parse_time("yesterday", 0)
                .unwrap_err()
                .contains("2026-01-31T12:00:00Z")
        );
        assert!(parse_time("@soon", 0).unwrap_err().contains("milliseconds"));
        assert!(parse_time("-1", 0).unwrap_err().contains("duration"));
    }

    #[test]
    fn times_print_to_the_millisecond() {
        assert_eq!(format_time(1_767_225_600_123), "2026-01-01T00:00:00.123Z");
        assert_eq!(format_time(i64::MAX), i64::MAX.to_string());
    }
}
