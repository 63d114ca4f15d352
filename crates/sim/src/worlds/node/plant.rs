//! Bugs that can be planted in a node, to show that the checkers find them. Most of them sit in
//! the disk that the node is given: a disk that says "done" too early is a host that does not
//! wait.

use std::sync::Arc;

use trilith_env::{Disk, sim::SimDisk};

/// A bug of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeBug {
    /// A node comes back under the incarnation that it had.
    SameIncarnation,
}

/// Whether a bug is planted.
pub(super) fn has(planted: Option<NodeBug>, bug: NodeBug) -> bool {
    planted == Some(bug)
}

/// The disk that a node is given.
pub(super) fn disk(disk: &SimDisk, _: Option<NodeBug>) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}
