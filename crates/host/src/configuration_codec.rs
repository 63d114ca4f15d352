//! The bytes of a configuration: the payload of its entry, and what is mirrored beside the vote.
//!
//! Version 1: the version (1), a byte of flags (bit 0: leaves a joint configuration by itself),
//! then four lists (incoming voters, outgoing voters, learners, learners to come), each as its
//! length and its ids, all of them unsigned LEB128 numbers. An entry that comes from a log is as
//! trusted as a checksum: what does not fit the limits of the core is refused.

use bytes::{BufMut, Bytes, BytesMut};
use trilith_raft::{Configuration, LEARNERS_MAX, Quorum, VOTERS_MAX};
use trilith_types::NodeId;

/// The version that is written.
const VERSION: u8 = 1;

/// Set when a joint configuration is left without being told to.
const AUTO_LEAVE: u8 = 1;

/// Longest configuration, in bytes: every list full of the largest ids.
pub const CONFIGURATION_BYTES_MAX: usize =
    2 + 2 * (1 + 10 * VOTERS_MAX) + 2 * (1 + 10 * LEARNERS_MAX);

/// Bytes that are no configuration of a version that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationCodecError {
    /// A newer version wrote it.
    #[error("version {found} of a configuration is not known; {VERSION} is: start a newer version")]
    Version {
        /// Which version.
        found: u8,
    },
    /// It ends too early, goes on too long, or breaks a limit.
    #[error("not a configuration: wrong at byte {at} of {len}")]
    Malformed {
        /// Where.
        at: usize,
        /// How long it is.
        len: usize,
    },
}

/// The bytes of a configuration.
#[must_use]
pub fn encode_configuration(configuration: &Configuration) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(VERSION);
    out.put_u8(if configuration.auto_leave {
        AUTO_LEAVE
    } else {
        0
    });
    let lists: [&[NodeId]; 4] = [
        configuration.voters.incoming(),
        configuration.voters.outgoing(),
        &configuration.learners,
        &configuration.learners_next,
    ];
    for list in lists {
        put(&mut out, list.len() as u64);
        for id in list {
            put(&mut out, id.0);
        }
    }
    out.freeze()
}

fn put(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// The configuration of some bytes.
///
/// # Errors
/// When they are not one.
pub fn decode_configuration(bytes: &[u8]) -> Result<Configuration, ConfigurationCodecError> {
    let mut from = Reader { bytes, at: 0 };
    let version = from.byte()?;
    if version != VERSION {
        return Err(ConfigurationCodecError::Version { found: version });
    }
    let flags = from.byte()?;
    if flags & !AUTO_LEAVE != 0 {
        return Err(from.malformed());
    }
    let incoming = from.list(VOTERS_MAX)?;
    let outgoing = from.list(VOTERS_MAX)?;
    let learners = from.list(LEARNERS_MAX)?;
    let learners_next = from.list(LEARNERS_MAX)?;
    if from.at != bytes.len() {
        return Err(from.malformed());
    }
    let configuration = Configuration {
        voters: Quorum::joint(incoming, outgoing),
        learners,
        learners_next,
        auto_leave: flags & AUTO_LEAVE != 0,
    };
    if configuration.is_empty() || configuration.is_well_formed() {
        Ok(configuration)
    } else {
        Err(from.malformed())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn malformed(&self) -> ConfigurationCodecError {
        let (at, len) = (self.at, self.bytes.len());
        ConfigurationCodecError::Malformed { at, len }
    }

    fn byte(&mut self) -> Result<u8, ConfigurationCodecError> {
        let byte = self.bytes.get(self.at).copied();
        let byte = byte.ok_or_else(|| self.malformed())?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, ConfigurationCodecError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.malformed())
    }

    fn list(&mut self, max: usize) -> Result<Vec<NodeId>, ConfigurationCodecError> {
        let len = self.number()?;
        if len > max as u64 {
            return Err(self.malformed());
        }
        (0..len).map(|_| self.number().map(NodeId)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Configuration {
        Configuration {
            voters: Quorum::joint(
                [NodeId(1), NodeId(2), NodeId(300)],
                [NodeId(2), NodeId(u64::MAX)],
            ),
            learners: vec![NodeId(7), NodeId(9)],
            learners_next: vec![NodeId(u64::MAX)],
            auto_leave: true,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for configuration in [
            all(),
            Configuration::default(),
            Configuration::of_voters([NodeId(1)]),
        ] {
            let bytes = encode_configuration(&configuration);
            assert!(bytes.len() <= CONFIGURATION_BYTES_MAX);
            assert_eq!(decode_configuration(&bytes), Ok(configuration));
        }
    }

    #[test]
    fn every_cut_and_every_addition_is_refused() {
        let bytes = encode_configuration(&all());
        for len in 0..bytes.len() {
            assert!(decode_configuration(&bytes[..len]).is_err(), "{len} bytes");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(decode_configuration(&longer).is_err());
        longer[0] = 2;
        let error = decode_configuration(&longer).unwrap_err();
        assert_eq!(error, ConfigurationCodecError::Version { found: 2 });
    }

    #[test]
    fn a_number_past_64_bits_is_refused() {
        let mut bytes = vec![1, 0, 1];
        bytes.extend([0xff; 9]);
        bytes.push(2);
        bytes.extend([0, 0, 0]);
        assert!(decode_configuration(&bytes).is_err());
    }
}
