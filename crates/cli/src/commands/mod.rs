//! The commands, one a file.

pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod consume;
pub(crate) mod inspect;
mod missing;
mod offline;
pub(crate) mod produce;
pub(crate) mod serve;
pub(crate) mod topic;
pub(crate) mod up;
pub(crate) mod verify;
