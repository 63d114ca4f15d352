//! What the host keeps beside a group's durable mark, and what a snapshot ends with.
//!
//! Version 1, all numbers little-endian: the version (1 byte); the generation of the log's
//! directory (8); the offset behind the last applied record (8); flags (1): whether the end of the
//! log is in doubt, and whether the machine's state is lost; with the first of them the last entry
//! that may have been there, term and index (16); the number of configurations (4) and for each its entry's index (8), its length (4) and its
//! bytes; the number of terms (4) and for each the term (8) and its first entry (8); then the
//! machine's state up to the end.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use trilith_raft::{Configuration, EntryId};
use trilith_types::{LogIndex, Offset, Term};

use crate::configuration_codec::{
    CONFIGURATION_BYTES_MAX, decode_configuration, encode_configuration,
};

const VERSION: u8 = 1;

/// Set when the end of the log is in doubt.
const DOUBT: u8 = 1;

/// Set when the machine's state is lost.
const LOST: u8 = 2;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Which of the group's directories holds its log.
    pub(crate) generation: u64,
    /// Behind the last record that is applied.
    pub(crate) visible: Offset,
    /// The log may have gone on past its end, but not past this entry.
    pub(crate) doubt: Option<EntryId>,
    /// The machine's state was lost, and no snapshot has come yet.
    pub(crate) is_lost: bool,
    /// The members as of the log's base, then every configuration in the log, ascending.
    pub(crate) configurations: Vec<(LogIndex, Configuration)>,
    /// The terms of the log's entries: each with the first entry of it, ascending. A log that is
    /// damaged may not know them any more, and peers are asked by term and index.
    pub(crate) terms: Vec<(Term, LogIndex)>,
    /// The machine.
    pub(crate) machine: Bytes,
}

impl Image {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128 + self.machine.len());
        out.put_u8(VERSION);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.visible.0);
        let flags = [(self.doubt.is_some(), DOUBT), (self.is_lost, LOST)];
        let set = flags.iter().filter(|(is_set, _)| *is_set);
        out.put_u8(set.map(|(_, flag)| flag).sum());
        if let Some(doubt) = self.doubt {
            out.put_u64_le(doubt.term.0);
            out.put_u64_le(doubt.index.0);
        }
        out.put_u32_le(self.configurations.len() as u32);
        for (index, configuration) in &self.configurations {
            let bytes = encode_configuration(configuration);
            out.put_u64_le(index.0);
            out.put_u32_le(bytes.len() as u32);
            out.put_slice(&bytes);
        }
        out.put_u32_le(self.terms.len() as u32);
        for (term, first) in &self.terms {
            out.put_u64_le(term.0);
            out.put_u64_le(first.0);
        }
        out.put_slice(&self.machine);
        out.freeze()
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn decode(mut from: Bytes) -> Result<Self, String> {
        let version = from.try_get_u8().map_err(|_| "it is empty".to_owned())?;
        if version != VERSION {
            return Err(format!(
                "version {version} is not known, {VERSION} is: start a newer version"
            ));
        }
        Self::decode_version_1(&mut from).ok_or_else(|| "it is malformed".to_owned())
    }

    fn decode_version_1(from: &mut Bytes) -> Option<Self> {
        let generation = from.try_get_u64_le().ok()?;
        let visible = Offset(from.try_get_u64_le().ok()?);
        let flags = from.try_get_u8().ok()?;
        if flags & !(DOUBT | LOST) != 0 {
            return None;
        }
        let doubt = if flags & DOUBT == 0 {
            None
        } else {
            let term = from.try_get_u64_le().ok()?;
            Some(EntryId::new(term, from.try_get_u64_le().ok()?))
        };
        let count = from.try_get_u32_le().ok()?;
        let mut configurations = Vec::new();
        for _ in 0..count {
            let index = LogIndex(from.try_get_u64_le().ok()?);
            let len = from.try_get_u32_le().ok()? as usize;
            if len > CONFIGURATION_BYTES_MAX || len > from.len() {
                return None;
            }
            let configuration = decode_configuration(&from.split_to(len)).ok()?;
            configurations.push((index, configuration));
        }
        let mut terms = Vec::new();
        for _ in 0..from.try_get_u32_le().ok()? {
            let term = Term(from.try_get_u64_le().ok()?);
            terms.push((term, LogIndex(from.try_get_u64_le().ok()?)));
        }
        Some(Self {
            terms,
            generation,
            visible,
            doubt,
            is_lost: flags & LOST != 0,
            configurations,
            machine: from.split_off(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::NodeId;

    use super::*;

    fn image() -> Image {
        Image {
            generation: 3,
            visible: Offset(77),
            doubt: Some(EntryId::new(4, 5)),
            is_lost: true,
            configurations: vec![
                (LogIndex(0), Configuration::of_voters([NodeId(1)])),
                (LogIndex(9), Configuration::default()),
            ],
            terms: vec![(Term(1), LogIndex(1)), (Term(4), LogIndex(3))],
            machine: Bytes::from_static(b"state"),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(Image::decode(image().encode()), Ok(image()));
        let plain = Image::default();
        assert_eq!(Image::decode(plain.encode()), Ok(plain));
    }

    #[test]
    fn cut_bytes_are_refused_and_later_versions_are_named() {
        let bytes = image().encode();
        for len in 0..bytes.len() - 5 {
            assert!(Image::decode(bytes.slice(..len)).is_err(), "{len}");
        }
        let mut newer = bytes.to_vec();
        newer[0] = 9;
        let error = Image::decode(newer.into()).unwrap_err();
        assert!(error.contains("version 9"));
    }
}
