//! What may go wrong, an enum for each operation.

use std::io;

use trilith_raft::{ChangeError, ReadError, RestoreError, TransferError};
use trilith_types::{GroupId, LogIndex, NodeId};

use crate::{configuration_codec::ConfigurationCodecError, machine::StateError};

/// Why a group cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum OpenGroupError {
    /// It is hosted already.
    #[error("group {group} is hosted already")]
    Twice {
        /// The group.
        group: GroupId,
    },
    /// Its log does not open.
    #[error("the log of group {group} does not open: {source}")]
    Log {
        /// The group.
        group: GroupId,
        /// Why.
        source: trilith_storage::OpenError,
    },
    /// What the journal has of it cannot be put into its log.
    #[error("group {group}: entry {index} of the journal does not go into the log: {what}")]
    Replay {
        /// The group.
        group: GroupId,
        /// Which entry.
        index: LogIndex,
        /// Why.
        what: String,
    },
    /// A configuration that was stored cannot be read.
    #[error("group {group}: the configuration at {index}: {source}")]
    Configuration {
        /// The group.
        group: GroupId,
        /// Where it is.
        index: LogIndex,
        /// What is wrong with it.
        source: ConfigurationCodecError,
    },
    /// What was stored with the durable mark is not the host's.
    #[error("group {group}: the state beside its durable mark: {what}")]
    Image {
        /// The group.
        group: GroupId,
        /// What is wrong with it.
        what: String,
    },
    /// The machine refuses its state.
    #[error("group {group}: {source}")]
    State {
        /// The group.
        group: GroupId,
        /// What it says.
        source: StateError,
    },
    /// The core refuses what was read back.
    #[error("group {group}: {source}")]
    Core {
        /// The group.
        group: GroupId,
        /// What it says.
        source: RestoreError,
    },
    /// The file system refuses.
    #[error("group {group}: {source}")]
    Io {
        /// The group.
        group: GroupId,
        /// What it answered.
        source: io::Error,
    },
    /// The node is being shut down, or has stopped.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why a read was not confirmed. Nothing was promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefused {
    /// The group could not confirm it.
    #[error(transparent)]
    Core(#[from] ReadError),
    /// The group is not hosted here.
    #[error("the group is not hosted here")]
    UnknownGroup,
    /// The replica or the node has stopped, or is being shut down.
    #[error("the replica has stopped")]
    Stopped,
}

/// Why leadership is not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefused {
    /// The core refuses.
    #[error(transparent)]
    Core(#[from] TransferError),
    /// The group is not hosted here.
    #[error("the group is not hosted here")]
    UnknownGroup,
    /// The replica or the node has stopped, or is being shut down.
    #[error("the replica has stopped")]
    Stopped,
}

/// Why nothing doubtful is listed or dropped. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscardRefused {
    /// The group is not hosted here.
    #[error("the group is not hosted here")]
    UnknownGroup,
    /// It has a leader, which counts on what this replica has acknowledged.
    #[error(
        "node {leader} leads the group, or is about to: what is doubtful here is mended by it, or \
         can be discarded there"
    )]
    Led {
        /// Who leads.
        leader: NodeId,
    },
    /// The replica or the node has stopped, or is being shut down.
    #[error("the replica has stopped")]
    Stopped,
}

/// Why the members were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// The core refuses; nothing was appended.
    #[error(transparent)]
    Core(#[from] ChangeError),
    /// The group is not hosted here.
    #[error("the group is not hosted here")]
    UnknownGroup,
    /// The disk has no room; nothing was appended.
    #[error("the disk of the leader is full")]
    DiskFull,
    /// Another entry was committed in its place; the members are as they were.
    #[error("another leader came before the change was committed: it was not made")]
    NotStored,
    /// The replica or the node stopped, or was replaced by a snapshot, before it was committed.
    #[error("whether the change was made is not known: look at the members")]
    Unknown,
}
