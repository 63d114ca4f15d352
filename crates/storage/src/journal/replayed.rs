//! What a journal gives back when it is opened.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use trilith_types::{EntryMeta, GroupId, LogIndex, Offset, Term};

use super::Mark;

/// Everything that was found. What counts in it has been made durable again before it is given.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Every group that the journal knows and that was not deleted.
    pub groups: BTreeMap<GroupId, GroupReplay>,
    /// Groups whose deletion the journal still knows; what is left of them may go.
    pub forgotten: BTreeSet<GroupId>,
    /// Bytes at the end that were an unfinished write: cut off, kept, never acknowledged.
    pub torn: Vec<JournalTorn>,
    /// What was stored and cannot be read.
    pub damage: Vec<JournalDamage>,
    /// A frame is lost and nothing says what was in it. Each group that may have had something
    /// in it says so for itself; this speaks for groups that are not in `groups`.
    pub unknown_suffix: bool,
    /// The process did not close the journal.
    pub unclean: bool,
    /// Whether writes bypass the page cache; see
    /// [`File::durable_writes`](trilith_env::File::durable_writes).
    pub direct: bool,
}

/// What the journal knows of one group.
#[derive(Clone, Debug, Default)]
pub struct GroupReplay {
    /// What is durable outside of the journal; `None` when it never was told.
    pub mark: Option<Mark>,
    /// After the mark, or without one, the log was started anew.
    pub reset: Option<ReplayReset>,
    /// The mark's state was damaged: `mark` has none.
    pub state_lost: bool,
    /// Entries from this index on are no longer part of what `mark` speaks of: cut the log there
    /// before `entries` are appended. Only set when it lies at or below the mark's index.
    pub truncated: Option<LogIndex>,
    /// The log's entries after the mark and these cuts, dense and ascending: each goes back into
    /// the segments.
    pub entries: Vec<ReplayEntry>,
    /// The highest index that was known to be committed. It may lie past the last entry when
    /// entries were lost.
    pub commit: LogIndex,
    /// The log may once have gone on past its last entry.
    pub unknown_suffix: bool,
}

impl GroupReplay {
    /// The identity of the last entry that the journal knows: index and term.
    #[must_use]
    pub fn last(&self) -> Option<(LogIndex, Term)> {
        if let Some(entry) = self.entries.last() {
            return Some((entry.meta.index, entry.meta.term));
        }
        let mark = self.mark.as_ref().map(|mark| (mark.index, mark.last_term));
        self.reset.map(|r| (r.next_index.prev(), r.term)).or(mark)
    }
}

/// The log was started anew, and nothing has been synced since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayReset {
    /// The index of the first entry to come.
    pub next_index: LogIndex,
    /// The first offset to come.
    pub next_offset: Offset,
    /// The term of the entry before it.
    pub term: Term,
}

/// One entry as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayEntry {
    /// Everything but the payload. Of an entry whose descriptor was lost, only index and term
    /// are true.
    pub meta: EntryMeta,
    /// Where the payload lies. Read it with [`Journal::payload`](super::Journal::payload) before
    /// the group's next mark is submitted.
    pub payload: PayloadRef,
    /// Whether it can be read.
    pub state: ReplayState,
}

/// Whether a payload can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// Its checksum was right.
    Intact,
    /// The identity is known, the bytes are lost: a peer has them.
    Damaged,
}

/// Where a payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadRef {
    /// The journal file's number in the directory.
    pub(super) slot: u32,
    /// The first block of its frame.
    pub(super) block: u32,
    /// Where it begins in the frame, stamps not counted.
    pub(super) position: u32,
    /// Its length.
    pub(super) len: u32,
    /// Its CRC-32C.
    pub(super) crc: u32,
}

impl PayloadRef {
    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// An unfinished write that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalTorn {
    /// The journal file.
    pub path: PathBuf,
    /// Where it began.
    pub position: u64,
    /// How many bytes of it were found.
    pub bytes: u64,
    /// Where they are kept; `None` when there was no space for that. They stay where they are
    /// until the file is written again.
    pub kept_in: Option<PathBuf>,
}

/// A part of the journal that was durable and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalDamage {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub position: u64,
    /// Where it ends.
    pub position_end: u64,
    /// The frame, when that is known.
    pub frame: Option<u64>,
    /// What it took.
    pub what: DamagedPart,
}

/// What damage has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamagedPart {
    /// A file's header. Everything it said is known from the frames: nothing is lost.
    FileHeader,
    /// Bytes that are checked and not needed: nothing is lost.
    Nothing,
    /// A frame's header or descriptors; the next frame says what was in it.
    Descriptors,
    /// The payloads of so many entries that are still needed.
    Payloads(u32),
    /// A frame, and nothing says what was in it.
    Frame,
}

impl fmt::Display for JournalDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            position,
            position_end,
            ..
        } = self;
        write!(
            f,
            "{} is damaged at bytes {position}..{position_end}: ",
            path.display()
        )?;
        match self.what {
            DamagedPart::FileHeader => f.write_str("the file's header; nothing is lost"),
            DamagedPart::Nothing => f.write_str("nothing is lost"),
            DamagedPart::Descriptors => {
                f.write_str("a frame's descriptors; the next frame has a copy")
            }
            DamagedPart::Payloads(n) => write!(f, "the payloads of {n} entries"),
            DamagedPart::Frame => f.write_str("a whole frame, and nothing says what was in it"),
        }
    }
}
