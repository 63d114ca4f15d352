//! What `inspect` and `verify` share: data directories looked at without a server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, os::OsDisk};
use trilith_node::{
    IDENTITY,
    layout::{controller_dir, groups_dir},
};
use trilith_storage::{
    EntryKind, LOCK_FILE,
    frame::{FRAME_HEADER_BYTES, FrameHeader},
    inspect,
    journal::{self, OpKind},
    manifest::MANIFEST,
    mirrored::{CopyState, MirroredFile, MirroredKind, read_copy},
    scan::{Body, Found},
};
use trilith_topics::controller::Controller;
use trilith_types::{PartitionId, TopicId};

use crate::failure::Failure;

/// What was asked for: a server's data directory, a part of one, or one log.
pub(super) struct Offline {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    /// The data directory that it is or lies in, which a server may be using. A log that a program
    /// keeps by itself is in none.
    pub(super) data_dir: Option<PathBuf>,
    /// The cluster's own state, as far as the log here tells: it has the topics' names.
    controller: Controller,
}

/// What a log belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The cluster's own state.
    Controller,
    /// A partition of a topic, which has a name if that is known.
    Partition(TopicId, Option<String>, PartitionId),
}

impl Offline {
    /// Looks at `dir`, which must be there.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        if !dir.is_dir() {
            return Err(Failure::Failed(format!(
                "{} is not a directory",
                dir.display()
            )));
        }
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::new());
        let (dir, data_dir) = locate(dir)?;
        if data_dir.is_none() && !has_file(&dir, MANIFEST) {
            return Err(elsewhere(&dir));
        }
        let controller = data_dir.as_deref().map(|data| controller(&disk, data));
        Ok(Self {
            disk,
            dir,
            data_dir,
            controller: controller.unwrap_or_default(),
        })
    }

    /// The data directory, when all of it was asked for.
    pub(super) fn whole(&self) -> Option<&Path> {
        let data = self.data_dir.as_deref()?;
        (data == self.dir).then_some(data)
    }

    /// The copies of the node's identity.
    pub(super) fn identity_copies(&self) -> Result<Vec<(PathBuf, CopyState)>, Failure> {
        let paths = self.whole().map(|data| MirroredFile::paths(data, IDENTITY));
        let read = |path: PathBuf| match read_copy(&*self.disk, &path, IDENTITY) {
            Ok(state) => Ok((path, state)),
            Err(error) => Err(Failure::because("the node's identity", error)),
        };
        paths.into_iter().flatten().map(read).collect()
    }

    /// The directories of the logs.
    pub(super) fn logs(&self) -> Result<Vec<PathBuf>, Failure> {
        inspect::log_dirs(&self.disk, &self.dir).map_err(|error| Failure::Failed(error.to_string()))
    }

    /// The directories of the logs that were not synced yet: the journal has everything in them.
    pub(super) fn unsynced_logs(&self) -> Result<Vec<PathBuf>, Failure> {
        let found = inspect::unsynced_log_dirs(&self.disk, &self.dir);
        found.map_err(|error| Failure::Failed(error.to_string()))
    }

    /// What a log, or a file of it, belongs to. A group's directory holds one log for each time
    /// that it was begun anew.
    pub(super) fn owner(&self, path: &Path) -> Option<Owner> {
        let data = self.data_dir.as_deref()?;
        if path.starts_with(controller_dir(data)) {
            return Some(Owner::Controller);
        }
        let below = path.strip_prefix(groups_dir(data)).ok()?;
        let group = below.components().next()?.as_os_str().to_str()?;
        let (topic, partition) = group.split_once('.')?;
        let topic = TopicId(topic.parse().ok()?);
        let partition = PartitionId(partition.parse().ok()?);
        let name = self.controller.topic_by_id(topic);
        let name = name.map(|topic| topic.name.to_string());
        Some(Owner::Partition(topic, name, partition))
    }

    /// The log's name for people.
    pub(super) fn name(&self, log: &Path) -> String {
        self.owner(log)
            .map_or_else(|| "unnamed log".to_owned(), |owner| owner.to_string())
    }
}

