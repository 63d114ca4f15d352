//! The controller: the group that holds the cluster's own state, as a value.
//!
//! A change is a [`ControllerCommand`] in an entry; applying it ([`Controller::apply`]) gives its
//! answer, alike on every replica. Placement, ids and checks are part of applying, so that two
//! requests at once cannot be given the same. The reasons are in `docs/adr/0008-controller.md`,
//! the bytes in `docs/format-controller.md`.

mod apply;
mod codec;
mod command;
mod command_codec;
mod error;
mod node;
mod placement;
mod replace;
mod state;
#[cfg(test)]
mod tests;

use trilith_types::GroupId;

pub use codec::fuzz_controller_state;
pub use command::{ControllerCommand, Outcome, UnknownCommand};
pub use command_codec::fuzz_controller_command;
pub use error::ControllerError;
pub use node::{ADDRESS_BYTES_MAX, NODE_NAME_BYTES_MAX, Node, NodeFieldError, NodeName};
pub use placement::Placement;
pub use state::{Controller, Topic};

/// The controller's group. Partitions' groups have a topic's id, from 1 on, in their upper half
/// ([`crate::group_id`]), so none of them is ever this one.
pub const CONTROLLER_GROUP: GroupId = GroupId(1);

/// Most nodes in a cluster.
pub const NODES_MAX: usize = 1_000;

/// Most producer ids taken at once.
pub const PRODUCER_IDS_MAX: u64 = 1_000_000;

/// The feature level of a new cluster.
pub const FEATURE_LEVEL_FIRST: u32 = 1;

/// The feature level from which on nodes can be replaced.
pub const FEATURE_LEVEL_REPLACE: u32 = 2;
