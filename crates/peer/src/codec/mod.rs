//! The bytes of what nodes say. One file a kind; `docs/format-peer.md` has them as tables.
//!
//! All numbers are little-endian and of fixed size. Every length is checked against a named limit
//! before memory is taken for it, and every message must be read to its last byte: what a later
//! version adds has a number or a version of its own.

mod configuration;
mod group;
pub(crate) mod message;
mod raft_body;
pub(crate) mod wire;

pub use wire::{CodecError, Malformed};
