//! The real binary, over real sockets, on real files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

mod benches;
mod cluster;
mod crash;
mod discard;
mod flips;
mod formats;
mod malformed;
mod offline;
mod pipes;
mod round_trips;
mod servers;
mod small_disk;
mod topics;
