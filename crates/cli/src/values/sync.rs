//! `--sync`.

use std::str::FromStr;

use trilith_storage::SyncPolicy;

use super::{ByteSize, Span};

/// When the server syncs, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sync(pub(crate) SyncPolicy);

impl FromStr for Sync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not one of always, every:SIZE (every:4MiB), every:TIME (every:1s), os"
            )
        };
        let policy = match text {
            "always" => SyncPolicy::Always,
            "os" => SyncPolicy::Os,
            _ => {
                let every = text.strip_prefix("every:").ok_or_else(wrong)?;
                match (every.parse::<Span>(), every.parse::<ByteSize>()) {
                    (Ok(Span(time)), _) if !time.is_zero() => SyncPolicy::Every(time),
                    (Err(_), Ok(ByteSize(bytes))) if bytes > 0 => SyncPolicy::EveryBytes(bytes),
                    _ => return Err(wrong()),
                }
            }
        };
        Ok(Self(policy))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes_and_times_are_told_apart() {
        let parse = |text: &str| text.parse::<Sync>().map(|sync| sync.0);
        assert_eq!(parse("always"), Ok(SyncPolicy::Always));
        assert_eq!(parse("os"), Ok(SyncPolicy::Os));
        assert_eq!(parse("every:4MiB"), Ok(SyncPolicy::EveryBytes(4 << 20)));
        assert_eq!(
            parse("every:1m"),
            Ok(SyncPolicy::Every(Duration::from_secs(60)))
        );
        for wrong in ["", "every", "every:", "every:0", "every:soon", "never"] {
            assert!(parse(wrong).unwrap_err().contains("every:4MiB"), "{wrong}");
        }
    }
}
