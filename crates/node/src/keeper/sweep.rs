//! What this node has on disk and what its copy of the cluster's state says need not be of the same
//! moment: after a start the state may be older than what was done because of it.
//!
//! A group that the journal knows is hosted again at once, so that a cluster comes up before it has
//! a leader. One that it does not know is either new or was forgotten with its topic in an earlier
//! life, and what was forgotten must not begin anew, without the vote that it gave and the entries
//! that it had. So it waits until the state is known to be as new as this start. Then, too, what is
//! left on disk of deleted topics is removed.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use trilith_env::remove_tree;
use trilith_topics::{controller::CONTROLLER_GROUP, group_id, partition_of};
use trilith_types::{GroupId, PartitionId, TopicId};

use super::{Keeper, Note};
use crate::{
    layout::{groups_dir, parse_replica_dir, replica_dir},
    node::Live,
    partition::PartitionShared,
};

/// How long an answer is waited for, and how soon it is asked again after a refusal.
const ASKS_AGAIN: Duration = Duration::from_millis(200);

/// What is known of how new the cluster's state is, and what waits for that.
#[derive(Default)]
pub(super) struct Currency {
    /// It has everything that was decided before this start.
    is_current: bool,
    asks_at: Option<Duration>,
    /// Groups that the journal knew at this start.
    found: Option<BTreeSet<GroupId>>,
    waiting: Vec<Arc<PartitionShared>>,
    /// Groups that have gone in this life, or are going.
    forgotten: BTreeSet<GroupId>,
}

fn topic(group: GroupId) -> TopicId {
    partition_of(group).0
}

impl Currency {
    /// Whether a replica may be opened now; else it is kept for later.
    pub(super) fn may_open(&mut self, live: &Live, partition: &Arc<PartitionShared>) -> bool {
        let found = || live.host.found_groups().into_iter().collect();
        let found = self.found.get_or_insert_with(found);
        let may = self.is_current || found.contains(&partition.group);
        if !may {
            self.waiting.push(Arc::clone(partition));
        }
        may
    }

    /// Whether a replica that goes has been opened.
    pub(super) fn goes(&mut self, group: GroupId) -> bool {
        let waits = |partition: &Arc<PartitionShared>| partition.group == group;
        if let Some(place) = self.waiting.iter().position(waits) {
            self.waiting.swap_remove(place);
            return false;
        }
        self.forgotten.insert(group);
        true
    }
}

impl Keeper {
    /// Asks how new the state must be, until that is known. Says when it asks again.
    pub(super) fn ask_for_now(&mut self, live: &Live, now: Duration) -> Option<Duration> {
        let currency = &mut self.currency;
        if currency.is_current {
            return None;
        }
        if currency.asks_at.is_none_or(|at| at <= now) {
            currency.asks_at = Some(now + ASKS_AGAIN);
            let keeper = Arc::clone(&self.inner.keeper);
            live.host.read(CONTROLLER_GROUP, move |read| {
                if read.is_ok() {
                    drop(keeper.send(Note::Current));
                }
            });
        }
        currency.asks_at
    }

    /// The state has everything that was decided before this start.
    pub(super) fn is_current(&mut self) {
        self.reconcile_now();
        let Some(live) = self.inner.live.get().cloned() else {
            return;
        };
        if std::mem::replace(&mut self.currency.is_current, true) {
            return;
        }
        for partition in std::mem::take(&mut self.currency.waiting) {
            self.open(&live, &partition);
        }
        self.sweep(&live);
    }

    /// Removes groups whose topics are no more: they were deleted while this node was away, or while
    /// it removed their files and was stopped.
    fn sweep(&mut self, live: &Live) {
        let found: BTreeSet<GroupId> = live.host.found_groups().into_iter().collect();
        let on_disk = self.groups_on_disk();
        let state = self.inner.controller.read();
        let next = state.next_topic_id();
        let is_left = |group: &&GroupId| {
            let (group, topic) = (**group, topic(**group));
            let is_known = group == CONTROLLER_GROUP || state.topic_by_id(topic).is_some();
            // A topic id that was given and is not there is never given again.
            !is_known && topic < next && !self.currency.forgotten.contains(&group)
        };
        let left: Vec<GroupId> = found.union(&on_disk).filter(is_left).copied().collect();
        drop(state);
        for group in left {
            tracing::info!(%group, "removing what is left of a deleted topic");
            if found.contains(&group) {
                self.forget(live, group);
            } else {
                // The journal has forgotten it, or never heard of it.
                self.remove_files(group);
            }
        }
    }

    /// Forgets a group, and removes its files once that is durable. The host does so itself only with
    /// those of a group that it has opened: one that could not be opened, or not yet, has some too.
    pub(super) fn forget(&self, live: &Live, group: GroupId) {
        let keeper = Arc::clone(&self.inner.keeper);
        live.host
            .forget_group(group, move || drop(keeper.send(Note::Forgotten(group))));
    }

    /// The groups that have a directory.
    fn groups_on_disk(&self) -> BTreeSet<GroupId> {
        let dir = groups_dir(&self.inner.config.data);
        let entries = self.inner.env.disk.list(&dir).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(dir = %dir.display(), %error, "what is left of deleted topics stays");
            }
            Vec::new()
        });
        let dirs = entries.iter().filter(|entry| entry.is_dir);
        dirs.filter_map(|entry| parse_replica_dir(&entry.path))
            .map(|(topic, partition)| group_id(topic, partition))
            .collect()
    }

    /// The host knows where a group's files are only once it was opened.
    pub(super) fn remove_files(&self, group: GroupId) {
        let (topic, partition) = (topic(group), PartitionId(group.0 as u32));
        let dir = replica_dir(&self.inner.config.data, topic, partition);
        if let Err(error) = remove_tree(&*self.inner.env.disk, &dir) {
            tracing::warn!(%group, %error, "files of a deleted topic stay until the next start");
        }
    }
}
