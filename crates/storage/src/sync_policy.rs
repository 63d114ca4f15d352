//! When appends are synced, and what an acknowledgement says.

use std::{fmt, str::FromStr, time::Duration};

/// When appends are synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before they are acknowledged or seen; one sync covers all that wait at that moment.
    #[default]
    Always,
    /// After this many bytes at the latest.
    EveryBytes(u64),
    /// After this long at the latest.
    Every(Duration),
    /// When the operating system sees fit.
    Os,
}

/// What was reached when an append was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The page cache: it survives the end of the process, not a power cut.
    Written,
    /// The disk.
    Synced,
}

impl SyncPolicy {
    /// What an acknowledgement promises.
    #[must_use]
    pub const fn promises(self) -> Durability {
        match self {
            Self::Always => Durability::Synced,
            Self::EveryBytes(_) | Self::Every(_) | Self::Os => Durability::Written,
        }
    }
}

/// A text that is no sync policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of always, every:SIZE (every:4MiB), every:TIME (every:10ms), os")]
pub struct ParseSyncPolicyError {
    /// What was given.
    pub text: String,
}

/// The units of a size and the bytes in each. One has to be given: a number alone may be meant as
/// milliseconds as well.
const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// The units of a time and the milliseconds in each.
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl FromStr for SyncPolicy {
    type Err = ParseSyncPolicyError;

    /// Reads `always`, `every:4MiB`, `every:10ms` or `os`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseSyncPolicyError {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<SyncPolicy> {
    match text {
        "always" => return Some(SyncPolicy::Always),
        "os" => return Some(SyncPolicy::Os),
        _ => {}
    }
    let every = text.strip_prefix("every:")?;
    // "4M" is neither: four minutes to some, four megabytes to others.
    if let Some(millis) = quantity(every, &TIMES, |name, unit| name == unit) {
        return Some(SyncPolicy::Every(Duration::from_millis(millis)));
    }
    quantity(every, &SIZES, str::eq_ignore_ascii_case).map(SyncPolicy::EveryBytes)
}

/// A whole number above zero with one of `units`; none is both a time's and a size's.
fn quantity(
    text: &str,
    units: &[(&str, u64)],
    is_unit: impl Fn(&str, &str) -> bool,
) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| is_unit(name, unit))?;
    let number: u64 = number.parse().ok()?;
    number.checked_mul(*factor).filter(|&product| product > 0)
}

impl fmt::Display for SyncPolicy {
    /// As it is read, sizes and times in their largest whole unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, units) = match self {
            Self::Always => return f.write_str("always"),
            Self::Os => return f.write_str("os"),
            Self::EveryBytes(bytes) => (*bytes, &SIZES[..5]),
            Self::Every(time) => (
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                &TIMES[..],
            ),
        };
        let whole = units
            .iter()
            .rev()
            .find(|(_, size)| number.is_multiple_of(*size));
        let (unit, size) = whole.unwrap_or(&("B", 1));
        write!(f, "every:{}{unit}", number / size)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_is_read() {
        let parse = |text: &str| text.parse::<SyncPolicy>();
        assert_eq!(parse("always"), Ok(SyncPolicy::Always));
        assert_eq!(parse("os"), Ok(SyncPolicy::Os));
        for (text, bytes) in [
            ("every:100B", 100),
            ("every:4MiB", 4 << 20),
            ("every:4 mib", 4 << 20),
            ("every:1MB", 1_000_000),
        ] {
            assert_eq!(parse(text), Ok(SyncPolicy::EveryBytes(bytes)), "{text}");
        }
        for (text, millis) in [
            ("every:10ms", 10),
            ("every:5s", 5_000),
            ("every:1m", 60_000),
        ] {
            let time = Duration::from_millis(millis);
            assert_eq!(parse(text), Ok(SyncPolicy::Every(time)), "{text}");
        }
        for bad in [
            "",
            "every",
            "every:100",
            "every:",
            "every:0",
            "every:0ms",
            "every:4M",
            "every:soon",
            "every:-1s",
            "bytes:4MiB",
            "never",
            "every:99999999999GiB",
        ] {
            assert!(
                parse(bad).unwrap_err().to_string().contains("every:4MiB"),
                "{bad}"
            );
        }
        let shown = [
            SyncPolicy::EveryBytes(4 << 20),
            SyncPolicy::Every(Duration::from_millis(10)),
            SyncPolicy::Every(Duration::from_secs(90)),
        ];
        assert_eq!(
            shown.map(|policy| policy.to_string()),
            ["every:4MiB", "every:10ms", "every:90s"]
        );
        assert_eq!(SyncPolicy::default().promises(), Durability::Synced);
        assert_eq!(SyncPolicy::Os.promises(), Durability::Written);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(n in 1..u64::MAX, millis in 1..u64::from(u32::MAX)) {
            let all = [
                SyncPolicy::Always,
                SyncPolicy::Os,
                SyncPolicy::EveryBytes(n),
                SyncPolicy::Every(Duration::from_millis(millis)),
            ];
            for policy in all {
                prop_assert_eq!(policy.to_string().parse(), Ok(policy));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}") {
            let _ = text.parse::<SyncPolicy>();
        }
    }
}
