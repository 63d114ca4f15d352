//! Term and vote of every group of a node, in two mirrored files.
//!
//! Raft's safety rests on a vote that is never forgotten, so it is kept apart from the journal,
//! twice: a copy is written and synced before the other is begun, and an answer waits for both.
//! All groups share the two files, and all that waits is written at once. The latest
//! configuration of each group is kept beside its vote, since it is needed to judge a damaged
//! log.
//!
//! How the bytes lie on disk is described in `docs/format-journal.md`.

mod file;
mod open;
mod slot;
mod state;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use trilith_env::Env;
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, Term};

use crate::file_header::FormatError;

pub use file::{FILE_NAMES, MAGIC, VERSION};
pub use open::inspect;
pub use slot::{CONFIGURATION_BYTES_MAX, SLOT_BYTES, SLOT_MAGIC};

/// What is kept of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoteRecord {
    /// The latest term.
    pub term: Term,
    /// For whom the node voted in it.
    pub voted_for: Option<NodeId>,
    /// The start of the node that wrote it.
    pub incarnation: Incarnation,
    /// The latest configuration of the group and the index of its entry, in the host's encoding,
    /// at most [`CONFIGURATION_BYTES_MAX`] long.
    pub configuration: Option<(LogIndex, Bytes)>,
}

/// A group's vote as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundVote {
    /// It is the last one that was stored.
    Known(VoteRecord),
    /// The vote is known, and the configuration that was stored with it is lost.
    ConfigurationLost(VoteRecord),
    /// Both copies are bad: the node may have promised anything.
    Lost,
}

/// What was found in the files.
#[derive(Clone, Debug, Default)]
pub struct FoundVotes {
    /// The groups that have a slot.
    pub groups: BTreeMap<GroupId, FoundVote>,
    /// Slots whose both copies are so bad that not even their group is known. A group that ought
    /// to have a vote and has none here has lost it then.
    pub lost_slots: u32,
    /// Copies that were bad and have been written again from the other.
    pub repaired: u32,
    /// Both files are missing or empty, and there is a journal, which is made after them: they were
    /// removed, and every vote is lost.
    pub removed: bool,
}

impl FoundVotes {
    /// The vote of a group that this node hosts; `None` when it never stored one. `Lost` when it
    /// is not known and a slot is lost that may have been its.
    #[must_use]
    pub fn get(&self, group: GroupId) -> Option<FoundVote> {
        match self.groups.get(&group) {
            Some(found) => Some(found.clone()),
            None => (self.lost_slots > 0).then_some(FoundVote::Lost),
        }
    }
}

/// Why the files could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum VotesOpenError {
    /// The file system refused.
    #[error("cannot {what} {path}: {}", trilith_env::answer(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What it answered.
        source: std::io::Error,
    },
    /// A file of another kind or of a newer version.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Why a vote is not known to be durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VotesFailed {
    /// A write failed. It is final: the process must stop.
    #[error(
        "a write of the votes failed, so nothing after the last one that succeeded may be relied on; stop this node and see to its disk: {reason}"
    )]
    Write {
        /// What the file system answered.
        reason: String,
    },
    /// There is no space for one more group. Nothing was stored.
    #[error("there is no space for one more vote in {path}: {reason}; free some space")]
    NoSpace {
        /// The first copy.
        path: PathBuf,
        /// What the file system answered.
        reason: String,
    },
    /// The configuration does not fit. Nothing was stored.
    #[error(
        "the configuration of group {group} has {bytes} bytes, and {CONFIGURATION_BYTES_MAX} fit beside a vote"
    )]
    ConfigurationTooLarge {
        /// Whose.
        group: GroupId,
        /// Its length.
        bytes: usize,
    },
}

/// Called once with what became of a vote; on the thread that learnt it, and never while the
/// votes are locked.
pub type VotesDone = Box<dyn FnOnce(Result<(), VotesFailed>) + Send>;

impl VotesOpenError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// The votes of all groups. Clones are handles on the same files.
#[derive(Clone)]
pub struct Votes {
    core: Arc<state::Core>,
}

impl fmt::Debug for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Votes").field(&self.core.path).finish()
    }
}

impl Votes {
    /// Opens the files in `dir`, which is made if missing, and writes every vote that was found
    /// again to both. Blocks.
    ///
    /// # Errors
    /// See [`VotesOpenError`]. Damage is no error; it is part of [`FoundVotes`].
    pub fn open(env: &Env, dir: &Path) -> Result<(Self, FoundVotes), VotesOpenError> {
        open::open(env, dir)
    }

    /// Stores a group's vote; `done` is called when both copies are durable. A later call for
    /// the same group that comes before the first is begun takes its place, and both are told.
    pub fn store(&self, group: GroupId, vote: VoteRecord, done: VotesDone) {
        self.core.store(group, vote, done);
    }

    /// Gives a deleted group's slot free; `done` as for [`Votes::store`].
    pub fn forget(&self, group: GroupId, done: VotesDone) {
        self.core.forget(group, done);
    }

    /// Gives slots free whose both copies are bad, once nobody relies any more on what was in
    /// them: the node has a new identity. `done` as for [`Votes::store`].
    pub fn forget_lost(&self, done: VotesDone) {
        self.core.forget_lost(done);
    }

    /// Why nothing more is stored, if a write has failed.
    #[must_use]
    pub fn failed(&self) -> Option<VotesFailed> {
        self.core.failed()
    }
}

/// Takes `bytes` for the first slot of a file: the fuzzer's way in.
pub fn fuzz(bytes: &[u8]) {
    let mut slot = [0; SLOT_BYTES];
    for (to, from) in slot.iter_mut().zip(bytes) {
        *to = *from;
    }
    if let slot::FoundSlot::Good(found) = slot::Slot::decode(&slot, 0) {
        let again = slot::Slot::decode(&found.encode(0), 0);
        assert_eq!(
            again,
            slot::FoundSlot::Good(found),
            "a slot changed by being written again"
        );
    }
}
