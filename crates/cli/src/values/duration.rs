//! Durations such as `7d` and `1h30m`.

use std::{fmt, str::FromStr, time::Duration};

/// A length of time: `500ms`, `30s`, `15m`, `12h`, `7d`, `2w`, or several of them in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

impl Span {
    /// Whole milliseconds.
    pub(crate) fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let wrong = || format!("{text:?} is not a duration; write it like 500ms, 30s, 12h or 7d");
        let mut rest = text;
        let mut millis = 0_u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let (_, factor) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(wrong)?;
            millis = number
                .checked_mul(*factor)
                .and_then(|part| millis.checked_add(part))
                .ok_or_else(|| format!("{text:?} is too long"))?;
            rest = tail;
        }
        if text.is_empty() {
            Err(wrong())
        } else {
            Ok(Self(Duration::from_millis(millis)))
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (name, size) in UNITS.iter().rev() {
            // Weeks are read but not printed: "14d" is clearer than "2w".
            if *name != "w" && millis >= *size {
                write!(f, "{}{name}", millis / size)?;
                millis %= size;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u64, String> {
        text.parse::<Span>().map(Span::millis)
    }

    #[test]
    fn units_add_up() {
        assert_eq!(parse("500ms"), Ok(500));
        assert_eq!(parse("1h30m"), Ok(90 * 60_000));
        assert_eq!(parse("2w"), Ok(14 * 86_400_000));
        assert_eq!(parse("0"), Ok(0));
    }

    #[test]
    fn a_bare_number_or_an_unknown_unit_is_refused() {
        for wrong in ["", "7", "d", "7 days", "-1h", "1.5h"] {
            assert!(parse(wrong).unwrap_err().contains("7d"), "{wrong}");
        }
        assert!(
            parse("99999999999999999w")
                .unwrap_err()
                .contains("too long")
        );
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for text in ["7d", "1h30m", "1d12h", "250ms", "1s5ms", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("2w".parse::<Span>().unwrap().to_string(), "14d");
    }
}
