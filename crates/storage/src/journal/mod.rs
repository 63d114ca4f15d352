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
mod buffer;
mod build;
mod chain;
mod config;
mod core;
mod descriptor;
mod error;
mod file;
mod files;
mod groups;
mod head;
mod holders;
mod inspect;
mod op;
mod open;
mod replayed;
mod scan;
mod state;
mod stats;
mod survey;

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_env::Env;
use trilith_types::{GroupId, LogIndex};

pub(crate) use buffer::AlignedPool;

pub use block::{BLOCK_BYTES, BLOCK_DATA_BYTES, STAMP_BYTES};
pub use config::{FRAMES_IN_FLIGHT_MAX, JournalConfig, JournalConfigError};
pub use error::{JournalFailed, JournalOpenError};
pub use file::{EXTENSION, MAGIC, TORN_EXTENSION, VERSION};
pub use head::{HEAD_BYTES, HEAD_MAGIC};
pub use inspect::{FileInfo, FrameContent, FrameInfo, Inspection, OpInfo, OpKind, inspect};
pub use op::{JournalDone, JournalOp, Mark, Submission};
pub use open::TORN_FILES_MAX;
pub use replayed::{
    DamagedPart, GroupReplay, JournalDamage, JournalTorn, PayloadRef, ReplayEntry, ReplayReset,
    ReplayState, Replayed,
};
pub use stats::{JournalStats, SYNC_BUCKETS, SyncHistogram};

/// Asked for marks: these groups keep the oldest file from being written again.
pub type NeedMarks = Arc<dyn Fn(Vec<GroupId>) + Send + Sync>;

/// Called when answers have been given, after the last of them, by whoever gave them.
pub type OnAnswers = Arc<dyn Fn(AnsweredBy) + Send + Sync>;

/// Who has given answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A thread of the disk, which has done its work.
    Disk,
    /// Somebody who has called the journal and goes on with something else.
    Caller,
}

/// The journal. Clones are handles on one; it has no thread of its own: submitters and
/// completions of the disk do its work.
///
/// Dropped without [`Journal::close`], it ends as by a crash: what is under way is written, and
/// submissions that wait for a file are never answered.
#[derive(Clone)]
pub struct Journal {
    core: Arc<core::Core>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Journal").field(&self.core.dir).finish()
    }
}

impl Journal {
    /// Opens the journal in `dir`, which is made if missing: reads everything, makes what counts
    /// durable again, and begins a new file. Blocks.
    ///
    /// # Errors
    /// See [`JournalOpenError`]. Damage is no error; it is part of [`Replayed`].
    pub fn open(
        env: &Env,
        dir: &Path,
        config: JournalConfig,
    ) -> Result<(Self, Replayed), JournalOpenError> {
        open::open(env, dir, config)
    }

    /// Queues operations of one group; `done` is called when they and all before are durable, or
    /// with the reason why that will not be known. Never waits for the disk, though it may start
    /// a frame, which copies payloads.
    pub fn submit(&self, submission: Submission) {
        self.core.state.lock().submit(submission);
        self.core.work();
    }

    /// The same for several submissions, in order: they share frames as far as there is room.
    pub fn submit_all(&self, submissions: impl IntoIterator<Item = Submission>) {
        {
            let mut state = self.core.state.lock();
            for submission in submissions {
                state.submit(submission);
            }
        }
        self.core.work();
    }

    /// Notes that a group's entries up to `commit` are committed. It goes to disk with later
    /// frames, and nobody is told when: a replay may know less.
    pub fn note_commit(&self, group: GroupId, commit: LogIndex) {
        self.core.state.lock().note_commit(group, commit);
    }

    /// Sets who is asked for marks. The callback is called on any thread that uses the journal
    /// or completes its writes, never while it is locked; for each group named, the host syncs its
    /// segments and submits a [`Mark`], or a [`JournalOp::Forget`]. Asked when more than half of
    /// the files are needed, and again as long as that lasts, now and then.
    pub fn need_marks(&self, callback: NeedMarks) {
        self.core.state.lock().need_marks = Some(callback);
        self.core.work();
    }

    /// Sets who is told that answers were given: what they have set going can be done then, all at
    /// once. The callback is called while nothing is locked, and may use the journal.
    pub fn on_answers(&self, callback: OnAnswers) {
        self.core.state.lock().on_answers = Some(callback);
    }

    /// Lets time pass: writes a seal frame when nothing has come for a while, so that damage to
    /// the last frame is not taken for an unfinished write, asks for marks again, and tries again
    /// to make a file. `now` is the monotonic clock's time.
    pub fn tick(&self, now: Duration) {
        self.core.state.lock().tick(now);
        self.core.work();
    }

    /// How long the oldest frame has been under way, or an operation has waited because files
    /// have run out; `None` when nothing is.
    #[must_use]
    pub fn oldest_unsynced(&self) -> Option<Duration> {
        let now = self.core.now();
        self.core.state.lock().oldest_unsynced(now)
    }

    /// Reads a payload that a replay has found, and checks it.
    ///
    /// # Errors
    /// What the file system answers, `InvalidData` when the bytes are no longer what they were,
    /// or `NotFound` when the file is no longer needed, after a later mark.
    pub fn payload(&self, payload: &PayloadRef) -> io::Result<Bytes> {
        let file = {
            let state = self.core.state.lock();
            let mut live = state.files.live.iter();
            let used = live.find(|used| used.slot == payload.slot);
            used.map(|used| Arc::clone(&used.file))
        };
        match file {
            Some(file) => open::read_payload(&*file, payload),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Writes what is queued, then a last frame that says that the end was clean. Later
    /// submissions get [`JournalFailed::Closed`]. `done` is called when all of it is durable,
    /// or with [`JournalFailed::Closed`], as is who still waits, when there is no space for that.
    pub fn close(&self, done: JournalDone) {
        self.core.state.lock().close(done);
        self.core.work();
    }

    /// Why the journal takes nothing more, if a write has failed.
    #[must_use]
    pub fn failed(&self) -> Option<JournalFailed> {
        self.core.state.lock().failed().cloned()
    }

    /// What it has done and holds.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        self.core.state.lock().stats()
    }
}

/// Takes `bytes` for a file of a journal and for descriptors: the fuzzer's way in.
pub fn fuzz(bytes: &[u8]) {
    if let scan::Identity::Used { salt, number, .. } = scan::identify(bytes) {
        for span in scan::scan(bytes, salt, number) {
            let end = files::position(span.block + span.blocks);
            assert!(
                end <= bytes.len() as u64,
                "a frame past the end was accepted"
            );
        }
    }
    let (count, rest) = bytes
        .split_first()
        .map_or((0, bytes), |(n, rest)| (*n, rest));
    if let Some(found) = descriptor::Descriptor::decode_all(rest, count.into()) {
        assert_eq!(found.len(), usize::from(count), "descriptors were made up");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        block::{BLOCK_BYTES, STAMP_BYTES, Stamp},
        fuzz,
    };

    proptest! {
        #[test]
        fn any_bytes_are_a_file_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..20_000), stamped: bool,
        ) {
            let mut bytes = bytes;
            if stamped {
                let stamp = Stamp { salt: 7, frame: 3, file: 2 };
                for (n, block) in (0..).zip(bytes.chunks_exact_mut(BLOCK_BYTES)) {
                    block[..STAMP_BYTES].copy_from_slice(&stamp.encode(n));
                }
            }
            fuzz(&bytes);
        }
    }
}
