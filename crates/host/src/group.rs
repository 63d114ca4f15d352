//! What everybody may see of a hosted group, from any thread.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use trilith_raft::{Configuration, Role};
use trilith_storage::LogReader;
use trilith_types::{GroupId, LogIndex, NodeId, Offset, Term};

use crate::waiters::{TooManyWaiters, Wait, Waiters};

/// A hosted group as seen from outside its shard.
#[derive(Debug)]
pub struct Group {
    id: GroupId,
    reader: ArcSwap<LogReader>,
    waiters: Arc<Waiters>,
    view: RwLock<GroupView>,
    commit: AtomicU64,
    applied: AtomicU64,
}

/// A group's role and members, as they were last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// What this node is in it. A leader says [`Role::Leader`] here once it takes requests.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader, when it is known.
    pub leader: Option<NodeId>,
    /// The members.
    pub members: Arc<Configuration>,
    /// Why the replica has stopped, if it has.
    pub stopped: Option<Arc<str>>,
}

impl Group {
    pub(crate) fn new(id: GroupId, reader: LogReader, view: GroupView) -> Arc<Self> {
        let end = reader.visible_upto();
        Arc::new(Self {
            id,
            reader: ArcSwap::from_pointee(reader),
            waiters: Waiters::new(end),
            view: RwLock::new(view),
            commit: AtomicU64::new(0),
            applied: AtomicU64::new(0),
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// A handle for reading its log. A snapshot that is installed brings another log: ask again
    /// when a read finds the log's files gone.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::clone(&self.reader.load())
    }

    /// Its role and members.
    #[must_use]
    pub fn view(&self) -> GroupView {
        self.view.read().clone()
    }

    /// Up to here entries are committed, as far as this node knows.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        LogIndex(self.commit.load(Ordering::Acquire))
    }

    /// Up to here entries are applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.applied.load(Ordering::Acquire))
    }

    /// Whether it is hosted no longer.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.waiters.is_gone()
    }

    /// Calls `callback` once what readers see goes past `seen`, at once when it does already, or
    /// when the group goes away.
    ///
    /// # Errors
    /// When [`GROUP_WAITERS_MAX`](crate::GROUP_WAITERS_MAX) wait already.
    pub fn on_advance(
        &self,
        seen: Offset,
        callback: impl FnOnce() + Send + 'static,
    ) -> Result<Wait, TooManyWaiters> {
        self.waiters.wait(seen, Box::new(callback))
    }

    /// Calls everybody who waits: there is something else than records to know, such as that this
    /// node leads no longer.
    pub fn wake(&self) {
        self.waiters.wake();
    }

    pub(crate) fn set_reader(&self, reader: LogReader) {
        self.reader.store(Arc::new(reader));
    }

    pub(crate) fn advance(&self, end: Offset) {
        self.waiters.advance(end);
    }

    pub(crate) fn close(&self) {
        self.waiters.close();
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut GroupView)) {
        change(&mut self.view.write());
    }

    pub(crate) fn set_commit(&self, index: LogIndex) {
        self.commit.store(index.0, Ordering::Release);
    }

    pub(crate) fn set_applied(&self, index: LogIndex) {
        self.applied.store(index.0, Ordering::Release);
    }
}
