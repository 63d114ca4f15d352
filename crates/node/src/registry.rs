//! The node as the links to other nodes see it.

use std::sync::{Arc, atomic::Ordering};

use trilith_host::PeerEvent;
use trilith_peer::{
    FOUNDERS_MAX, Found, Founder, Identity as PeerIdentity, NodeMessage, Peer, Progress, Reason,
    Refusal, Registry, check_life,
};
use trilith_types::{ClusterId, Incarnation, NodeId};

use super::{Node, inbox::CALLS_WAITING_MAX, keeper::Note, node::Inner};

impl Registry for Node {
    fn identity(&self) -> PeerIdentity {
        let identity = self.inner.identity.load();
        PeerIdentity {
            member: identity.member,
            name: identity.name.clone(),
            incarnation: identity.incarnation,
        }
    }

    fn peers(&self) -> Vec<Peer> {
        if self.inner.book.removed().is_err() {
            return Vec::new();
        }
        let own = &self.inner.config.addresses.peer;
        let me = self.inner.identity.load().member.map(|member| member.node);
        let nodes = self.inner.book.nodes();
        let members = nodes.values().filter(|info| Some(info.node) != me);
        let members = members
            .filter(|info| !info.peer_address.is_empty())
            .map(|info| Peer {
                node: Some(info.node),
                address: info.peer_address.clone(),
            });
        let mut peers: Vec<Peer> = members.collect();
        // One that has just joined may not know the others yet.
        if me.is_none() || nodes.is_empty() {
            let seeds = self.inner.config.seeds.iter().filter(|seed| *seed != own);
            peers.extend(seeds.map(|address| Peer {
                node: None,
                address: address.clone(),
            }));
        }
        peers
    }

    fn removed(&self, node: NodeId) -> Option<String> {
        let was = self.inner.controller.read().was_removed(node);
        was.then(|| {
            format!(
                "node {node} was removed from the cluster, and is not let in again: its machine can \
                 be a new node with an empty data directory (trilith cluster replace)"
            )
        })
    }

    fn admit(&self, node: NodeId, name: &str, incarnation: Incarnation) -> Result<(), String> {
        let nodes = self.inner.book.nodes();
        let Some(info) = nodes.get(&node) else {
            return Err(format!(
                "the cluster has no node {node}: it was removed, or never joined; join as a new \
                 node with an empty data directory"
            ));
        };
        if self
            .inner
            .identity
            .load()
            .member
            .is_some_and(|member| member.node == node)
        {
            return Err(format!(
                "this is node {node} itself: the data directory was copied, or an address leads \
                 back here"
            ));
        }
        if info.name != name {
            return Err(format!(
                "node {node} is {:?}, not {name:?}; start it under its own name",
                info.name
            ));
        }
        let mut file = self.inner.identity_file.lock();
        // Each by itself: where the cluster took one of two copies and this node the other, nobody
        // knows which to believe, and neither comes in before it has been started anew.
        for known in self.known(node) {
            check_life((node, name), known, incarnation)?;
        }
        file.admit_peer(node, incarnation)
            .map_err(|error| format!("a peer cannot be noted: {error}"))?;
        self.inner.identity.store(Arc::new(file.get().clone()));
        Ok(())
    }

    fn met(&self, node: NodeId) -> Incarnation {
        let [seen, registered] = self.known(node);
        seen.max(registered)
    }

    fn found_for(&self, name: &str) -> Option<Found> {
        let identity = self.inner.identity.load();
        let cluster = identity.member?.cluster;
        if let Some(found) = self.inner.joining(cluster, name) {
            return Some(found);
        }
        let founder = identity
            .founders
            .iter()
            .find(|founder| founder.name == name)?;
        let nodes = self.inner.book.nodes();
        // One that is not there any more was replaced.
        let has_registered = nodes.get(&founder.node)?.incarnation != Incarnation(0);
        let was_seen = identity.peers.contains_key(&founder.node);
        (!has_registered && !was_seen).then(|| Found {
            cluster,
            members: identity.founders.clone(),
            joins: false,
        })
    }

    fn knows_members(&self) -> bool {
        // Who was a founder a moment ago knows that nobody has come yet.
        self.inner.was_founded_now.load(Ordering::Acquire)
            || self.inner.controller.read().cluster().is_some()
    }

