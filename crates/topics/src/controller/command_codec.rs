//! The bytes of the controller's commands.
//!
//! ```text
//! version u8, 1
//! kind    u8, then its fields:
//!   1 found                cluster u128, replicas by default number, nodes number, then each a node
//!   2 add node             name, peer address, client address: text; feature level number
//!   3 register node        node
//!   4 remove node          id number
//!   5 create topic         name text, settings, allow fewer u8 (0 or 1)
//!   6 alter topic          name text, settings
//!   7 delete topic         name text
//!   8 take producer ids    count number
//!   9 raise feature level  level number
//!  10 replicas by default  replicas number
//!  11 replace node         id number; name, peer address: text
//! node      id number; name, peer address, client address: text; incarnation number; feature level number
//! settings  each u8 0, or u8 1 and a number: partitions, retention bytes, retention ms,
//!           segment bytes, segment ms, largest record, replicas
//! ```
//!
//! A number has seven bits a byte, the low ones first; a text is its length and its bytes.

use bytes::Bytes;
use trilith_types::{ClusterId, Incarnation, NodeId};

use super::{
    NODES_MAX, Node, NodeName,
    command::{ControllerCommand, UnknownCommand},
};
use crate::{
    TopicSettingsPatch,
    wire::{Input, Out},
};

/// The only version so far.
const VERSION: u8 = 1;

mod kind {
    pub(super) const FOUND: u8 = 1;
    pub(super) const ADD_NODE: u8 = 2;
    pub(super) const REGISTER_NODE: u8 = 3;
    pub(super) const REMOVE_NODE: u8 = 4;
    pub(super) const CREATE_TOPIC: u8 = 5;
    pub(super) const ALTER_TOPIC: u8 = 6;
    pub(super) const DELETE_TOPIC: u8 = 7;
    pub(super) const TAKE_PRODUCER_IDS: u8 = 8;
    pub(super) const RAISE_FEATURE_LEVEL: u8 = 9;
    pub(super) const REPLICAS_DEFAULT: u8 = 10;
    pub(super) const REPLACE_NODE: u8 = 11;
}

impl ControllerCommand {
    /// The payload of the COMMAND entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Out::default();
        out.u8(VERSION);
        match self {
            Self::Found {
                cluster,
                nodes,
                replicas_default,
            } => {
                out.u8(kind::FOUND).fixed(cluster.0.to_le_bytes());
                out.number((*replicas_default).into());
                out.number(nodes.len() as u64);
                nodes.iter().for_each(|node| put_node(&mut out, node));
            }
            Self::AddNode {
                name,
                peer_address,
                client_address,
                feature_level,
            } => {
                out.u8(kind::ADD_NODE).text(name.as_str());
                out.text(peer_address).text(client_address);
                out.number((*feature_level).into());
            }
            Self::RegisterNode(node) => put_node(out.u8(kind::REGISTER_NODE), node),
            _ => self.encode_rest(&mut out),
        }
        out.0.into()
    }

    fn encode_rest(&self, out: &mut Out) {
        match self {
            // Written by the caller.
            Self::Found { .. } | Self::AddNode { .. } | Self::RegisterNode(_) => {}
            Self::RemoveNode { id } => {
                out.u8(kind::REMOVE_NODE).number(id.0);
            }
            Self::ReplaceNode {
                old,
                name,
                peer_address,
            } => {
                out.u8(kind::REPLACE_NODE).number(old.0);
                out.text(name.as_str()).text(peer_address);
            }
            Self::CreateTopic {
                name,
                settings,
                allow_fewer,
            } => {
                out.u8(kind::CREATE_TOPIC).text(name);
                put_patch(out, settings);
                out.u8((*allow_fewer).into());
            }
            Self::AlterTopic { name, settings } => {
                put_patch(out.u8(kind::ALTER_TOPIC).text(name), settings);
            }
            Self::DeleteTopic { name } => {
                out.u8(kind::DELETE_TOPIC).text(name);
            }
            Self::TakeProducerIds { count } => {
                out.u8(kind::TAKE_PRODUCER_IDS).number(*count);
            }
            Self::RaiseFeatureLevel { level } => {
                out.u8(kind::RAISE_FEATURE_LEVEL).number((*level).into());
            }
            Self::SetReplicasDefault { replicas } => {
                out.u8(kind::REPLICAS_DEFAULT).number((*replicas).into());
            }
        }
    }

    /// Reads what [`ControllerCommand::encode`] wrote.
    ///
    /// # Errors
    /// A version or kind that is not known, or bytes that are no command.
    pub fn decode(payload: &[u8]) -> Result<Self, UnknownCommand> {
        let unknown = |what: String| UnknownCommand { what };
        let mut input = Input(payload);
        let nonsense = || unknown(format!("{} bytes that are no command", payload.len()));
        let (version, kind) = input.u8().zip(input.u8()).ok_or_else(nonsense)?;
        if version != VERSION {
            return Err(unknown(format!("of version {version}")));
        }
        if !(kind::FOUND..=kind::REPLACE_NODE).contains(&kind) {
            return Err(unknown(format!("of kind {kind}")));
        }
        decode_fields(kind, &mut input)
            .filter(|_| input.0.is_empty())
            .ok_or_else(nonsense)
    }
}

