//! The server over real sockets: every method and route, every error, every bound.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod consume;
mod discard;
mod errors;
mod fixture;
mod guard;
mod http;
mod limits;
mod metrics;
mod produce;
mod reflection;
mod shutdown;
mod stream;
mod topics;