    fn found(&self, found: Found) -> Result<(), String> {
        Self::found(self, &found).map_err(|error| error.to_string())
    }

    fn progress(&self) -> Progress {
        let live = self.inner.live.get();
        live.map_or_else(Progress::default, |live| live.host.progress())
    }

    fn deliver(&self, from: NodeId, messages: &mut Vec<NodeMessage>) {
        let Some(live) = self.inner.live.get() else {
            messages.clear();
            return;
        };
        for message in messages.drain(..) {
            if let Some(NodeMessage::Call(call)) = live.host.deliver(from, message)
                && self.inner.keeper.len() < CALLS_WAITING_MAX
            {
                drop(self.inner.keeper.send(Note::Call(from, call)));
            }
        }
        live.host.delivered();
    }

    fn peer_event(&self, event: PeerEvent) {
        match event {
            PeerEvent::Suspect(node) => drop(self.inner.alive.lock().remove(&node)),
            PeerEvent::Alive(node) => {
                self.inner.alive.lock().insert(node);
                // It lets this one in by now.
                if let Some(info) = self.inner.book.nodes().get(&node) {
                    self.inner.refusals.lock().remove(&info.peer_address);
                }
            }
            PeerEvent::Reset(..) => {}
        }
        if let Some(live) = self.inner.live.get() {
            live.host.peer_event(event);
        }
        drop(self.inner.keeper.send(Note::Peer(event)));
    }

    fn refused(&self, address: &str, refusal: &Refusal) {
        // Two nodes that wait, or that dialled each other at once, are no news.
        if matches!(refusal.reason, Reason::Unfounded | Reason::Crossed) {
            return;
        }
        if refusal.reason == Reason::Removed {
            return self.inner.leave_cluster(&format!("{address} says so"));
        }
        let is_waiting = self.inner.identity.load().member.is_none();
        if !is_waiting && !self.inner.is_peer_at(address) {
            // It was replaced while it was dialled.
            return;
        }
        let mut refusals = self.inner.refusals.lock();
        let known = refusals.insert(address.to_owned(), refusal.message.clone());
        // The links have said it. A node that waits is refused until somebody lets it in, which is no
        // fault.
        if known.as_ref() != Some(&refusal.message) && !is_waiting {
            tracing::error!(
                address,
                reason = refusal.message,
                "another node refuses this one"
            );
        }
    }
}

impl Inner {
    fn is_peer_at(&self, address: &str) -> bool {
        let nodes = self.book.nodes();
        let mut addresses = nodes.values().map(|node| node.peer_address.as_str());
        addresses.any(|known| known == address) || self.config.seeds.iter().any(|s| s == address)
    }

    /// What was said by nodes that are no members any more is of no interest.
    pub(crate) fn forget_refusals(&self) {
        let nodes = self.book.nodes();
        let is_there = |address: &String| nodes.values().any(|n| n.peer_address == *address);
        self.refusals.lock().retain(|address, _| is_there(address));
    }

    /// The cluster for a node of this name that was added to it and has never come.
    fn joining(&self, cluster: ClusterId, name: &str) -> Option<Found> {
        let state = self.controller.read();
        let node = state.node_named(name)?;
        let identity = self.identity.load();
        let was_seen = identity.peers.contains_key(&node.id);
        let is_founder = identity.founders.iter().any(|f| f.node == node.id);
        if was_seen || is_founder || node.incarnation != Incarnation(0) {
            return None;
        }
        let others = state.nodes().filter(|other| other.id != node.id);
        let founder = |node: &trilith_topics::controller::Node| Founder {
            node: node.id,
            name: node.name.to_string(),
            peer_address: node.peer_address.clone(),
            client_address: node.client_address.clone(),
        };
        let members = std::iter::once(node).chain(others).take(FOUNDERS_MAX);
        Some(Found {
            cluster,
            members: members.map(founder).collect(),
            joins: true,
        })
    }
}

impl Node {
    /// The latest life of a node that this one has let in, and the one that the cluster's state has;
    /// 0 for none.
    fn known(&self, node: NodeId) -> [Incarnation; 2] {
        let identity = self.inner.identity.load();
        let seen = identity.peers.get(&node).copied().unwrap_or_default();
        let nodes = self.inner.book.nodes();
        let registered = nodes.get(&node).map(|info| info.incarnation);
        [seen, registered.unwrap_or_default()]
    }
}
