//! The worlds that there are.

pub mod raft;
