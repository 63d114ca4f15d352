//! Bugs that can be planted in a node, to show that the checkers find them. Most of them sit in
//! the disk that the node is given: a disk that says "done" too early is a node that does not
//! wait. The others sit in the machine, and in how a client's wish is carried to it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use trilith_env::{
    Completion, DirEntry, Disk, DurableWrites, File, FileLock, LockError, Mapping, OpenMode, Space,
    sim::{Failure, Op, SimDisk},
};
pub use trilith_types::planted::Bug;

use super::settings::DATA;

/// A bug of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeBug {
    /// The journal reports a frame before it is on disk.
    JournalNotSynced,
    /// Votes are answered before they are on disk.
    VotesNotSynced,
    /// A mark says that segments are on disk, and they were never synced.
    SegmentsNotSynced,
    /// Directories are never synced.
    NamesNotSynced,
    /// Pages that read back clean after a failed sync are trusted.
    FailedSyncTrusted,
    /// A node starts without the votes that it had.
    VotesForgotten,
    /// A node starts with the votes that it had at its first start.
    OldVotesRestored,
    /// A file of the journal is used again while it still holds what is nowhere else.
    JournalRecycledEarly,
    /// A node starts with the manifests that its logs had at its second start.
    OldManifestsRestored,
    /// In the code of the node.
    Code(Bug),
}

impl NodeBug {
    /// Every bug.
    pub const ALL: [Self; 29] = [
        Self::JournalNotSynced,
        Self::VotesNotSynced,
        Self::SegmentsNotSynced,
        Self::NamesNotSynced,
        Self::FailedSyncTrusted,
        Self::VotesForgotten,
        Self::OldVotesRestored,
        Self::JournalRecycledEarly,
        Self::OldManifestsRestored,
        Self::Code(Bug::StateForgetsProducers),
        Self::Code(Bug::AppliedTwice),
        Self::Code(Bug::AnsweredEarly),
        Self::Code(Bug::UnknownAsRefused),
        Self::Code(Bug::ReadUnconfirmed),
        Self::Code(Bug::DuplicateBeforeCommit),
        Self::Code(Bug::TailNotRebuilt),
        Self::Code(Bug::GapTaken),
        Self::Code(Bug::VisibleBeforeCommit),
        Self::Code(Bug::StrangersLetIn),
        Self::Code(Bug::EveryStartCounts),
        Self::Code(Bug::LivesAlike),
        Self::Code(Bug::LeadersStay),
        Self::Code(Bug::ProducerIdsTwice),
        Self::Code(Bug::UndecidedStays),
        Self::Code(Bug::GapUnsaid),
        Self::Code(Bug::RetentionTakesMore),
        Self::Code(Bug::TopicIdsTwice),
        Self::Code(Bug::DeletedStays),
        Self::Code(Bug::DamageServed),
    ];

    /// The bug that is in the code, if it is there.
    #[must_use]
    pub const fn in_code(self) -> Option<Bug> {
        match self {
            Self::Code(bug) => Some(bug),
            _ => None,
        }
    }
}

/// Where the journal and the votes are.
const HOST_DIR: &str = DATA;

/// Of the durable writes of a node that believes every one of them, each so many fails.
const FAILS_EVERY: u64 = 4;

/// Where the logs are.
const GROUPS_DIR: &str = "/node/groups";

/// Copies of votes or manifests as a node had them at an earlier start.
#[derive(Clone, Debug, Default)]
pub(super) struct OldFiles(Vec<(PathBuf, Vec<u8>)>);

fn is_journal(path: &Path) -> bool {
    path.starts_with(HOST_DIR) && path.extension().is_some_and(|is| is == "journal")
}

fn is_vote(path: &Path) -> bool {
    path.parent() == Some(Path::new(HOST_DIR)) && path.file_stem().is_some_and(|is| is == "votes")
}

/// The disk that a node is given.
pub(super) fn disk(disk: &SimDisk, bug: Option<NodeBug>) -> Arc<dyn Disk> {
    let disk = Arc::new(disk.clone());
    match bug {
        None => disk,
        Some(bug) => Arc::new(Lying { disk, bug }),
    }
}

