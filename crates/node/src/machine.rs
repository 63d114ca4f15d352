//! The state machines of the groups that a node hosts: one controller, many partitions.

use std::time::Duration;

use bytes::Bytes;
use trilith_host::{
    Decision, Draft, Effects, Fate, Leading, Machine, Refusal, StateError, UnknownEntry,
};
use trilith_raft::RoleChange;
use trilith_storage::Log;
use trilith_types::{EntryMeta, GroupId, LogIndex, Term};

use super::{
    controller_replica::{Change, ControllerReplica},
    partition_replica::{Append, Appending, PartitionReplica},
};

/// A group's machine.
pub(crate) enum GroupMachine {
    Controller(ControllerReplica),
    Partition(PartitionReplica),
}

/// What is asked of a group.
pub(crate) enum GroupRequest {
    Controller(Change),
    Partition(Append),
}

/// Who waits for an entry.
pub(crate) enum GroupPending {
    Controller(Change),
    Partition(Appending),
    /// The node itself, which sees what becomes of it.
    Nobody,
}

impl Machine for GroupMachine {
    type Request = GroupRequest;
    type Pending = GroupPending;

    fn decide(&mut self, request: GroupRequest, at: &Leading) -> Decision<GroupPending> {
        match (self, request) {
            (Self::Controller(_), GroupRequest::Controller(change)) => {
                ControllerReplica::decide(change)
            }
            (Self::Partition(replica), GroupRequest::Partition(append)) => {
                replica.decide(append, at)
            }
            (_, stray) => {
                // A controller's request at a partition: the group's id says which it is.
                Self::refuse(stray, Refusal::UnknownGroup);
                Decision::Done
            }
        }
    }

    fn undecide(&mut self, pending: GroupPending, at: LogIndex, why: Refusal) {
        if let Self::Partition(replica) = self {
            replica.undecide(at);
        }
        match pending {
            GroupPending::Controller(change) => change.refuse(why),
            GroupPending::Partition(appending) => appending.refuse(why),
            GroupPending::Nobody => {}
        }
    }

    fn refuse(request: GroupRequest, why: Refusal) {
        match request {
            GroupRequest::Controller(change) => change.refuse(why),
            GroupRequest::Partition(append) => append.refuse(why),
        }
    }

    fn lead(
        &mut self,
        _term: Term,
        tail: &mut dyn Iterator<Item = (EntryMeta, Bytes)>,
    ) -> Result<(), UnknownEntry> {
        match self {
            Self::Controller(_) => Ok(()),
            Self::Partition(replica) => replica.lead(tail),
        }
    }

    fn unlead(&mut self) {
        if let Self::Partition(replica) = self {
            replica.unlead();
        }
    }

    fn apply(
        &mut self,
        meta: &EntryMeta,
        payload: &Bytes,
        answers: &mut dyn Iterator<Item = GroupPending>,
    ) -> Result<Effects, UnknownEntry> {
        match self {
            Self::Controller(replica) => replica.apply(meta, payload, answers),
            Self::Partition(replica) => replica.apply(meta, payload, answers),
        }
    }

    fn abandon(pending: GroupPending, fate: Fate) {
        match pending {
            GroupPending::Controller(change) => change.abandon(fate),
            GroupPending::Partition(appending) => appending.abandon(fate),
            GroupPending::Nobody => {}
        }
    }

    fn state(&self) -> Bytes {
        match self {
            Self::Controller(replica) => replica.state(),
            Self::Partition(replica) => replica.state(),
        }
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        match self {
            Self::Controller(replica) => replica.restore(state),
            Self::Partition(replica) => replica.restore(state),
        }
    }

    fn log_is_data(&self) -> bool {
        matches!(self, Self::Partition(_))
    }

    fn on_role(&mut self, _group: GroupId, role: &RoleChange) {
        match self {
            Self::Controller(replica) => replica.on_role(role),
            Self::Partition(replica) => replica.on_role(role),
        }
    }

    fn chore_every(&self) -> Option<Duration> {
        match self {
            Self::Controller(_) => None,
            Self::Partition(replica) => replica.chore_every(),
        }
    }

    fn chore(&mut self, at: &Leading, log: &Log) -> Option<(Draft, GroupPending)> {
        match self {
            Self::Controller(_) => None,
            Self::Partition(replica) => replica.chore(at, log).map(|d| (d, GroupPending::Nobody)),
        }
    }
}

/// What the machines of crate `topics` say of an entry that they do not know, as the host says it.
pub(crate) fn unknown_entry(error: impl std::fmt::Display) -> UnknownEntry {
    UnknownEntry {
        what: error.to_string(),
    }
}
