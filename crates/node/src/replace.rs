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

    /// The number of the node that is to go, if it may. Only the controller's leader is asked
    /// further: whoever else is asked refuses the command.
    fn replaceable(&self, old: &str) -> Result<NodeId, ControlError> {
        let inner = &self.inner;
        let live = inner.live()?;
        let state = inner.controller.read();
        let named = state.node_named(old).map(|node| node.id);
        let numbered = || old.parse().ok().map(NodeId);
        let refuse = |why: String| ControlError::CannotReplace { why };
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
        match short_of_majority(&state, live, &alive, id) {
            Some(what) => Err(refuse(format!(
                "without node {old:?}, {what} would have no majority of nodes that are heard of: \
                 start those first"
            ))),
            None => Ok(id),
        }
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
