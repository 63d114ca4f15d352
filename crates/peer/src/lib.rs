//! What nodes say to each other: messages, frames, handshake, links. Values only: no sockets, no
//! threads, no clock. The bytes are described in `docs/format-peer.md`.

mod codec;
mod config;
mod frame;
mod fuzz;
mod handshake;
mod heartbeat;
mod links;
mod message;
mod outgoing;
mod registry;

pub use codec::{CodecError, Malformed};

pub use config::{
    ADDRESS_BYTES_MAX, CALL_BYTES_MAX, ENTRIES_PER_MESSAGE_MAX, FOUNDERS_MAX, FRAME_BYTES_MAX,
    FRAME_BYTES_TARGET, LinkConfig, NODE_NAME_BYTES_MAX, REASON_BYTES_MAX, RUNS_PER_MESSAGE_MAX,
    SHARDS_MAX, SNAPSHOT_CHUNK_BYTES_MAX,
};
pub use frame::{FRAME_HEADER_BYTES, Frame, FrameError, FrameReader, FrameWriter, Space, Unfit};
pub use fuzz::fuzz_peer;
pub use handshake::{Agreed, Features, Handshake, Hello, Introduction, Reason, Refusal, Versions};
pub use heartbeat::{Heartbeat, Progress};
pub use links::{Action, ConnId, LinkStatus, Links, check_life};
pub use message::{Call, Class, GroupMessage, NodeMessage, SnapshotAck, SnapshotChunk};
pub use outgoing::Outgoing;
pub use registry::{Found, Founder, Identity, Membership, Peer, PeerEvent, Registry};
