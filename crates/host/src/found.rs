//! What the disk had of groups that are not open yet.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use trilith_storage::{
    journal::{GroupReplay, Replayed},
    votes::{FoundVote, FoundVotes},
};
use trilith_types::GroupId;

/// What the journal and the votes had of each group.
#[derive(Debug)]
pub(crate) struct Found {
    replays: Mutex<BTreeMap<GroupId, GroupReplay>>,
    votes: Mutex<FoundVotes>,
    forgotten: BTreeSet<GroupId>,
    /// For groups that the journal does not know: it may have lost what it knew.
    unknown_suffix: bool,
}

impl Found {
    pub(crate) fn new(replayed: Replayed, votes: FoundVotes) -> Self {
        Self {
            replays: Mutex::new(replayed.groups),
            votes: Mutex::new(votes),
            forgotten: replayed.forgotten,
            unknown_suffix: replayed.unknown_suffix,
        }
    }

    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.replays.lock().keys().copied().collect()
    }

    /// The group is open or gone: what there was of it is not needed again.
    pub(crate) fn forget(&self, group: GroupId) {
        self.replays.lock().remove(&group);
        self.votes.lock().groups.remove(&group);
    }

    /// What there was of a group. It stays until the group is open: an opening that fails must not
    /// make it a new group.
    pub(crate) fn get(&self, group: GroupId) -> (GroupReplay, Option<FoundVote>) {
        let replay = self.replays.lock().get(&group).cloned();
        let vote = self.votes.lock().get(group);
        let is_new = vote.is_none() || self.forgotten.contains(&group);
        let replay = replay.unwrap_or_else(|| GroupReplay {
            // A group that never voted has never had an entry.
            unknown_suffix: self.unknown_suffix && !is_new,
            ..GroupReplay::default()
        });
        (replay, vote)
    }
}
