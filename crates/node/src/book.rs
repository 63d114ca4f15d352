//! Where the cluster's nodes are reached, for messages and for those who dial.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use trilith_types::{Incarnation, NodeId};

use super::{Leader, Removed};

/// A node as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where clients reach it; empty until it has told.
    pub client_address: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Its latest start that the cluster knows of; 0 when it has never come.
    pub incarnation: Incarnation,
}

/// All nodes. A change makes a new map; lookups take no lock.
#[derive(Debug, Default)]
pub(crate) struct Book {
    nodes: ArcSwap<BTreeMap<NodeId, NodeInfo>>,
    /// This node is in it no longer. That is final: a number is never given twice.
    removed: OnceLock<Removed>,
}

impl Book {
    pub(crate) fn replace(&self, nodes: BTreeMap<NodeId, NodeInfo>) {
        self.nodes.store(Arc::new(nodes));
    }

    pub(crate) fn nodes(&self) -> Arc<BTreeMap<NodeId, NodeInfo>> {
        self.nodes.load_full()
    }

    /// An error once this node is no member any more.
    pub(crate) fn removed(&self) -> Result<(), Removed> {
        self.removed.get().map_or(Ok(()), |removed| Err(*removed))
    }

    /// Whether that is news.
    pub(crate) fn set_removed(&self, removed: Removed) -> bool {
        self.removed.set(removed).is_ok()
    }

    /// A leader with its address.
    pub(crate) fn leader(&self, node: NodeId) -> Leader {
        let address = self
            .nodes
            .load()
            .get(&node)
            .map(|info| info.client_address.clone());
        Leader {
            node,
            client_address: address.filter(|address| !address.is_empty()),
        }
    }
}
