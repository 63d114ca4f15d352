//! Sizes such as `64MiB`.

use std::{fmt, str::FromStr};

/// A number of bytes: `4096`, `64KiB`, `64MiB`, `1GiB`, or decimal `10kB`, `10MB`, `1GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

/// Every unit and its size, the ones used for display last to first.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

impl ByteSize {
    /// The size to the last byte, in the largest unit of which it is a whole number.
    pub(crate) fn exact(self) -> String {
        let whole = |shift: u32| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| whole(*shift)) {
            Some((shift, name)) => format!("{}{name}", self.0 >> shift),
            None => format!("{}B", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let unit = unit.trim().to_ascii_lowercase();
        let wrong = || format!("{text:?} is not a size; write it like 4096, 64KiB, 64MiB or 10MB");
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        number
            .checked_mul(*factor)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is too large"))
    }
}

impl fmt::Display for ByteSize {
    /// Exact when the size is a whole number of a binary unit, else with one decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, size) = match self.0 {
            n if n >= 1 << 40 => ("TiB", 1_u64 << 40),
            n if n >= 1 << 30 => ("GiB", 1 << 30),
            n if n >= 1 << 20 => ("MiB", 1 << 20),
            n if n >= 1 << 10 => ("KiB", 1 << 10),
            n => return write!(f, "{n} B"),
        };
        if self.0.is_multiple_of(size) {
            write!(f, "{} {name}", self.0 / size)
        } else {
            write!(f, "{:.1} {name}", self.0 as f64 / size as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u64, String> {
        text.parse::<ByteSize>().map(|size| size.0)
    }

    #[test]
    fn units_are_binary_with_an_i_and_decimal_without() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse("64 kib"), Ok(64 << 10));
        assert_eq!(parse("10MB"), Ok(10_000_000));
        assert_eq!(parse("0"), Ok(0));
    }

    #[test]
    fn what_is_not_a_size_says_how_to_write_one() {
        for wrong in ["", "MiB", "-1", "1.5GiB", "12 parsecs"] {
            assert!(parse(wrong).unwrap_err().contains("64MiB"), "{wrong}");
        }
        assert!(parse("99999999999TiB").unwrap_err().contains("too large"));
    }

    #[test]
    fn exact_sizes_are_read_back() {
        for text in ["0B", "1023B", "1KiB", "16777217B", "4GiB", "3TiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().exact(), text);
        }
    }

    #[test]
    fn sizes_print_in_the_largest_unit() {
        assert_eq!(ByteSize(0).to_string(), "0 B");
        assert_eq!(ByteSize(1023).to_string(), "1023 B");
        assert_eq!(ByteSize(64 << 20).to_string(), "64 MiB");
        assert_eq!(ByteSize(1536 << 20).to_string(), "1.5 GiB");
        assert_eq!(ByteSize(3 << 40).to_string(), "3 TiB");
    }
}
