//! Looking into a core.

use trilith_types::{Incarnation, LogIndex, NodeId, Term};

use crate::{entry::EntryId, progress::Sending};

/// What a node is in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// It follows, or waits.
    #[default]
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It stands for election.
    Candidate,
    /// It has been elected with damaged entries and mends its log before it leads. It appends
    /// nothing in this term yet, and it may still discard the end of its log.
    Repairing,
    /// It leads.
    Leader,
}

/// A core at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// The leader that it knows of in that term.
    pub leader: Option<NodeId>,
    /// The last entry of its log.
    pub last: EntryId,
    /// The position before the first entry of its log.
    pub base: EntryId,
    /// Up to here the log is on disk, damaged entries included.
    pub stored: LogIndex,
    /// The commit index.
    pub commit: LogIndex,
    /// Up to here the state machine has applied.
    pub applied: LogIndex,
    /// The first damaged entry.
    pub first_damaged: Option<EntryId>,
    /// Whether the log ends in an unknown suffix.
    pub unknown_suffix: bool,
    /// Whether the vote was lost: the node takes no part until it is replaced.
    pub vote_lost: bool,
    /// Whether the state machine was lost and a snapshot is awaited.
    pub needs_snapshot: bool,
    /// Whether it needs no ticks.
    pub quiet: bool,
    /// The target of a leadership transfer.
    pub transfer: Option<NodeId>,
    /// Proposed and uncommitted bytes, as [`Config::uncommitted_bytes_max`](crate::Config) counts
    /// them.
    pub uncommitted_bytes: u64,
    /// Reads that wait.
    pub reads_pending: usize,
}

/// What a leader knows of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Up to here its log is known to match, durable and intact.
    pub matched: LogIndex,
    /// The next entry to be sent.
    pub next: LogIndex,
    /// How it is being sent to.
    pub sending: Sending,
    /// Appends on their way.
    pub inflight_messages: usize,
    /// Payload bytes on their way.
    pub inflight_bytes: u64,
    /// Its incarnation, as last heard; 0 when never.
    pub incarnation: Incarnation,
    /// Whether the host suspects it.
    pub suspected: bool,
}