fn decode_fields(kind: u8, input: &mut Input<'_>) -> Option<ControllerCommand> {
    Some(match kind {
        kind::FOUND => ControllerCommand::Found {
            cluster: ClusterId(u128::from_le_bytes(input.fixed()?)),
            replicas_default: input.number32()?,
            nodes: read_nodes(input)?,
        },
        kind::ADD_NODE => ControllerCommand::AddNode {
            name: NodeName::new(input.text()?).ok()?,
            peer_address: input.text()?.to_owned(),
            client_address: input.text()?.to_owned(),
            feature_level: input.number32()?,
        },
        kind::REGISTER_NODE => ControllerCommand::RegisterNode(read_node(input)?),
        kind::REMOVE_NODE => ControllerCommand::RemoveNode {
            id: NodeId(input.number()?),
        },
        kind::REPLACE_NODE => ControllerCommand::ReplaceNode {
            old: NodeId(input.number()?),
            name: NodeName::new(input.text()?).ok()?,
            peer_address: input.text()?.to_owned(),
        },
        kind::CREATE_TOPIC => ControllerCommand::CreateTopic {
            name: input.text()?.to_owned(),
            settings: read_patch(input)?,
            allow_fewer: match input.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        },
        kind::ALTER_TOPIC => ControllerCommand::AlterTopic {
            name: input.text()?.to_owned(),
            settings: read_patch(input)?,
        },
        kind::DELETE_TOPIC => ControllerCommand::DeleteTopic {
            name: input.text()?.to_owned(),
        },
        kind::TAKE_PRODUCER_IDS => ControllerCommand::TakeProducerIds {
            count: input.number()?,
        },
        kind::RAISE_FEATURE_LEVEL => ControllerCommand::RaiseFeatureLevel {
            level: input.number32()?,
        },
        kind::REPLICAS_DEFAULT => ControllerCommand::SetReplicasDefault {
            replicas: input.number32()?,
        },
        _ => return None,
    })
}

pub(super) fn put_node(out: &mut Out, node: &Node) {
    out.number(node.id.0).text(node.name.as_str());
    out.text(&node.peer_address).text(&node.client_address);
    out.number(node.incarnation.0)
        .number(node.feature_level.into());
}

pub(super) fn read_nodes(input: &mut Input<'_>) -> Option<Vec<Node>> {
    let count = input.count().filter(|&count| count <= NODES_MAX)?;
    (0..count).map(|_| read_node(input)).collect()
}

fn read_node(input: &mut Input<'_>) -> Option<Node> {
    Some(Node {
        id: NodeId(input.number()?),
        name: NodeName::new(input.text()?).ok()?,
        peer_address: input.text()?.to_owned(),
        client_address: input.text()?.to_owned(),
        incarnation: Incarnation(input.number()?),
        feature_level: input.number32()?,
    })
}

fn put_patch(out: &mut Out, patch: &TopicSettingsPatch) {
    let fields = [
        patch.partitions.map(u64::from),
        patch.retention_bytes,
        patch.retention_ms,
        patch.segment_bytes,
        patch.segment_ms,
        patch.record_bytes_max.map(u64::from),
        patch.replicas.map(u64::from),
    ];
    fields.into_iter().for_each(|field| {
        out.option(field);
    });
}

fn read_patch(input: &mut Input<'_>) -> Option<TopicSettingsPatch> {
    Some(TopicSettingsPatch {
        partitions: input.option32()?,
        retention_bytes: input.option()?,
        retention_ms: input.option()?,
        segment_bytes: input.option()?,
        segment_ms: input.option()?,
        record_bytes_max: input.option32()?,
        replicas: input.option32()?,
    })
}

/// Feeds arbitrary bytes to the decoder: a command or an error, never a panic, and what it makes
/// of them it writes back alike.
pub fn fuzz_controller_command(data: &[u8]) {
    if let Ok(command) = ControllerCommand::decode(data) {
        assert_eq!(&command.encode()[..], data, "one command has one encoding");
    }
}
