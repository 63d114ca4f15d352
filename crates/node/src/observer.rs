//! What the host tells of: roles and alarms.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use trilith_host::{Alarm, Observer, Outbound};
use trilith_peer::NodeMessage;
use trilith_raft::{Configuration, RoleChange};
use trilith_types::{GroupId, NodeId};

use super::{keeper::Note, node::Inner};
use crate::inbox::Inbox;

/// What an operator should know of, as it is now.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    full: BTreeMap<GroupId, ()>,
    short_of_files: BTreeMap<GroupId, ()>,
    stopped: BTreeMap<GroupId, String>,
    damaged_entries: u64,
    repaired_entries: u64,
    lost_logs: u64,
    fatal: Option<String>,
}

/// The alarms at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmCounts {
    /// Groups whose log finds no room on the disk.
    pub disk_full_groups: usize,
    /// Groups that may open no files to write to.
    pub out_of_files_groups: usize,
    /// Replicas that have stopped, and why: at most ten of them.
    pub stopped: Vec<(GroupId, String)>,
    /// How many there are.
    pub stopped_groups: usize,
    /// Entries that were found damaged since the start.
    pub damaged_entries: u64,
    /// Of those, the ones that were written again.
    pub repaired_entries: u64,
    /// Logs that could not be opened since the start.
    pub lost_logs: u64,
    /// Why the node can promise nothing more, if so.
    pub fatal: Option<String>,
}

impl Alarms {
    pub(crate) fn counts(&self) -> AlarmCounts {
        const SHOWN_MAX: usize = 10;
        let known = self.0.lock();
        let stopped = known.stopped.iter().take(SHOWN_MAX);
        AlarmCounts {
            disk_full_groups: known.full.len(),
            out_of_files_groups: known.short_of_files.len(),
            stopped: stopped.map(|(group, why)| (*group, why.clone())).collect(),
            stopped_groups: known.stopped.len(),
            damaged_entries: known.damaged_entries,
            repaired_entries: known.repaired_entries,
            lost_logs: known.lost_logs,
            fatal: known.fatal.clone(),
        }
    }

    /// Whether there is a group here that could take no entries as its leader.
    pub(crate) fn lacks_room(&self) -> bool {
        let known = self.0.lock();
        !known.full.is_empty() || !known.short_of_files.is_empty()
    }

    fn take(&self, group: GroupId, alarm: &Alarm) {
        let mut known = self.0.lock();
        let entries = |first: trilith_types::LogIndex, last: trilith_types::LogIndex| {
            last.since(first).map_or(0, |n| n + 1)
        };
        match alarm {
            Alarm::DiskFull => drop(known.full.insert(group, ())),
            Alarm::OutOfFiles => drop(known.short_of_files.insert(group, ())),
            Alarm::DiskHasRoom => {
                known.full.remove(&group);
                known.short_of_files.remove(&group);
            }
            Alarm::Damaged { first, last } => known.damaged_entries += entries(*first, *last),
            Alarm::Repaired { entries, .. } => known.repaired_entries += entries,
            Alarm::LogLost { .. } => known.lost_logs += 1,
            Alarm::Stopped { reason } => drop(known.stopped.insert(group, reason.clone())),
        }
    }

    /// A replica is out of service.
    pub(crate) fn stopped(&self, group: GroupId, why: String) {
        self.0.lock().stopped.insert(group, why);
    }

    pub(crate) fn forget(&self, group: GroupId) {
        let mut known = self.0.lock();
        known.full.remove(&group);
        known.short_of_files.remove(&group);
        known.stopped.remove(&group);
    }
}

/// The way to other nodes of a node that has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Outbound for NoPeers {
    fn send(&self, _to: NodeId, _message: NodeMessage) {}

    fn flush(&self) {}

    fn has_room(&self, _to: NodeId) -> bool {
        true
    }
}

/// Hands on what the host tells.
pub(crate) struct Ears {
    pub(crate) keeper: Arc<Inbox<Note>>,
    /// The host outlives nothing that it tells of.
    pub(crate) inner: Weak<Inner>,
}

impl Observer for Ears {
    fn role(&self, _group: GroupId, _role: &RoleChange, _members: &Configuration) {
        drop(self.keeper.send(Note::Led));
    }

    fn alarm(&self, group: GroupId, alarm: &Alarm) {
        match alarm {
            Alarm::DiskFull => tracing::error!(%group, "the disk is full: no appends"),
            Alarm::OutOfFiles => {
                tracing::error!(%group, "no more files may be opened (ulimit -n): appends wait");
            }
            Alarm::DiskHasRoom => tracing::info!(%group, "there is room again: appends go on"),
            Alarm::Damaged { first, last } => {
                tracing::error!(%group, %first, %last, "damaged entries: fetched from other nodes");
            }
            Alarm::Repaired {
                first,
                last,
                entries,
            } => {
                tracing::info!(%group, %first, %last, entries, "damaged entries were written again");
            }
            Alarm::LogLost { reason } => {
                tracing::error!(%group, reason, "a log is lost: it comes from another node");
            }
            // The keeper says it, with the topic's name.
            Alarm::Stopped { reason } => {
                drop(self.keeper.send(Note::Stopped(group, reason.clone())));
            }
        }
        if let Some(inner) = self.inner.upgrade() {
            inner.alarms.take(group, alarm);
        }
    }

    fn fatal(&self, reason: &str) {
        tracing::error!(
            reason,
            "the node can promise nothing more; it must be restarted"
        );
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        inner.alarms.0.lock().fatal = Some(reason.to_owned());
        if let Some(tell) = inner.on_fatal.get() {
            tell(reason);
        }
    }
}
