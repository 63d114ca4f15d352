//! What nodes say to each other: messages, frames, handshake, links. Values only: no sockets, no
//! threads, no clock. The bytes are described in `docs/format-peer.md`.

mod config;
mod heartbeat;
mod message;
mod registry;

pub use config::{
    ADDRESS_BYTES_MAX, CALL_BYTES_MAX, ENTRIES_PER_MESSAGE_MAX, FOUNDERS_MAX, FRAME_BYTES_MAX,
    FRAME_BYTES_TARGET, LinkConfig, NODE_NAME_BYTES_MAX, REASON_BYTES_MAX, RUNS_PER_MESSAGE_MAX,
    SHARDS_MAX, SNAPSHOT_CHUNK_BYTES_MAX,
};
pub use heartbeat::{Heartbeat, Progress};
pub use message::{Call, Class, GroupMessage, NodeMessage, SnapshotAck, SnapshotChunk};
pub use registry::{Found, Founder, Identity, Membership, Peer, PeerEvent, Registry};
