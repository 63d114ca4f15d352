//! Replacing a node that is gone for good.

use std::collections::BTreeSet;

use trilith_topics::controller::{
    CONTROLLER_GROUP, Controller, ControllerCommand, Node as ControllerNode, NodeName, Outcome,
};
use trilith_types::NodeId;

use super::{ControlError, Node, node::Live};

impl Node {
    /// Puts a new node, which has never been started, in the place of one that is gone for good,
    /// given by name or number. It is answered when the cluster's state says so; the groups that the
    /// old one was in get the new one as a member when it has come and caught up.
    ///
    /// This is refused while the old node is heard of, and when a group would be without a majority
    /// if the old one were not counted.
    pub fn replace_node(
        &self,
        old: &str,
        name: &str,
        peer_address: &str,
        done: impl FnOnce(Result<ControllerNode, ControlError>) + Send + 'static,
    ) {
        let name = match NodeName::new(name) {
            Ok(name) => name,
            Err(error) => {
                let why = error.to_string();
                return done(Err(ControlError::CannotReplace { why }));
            }
        };
        let old = match self.replaceable(old) {
            Ok(old) => old,
            Err(error) => return done(Err(error)),
        };
        let command = ControllerCommand::ReplaceNode {
            old,
            name,
            peer_address: peer_address.to_owned(),
        };
        self.command(command, |outcome| {
            done(match outcome {
                Ok(Outcome::Replaced(node)) => Ok(node),
                Ok(_) => Err(ControlError::OutcomeUnknown),
                Err(error) => Err(error),
            });
        });
    }

    /// Whether [`Node::replace_node`] would be begun; false when it is for another node, the
    /// cluster's leader, to say. For whoever wants to look at the new node before anything changes.
    ///
    /// # Errors
    /// What is in the way.
    pub fn may_replace(
        &self,
        old: &str,
        name: &str,
        peer_address: &str,
    ) -> Result<bool, ControlError> {
        let old = self.replaceable(old)?;
        if !self.inner.controller.leads() {
            return Ok(false);
        }
        let state = self.inner.controller.read();
        let mut others = state.nodes().filter(|node| node.id != old);
        let taken = others.find(|node| node.peer_address == peer_address);
        match taken {
            Some(node) => Err(refuse(format!(
                "{peer_address} is the address of node {} ({:?}), which belongs to this cluster: \
                 give the address for other nodes that {name:?} was started with",
                node.id,
                node.name.as_str()
            ))),
            None => Ok(true),
        }
    }

    /// The number of the node that is to go, if it may. Only the controller's leader is asked
    /// further: whoever else is asked refuses the command.
    fn replaceable(&self, old: &str) -> Result<NodeId, ControlError> {
        let inner = &self.inner;
        let live = inner.live()?;
        let state = inner.controller.read();
        let named = state.node_named(old).map(|node| node.id);
        let numbered = || old.parse().ok().map(NodeId);
        let id = named
            .or_else(numbered)
            .filter(|id| state.node(*id).is_some());
        let id = id.ok_or_else(|| refuse(format!("the cluster has no node {old:?}")))?;
        if !inner.controller.leads() {
            return Ok(id);
        }
        let alive = inner.alive.lock().clone();
        if alive.contains(&id) || id == live.node {
            let why = format!("node {old:?} is there: stop it for good before it is replaced");
            return Err(refuse(why));
        }
        let is_alone = |nodes: &[NodeId]| nodes == [id];
        // Of two both are needed to exchange one of them, whoever else is there.
        let is_pair = |nodes: &[NodeId]| nodes.len() == 2 && nodes.contains(&id);
        if let Some(topics) = topics_with(&state, is_alone) {
            return Err(refuse(format!(
                "node {old:?} has the only replica of partitions of {topics}: with it the records \
                 would be lost. {}",
                what_then(old)
            )));
        }
        if let Some(topics) = topics_with(&state, is_pair) {
            return Err(refuse(format!(
                "node {old:?} has one of only two replicas of partitions of {topics}: the other one \
                 is no majority, and cannot take in a third by itself. {}",
                what_then(old)
            )));
        }
        match short_of_majority(&state, live, &alive, id) {
            Some(what) => Err(refuse(format!(
                "without node {old:?}, {what} would have no majority of nodes that are heard of: \
                 start those first"
            ))),
            None => Ok(id),
        }
    }
}

fn refuse(why: String) -> ControlError {
    ControlError::CannotReplace { why }
}

fn what_then(old: &str) -> String {
    format!(
        "Start {old:?} again if that is possible, copy each of these topics to one with 3 replicas \
         (trilith topic create NEW --replicas 3; trilith consume TOPIC | trilith produce NEW) and delete \
         it; or, if its records may be lost, delete it now (trilith topic delete TOPIC). Then replace \
         the node"
    )
}

/// The topics of which a partition is placed so, in words.
fn topics_with(state: &Controller, is_so: impl Fn(&[NodeId]) -> bool) -> Option<String> {
    const NAMED_MAX: usize = 5;
    let placed = state
        .topics()
        .filter(|topic| topic.placements.iter().any(|nodes| is_so(nodes)));
    let names: Vec<&str> = placed.map(|topic| topic.name.as_str()).collect();
    let shown = names.iter().take(NAMED_MAX);
    let shown: Vec<String> = shown.map(|name| format!("{name:?}")).collect();
    let shown = shown.join(", ");
    match names.len() {
        0 => None,
        1 => Some(format!("topic {shown}")),
        n if n > NAMED_MAX => Some(format!("topics {shown} and {} more", n - NAMED_MAX)),
        _ => Some(format!("topics {shown}")),
    }
}

/// A group that would have no majority without a node.
fn short_of_majority(
    state: &Controller,
    live: &Live,
    alive: &BTreeSet<NodeId>,
    old: NodeId,
) -> Option<String> {
    let is_there = |node: NodeId| node != old && (node == live.node || alive.contains(&node));
    if let Some(group) = live.host.group(CONTROLLER_GROUP)
        && !group.view().members.voters.is_reached(is_there)
    {
        return Some("the cluster's own state".to_owned());
    }
    let is_short = |nodes: &[NodeId]| {
        let there = nodes.iter().filter(|&&node| is_there(node)).count();
        nodes.contains(&old) && there <= nodes.len() / 2
    };
    state.topics().find_map(|topic| {
        // Without a second replica there is nothing to take over; the controller says so.
        let held = topic.placements.iter().filter(|nodes| nodes.len() > 1);
        let at = held.into_iter().position(|nodes| is_short(nodes))?;
        Some(format!("partition {at} of topic {:?}", topic.name.as_str()))
    })
}
