//! Where the cluster's nodes are reached, for messages and for those who dial.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use trilith_types::{Incarnation, NodeId};

use super::Leader;

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

/// All nodes. A change makes a new book; lookups take no lock.
#[derive(Debug, Default)]
pub(crate) struct Book(ArcSwap<BTreeMap<NodeId, NodeInfo>>);

impl Book {
    pub(crate) fn replace(&self, nodes: BTreeMap<NodeId, NodeInfo>) {
        self.0.store(Arc::new(nodes));
    }

    pub(crate) fn nodes(&self) -> Arc<BTreeMap<NodeId, NodeInfo>> {
        self.0.load_full()
    }

    /// A leader with its address.
    pub(crate) fn leader(&self, node: NodeId) -> Leader {
        let address = self
            .0
            .load()
            .get(&node)
            .map(|info| info.client_address.clone());
        Leader {
            node,
            client_address: address.filter(|address| !address.is_empty()),
        }
    }
}
