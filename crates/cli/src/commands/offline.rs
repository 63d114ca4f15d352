//! What `inspect` and `verify` share: data directories looked at without a server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, os::OsDisk};
use trilith_storage::{
    LOCK_FILE, inspect,
    manifest::MANIFEST,
    mirrored::{CopyState, MirroredFile, MirroredKind, read_copy},
};
use trilith_topics::{CATALOG, CatalogState, partition_dir, topics_dir};
use trilith_types::PartitionId;

use crate::failure::Failure;

/// What was asked for: a server's data directory, a part of one, or one log.
pub(super) struct Offline {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    /// The data directory that it is or lies in, which a server may be using. A log that a program
    /// keeps by itself is in none.
    pub(super) data_dir: Option<PathBuf>,
    catalog: CatalogState,
    copies: Vec<(PathBuf, CopyState)>,
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
        let dir = &*dir;
        if data_dir.is_none() && !has_file(dir, MANIFEST) {
            return Err(elsewhere(dir));
        }
        let mut copies = Vec::new();
        if let Some(data) = &data_dir {
            for path in MirroredFile::paths(data, CATALOG) {
                let state = read_copy(&*disk, &path, CATALOG);
                let state =
                    state.map_err(|error| Failure::because("the catalog of topics", error))?;
                copies.push((path, state));
            }
        }
        let catalog = newest(&copies);
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            data_dir,
            catalog,
            copies,
        })
    }

    /// The copies of the catalog, when the whole data directory was asked for.
    pub(super) fn catalog_copies(&self) -> &[(PathBuf, CopyState)] {
        if self.is_data_dir() {
            &self.copies
        } else {
            &[]
        }
    }

    fn is_data_dir(&self) -> bool {
        self.data_dir.as_deref() == Some(&*self.dir)
    }

    /// The directories of the logs.
    pub(super) fn logs(&self) -> Result<Vec<PathBuf>, Failure> {
        inspect::log_dirs(&self.disk, &self.dir).map_err(|error| Failure::Failed(error.to_string()))
    }

    /// The directories of logs that the catalog knows and that are not among `logs`.
    pub(super) fn missing(&self, logs: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
        let data = self.data_dir.iter();
        let partitions = data.flat_map(move |data| {
            self.catalog.topics().flat_map(move |topic| {
                (0..topic.ready)
                    .map(move |number| partition_dir(data, topic.id, PartitionId(number)))
            })
        });
        partitions.filter(|dir| dir.starts_with(&self.dir) && !logs.contains(dir))
    }

    /// The topic and partition whose log this is, when the catalog knows them.
    pub(super) fn owner(&self, log: &Path) -> Option<(String, PartitionId)> {
        let data = self.data_dir.as_deref()?;
        self.catalog.topics().find_map(|topic| {
            let partition: u32 = log.file_name()?.to_str()?.parse().ok()?;
            let partition = PartitionId(partition);
            let is_it = partition_dir(data, topic.id, partition) == log;
            is_it.then(|| (topic.name.to_string(), partition))
        })
    }

    /// The log's name for people: its topic and partition, or its directory.
    pub(super) fn name(&self, log: &Path) -> String {
        match self.owner(log) {
            Some((topic, partition)) => format!("topic {topic}, partition {partition}"),
            None => "unnamed log".to_owned(),
        }
    }
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

/// A server makes its lock and its catalog before anything else.
fn is_data_dir(dir: &Path) -> bool {
    has_file(dir, CATALOG) || (dir.join(LOCK_FILE).is_file() && topics_dir(dir).is_dir())
}

fn has_file(dir: &Path, kind: MirroredKind) -> bool {
    MirroredFile::paths(dir, kind)
        .iter()
        .any(|path| path.is_file())
}

/// Neither a data directory nor a log; perhaps there is one in it.
fn elsewhere(dir: &Path) -> Failure {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let inside = entries
        .map(|entry| entry.path())
        .find(|path| is_data_dir(path));
    let hint = inside.map_or(String::new(), |path| {
        format!("; did you mean {}?", path.display())
    });
    let dir = dir.display();
    Failure::Failed(format!(
        "{dir} is neither a data directory nor a log's directory{hint}"
    ))
}

/// What the newest whole copy says; nothing when there is none.
fn newest(copies: &[(PathBuf, CopyState)]) -> CatalogState {
    let intact = copies.iter().filter_map(|(_, state)| match state {
        CopyState::Intact { sequence, content } => Some((sequence, content)),
        _ => None,
    });
    let newest = intact.max_by_key(|(sequence, _)| **sequence);
    newest
        .and_then(|(_, content)| CatalogState::decode(content))
        .unwrap_or_default()
}
