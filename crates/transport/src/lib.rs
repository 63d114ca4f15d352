//! Nodes over TCP: the threads and sockets around [`trilith_peer`]. They decide nothing: whom to
//! dial, whom to let in and whom to suspect is decided by [`trilith_peer::Links`], what is said by
//! the node.
//!
//! ```text
//!   shard threads ── send, flush ──▶ a queue for each connection ── written at once by whoever
//!                                    flushes; by the connection's own thread once the socket is full
//!   a thread for each connection  ◀── reads, checks, hands everything of one read to the node
//!   one thread                        for timers: heartbeats, dials, suspicions
//!   one thread                        accepts
//! ```
//!
//! The sockets are blocking ones with threads of their own: no other work of the process, least of
//! all its clients' requests, stands between a message and its receiver (`docs/adr/0009-peer-protocol.md` has figures).

#[doc(hidden)]
pub mod baton;
mod connection;
mod listen;
#[cfg(loom)]
mod model;
mod peers;
mod probe;
mod shared;
mod sockets;
mod stream;
mod threads;
mod troubles;

pub use listen::{PeerBindError, PeerListener};
pub use peers::{PeerTraffic, Peers};
pub use probe::{WhoIsThere, who_is_at};
pub use stream::PeerStream;
