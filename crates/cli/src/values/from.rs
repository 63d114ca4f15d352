//! Where consuming starts.

use std::str::FromStr;

use super::{now_ms, parse_time};

/// A place in a partition as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The earliest record.
    Start,
    /// Behind the last record.
    End,
    /// This offset.
    Offset(u64),
    /// This many offsets before the end.
    Last(u64),
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    Time(i64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => return Ok(Self::Start),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        if let Some(Ok(last)) = text.strip_prefix('-').map(str::parse) {
            return Ok(Self::Last(last));
        }
        parse_time(text, now_ms()).map(Self::Time).map_err(|why| {
            format!("neither start, end, an offset (42) nor the last N records (-10), and {why}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_from_the_others() {
        assert_eq!("start".parse(), Ok(From::Start));
        assert_eq!("end".parse(), Ok(From::End));
        assert_eq!("42".parse(), Ok(From::Offset(42)));
        assert_eq!("-10".parse(), Ok(From::Last(10)));
        assert_eq!("@7".parse(), Ok(From::Time(7)));
        assert!(matches!("-10m".parse(), Ok(From::Time(_))));
    }

    #[test]
    fn anything_else_names_every_form() {
        let message = "middle".parse::<From>().unwrap_err();
        for form in ["start", "42", "-10", "-1h", "@"] {
            assert!(message.contains(form), "{message}");
        }
    }
}
