//! What a partition's COMMAND entries say, and their bytes.
//!
//! ```text
//! version   u8, 1
//! kind      u8
//!   1 log start: offset u64
//! ```
//!
//! Little-endian. A version or kind that is not known stops the replica: to skip it would make
//! this replica another than the ones that know it.

use bytes::Bytes;
use trilith_types::Offset;

use crate::wire::{Input, Out};

/// The only version so far.
const VERSION: u8 = 1;

const LOG_START: u8 = 1;

/// A change of a partition that is no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionCommand {
    /// Records before `offset` may be removed: "earliest" is `offset` from here on, on every
    /// replica, and never goes back.
    LogStart {
        /// The earliest offset that is kept.
        offset: Offset,
    },
}

impl PartitionCommand {
    /// The payload of the COMMAND entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Out::default();
        out.u8(VERSION);
        match self {
            Self::LogStart { offset } => out.u8(LOG_START).fixed(offset.0.to_le_bytes()),
        };
        out.0.into()
    }

    /// Reads what [`PartitionCommand::encode`] wrote.
    ///
    /// # Errors
    /// What is not known, for people.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, String> {
        let mut input = Input(payload);
        let parts = input.u8().zip(input.u8());
        let command = match parts {
            Some((VERSION, LOG_START)) => input.u64().map(|offset| Self::LogStart {
                offset: Offset(offset),
            }),
            Some((VERSION, kind)) => return Err(format!("a partition's command of kind {kind}")),
            Some((version, _)) => {
                return Err(format!("a partition's command of version {version}"));
            }
            None => None,
        };
        command
            .filter(|_| input.0.is_empty())
            .ok_or_else(|| format!("a partition's command that is {} bytes long", payload.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn commands_round_trip(offset: u64) {
            let command = PartitionCommand::LogStart { offset: Offset(offset) };
            prop_assert_eq!(PartitionCommand::decode(&command.encode()), Ok(command));
        }

        #[test]
        fn any_bytes_are_a_command_or_none(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(command) = PartitionCommand::decode(&bytes) {
                prop_assert_eq!(&command.encode()[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let error = |bytes: &[u8]| PartitionCommand::decode(bytes).unwrap_err();
        assert!(error(&[2, 1]).contains("version 2"));
        assert!(error(&[1, 9]).contains("kind 9"));
        assert!(error(&[1, 1, 0]).contains("3 bytes"));
        assert!(error(&[]).contains("0 bytes"));
    }
}
