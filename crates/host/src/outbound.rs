//! What the host wants of those around it: a way to other nodes, and ears.

use trilith_peer::NodeMessage;
use trilith_raft::{Configuration, RoleChange};
use trilith_types::{GroupId, LogIndex, NodeId};

/// The way to other nodes. Nothing here may block.
pub trait Outbound: Send + Sync {
    /// Queues a message for `to`. It may be dropped when there is no room or no connection: cores
    /// send again.
    fn send(&self, to: NodeId, message: NodeMessage);

    /// The turn is over: what was queued goes out now.
    fn flush(&self);

    /// Whether entries for `to` would find room in its queue. When not, they are kept and tried
    /// again at the next tick.
    fn has_room(&self, to: NodeId) -> bool;
}

/// Something that an operator should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The group's log finds no room on the disk: it takes no entries, and what is there can be
    /// read.
    DiskFull,
    /// The node may open no more files: the group takes no entries until it can.
    OutOfFiles,
    /// There is room again, and files can be opened.
    DiskHasRoom,
    /// Entries were found damaged. They are fetched from peers.
    Damaged {
        /// The first one.
        first: LogIndex,
        /// The last one.
        last: LogIndex,
    },
    /// Damaged entries were written again.
    Repaired {
        /// The first one.
        first: LogIndex,
        /// The last one.
        last: LogIndex,
        /// How many there are between these.
        entries: u64,
    },
    /// The replica's log cannot be opened: it is out of service until a peer's snapshot has taken
    /// its place.
    LogLost {
        /// What is wrong with it.
        reason: String,
    },
    /// The replica has stopped; the others of the node go on.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Whoever wants to know what happens in the host. Called on the shards' threads: nothing here may
/// block.
pub trait Observer: Send + Sync {
    /// A group's role, term, leader or members have changed.
    fn role(&self, group: GroupId, role: &RoleChange, members: &Configuration);

    /// Something that an operator should know of.
    fn alarm(&self, group: GroupId, alarm: &Alarm);

    /// The node must stop: a write or sync failed, so that nothing more can be promised. Every
    /// shard has stopped, or does at its next turn.
    fn fatal(&self, reason: &str);
}
