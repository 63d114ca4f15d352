//! Whether a node is of use to clients now.

use std::sync::atomic::Ordering;

use trilith_topics::controller::CONTROLLER_GROUP;
use trilith_types::{NodeId, PartitionId};

use super::{Node, NotMember};

/// Why a node is not ready: requests that need the cluster would wait, or be refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It hands its leadership over, or is being shut down.
    #[error("the node is ending")]
    Ending,
    /// It was not founded.
    #[error("the node belongs to no cluster yet; 'trilith cluster init' founds one")]
    NotFounded,
    /// It is no member of its cluster any more.
    #[error(transparent)]
    Removed(#[from] super::Removed),
    /// A write or a sync failed.
    #[error("the node can promise nothing more: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// Too few of the nodes that keep the cluster's state are heard of in time.
    #[error(
        "no quorum: of the cluster's {voters} voting nodes this one hears {heard}, itself included"
    )]
    NoQuorum {
        /// How many there are.
        voters: usize,
        /// How many of them are heard of in time.
        heard: usize,
    },
    /// A majority may be there, and no leader of the cluster's state is known.
    #[error("no leader of the cluster's state is known: an election is under way")]
    NoLeader,
}

impl Node {
    /// Whether the node may still speak for its cluster. One that waits for one may, too.
    ///
    /// # Errors
    /// It is no member any more.
    pub fn still_member(&self) -> Result<(), NotMember> {
        Ok(self.inner.book.removed()?)
    }

    /// Whether the partition is led, as far as this node knows, by the node that clients reach at
    /// this address. Without a replica here that is its preferred leader, while it is heard of.
    #[must_use]
    pub fn leads_at(&self, topic: &str, partition: PartitionId, address: &str) -> bool {
        let Ok(partition) = self.inner.partition(topic, partition) else {
            return false;
        };
        let Some(leader) = partition.leader() else {
            return false;
        };
        let info = self.inner.book.leader(leader);
        let is_there = info.client_address.as_deref() == Some(address);
        is_there && (partition.is_here || self.inner.alive.lock().contains(&leader))
    }

    /// Whether requests that need the cluster can be expected to succeed here, as far as this node
    /// knows without asking anybody.
    ///
    /// # Errors
    /// Says why not.
    pub fn ready(&self) -> Result<(), NotReady> {
        let inner = &self.inner;
        if inner.is_closing() || inner.is_leaving.load(Ordering::Acquire) {
            return Err(NotReady::Ending);
        }
        inner.book.removed()?;
        let live = inner.live.get().ok_or(NotReady::NotFounded)?;
        if let Some(reason) = inner.alarms.counts().fatal {
            return Err(NotReady::Failed { reason });
        }
        let Some(group) = live.host.group(CONTROLLER_GROUP) else {
            return Err(NotReady::Ending);
        };
        let members = group.view().members;
        let alive = inner.alive.lock().clone();
        let is_heard = |node: NodeId| node == live.node || alive.contains(&node);
        if !members.voters.is_reached(is_heard) {
            return Err(NotReady::NoQuorum {
                voters: members.voters.voters().count(),
                heard: members.voters.voters().filter(|&n| is_heard(n)).count(),
            });
        }
        match inner.controller.leader() {
            Some(leader) if is_heard(leader) => Ok(()),
            _ => Err(NotReady::NoLeader),
        }
    }
}
