//! The bytes of the controller's state, as marks and snapshots carry them. A state that no command
//! has touched is no bytes at all.
//!
//! ```text
//! version             u8, 1, or 2 when a node has taken another's place
//! founded             u8 0, or 1 and the cluster's id, u128
//! feature level       number
//! replicas by default number
//! next node, next topic, next producer id: numbers
//! nodes               number, then each as in a command, ids rising
//! topics              number, then each, names rising:
//!   id                number
//!   name              text
//!   retention bytes, retention ms, segment bytes, segment ms, largest record, replicas: numbers
//!   partitions        number, then each:
//!     replicas        number, then each node's id, a number
//! version 2 only:
//!   taken over        number, not 0, then each, rising: topic's id, node's id, partitions, numbers
//! ```
//!
//! A number has seven bits a byte, the low ones first; a text is its length and its bytes.

use bytes::Bytes;
use trilith_types::{ClusterId, NodeId, TopicId, TopicName};

use super::{
    Controller, Placement, Topic,
    command_codec::{put_node, read_nodes},
};
use crate::{
    StateError, TopicSettings,
    wire::{Input, Out},
};

const VERSION: u8 = 1;
/// The same, with what was taken over behind it.
const VERSION_TAKEN_OVER: u8 = 2;

impl Controller {
    /// The state, for marks and snapshots.
    #[must_use]
    pub fn state(&self) -> Bytes {
        if *self == Self::default() {
            return Bytes::new();
        }
        let mut out = Out::default();
        let is_plain = self.taken_over.is_empty();
        out.u8(if is_plain {
            VERSION
        } else {
            VERSION_TAKEN_OVER
        });
        match self.cluster {
            None => out.u8(0),
            Some(cluster) => out.u8(1).fixed(cluster.0.to_le_bytes()),
        };
        out.number(self.feature_level.into());
        out.number(self.replicas_default.into());
        out.number(self.next_node.0).number(self.next_topic.0);
        out.number(self.next_producer);
        out.number(self.nodes.len() as u64);
        self.nodes
            .values()
            .for_each(|node| put_node(&mut out, node));
        out.number(self.topics.len() as u64);
        self.topics
            .values()
            .for_each(|topic| put_topic(&mut out, topic));
        if !is_plain {
            out.number(self.taken_over.len() as u64);
        }
        for ((topic, node), partitions) in &self.taken_over {
            out.number(topic.0).number(node.0);
            out.number((*partitions).into());
        }
        out.0.into()
    }

    /// The controller of a state from [`Controller::state`].
    ///
    /// # Errors
    /// The bytes are of a newer version, or no state.
    pub fn restore(state: &[u8]) -> Result<Self, StateError> {
        match state.split_first() {
            None => Ok(Self::default()),
            Some((&version @ (VERSION | VERSION_TAKEN_OVER), rest)) => decode(Input(rest), version)
                .ok_or(StateError::Nonsense {
                    of: "controller",
                    bytes: state.len(),
                }),
            Some((&version, _)) => Err(StateError::Version {
                of: "controller",
                version,
            }),
        }
    }
}

fn put_topic(out: &mut Out, topic: &Topic) {
    let settings = &topic.settings;
    out.number(topic.id.0).text(topic.name.as_str());
    out.number(settings.retention_bytes)
        .number(settings.retention_ms);
    out.number(settings.segment_bytes)
        .number(settings.segment_ms);
    out.number(settings.record_bytes_max.into())
        .number(settings.replicas.into());
    out.number(topic.placements.len() as u64);
    for placement in &topic.placements {
        out.number(placement.len() as u64);
        placement.iter().for_each(|id| {
            out.number(id.0);
        });
    }
}

fn decode(mut input: Input<'_>, version: u8) -> Option<Controller> {
    let mut state = Controller {
        cluster: match input.u8()? {
            0 => None,
            1 => Some(ClusterId(u128::from_le_bytes(input.fixed()?))),
            _ => return None,
        },
        feature_level: input.number32()?,
        replicas_default: input.number32()?,
        next_node: NodeId(input.number()?),
        next_topic: TopicId(input.number()?),
        next_producer: input.number()?,
        ..Controller::default()
    };
    for node in read_nodes(&mut input)? {
        let rises = state
            .nodes
            .last_key_value()
            .is_none_or(|(&last, _)| last < node.id);
        let fits = rises && node.id < state.next_node && node.check().is_ok();
        fits.then_some(())?;
        state.nodes.insert(node.id, node);
    }
    for _ in 0..input.count()? {
        let topic = read_topic(&mut input, &state)?;
        state.insert(topic);
    }
    if version == VERSION_TAKEN_OVER {
        read_taken_over(&mut input, &mut state)?;
    }
    input.end()?;
    (state != Controller::default()).then_some(state)
}

fn read_topic(input: &mut Input<'_>, state: &Controller) -> Option<Topic> {
    let id = TopicId(input.number()?);
    let name = TopicName::new(input.text()?).ok()?;
    let mut settings = TopicSettings {
        partitions: 0,
        retention_bytes: input.number()?,
        retention_ms: input.number()?,
        segment_bytes: input.number()?,
        segment_ms: input.number()?,
        record_bytes_max: input.number32()?,
        replicas: input.number32()?,
    };
    let partitions = input.count()?;
    let placements = (0..partitions)
        .map(|_| read_placement(input, state))
        .collect::<Option<Vec<_>>>()?;
    settings.partitions = u32::try_from(partitions).ok()?;
    settings.check().ok()?;
    let rises = state
        .topics
        .last_key_value()
        .is_none_or(|(last, _)| *last < name);
    let fits = rises && id < state.next_topic && !state.by_id.contains_key(&id);
    fits.then_some(Topic {
        id,
        name,
        settings,
        placements,
    })
}

fn read_taken_over(input: &mut Input<'_>, state: &mut Controller) -> Option<()> {
    let count = input.count().filter(|&count| count > 0)?;
    for _ in 0..count {
        let key = (TopicId(input.number()?), NodeId(input.number()?));
        let partitions = input.number32()?;
        let last = state.taken_over.last_key_value();
        let rises = last.is_none_or(|(&last, _)| last < key);
        let fits = rises && state.by_id.contains_key(&key.0) && state.nodes.contains_key(&key.1);
        fits.then_some(())?;
        state.taken_over.insert(key, partitions);
    }
    Some(())
}

fn read_placement(input: &mut Input<'_>, state: &Controller) -> Option<Placement> {
    let count = input.count().filter(|&count| count > 0)?;
    let mut placement = Placement::with_capacity(count);
    for _ in 0..count {
        let id = NodeId(input.number()?);
        let fits = state.nodes.contains_key(&id) && !placement.contains(&id);
        fits.then_some(())?;
        placement.push(id);
    }
    Some(placement)
}

/// Feeds arbitrary bytes to the decoder: a state or an error, never a panic, and what it makes of
/// them it writes back alike.
pub fn fuzz_controller_state(data: &[u8]) {
    if let Ok(state) = Controller::restore(data) {
        assert_eq!(&state.state()[..], data, "one state has one encoding");
    }
}
