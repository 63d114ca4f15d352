//! Telling the cluster of this node: its addresses, its incarnation, what its program can do.
//!
//! The command goes to the controller's leader, in a call if that is another node. Calls may be
//! lost, and it does no harm to say the same twice: it is said again until the cluster's state has
//! it.
//!
//! A call's bytes: version (1), kind (1: register; 2: the sender is about to stop; 3: it takes no
//! leadership for now), then, of the first kind, the encoded command.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_peer::{Call, NodeMessage};
use trilith_topics::controller::{
    CONTROLLER_GROUP, Controller, ControllerCommand, FEATURE_LEVEL_FIRST, Node as ControllerNode,
    NodeName,
};
use trilith_types::{Incarnation, NodeId};

use crate::{
    controller_replica::Change,
    machine::GroupRequest,
    node::{Inner, Live},
};

/// How soon it is said again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How many replicas a topic gets that says nothing, in a cluster that has enough nodes.
const REPLICAS_DEFAULT: u32 = 3;

const CALL_VERSION: u8 = 1;
const CALL_REGISTER: u8 = 1;
const CALL_LEAVING: u8 = 2;
const CALL_UNFIT: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct Registration {
    said_at: Option<Duration>,
}

impl Registration {
    /// Says what the cluster does not know yet, and when to look again.
    pub(super) fn turn(&mut self, inner: &Inner, live: &Live, now: Duration) -> Option<Duration> {
        let command = {
            let state = inner.controller.read();
            wanted(&state, inner, live)
        }?;
        let again = self.said_at.map(|at| at + AGAIN_AFTER);
        if let Some(again) = again.filter(|&again| again > now) {
            return Some(again);
        }
        self.said_at = Some(now);
        let leader = inner.controller.leader();
        match leader {
            Some(leader) if live.is_me(leader) => submit(inner, live, command),
            Some(leader) if matches!(command, ControllerCommand::RegisterNode(_)) => {
                call(inner, leader, &command);
            }
            _ => {}
        }
        Some(now + AGAIN_AFTER)
    }
}

/// What is to be said; `None` when the cluster knows everything.
fn wanted(state: &Controller, inner: &Inner, live: &Live) -> Option<ControllerCommand> {
    if state.cluster().is_none() {
        return found(live);
    }
    let addresses = &inner.config.addresses;
    let known = state.node(live.node)?;
    let wanted = ControllerNode {
        id: live.node,
        name: known.name.clone(),
        peer_address: or(&addresses.peer, &known.peer_address),
        client_address: or(&addresses.client, &known.client_address),
        incarnation: live.incarnation,
        feature_level: inner.config.feature_level,
    };
    if *known != wanted {
        return Some(ControllerCommand::RegisterNode(wanted));
    }
    let level = state.feature_level_possible();
    let rises = level > state.feature_level() && inner.controller.leads();
    rises.then_some(ControllerCommand::RaiseFeatureLevel { level })
}

/// The first command of all. Every founder may say it; the first to be committed counts.
fn found(live: &Live) -> Option<ControllerCommand> {
    if !live.is_founder {
        return None;
    }
    let node = |founder: &trilith_peer::Founder| {
        Some(ControllerNode {
            id: founder.node,
            name: NodeName::new(&founder.name).ok()?,
            peer_address: founder.peer_address.clone(),
            client_address: founder.client_address.clone(),
            incarnation: Incarnation(0),
            // What the others can do they say themselves.
            feature_level: FEATURE_LEVEL_FIRST,
        })
    };
    let nodes: Option<Vec<_>> = live.founders.iter().map(node).collect();
    Some(ControllerCommand::Found {
        cluster: live.cluster,
        replicas_default: REPLICAS_DEFAULT.min(live.founders.len() as u32),
        nodes: nodes?,
    })
}

fn or(configured: &str, known: &str) -> String {
    let address = if configured.is_empty() {
        known
    } else {
        configured
    };
    address.to_owned()
}

fn submit(inner: &Inner, live: &Live, command: ControllerCommand) {
    let change = Change {
        command,
        book: Arc::clone(&inner.book),
        answer: Box::new(|outcome| {
            if let Err(error) = outcome {
                tracing::debug!(%error, "the cluster was not told of a node; it is tried again");
            }
        }),
    };
    live.host
        .request(CONTROLLER_GROUP, GroupRequest::Controller(change));
}

fn call(inner: &Inner, leader: NodeId, command: &ControllerCommand) {
    let mut bytes = vec![CALL_VERSION, CALL_REGISTER];
    bytes.extend_from_slice(&command.encode());
    let call = Call {
        id: 0,
        bytes: Bytes::from(bytes),
    };
    inner.outbound.send(leader, NodeMessage::Call(call));
    inner.outbound.flush();
}

/// Tells all other nodes that this one is about to stop.
pub(crate) fn say_leaving(inner: &Inner, live: &Live) {
    say_to_all(inner, live, &[CALL_VERSION, CALL_LEAVING]);
}

/// Tells all other nodes that this one takes no leadership for now. It is said again as long as it
/// is so.
pub(super) fn say_unfit(inner: &Inner, live: &Live) {
    say_to_all(inner, live, &[CALL_VERSION, CALL_UNFIT]);
}

fn say_to_all(inner: &Inner, live: &Live, bytes: &'static [u8]) {
    let others = inner.book.nodes();
    for &node in others.keys().filter(|&&node| !live.is_me(node)) {
        let bytes = Bytes::from_static(bytes);
        let call = Call { id: 0, bytes };
        inner.outbound.send(node, NodeMessage::Call(call));
    }
    inner.outbound.flush();
}

/// Whether a call says that its sender is about to stop.
pub(super) fn is_leaving(call: &Call) -> bool {
    *call.bytes == [CALL_VERSION, CALL_LEAVING]
}

/// Whether a call says that its sender takes no leadership for now.
pub(super) fn is_unfit(call: &Call) -> bool {
    *call.bytes == [CALL_VERSION, CALL_UNFIT]
}

/// Another node wants the cluster to know of it. A node speaks for itself alone.
pub(super) fn take_call(inner: &Inner, from: NodeId, call: &Call) {
    let Some(live) = inner.live.get() else { return };
    let Some(([CALL_VERSION, CALL_REGISTER], command)) = call.bytes.split_first_chunk() else {
        tracing::debug!(%from, "a call that this version does not know");
        return;
    };
    match ControllerCommand::decode(command) {
        Ok(ControllerCommand::RegisterNode(node)) if node.id == from => {
            if inner.controller.leads() {
                submit(inner, live, ControllerCommand::RegisterNode(node));
            }
        }
        _ => tracing::warn!(%from, "a call that asks for what a node may not"),
    }
}