impl Owner {
    /// For machines: the topic's name and the partition.
    pub(super) fn topic(&self) -> (Option<&str>, Option<u32>) {
        match self {
            Self::Controller => (None, None),
            Self::Partition(_, name, partition) => (name.as_deref(), Some(partition.get())),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Controller => f.write_str("the cluster's own state"),
            Self::Partition(_, Some(name), partition) => {
                write!(f, "topic {name}, partition {partition}")
            }
            Self::Partition(topic, None, partition) => {
                write!(f, "topic with id {topic}, partition {partition}")
            }
        }
    }
}

/// How many entries the frames of a journal have.
pub(super) fn entries_in(journal: &journal::Inspection) -> usize {
    let contents = journal
        .frames
        .iter()
        .filter_map(|frame| frame.content.as_ref());
    let ops = contents.flat_map(|content| &content.ops);
    ops.filter(|op| matches!(op.what, OpKind::Append { .. }))
        .count()
}

/// The cluster's own state by its log here. What is missing of it, or not understood, costs names.
fn controller(disk: &Arc<dyn Disk>, data: &Path) -> Controller {
    let mut controller = Controller::default();
    let dir = controller_dir(data);
    let synced = inspect::log_dirs(disk, &dir).unwrap_or_default();
    let synced = synced
        .into_iter()
        .map(|log| (inspect::manifest(disk, &log), log));
    let unsynced = inspect::unsynced_log_dirs(disk, &dir).unwrap_or_default();
    let unsynced = unsynced
        .into_iter()
        .map(|log| (inspect::manifest_by_headers(disk, &log), log));
    for (manifest, log) in synced.chain(unsynced) {
        let Ok(manifest) = manifest else {
            continue;
        };
        for meta in &manifest.segments {
            let Ok(bytes) = std::fs::read(inspect::store_path(&log, meta)) else {
                continue;
            };
            let mut visit = |found: &Found| {
                if let Found::Frame {
                    position,
                    header,
                    body: Body::Good | Body::BadPadding,
                } = found
                    && header.kind == EntryKind::COMMAND
                    && let Some(payload) = payload(&bytes, *position, header)
                {
                    // A command that was refused changed nothing then, and changes nothing now.
                    let _ = controller.apply(payload);
                }
                true
            };
            let _ = inspect::frames(disk, &log, meta, &mut visit);
        }
    }
    controller
}

fn payload<'a>(store: &'a [u8], position: u64, header: &FrameHeader) -> Option<&'a [u8]> {
    let begin = usize::try_from(position).ok()? + FRAME_HEADER_BYTES;
    store.get(begin..begin + header.payload_len as usize)
}

/// The data directory that `dir` is or lies in, and `dir` written so that it begins with that.
fn locate(dir: &Path) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let whole = dir
        .canonicalize()
        .map_err(|error| Failure::because(format!("cannot look at {}", dir.display()), error))?;
    for dir in [dir, &whole] {
        if let Some(data) = dir.ancestors().find(|up| is_data_dir(up)) {
            return Ok((dir.to_owned(), Some(data.to_owned())));
        }
    }
    Ok((dir.to_owned(), None))
}

/// A node makes its lock and its identity before anything else.
fn is_data_dir(dir: &Path) -> bool {
    has_file(dir, IDENTITY) || (dir.join(LOCK_FILE).is_file() && groups_dir(dir).is_dir())
}

fn has_file(dir: &Path, kind: MirroredKind) -> bool {
    MirroredFile::paths(dir, kind)
        .iter()
        .any(|path| path.is_file())
}

/// Neither a data directory nor a log; perhaps there is one in it.
fn elsewhere(dir: &Path) -> Failure {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut inside: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_data_dir(path))
        .collect();
    inside.sort();
    let hint = inside.first().map_or(String::new(), |path| {
        format!("; did you mean {}?", path.display())
    });
    let dir = dir.display();
    Failure::Failed(format!(
        "{dir} is neither a data directory nor a log's directory{hint}"
    ))
}
