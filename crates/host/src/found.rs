//! What the disk had of groups that are not open yet.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use trilith_storage::{
    journal::{GroupReplay, Replayed},
    votes::{FoundVote, FoundVotes},
};
use trilith_types::GroupId;

/// What the journal and the votes had of each group, taken out as groups are opened.
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

    /// What there was of a group; each is taken once.
    pub(crate) fn take(&self, group: GroupId) -> (GroupReplay, Option<FoundVote>) {
        let replay = self.replays.lock().remove(&group);
        let mut votes = self.votes.lock();
        let vote = votes.get(group);
        votes.groups.remove(&group);
        let is_new = vote.is_none() || self.forgotten.contains(&group);
        let replay = replay.unwrap_or_else(|| GroupReplay {
            // A group that never voted has never had an entry.
            unknown_suffix: self.unknown_suffix && !is_new,
            ..GroupReplay::default()
        });
        (replay, vote)
    }
}
