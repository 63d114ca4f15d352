//! A node for tests: a registry that writes down what it is told, and its links.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use trilith_peer::{
    Found, Identity, LinkConfig, Membership, NodeMessage, Peer, PeerEvent, Progress, Refusal,
    Registry,
};
use trilith_transport::{PeerListener, Peers};
use trilith_types::{ClusterId, Incarnation, NodeId};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) identity: Option<Identity>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) founders: Option<Found>,
    pub(crate) messages: Vec<(NodeId, NodeMessage)>,
    pub(crate) events: Vec<PeerEvent>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) progress: u64,
    pub(crate) is_stuck: bool,
}

#[derive(Default)]
pub(crate) struct Recorder {
    seen: Mutex<Seen>,
    changed: Condvar,
    on_message: OnceLock<OnMessage>,
}

/// What is done with messages instead of writing them down.
pub(crate) type OnMessage = Arc<dyn Fn(NodeMessage) + Send + Sync>;

impl Recorder {
    /// Waits until `what` holds.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: impl Fn(&mut Seen) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock();
        loop {
            if let Some(found) = what(&mut seen) {
                return found;
            }
            let is_late = self.changed.wait_until(&mut seen, until).timed_out();
            assert!(!is_late, "it did not come to pass: {seen:?}");
        }
    }

    pub(crate) fn on_messages(&self, what: OnMessage) {
        assert!(self.on_message.set(what).is_ok(), "set once");
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock());
        self.changed.notify_all();
    }
}

impl Registry for Recorder {
    fn identity(&self) -> Identity {
        self.seen.lock().identity.clone().expect("it has one")
    }

    fn peers(&self) -> Vec<Peer> {
        self.seen.lock().peers.clone()
    }

    fn removed(&self, _: NodeId) -> Option<String> {
        None
    }

    fn admit(&self, _: NodeId, name: &str, _: Incarnation) -> Result<(), String> {
        if name.starts_with("bad") {
            return Err(format!("{name:?} is no member"));
        }
        Ok(())
    }

    fn met(&self, _: NodeId) -> Incarnation {
        Incarnation(0)
    }

    fn found_for(&self, name: &str) -> Option<Found> {
        let founders = self.seen.lock().founders.clone()?;
        let is_founder = founders.members.iter().any(|member| member.name == name);
        is_founder.then_some(founders)
    }

    fn knows_members(&self) -> bool {
        true
    }

    fn found(&self, found: Found) -> Result<(), String> {
        self.change(|seen| {
            let identity = seen.identity.as_mut().expect("it has one");
            let mine = found.members.iter().find(|m| m.name == identity.name);
            identity.member = mine.map(|member| Membership {
                cluster: found.cluster,
                node: member.node,
            });
            seen.founders = Some(found);
        });
        Ok(())
    }

    fn progress(&self) -> Progress {
        let mut seen = self.seen.lock();
        if !seen.is_stuck {
            seen.progress += 1;
        }
        Progress {
            shards: vec![seen.progress],
            disk: seen.progress,
        }
    }

    fn deliver(&self, from: NodeId, messages: &mut Vec<NodeMessage>) {
        if let Some(on_message) = self.on_message.get() {
            return messages.drain(..).for_each(|message| on_message(message));
        }
        self.change(|seen| seen.messages.extend(messages.drain(..).map(|m| (from, m))));
    }

    fn peer_event(&self, event: PeerEvent) {
        self.change(|seen| seen.events.push(event));
    }

    fn refused(&self, _: &str, refusal: &Refusal) {
        self.change(|seen| seen.refusals.push(refusal.clone()));
    }
}

/// A node that listens.
pub(crate) struct Node {
    pub(crate) peers: Peers,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) address: SocketAddr,
    listener: Option<PeerListener>,
}

pub(crate) const CLUSTER: ClusterId = ClusterId(77);

impl Node {
    pub(crate) fn new(node: u64, incarnation: u64) -> Self {
        let member = Membership {
            cluster: CLUSTER,
            node: NodeId(node),
        };
        Self::with(Some(member), &format!("n{node}"), incarnation, config())
    }

    pub(crate) fn with(
        member: Option<Membership>,
        name: &str,
        incarnation: u64,
        config: LinkConfig,
    ) -> Self {
        let listener = PeerListener::bind(([127, 0, 0, 1], 0).into(), false).expect("a free port");
        let recorder = Arc::new(Recorder::default());
        recorder.change(|seen| {
            seen.identity = Some(Identity {
                member,
                name: name.to_owned(),
                incarnation: Incarnation::new(incarnation, 1, 0),
            });
        });
        Self {
            peers: Peers::new(config, member.map_or(7, |member| member.node.0)),
            recorder,
            address: listener.local_addr(),
            listener: Some(listener),
        }
    }

    pub(crate) fn start(&mut self) {
        let listener = self.listener.take().expect("started once");
        let registry = Arc::clone(&self.recorder);
        self.peers.start(listener, registry).expect("it starts");
    }

    pub(crate) fn knows(&self, peers: &[(Option<u64>, SocketAddr)]) {
        let peers = peers.iter().map(|(node, address)| Peer {
            node: node.map(NodeId),
            address: address.to_string(),
        });
        self.recorder.change(|seen| seen.peers = peers.collect());
        self.peers.members_changed();
    }

    /// Waits for `event`, and forgets it.
    #[track_caller]
    pub(crate) fn wait_for(&self, event: PeerEvent) {
        self.recorder.wait(|seen| {
            let at = seen.events.iter().position(|&e| e == event)?;
            seen.events.remove(at);
            Some(())
        });
    }

    pub(crate) fn say(&self, to: u64, message: impl Into<NodeMessage>) -> bool {
        let sent = self.peers.send(NodeId(to), message.into());
        self.peers.flush();
        sent
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.peers.shutdown();
    }
}

/// Patient links: these tests run on machines where threads wait for their turn.
pub(crate) fn config() -> LinkConfig {
    LinkConfig {
        suspect_after: Duration::from_secs(10),
        close_after: Duration::from_secs(15),
        handshake_max: Duration::from_secs(10),
        backoff_max: Duration::from_millis(50),
        ..LinkConfig::default()
    }
}

/// `count` nodes that are all connected with each other.
pub(crate) fn cluster(count: u64, config: LinkConfig) -> Vec<Node> {
    let member = |node| Membership {
        cluster: CLUSTER,
        node: NodeId(node),
    };
    let mut nodes: Vec<_> = (1..=count)
        .map(|n| Node::with(Some(member(n)), &format!("n{n}"), 1, config))
        .collect();
    let addresses: BTreeMap<u64, _> = (1..).zip(nodes.iter().map(|node| node.address)).collect();
    for (n, node) in (1..).zip(&mut nodes) {
        let others: Vec<_> = addresses
            .iter()
            .filter(|&(&other, _)| other != n)
            .map(|(&other, &address)| (Some(other), address))
            .collect();
        node.knows(&others);
        node.start();
    }
    for (n, node) in (1..).zip(&nodes) {
        for other in (1..=count).filter(|&other| other != n) {
            node.wait_for(PeerEvent::Alive(NodeId(other)));
        }
    }
    nodes
}
