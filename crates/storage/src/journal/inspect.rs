//! Looks at a journal without changing it.

use std::path::{Path, PathBuf};

use trilith_env::{Disk, OpenMode};
use trilith_types::{EntryKind, GroupId, LogIndex, Term};

use super::{
    JournalDamage, JournalOpenError,
    block::BLOCK_BYTES,
    chain::Link,
    descriptor::{Descriptor, What},
    file,
    files::position,
    head::{FLAG_CLEAN, FLAG_FIRST, FLAG_SEAL},
    scan::{Decoded, FirstBlock},
    survey::Survey,
};

/// What is in a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Its files, those that are needed first and in the order of their use.
    pub files: Vec<FileInfo>,
    /// The frames that count, in order.
    pub frames: Vec<FrameInfo>,
    /// Frames behind the end: unfinished writes, which the next start will cut off.
    pub unfinished: Vec<FrameInfo>,
    /// What was stored and cannot be read.
    pub damage: Vec<JournalDamage>,
    /// Whether the journal was closed.
    pub clean: bool,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Where it is.
    pub path: PathBuf,
    /// The number of its use; 0 when it was never used.
    pub number: u32,
    /// Whether anything in it may be needed.
    pub live: bool,
    /// Whether its header is whole.
    pub header_good: bool,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Its number.
    pub frame: u64,
    /// The file, when it is known.
    pub path: Option<PathBuf>,
    /// Where it begins there.
    pub position: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// What is in it, unless that cannot be read.
    pub content: Option<FrameContent>,
}

/// What is in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameContent {
    /// Every frame up to this one was durable when it was begun.
    pub durable_upto: u64,
    /// It only says that everything before it is durable.
    pub seal: bool,
    /// The journal was closed after it.
    pub clean: bool,
    /// The first of a file, with the marks of all groups.
    pub first: bool,
    /// Its operations.
    pub ops: Vec<OpInfo>,
}

/// One operation in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpInfo {
    /// Whose.
    pub group: GroupId,
    /// What it is.
    pub what: OpKind,
    /// Bytes of payload or state.
    pub bytes: u32,
    /// Whether these are good.
    pub intact: bool,
}

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// An entry.
    Append {
        /// Its index.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// What it is.
        kind: EntryKind,
    },
    /// Entries from this index on go.
    Truncate(LogIndex),
    /// Entries up to this index are synced in segments.
    Mark {
        /// The index.
        index: LogIndex,
        /// A copy at the head of a file.
        carried: bool,
    },
    /// The log starts anew with this index.
    Reset(LogIndex),
    /// The group is deleted.
    Forget,
    /// Entries up to this index are committed.
    Commit(LogIndex),
}

/// Reads the journal in `dir`. A journal that is being written shows its last frames as
/// unfinished or not at all.
///
/// # Errors
/// As for opening it.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<Inspection, JournalOpenError> {
    let survey = Survey::read(disk, dir, OpenMode::ReadOnly)?;
    let info = |link| frame_info(&survey, link);
    let used = survey.files.iter().map(|used| FileInfo {
        path: used.path.clone(),
        number: used.number,
        live: true,
        header_good: matches!(used.header, FirstBlock::Good { .. }),
    });
    let idle = survey.idle.iter().map(|idle| FileInfo {
        path: file::path(dir, idle.slot),
        number: idle.number,
        live: false,
        header_good: true,
    });
    Ok(Inspection {
        files: used.chain(idle).collect(),
        frames: survey.chain.links.iter().map(info).collect(),
        unfinished: survey.chain.cut.iter().map(info).collect(),
        damage: survey.damage.clone(),
        clean: survey.clean,
    })
}

fn frame_info(survey: &Survey, link: &Link) -> FrameInfo {
    let file = link.place.and_then(|place| survey.files.get(place.file));
    let place = link
        .place
        .map_or((0, 0), |place| (place.block, place.blocks));
    let content = link.scanned.as_ref().and_then(|frame| {
        let Decoded::Good(descriptors) = &frame.descriptors else {
            return None;
        };
        let ops = descriptors.iter().zip(&frame.intact);
        Some(FrameContent {
            durable_upto: frame.head.durable_upto,
            seal: frame.head.has(FLAG_SEAL),
            clean: frame.head.has(FLAG_CLEAN),
            first: frame.head.has(FLAG_FIRST),
            ops: ops
                .map(|(descriptor, &intact)| op_info(descriptor, intact))
                .collect(),
        })
    });
    FrameInfo {
        frame: link.frame,
        path: file.map(|file| file.path.clone()),
        position: position(place.0),
        bytes: u64::from(place.1) * BLOCK_BYTES as u64,
        content,
    }
}

fn op_info(descriptor: &Descriptor, intact: bool) -> OpInfo {
    let what = match &descriptor.what {
        What::Append { meta, .. } => OpKind::Append {
            index: meta.index,
            term: meta.term,
            kind: meta.kind,
        },
        What::Truncate { from } => OpKind::Truncate(*from),
        What::Mark { mark, carried, .. } => OpKind::Mark {
            index: mark.index,
            carried: *carried,
        },
        What::Reset(reset) => OpKind::Reset(reset.next_index),
        What::Forget => OpKind::Forget,
        What::Commit(index) => OpKind::Commit(*index),
    };
    OpInfo {
        group: descriptor.group,
        what,
        bytes: descriptor.body().map_or(0, |body| body.len),
        intact,
    }
}
