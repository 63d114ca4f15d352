//! The cluster's nodes, as the controller knows them.

use std::fmt;

use trilith_types::{Incarnation, NodeId};

/// Longest node name, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 64;

/// Longest address, in bytes: a host name has at most 253, a port 5.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// A node's name: 1 to 64 of `[a-zA-Z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Box<str>);

impl NodeName {
    /// Checks `name`.
    ///
    /// # Errors
    /// It is empty, too long, or has another character.
    pub fn new(name: &str) -> Result<Self, NodeFieldError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let length = (1..=NODE_NAME_BYTES_MAX).contains(&name.len());
        if !length || !name.chars().all(allowed) {
            return Err(NodeFieldError::Name {
                name: name.chars().take(NODE_NAME_BYTES_MAX).collect(),
            });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's name or address that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeFieldError {
    /// The name.
    #[error(
        "a node cannot be named {name:?}; names are 1 to {NODE_NAME_BYTES_MAX} of a-z, A-Z, 0-9, '.', '_' and '-'"
    )]
    Name {
        /// As given, cut to the longest length.
        name: String,
    },
    /// An address.
    #[error(
        "the {which} address of a node has at most {ADDRESS_BYTES_MAX} bytes and no spaces; this one has {bytes}"
    )]
    Address {
        /// "peer" or "client".
        which: &'static str,
        /// Its length.
        bytes: usize,
    },
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Never reused.
    pub id: NodeId,
    /// No two nodes have the same.
    pub name: NodeName,
    /// Where other nodes reach it: `host:port`.
    pub peer_address: String,
    /// Where clients reach it: `host:port`; empty until it has started once.
    pub client_address: String,
    /// Of its last start that the controller heard of; 0 before the first.
    pub incarnation: Incarnation,
    /// The highest feature level that its program can do.
    pub feature_level: u32,
}

impl Node {
    pub(super) fn check(&self) -> Result<(), NodeFieldError> {
        check_address("peer", &self.peer_address)?;
        check_address("client", &self.client_address)
    }
}

pub(super) fn check_address(which: &'static str, address: &str) -> Result<(), NodeFieldError> {
    let bytes = address.len();
    if bytes > ADDRESS_BYTES_MAX || address.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(NodeFieldError::Address { which, bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_have_rules() {
        assert_eq!(NodeName::new("n-1.a_B").unwrap().as_str(), "n-1.a_B");
        assert!(NodeName::new(&"x".repeat(NODE_NAME_BYTES_MAX)).is_ok());
        for bad in ["", "a b", "n/1", "ä", &"x".repeat(NODE_NAME_BYTES_MAX + 1)] {
            assert!(
                matches!(NodeName::new(bad), Err(NodeFieldError::Name { .. })),
                "{bad}"
            );
        }
        assert_eq!(check_address("client", ""), Ok(()));
        for bad in ["a b:1", "a\n:1", &"x".repeat(ADDRESS_BYTES_MAX + 1)] {
            assert!(check_address("peer", bad).is_err(), "{bad}");
        }
    }
}
