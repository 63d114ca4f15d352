//! What `inspect` and `verify` share: data directories looked at without a server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, os::OsDisk};
use trilith_storage::{
    inspect,
    mirrored::{CopyState, MirroredFile, read_copy},
};
use trilith_topics::{CATALOG, CatalogState, partition_dir};
use trilith_types::PartitionId;

use crate::failure::Failure;

/// A directory with logs in it: a server's data directory, or a part of it.
pub(super) struct Offline {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    catalog: CatalogState,
    /// The copies of the catalog, when there are any.
    pub(super) catalog_copies: Vec<(PathBuf, CopyState)>,
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
        let mut catalog_copies = Vec::new();
        for path in MirroredFile::paths(dir, CATALOG) {
            let state = read_copy(&*disk, &path, CATALOG);
            let state = state.map_err(|error| Failure::because("the catalog of topics", error))?;
            catalog_copies.push((path, state));
        }
        if catalog_copies
            .iter()
            .all(|(_, state)| *state == CopyState::Missing)
        {
            catalog_copies.clear();
        }
        let catalog = newest(&catalog_copies);
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            catalog,
            catalog_copies,
        })
    }

    /// Whether this is a whole data directory, which a server may be using.
    pub(super) fn is_data_dir(&self) -> bool {
        !self.catalog_copies.is_empty()
    }

    /// The directories of the logs.
    pub(super) fn logs(&self) -> Result<Vec<PathBuf>, Failure> {
        let logs = inspect::log_dirs(&self.disk, &self.dir)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        if logs.is_empty() && !self.is_data_dir() {
            let dir = self.dir.display();
            return Err(Failure::Failed(format!(
                "{dir} holds no logs; is it a data directory?"
            )));
        }
        Ok(logs)
    }

    /// The directories of logs that the catalog knows and that are not among `logs`.
    pub(super) fn missing(&self, logs: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
        let partitions = self.catalog.topics().flat_map(|topic| {
            (0..topic.ready).map(|number| partition_dir(&self.dir, topic.id, PartitionId(number)))
        });
        partitions.filter(|dir| !logs.contains(dir))
    }

    /// The topic and partition whose log this is, when the catalog knows them.
    pub(super) fn owner(&self, log: &Path) -> Option<(String, PartitionId)> {
        self.catalog.topics().find_map(|topic| {
            let partition: u32 = log.file_name()?.to_str()?.parse().ok()?;
            let partition = PartitionId(partition);
            let is_it = partition_dir(&self.dir, topic.id, partition) == log;
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
