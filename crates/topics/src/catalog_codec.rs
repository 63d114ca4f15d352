//! The catalog's bytes: all numbers little-endian, topics in the order of their names.
//!
//! ```text
//! next topic id     u64
//! topics            u32, then each:
//!   id              u64
//!   name            u16 length, bytes
//!   partitions      u32
//!   ready           u32
//!   retention bytes u64
//!   retention ms    u64
//!   segment bytes   u64
//!   segment ms      u64
//!   largest record  u32
//! deleted topics    u32, then each:
//!   id              u64
//!   partitions      u32
//! ```
//!
//! Version and checksum are those of the mirrored file that holds it.

use std::collections::BTreeMap;

use trilith_types::{TopicId, TopicName};

use crate::{CatalogState, Topic, TopicSettings};

impl CatalogState {
    /// The catalog's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.next_id.0.to_le_bytes());
        put(&mut out, (self.topics.len() as u32).to_le_bytes());
        for topic in self.topics.values() {
            encode_topic(topic, &mut out);
        }
        put(&mut out, (self.deleted.len() as u32).to_le_bytes());
        for (id, partitions) in &self.deleted {
            put(&mut out, id.0.to_le_bytes());
            put(&mut out, partitions.to_le_bytes());
        }
        out
    }

    /// The catalog of these bytes; `None` when they are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let next_id = TopicId(input.u64()?);
        let mut topics = BTreeMap::new();
        for _ in 0..input.u32()? {
            let topic = decode_topic(&mut input)?;
            if topic.id >= next_id || topics.insert(topic.name.clone(), topic).is_some() {
                return None;
            }
        }
        let mut deleted = BTreeMap::new();
        for _ in 0..input.u32()? {
            let (id, partitions) = (TopicId(input.u64()?), input.u32()?);
            if id >= next_id || deleted.insert(id, partitions).is_some() {
                return None;
            }
        }
        input.0.is_empty().then_some(Self {
            next_id,
            topics,
            deleted,
        })
    }
}

fn encode_topic(topic: &Topic, out: &mut Vec<u8>) {
    let settings = &topic.settings;
    let name = topic.name.as_str().as_bytes();
    put(out, topic.id.0.to_le_bytes());
    put(out, (name.len() as u16).to_le_bytes());
    out.extend_from_slice(name);
    put(out, settings.partitions.to_le_bytes());
    put(out, topic.ready.to_le_bytes());
    put(out, settings.retention_bytes.to_le_bytes());
    put(out, settings.retention_ms.to_le_bytes());
    put(out, settings.segment_bytes.to_le_bytes());
    put(out, settings.segment_ms.to_le_bytes());
    put(out, settings.record_bytes_max.to_le_bytes());
}

fn decode_topic(input: &mut Input<'_>) -> Option<Topic> {
    let id = TopicId(input.u64()?);
    let name_len = u16::from_le_bytes(input.array()?);
    let name = std::str::from_utf8(input.bytes(name_len.into())?).ok()?;
    let name = TopicName::new(name).ok()?;
    let (partitions, ready) = (input.u32()?, input.u32()?);
    let settings = TopicSettings {
        partitions,
        retention_bytes: input.u64()?,
        retention_ms: input.u64()?,
        segment_bytes: input.u64()?,
        segment_ms: input.u64()?,
        record_bytes_max: input.u32()?,
        replicas: 1,
    };
    settings.check().ok()?;
    (ready <= partitions).then_some(Topic {
        name,
        id,
        settings,
        ready,
    })
}