/// What happens to the files of a node that is about to start.
pub(super) fn before_start(disk: &SimDisk, bug: Option<NodeBug>, old: &mut OldFiles) {
    let files = |fits: fn(&Path) -> bool| {
        let all = disk.list(Path::new(HOST_DIR)).unwrap_or_default();
        let paths = all.into_iter().map(|entry| entry.path);
        paths.filter(|path| fits(path)).collect::<Vec<PathBuf>>()
    };
    match bug {
        Some(NodeBug::VotesForgotten) => {
            for path in files(is_vote) {
                drop(disk.remove_file(&path));
            }
        }
        Some(NodeBug::OldVotesRestored) if old.0.is_empty() => {
            old.0 = copies(disk, files(is_vote));
        }
        Some(NodeBug::OldManifestsRestored) if old.0.is_empty() => {
            let mut all = Vec::new();
            list(disk, Path::new(GROUPS_DIR), &mut all);
            all.retain(|path| path.file_stem().is_some_and(|is| is == "manifest"));
            old.0 = copies(disk, all);
        }
        Some(NodeBug::OldVotesRestored | NodeBug::OldManifestsRestored) => {
            for (path, bytes) in &old.0 {
                let file = disk.open(path, OpenMode::CreateIfMissing);
                let written = file.and_then(|file| {
                    file.write_at(0, &[io::IoSlice::new(bytes)])?;
                    file.sync()
                });
                drop(written);
            }
        }
        Some(NodeBug::JournalRecycledEarly) => {
            let journals = files(is_journal);
            if let (Some(first), true) = (journals.first(), journals.len() > 1) {
                drop(disk.remove_file(first));
            }
        }
        _ => {}
    }
}

fn copies(disk: &SimDisk, paths: Vec<PathBuf>) -> Vec<(PathBuf, Vec<u8>)> {
    let copy = |path: PathBuf| Some((path.clone(), disk.on_device(&path).ok()?));
    paths.into_iter().filter_map(copy).collect()
}

/// All files below a directory.
pub(super) fn list(disk: &SimDisk, dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in disk.list(dir).unwrap_or_default() {
        if entry.is_dir {
            list(disk, &entry.path, files);
        } else {
            files.push(entry.path);
        }
    }
}

/// A disk with a bug.
#[derive(Debug)]
struct Lying {
    disk: Arc<SimDisk>,
    bug: NodeBug,
}

impl Disk for Lying {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, mode)?;
        let lies = match self.bug {
            NodeBug::JournalNotSynced => is_journal(path),
            NodeBug::VotesNotSynced => is_vote(path),
            NodeBug::SegmentsNotSynced => path.starts_with(GROUPS_DIR),
            _ => false,
        };
        let trusts = self.bug == NodeBug::FailedSyncTrusted;
        Ok(match lies || trusts {
            true => Arc::new(LyingFile {
                disk: Arc::clone(&self.disk),
                file,
                writes: AtomicU64::new(0),
                lies,
            }),
            false => file,
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        self.disk.run(work);
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.bug {
            NodeBug::NamesNotSynced => Ok(()),
            _ => self.disk.sync_dir(dir),
        }
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        match self.bug {
            NodeBug::NamesNotSynced | NodeBug::SegmentsNotSynced => Ok(()),
            NodeBug::FailedSyncTrusted => self.disk.sync_all(path).or(Ok(())),
            _ => self.disk.sync_all(path),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn FileLock>, LockError> {
        self.disk.lock(path, holder)
    }
}

/// A file that says "done" too early, or never says that something failed.
#[derive(Debug)]
struct LyingFile {
    disk: Arc<SimDisk>,
    file: Arc<dyn File>,
    writes: AtomicU64,
    /// It says "done" too early.
    lies: bool,
}

impl LyingFile {
    /// Whatever became of it, it is called done.
    fn believed(&self, done: Completion<()>) -> Completion<()> {
        let disk = Arc::clone(&self.disk);
        let (completer, believed) = Completion::driven(Arc::new(move || {
            disk.complete_next();
        }));
        done.then(move |_| completer.complete(Ok(())));
        believed
    }
}

impl File for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, pos: u64, len: u64) -> io::Result<()> {
        self.file.allocate(pos, len)
    }

    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(pos, buf)
    }

    fn submit_write(&self, pos: u64, parts: Vec<Bytes>) -> Completion<()> {
        self.file.submit_write(pos, parts)
    }

    fn submit_sync(&self) -> Completion<()> {
        match self.lies {
            true => Completion::ready(Ok(())),
            false => self.believed(self.file.submit_sync()),
        }
    }

    fn submit_write_durable(&self, pos: u64, parts: Vec<Bytes>) -> Completion<()> {
        match self.lies {
            true => self.file.submit_write(pos, parts),
            false => {
                if self
                    .writes
                    .fetch_add(1, Ordering::Relaxed)
                    .is_multiple_of(FAILS_EVERY)
                {
                    self.disk.fail(Failure::of(Op::WriteDurable));
                }
                self.believed(self.file.submit_write_durable(pos, parts))
            }
        }
    }

    fn durable_writes(&self) -> DurableWrites {
        self.file.durable_writes()
    }

    fn sync(&self) -> io::Result<()> {
        match self.lies {
            true => Ok(()),
            false => self.file.sync().or(Ok(())),
        }
    }

    fn map(&self, pos: u64, len: usize) -> io::Result<Arc<dyn Mapping>> {
        self.file.map(pos, len)
    }
}
