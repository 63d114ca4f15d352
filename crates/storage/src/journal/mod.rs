//! The journal: one write-ahead stream for all groups of a node.
//!
//! Each group's log lies in segments of its own, which are synced in the background. What makes
//! an entry durable is the journal: everything that waits, of all groups, goes into one *frame*
//! that is written at once, and a frame is started as soon as there is room among those that are
//! being written. So one wait for the disk serves every group.
//!
//! Every 4 KiB block of a frame carries the journal's salt, the file's and the frame's number at
//! both ends, so that an unfinished write can be told from damage. What a group has made durable
//! in its segments it says by a [`Mark`], and marks go from file to file, so that old files are
//! written again.
//!
//! How the bytes lie on disk is described in `docs/format-journal.md`, with the reasons in
//! `docs/adr/0005-journal.md`.

mod block;
mod config;
mod error;
mod op;
mod replayed;
mod stats;

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_env::Env;
use trilith_types::{GroupId, LogIndex};

pub use block::{BLOCK_BYTES, BLOCK_DATA_BYTES, STAMP_BYTES};
pub use config::{FRAMES_IN_FLIGHT_MAX, JournalConfig, JournalConfigError};
pub use error::{JournalFailed, JournalOpenError};
pub use op::{JournalDone, JournalOp, Mark, Submission};
pub use replayed::{
    DamagedPart, GroupReplay, JournalDamage, JournalTorn, OutOfLine, PayloadRef, ReplayEntry,
    ReplayReset, ReplayState, Replayed,
};
pub use stats::{JournalStats, SYNC_BUCKETS, SyncHistogram};

/// Asked for marks: these groups keep the oldest file from being written again.
pub type NeedMarks = Arc<dyn Fn(Vec<GroupId>) + Send + Sync>;

/// The journal. Clones are handles on one; it has no thread of its own: submitters and
/// completions of the disk do its work.
#[derive(Clone)]
pub struct Journal {}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

impl Journal {
    /// Opens the journal in `dir`, which is made if missing: reads everything, makes what counts
    /// durable again, and begins a new file. Blocks.
    ///
    /// # Errors
    /// See [`JournalOpenError`]. Damage is no error; it is part of [`Replayed`].
    pub fn open(
        _env: &Env,
        _dir: &Path,
        _config: JournalConfig,
    ) -> Result<(Self, Replayed), JournalOpenError> {
        unimplemented!()
    }

    /// Queues operations of one group; `done` is called when they and all before are durable.
    /// Never waits for the disk, though it may start a frame, which copies payloads.
    ///
    /// # Errors
    /// None here: `done` is told, at once when nothing of the submission was taken.
    pub fn submit(&self, _submission: Submission) {
        unimplemented!()
    }

    /// Notes that a group's entries up to `commit` are committed. It goes to disk with later
    /// frames, and nobody is told when: a replay may know less.
    pub fn note_commit(&self, _group: GroupId, _commit: LogIndex) {
        unimplemented!()
    }

    /// Sets who is asked for marks. The callback is called on any thread that uses the journal
    /// or completes its writes, never while it is locked; for each group named, the host syncs its
    /// segments and submits a [`Mark`], or a [`JournalOp::Forget`]. Asked again as long as the
    /// need lasts, each time a frame is down that changed nothing about it.
    pub fn need_marks(&self, _callback: NeedMarks) {
        unimplemented!()
    }

    /// Lets time pass: writes a seal frame when nothing has come for a while, so that damage to
    /// the last frame is not taken for an unfinished write. `now` is the monotonic clock's time.
    pub fn tick(&self, _now: Duration) {
        unimplemented!()
    }

    /// How long the oldest frame has been under way, or an operation has waited because files
    /// have run out; `None` when nothing is.
    #[must_use]
    pub fn oldest_unsynced(&self) -> Option<Duration> {
        unimplemented!()
    }

    /// Reads a payload that a replay has found, and checks it.
    ///
    /// # Errors
    /// What the file system answers, or `InvalidData` when the bytes are no longer what they
    /// were.
    pub fn payload(&self, _payload: &PayloadRef) -> io::Result<Bytes> {
        unimplemented!()
    }

    /// Writes what is queued, then a last frame that says that the end was clean. Later
    /// submissions get [`JournalFailed::Closed`]. `done` is called when all of it is durable.
    pub fn close(&self, _done: JournalDone) {
        unimplemented!()
    }

    /// Why the journal takes nothing more, if a write has failed.
    #[must_use]
    pub fn failed(&self) -> Option<JournalFailed> {
        unimplemented!()
    }

    /// What it has done and holds.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        unimplemented!()
    }
}
