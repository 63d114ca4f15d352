//! The bounds on faults: how much may go wrong so that the groups can still be asked to recover.
//!
//! - **Damage** to what was durable hits the disks of less than half of the replicas that a group has,
//!   wherever they are: one node's in one run. Every committed entry then has an intact copy, and a
//!   quorum has its own votes.
//! - Of what is kept **twice** (votes, the node's identity) one copy stays: a node that has lost both
//!   is an operator's to replace. A log that has lost both copies of its manifest is rebuilt.
//! - **A failed write or sync** counts as a power cut of that node's process, not as damage: what
//!   was to be durable was promised to nobody.
//! - A failed sync of a **directory** is the end of the machine: no file system goes on after it.
//! - A **strange directory**, an empty one or an old copy, is brought to one node at a time, once
//!   all others have met that node in a later start than the one during which the copy was made. How
//!   often it is started there is not bounded.
//! - What was never synced is not bounded at all.

use trilith_types::NodeId;

use super::{NodeWorld, settings::REPLICAS};

impl NodeWorld {
    /// Whether this node's disk may lose something that was durable. Notes that it does.
    pub(super) fn may_damage(&mut self, node: NodeId) -> bool {
        if self.damaged.contains(&node) {
            return true;
        }
        let may = 2 * (self.damaged.len() + 1) < REPLICAS as usize;
        if may {
            self.damaged.push(node);
        }
        may
    }
}
