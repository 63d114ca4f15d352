//! A node with its connections to the others.

use std::{net::SocketAddr, sync::Arc};

use trilith_env::Env;
use trilith_node::{NoPeers, Node, NodeConfig, OpenError, OpenReport};
use trilith_peer::LinkConfig;
use trilith_transport::{PeerBindError, PeerListener, Peers};

/// A node that is open, and connected to the other nodes of its cluster if there are any.
#[derive(Clone, Debug)]
pub struct Member {
    pub(crate) node: Node,
    pub(crate) peers: Option<Peers>,
}

/// Why a node did not come up.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The address for other nodes cannot be had.
    #[error(transparent)]
    Bind(#[from] PeerBindError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A thread could not be started.
    #[error("cannot start the threads of the connections to other nodes: {0}")]
    Threads(std::io::Error),
}

impl Member {
    /// Takes the address for other nodes, opens the node, and connects it. Without an address the
    /// node is alone.
    ///
    /// # Errors
    /// [`MemberError`]; nothing runs then.
    pub fn open(
        env: &Env,
        config: NodeConfig,
        listen: Option<SocketAddr>,
        insecure: bool,
    ) -> Result<(Self, OpenReport), MemberError> {
        let Some(listen) = listen else {
            let (node, report) = Node::open(env, config, Arc::new(NoPeers))?;
            return Ok((Self { node, peers: None }, report));
        };
        let listener = PeerListener::bind(listen, insecure)?;
        let peers = Peers::new(LinkConfig::default(), env.rng.next_u64());
        let (node, report) = Node::open(env, config, Arc::new(peers.clone()))?;
        node.on_peers_changed({
            let peers = peers.clone();
            move || peers.members_changed()
        });
        let started = peers.start(listener, Arc::new(node.clone()));
        if let Err(error) = started {
            node.shutdown();
            return Err(MemberError::Threads(error));
        }
        let peers = Some(peers);
        Ok((Self { node, peers }, report))
    }

    /// Calls `tell` with the reason when a failed write or sync leaves the node unable to promise
    /// anything: the process must end then.
    pub fn on_fatal(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        self.node.on_fatal(tell);
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Hands leadership over, finishes what is queued, closes everything. Blocks until then.
    pub fn shutdown(&self) {
        self.node.shutdown();
        if let Some(peers) = &self.peers {
            peers.shutdown();
        }
    }
}
