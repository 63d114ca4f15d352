//! The worlds that there are.

pub mod node;
pub mod raft;
