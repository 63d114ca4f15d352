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
#[error(
    "{text:?} is no sync policy; use always, os, bytes:<n> (with KiB, MiB or GiB if you like) or every:<n>ms or every:<n>s"
)]
pub struct ParseSyncPolicyError {
    /// What was given.
    pub text: String,
}

impl FromStr for SyncPolicy {
    type Err = ParseSyncPolicyError;

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
    if let Some(size) = text.strip_prefix("bytes:") {
        return bytes(size).filter(|&n| n > 0).map(SyncPolicy::EveryBytes);
    }
    let time = text.strip_prefix("every:")?;
    let duration = match (time.strip_suffix("ms"), time.strip_suffix('s')) {
        (Some(millis), _) => Duration::from_millis(millis.parse().ok()?),
        (None, Some(seconds)) => Duration::from_secs(seconds.parse().ok()?),
        (None, None) => return None,
    };
    (!duration.is_zero()).then_some(SyncPolicy::Every(duration))
}

fn bytes(size: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 3] = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let unit = UNITS
        .iter()
        .find_map(|&(name, shift)| Some((size.strip_suffix(name)?, shift)));
    let (number, shift) = unit.unwrap_or((size, 0));
    number
        .trim_end()
        .parse::<u64>()
        .ok()?
        .checked_mul(1 << shift)
}

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::EveryBytes(n) => write!(f, "bytes:{n}"),
            Self::Every(time) => write!(f, "every:{}ms", time.as_millis()),
            Self::Os => f.write_str("os"),
        }
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
        assert_eq!(parse("bytes:100"), Ok(SyncPolicy::EveryBytes(100)));
        assert_eq!(parse("bytes:4MiB"), Ok(SyncPolicy::EveryBytes(4 << 20)));
        assert_eq!(
            parse("every:5s"),
            Ok(SyncPolicy::Every(Duration::from_secs(5)))
        );
        for bad in [
            "",
            "every:5",
            "every:0ms",
            "bytes:0",
            "bytes:x",
            "never",
            "bytes:99999999999GiB",
        ] {
            assert!(
                parse(bad).unwrap_err().to_string().contains("use always"),
                "{bad}"
            );
        }
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
