//! `--log-level`.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// What is logged: a level, or levels by module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogFilter(String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl LogFilter {
    pub(crate) fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    /// A bare word is a level or one of this project's modules. The filter behind it would take
    /// any word for a module: a level with a slip of the pen would silence everything.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        for part in &parts {
            let is_known = match part.rsplit_once('=') {
                Some((_, level)) => is_level(level),
                None => is_level(part) || part.starts_with("trilith"),
            };
            if !is_known {
                return Err(format!(
                    "{part:?} is no level; use {}, or by module: info,trilith_storage=debug",
                    LEVELS.join(", ")
                ));
            }
        }
        let filter = parts.join(",");
        EnvFilter::try_new(&filter).map_err(|error| error.to_string())?;
        Ok(Self(filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_by_module_are_taken() {
        for text in [
            "info",
            "OFF",
            "info,trilith_storage=debug",
            "warn, h2=trace",
            "trilith_node",
        ] {
            let filter: LogFilter = text.parse().unwrap();
            assert!(!filter.to_env_filter().to_string().is_empty(), "{text}");
        }
    }

    #[test]
    fn a_level_with_a_slip_of_the_pen_is_refused() {
        for text in ["inof", "nonsense", "", "info,", "h2=inof", "info,warm"] {
            let error = text.parse::<LogFilter>().unwrap_err();
            assert!(error.contains("trilith_storage=debug"), "{text}: {error}");
        }
    }
}
