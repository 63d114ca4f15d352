//! Names that people give.

use std::{fmt, str::FromStr};

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// A topic's name: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`, no reserved prefix.
///
/// The alphabet and the length are Kafka's. Directories carry ids and never names, so names that
/// differ only in case never meet on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Box<str>);

/// Prefixes that are kept for Trilith's own topics.
const RESERVED_PREFIXES: [&str; 2] = ["__", "trilith."];

impl TopicName {
    /// Checks `name`.
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len() });
        }
        if name == "." || name == ".." {
            return Err(NameError::Dots);
        }
        if let Some(character) = name.chars().find(|&c| !is_allowed(c)) {
            return Err(NameError::Character { character });
        }
        if let Some(&prefix) = RESERVED_PREFIXES.iter().find(|&&p| name.starts_with(p)) {
            return Err(NameError::Reserved { prefix });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl FromStr for TopicName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a topic name must not be empty")]
    Empty,
    /// More than [`TOPIC_NAME_BYTES_MAX`] bytes.
    #[error("a topic name has at most {TOPIC_NAME_BYTES_MAX} bytes; this one has {bytes}")]
    TooLong {
        /// The length that was given.
        bytes: usize,
    },
    /// `.` or `..`.
    #[error("a topic cannot be named \".\" or \"..\"")]
    Dots,
    /// A character outside the alphabet.
    #[error("topic names are made of a-z, A-Z, 0-9, '.', '_' and '-'; found {character:?}")]
    Character {
        /// The first character that is not allowed.
        character: char,
    },
    /// A prefix that Trilith keeps for itself.
    #[error("topic names that start with {prefix:?} are reserved")]
    Reserved {
        /// The reserved prefix.
        prefix: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_rule_has_its_own_message() {
        assert_eq!(TopicName::new(""), Err(NameError::Empty));
        assert_eq!(
            TopicName::new(&"x".repeat(250)),
            Err(NameError::TooLong { bytes: 250 })
        );
        assert_eq!(TopicName::new(".."), Err(NameError::Dots));
        assert_eq!(TopicName::new("."), Err(NameError::Dots));
        assert_eq!(
            TopicName::new("a/b"),
            Err(NameError::Character { character: '/' })
        );
        assert_eq!(
            "__x".parse::<TopicName>(),
            Err(NameError::Reserved { prefix: "__" })
        );
        assert!(
            TopicName::new("trilith.x")
                .unwrap_err()
                .to_string()
                .contains("reserved")
        );
    }

    #[test]
    fn the_longest_name_passes() {
        let longest = "x".repeat(TOPIC_NAME_BYTES_MAX);
        assert_eq!(TopicName::new(&longest).unwrap().as_str(), longest);
        assert_eq!(TopicName::new("...").unwrap().as_ref(), "...");
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_within_the_alphabet(
            name in prop_oneof![".{0,300}", "[a-zA-Z0-9._-]{0,260}", "[a-z/ ]{0,4}"],
        ) {
            if let Ok(accepted) = TopicName::new(&name) {
                prop_assert_eq!(accepted.to_string(), name.clone());
                prop_assert!(name.chars().all(is_allowed) && name.len() <= TOPIC_NAME_BYTES_MAX);
            }
        }
    }
}
