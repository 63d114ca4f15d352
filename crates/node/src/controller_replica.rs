//! The controller's replica: the cluster's own state, changed by commands.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use trilith_host::{Decision, Draft, Effects, Fate, Refusal, StateError, UnknownEntry};
use trilith_raft::{Role, RoleChange};
use trilith_topics::controller::{Controller, ControllerCommand, Outcome};
use trilith_types::{EntryKind, EntryMeta, NodeId, TimestampMs};

use super::{
    ControlError,
    book::Book,
    keeper::Note,
    machine::{GroupPending, unknown_entry},
};
use crate::inbox::Inbox;

/// Called once with what became of a command.
pub(crate) type Answer = Box<dyn FnOnce(Result<Outcome, ControlError>) + Send>;

/// A command on its way into the log, or in it.
pub(crate) struct Change {
    pub(crate) command: ControllerCommand,
    pub(crate) book: Arc<Book>,
    pub(crate) answer: Answer,
}

impl Change {
    /// Nothing was changed.
    pub(crate) fn refuse(self, why: Refusal) {
        let reason = why.to_string();
        let error = match why {
            Refusal::NotLeader { leader, .. } => self.not_leader(leader),
            Refusal::Transferring { to } => self.not_leader(Some(to)),
            Refusal::UnknownGroup => self.not_leader(None),
            Refusal::TooMuchUncommitted { .. } | Refusal::TooManyRequests { .. } => {
                ControlError::Overloaded
            }
            Refusal::OutOfFiles => ControlError::OutOfFiles { reason },
            Refusal::DiskFull | Refusal::TooLarge { .. } => ControlError::DiskFull { reason },
            Refusal::ShuttingDown => ControlError::ShuttingDown,
            Refusal::Stopped { reason } => ControlError::Stopped { reason },
        };
        (self.answer)(Err(error));
    }

    pub(crate) fn abandon(self, fate: Fate) {
        let error = match fate {
            Fate::NotStored => self.not_leader(None),
            Fate::Unknown => ControlError::OutcomeUnknown,
        };
        (self.answer)(Err(error));
    }

    fn not_leader(&self, leader: Option<NodeId>) -> ControlError {
        let leader = leader.map(|node| self.book.leader(node));
        ControlError::NotLeader { leader }
    }
}

/// The cluster's state as applied here, for everybody on this node.
#[derive(Debug, Default)]
pub(crate) struct ControllerShared {
    state: RwLock<Controller>,
    /// Counts the entries applied, and states restored.
    version: AtomicU64,
    /// Whether the keeper was told of a change that it has not looked at yet.
    is_told: AtomicBool,
    route: Mutex<(Option<NodeId>, bool)>,
}

impl ControllerShared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Controller> {
        self.state.read()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The keeper looks now: it wants to be told of what comes after.
    pub(crate) fn looked_at(&self) {
        self.is_told.store(false, Ordering::Release);
    }

    /// Who leads the controller group, as far as is known here.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.route.lock().0
    }

    /// Whether this node leads it.
    pub(crate) fn leads(&self) -> bool {
        self.route.lock().1
    }
}

/// The machine, with those who want to know.
pub(crate) struct ControllerReplica {
    shared: Arc<ControllerShared>,
    keeper: Arc<Inbox<Note>>,
}

impl ControllerReplica {
    pub(crate) const fn new(shared: Arc<ControllerShared>, keeper: Arc<Inbox<Note>>) -> Self {
        Self { shared, keeper }
    }

    /// Every command goes into the log; whether it is refused is found when it is applied, the
    /// same on every replica.
    pub(crate) fn decide(change: Change) -> Decision<GroupPending> {
        Decision::Append {
            draft: Draft {
                kind: EntryKind::COMMAND,
                records: 0,
                max_timestamp: TimestampMs::MIN,
                payload: change.command.encode().into(),
            },
            pending: GroupPending::Controller(change),
        }
    }

    pub(crate) fn apply(
        &self,
        meta: &EntryMeta,
        payload: &Bytes,
        answers: &mut dyn Iterator<Item = GroupPending>,
    ) -> Result<Effects, UnknownEntry> {
        if meta.kind == EntryKind::LOST {
            let what = "a command of the cluster's own state is lost, and this node has the only \
                        copy of it: what topics there are cannot be told. Put a backup of the data \
                        directory in its place";
            return Err(unknown_entry(what.to_owned()));
        }
        if meta.kind != EntryKind::COMMAND {
            let what = format!("entry {} of the controller is a {}", meta.index, meta.kind);
            return Err(unknown_entry(what));
        }
        let outcome = self
            .shared
            .state
            .write()
            .apply(payload)
            .map_err(unknown_entry)?;
        self.changed();
        // Nobody is ever attached to another's command: one waits at most.
        if let Some(GroupPending::Controller(change)) = answers.next() {
            // The keeper answers, once this node serves what was made.
            let note = Note::Outcome(outcome.map_err(ControlError::from), change.answer);
            if let Err(Note::Outcome(outcome, answer)) = self.keeper.send(note) {
                answer(outcome);
            }
        }
        Ok(Effects::default())
    }

    pub(crate) fn state(&self) -> Bytes {
        self.shared.state.read().state()
    }

    pub(crate) fn restore(&self, state: &[u8]) -> Result<(), StateError> {
        let what = |error: trilith_topics::StateError| StateError {
            what: error.to_string(),
        };
        *self.shared.state.write() = Controller::restore(state).map_err(what)?;
        self.changed();
        Ok(())
    }

    pub(crate) fn on_role(&self, role: &RoleChange) {
        *self.shared.route.lock() = (role.leader, role.role == Role::Leader);
        drop(self.keeper.send(Note::Look));
    }

    fn changed(&self) {
        self.shared.version.fetch_add(1, Ordering::AcqRel);
        if !self.shared.is_told.swap(true, Ordering::AcqRel) {
            drop(self.keeper.send(Note::Look));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// The want of files passes when some are closed; it was told as too many requests, which says
    /// to a client that it asks too much.
    #[test]
    fn a_command_refused_for_want_of_files_says_so() {
        let (tell, told) = mpsc::channel();
        let change = Change {
            command: ControllerCommand::RaiseFeatureLevel { level: 1 },
            book: Arc::default(),
            answer: Box::new(move |result| tell.send(result).unwrap()),
        };
        change.refuse(Refusal::OutOfFiles);
        let Err(ControlError::OutOfFiles { reason }) = told.recv().unwrap() else {
            panic!("another error");
        };
        assert!(reason.contains("ulimit -n"), "{reason}");
    }
}