fn put<const N: usize>(out: &mut Vec<u8>, field: [u8; N]) {
    out.extend_from_slice(&field);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Feeds arbitrary bytes to the catalog's decoder: a value or nothing, never a panic, and what it
/// makes of them it writes and reads back alike.
pub fn fuzz_catalog(data: &[u8]) {
    if let Some(state) = CatalogState::decode(data) {
        assert_eq!(
            CatalogState::decode(&state.encode()),
            Some(state),
            "a catalog reads back as it was"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    fn any_settings() -> impl Strategy<Value = (TopicSettings, u32)> {
        (
            1..10_000_u32,
            any::<u64>(),
            0..1_000_000_u64,
            16_384..1_000_000_u64,
            100..9999_u64,
            1..99_u32,
            any::<u32>(),
        )
            .prop_map(
                |(
                    partitions,
                    retention_bytes,
                    retention_ms,
                    segment_bytes,
                    segment_ms,
                    record_bytes_max,
                    n,
                )| {
                    let settings = TopicSettings {
                        partitions,
                        retention_bytes,
                        retention_ms,
                        segment_bytes,
                        segment_ms,
                        record_bytes_max,
                        replicas: 1,
                    };
                    (settings, n % (partitions + 1))
                },
            )
    }

    fn any_state() -> impl Strategy<Value = CatalogState> {
        let topics = btree_map("[a-z0-9.-]{3,12}", any_settings(), 0..8);
        (topics, btree_map(8..99_u64, any::<u32>(), 0..4)).prop_map(|(topics, deleted)| {
            let numbered =
                topics
                    .into_iter()
                    .zip(1..)
                    .filter_map(|((name, (settings, ready)), id)| {
                        let name = TopicName::new(&name).ok()?;
                        Some((
                            name.clone(),
                            Topic {
                                name,
                                id: TopicId(id),
                                settings,
                                ready,
                            },
                        ))
                    });
            CatalogState {
                next_id: TopicId(99),
                topics: numbered.collect(),
                deleted: deleted
                    .into_iter()
                    .map(|(id, n)| (TopicId(id), n))
                    .collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn catalogs_round_trip(state in any_state()) {
            prop_assert_eq!(CatalogState::decode(&state.encode()), Some(state));
        }

        #[test]
        fn any_bytes_are_a_catalog_or_none(data: Vec<u8>) {
            fuzz_catalog(&data);
        }

        #[test]
        fn a_changed_catalog_is_a_catalog_or_none(state in any_state(), at: prop::sample::Index, byte: u8) {
            let mut bytes = state.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            fuzz_catalog(&bytes);
        }

        #[test]
        fn a_shortened_catalog_is_none(state in any_state(), at: prop::sample::Index) {
            let bytes = state.encode();
            prop_assert_eq!(CatalogState::decode(&bytes[..at.index(bytes.len())]), None);
        }
    }

    #[test]
    fn what_cannot_be_is_none() {
        let topic = |id| Topic {
            name: TopicName::new("t").unwrap(),
            id: TopicId(id),
            settings: TopicSettings::default(),
            ready: 1,
        };
        let state = |next_id: u64, topics: &[Topic], deleted: &[u64]| {
            let mut out = Vec::new();
            put(&mut out, next_id.to_le_bytes());
            put(&mut out, (topics.len() as u32).to_le_bytes());
            topics
                .iter()
                .for_each(|topic| encode_topic(topic, &mut out));
            put(&mut out, (deleted.len() as u32).to_le_bytes());
            for id in deleted {
                put(&mut out, id.to_le_bytes());
                put(&mut out, 1_u32.to_le_bytes());
            }
            CatalogState::decode(&out)
        };
        assert!(state(5, &[topic(4)], &[3]).is_some());
        assert!(
            state(4, &[topic(4)], &[]).is_none(),
            "an id that is still to be given"
        );
        assert!(
            state(5, &[topic(3), topic(4)], &[]).is_none(),
            "a name twice"
        );
        assert!(
            state(5, &[], &[5]).is_none(),
            "a deleted id that is still to be given"
        );
        assert!(state(5, &[], &[3, 3]).is_none(), "a deleted id twice");
        assert!(
            state(
                5,
                &[Topic {
                    ready: 2,
                    ..topic(4)
                }],
                &[]
            )
            .is_none(),
            "more ready than there are"
        );
    }
}
