//! The catalog on disk.

use std::{path::Path, sync::Arc};

use trilith_env::{Disk, is_out_of_files};
use trilith_storage::mirrored::{CopyState, MirroredError, MirroredFile, MirroredKind, read_copy};
use trilith_types::TopicId;

use crate::{CatalogState, Topic, TopicError, TopicSettingsPatch};

/// The files `catalog.a` and `catalog.b` in the data directory.
pub const CATALOG: MirroredKind = MirroredKind {
    stem: "catalog",
    magic: *b"TRILCATA",
    version: 1,
};

/// Why the catalog could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file's own error.
    #[error("the catalog of topics: {0}")]
    File(#[from] MirroredError),
    /// An earlier sync failed: what is on disk is not known until the next start.
    #[error(
        "the catalog of topics was closed to changes by a failed sync; restart the node: {reason}"
    )]
    Poisoned {
        /// The failure.
        reason: String,
    },
    /// There are topics on disk and no catalog that names them.
    #[error(
        "{topics} holds topics, but catalog.a and catalog.b are missing or damaged; restore one of them from a copy"
    )]
    Missing {
        /// The directory of the topics.
        topics: String,
    },
}

/// The catalog, kept on disk: a change is durable when it returns, and a failed one is as if it
/// had not been asked for (unless the power goes at that moment: then it may have been done).
#[derive(Debug)]
pub struct Catalog {
    file: MirroredFile,
    state: CatalogState,
    poison: Option<String>,
}

impl Catalog {
    /// Opens the catalog in the data directory `data`, which exists. Without any, and without
    /// topics, begins a new one.
    ///
    /// # Errors
    /// Damage, a newer version, a catalog that was lost, or what the file system answers.
    pub fn open(disk: &Arc<dyn Disk>, data: &Path) -> Result<Self, CatalogError> {
        let loaded = MirroredFile::load(disk, data, CATALOG)?;
        let mut file = loaded.file;
        let state = match &loaded.content {
            Some(content) => CatalogState::decode(content).ok_or_else(|| {
                let [path, _] = MirroredFile::paths(data, CATALOG);
                MirroredError::Content { path }
            })?,
            None => {
                refuse_topics_without_catalog(&**disk, data)?;
                refuse_damaged_copies(&**disk, data)?;
                CatalogState::default()
            }
        };
        if loaded.differ || loaded.content.is_none() {
            file.store(&state.encode())?;
        }
        Ok(Self {
            file,
            state,
            poison: None,
        })
    }

    /// Which topics there are.
    #[must_use]
    pub const fn state(&self) -> &CatalogState {
        &self.state
    }

    /// As [`CatalogState::create`], durably.
    ///
    /// # Errors
    /// As there, or the catalog could not be written.
    pub fn create(&mut self, name: &str, patch: &TopicSettingsPatch) -> Result<Topic, TopicError> {
        self.change(|state| state.create(name, patch))
    }

    /// As [`CatalogState::alter`], durably.
    ///
    /// # Errors
    /// As there, or the catalog could not be written.
    pub fn alter(&mut self, name: &str, patch: &TopicSettingsPatch) -> Result<Topic, TopicError> {
        self.change(|state| state.alter(name, patch))
    }

    /// As [`CatalogState::delete`], durably.
    ///
    /// # Errors
    /// As there, or the catalog could not be written.
    pub fn delete(&mut self, name: &str) -> Result<Topic, TopicError> {
        self.change(|state| state.delete(name))
    }

    /// As [`CatalogState::mark_ready`], durably.
    ///
    /// # Errors
    /// The catalog could not be written.
    pub fn mark_ready(&mut self, id: TopicId) -> Result<(), TopicError> {
        self.change(|state| {
            state.mark_ready(id);
            Ok(())
        })
    }

    /// As [`CatalogState::mark_removed`], durably.
    ///
    /// # Errors
    /// The catalog could not be written.
    pub fn mark_removed(&mut self, id: TopicId) -> Result<(), TopicError> {
        self.change(|state| {
            state.mark_removed(id);
            Ok(())
        })
    }

    fn change<T>(
        &mut self,
        decide: impl FnOnce(&mut CatalogState) -> Result<T, TopicError>,
    ) -> Result<T, TopicError> {
        let mut state = self.state.clone();
        let decided = decide(&mut state)?;
        if state != self.state {
            self.store(&state)?;
            self.state = state;
        }
        Ok(decided)
    }

    fn store(&mut self, state: &CatalogState) -> Result<(), CatalogError> {
        if let Some(reason) = &self.poison {
            return Err(CatalogError::Poisoned {
                reason: reason.clone(),
            });
        }
        self.file.store(&state.encode()).map_err(|error| {
            // A failed sync says nothing about what is on disk; a failed write leaves the other
            // copy whole, and the next change writes over the spoiled one.
            if matches!(
                &error,
                MirroredError::Io { what, source, .. }
                    if what.starts_with("sync") && !is_out_of_files(source)
            ) {
                self.poison = Some(error.to_string());
            }
            error.into()
        })
    }
}

/// A missing catalog beside topics is a lost one: to begin a new one would give their ids again.
fn refuse_topics_without_catalog(disk: &dyn Disk, data: &Path) -> Result<(), CatalogError> {
    let topics = crate::topics_dir(data);
    match disk.list(&topics) {
        Ok(entries) if entries.is_empty() => Ok(()),
        Ok(_) => Err(CatalogError::Missing {
            topics: topics.display().to_string(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(MirroredError::Io {
            what: "list",
            path: topics,
            source,
        }
        .into()),
    }
}

/// One copy is whole before the other is begun: a crash at the first start leaves one that is
/// damaged, and two are something else, perhaps no catalog of ours, and not to be written over.
fn refuse_damaged_copies(disk: &dyn Disk, data: &Path) -> Result<(), CatalogError> {
    let [a, b] = MirroredFile::paths(data, CATALOG);
    let is_damaged = |path: &Path| -> Result<bool, MirroredError> {
        Ok(read_copy(disk, path, CATALOG)? == CopyState::Damaged)
    };
    if is_damaged(&a)? && is_damaged(&b)? {
        return Err(MirroredError::BothDamaged { a, b }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use trilith_env::sim::{Failure, Op, SimConfig, SimDisk};

    use super::*;

    fn open(disk: &SimDisk) -> Result<Catalog, CatalogError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        disk.create_dir_all(Path::new("/data")).unwrap();
        Catalog::open(&disk, Path::new("/data"))
    }

    fn names(catalog: &Catalog) -> Vec<&str> {
        catalog
            .state()
            .topics()
            .map(|topic| topic.name.as_str())
            .collect()
    }

    const NONE: TopicSettingsPatch = TopicSettingsPatch {
        partitions: None,
        retention_bytes: None,
        retention_ms: None,
        segment_bytes: None,
        segment_ms: None,
        record_bytes_max: None,
        replicas: None,
    };

    #[test]
    fn changes_are_durable_when_they_return() {
        let disk = SimDisk::new(1);
        let mut catalog = open(&disk).unwrap();
        let topic = catalog.create("a", &NONE).unwrap();
        catalog.create("b", &NONE).unwrap();
        catalog.mark_ready(topic.id).unwrap();
        catalog
            .alter(
                "a",
                &TopicSettingsPatch {
                    retention_bytes: Some(5),
                    ..NONE
                },
            )
            .unwrap();
        let gone = catalog.delete("b").unwrap();
        let state = catalog.state().clone();
        disk.power_cut();
        disk.restart();
        let mut catalog = open(&disk).unwrap();
        assert_eq!(catalog.state(), &state);
        let a = catalog.state().topic("a").unwrap();
        assert_eq!((a.ready, a.settings.retention_bytes), (1, 5));
        assert_eq!(
            catalog.state().deleted().collect::<Vec<_>>(),
            [(gone.id, 1)]
        );
        catalog.mark_removed(gone.id).unwrap();
        assert_eq!(catalog.state().deleted().count(), 0);
    }

    #[test]
    fn a_power_cut_leaves_the_old_or_the_new() {
        for cut in 1..20 {
            let disk = SimDisk::new(cut);
            open(&disk).unwrap().create("a", &NONE).unwrap();
            disk.crash_process();
            let mut catalog = open(&disk).unwrap();
            disk.power_cut_after(cut);
            let created = catalog.create("b", &NONE);
            disk.power_cut();
            disk.restart();
            let catalog = open(&disk).unwrap();
            let names = names(&catalog);
            assert!(
                names == ["a", "b"] || (names == ["a"] && created.is_err()),
                "cut {cut}: {names:?}"
            );
        }
    }

    #[test]
    fn a_refused_change_writes_nothing() {
        let disk = SimDisk::new(1);
        let mut catalog = open(&disk).unwrap();
        catalog.create("a", &NONE).unwrap();
        let before = disk.mutations();
        assert!(catalog.create("a", &NONE).is_err());
        assert!(catalog.alter("a", &NONE).is_ok(), "nothing changes");
        assert_eq!(disk.mutations(), before);
    }

    #[test]
    fn a_full_disk_is_an_error_that_passes_and_a_failed_sync_is_one_that_stays() {
        let disk = SimDisk::with(SimConfig {
            capacity: Some(2 * 4096),
            ..SimConfig::new(1)
        });
        let mut catalog = open(&disk).unwrap();
        let error = (0..)
            .find_map(|n| {
                catalog
                    .create(&format!("{n}-{}", "x".repeat(200)), &NONE)
                    .err()
            })
            .unwrap();
        assert!(
            matches!(error, TopicError::Catalog(CatalogError::File(_))),
            "{error}"
        );
        disk.configure(|config| config.capacity = None);
        catalog.create("more", &NONE).unwrap();
        disk.fail(Failure::of(Op::Sync));
        assert!(catalog.create("lost", &NONE).is_err());
        let poisoned = catalog.create("another", &NONE).unwrap_err();
        assert!(
            matches!(poisoned, TopicError::Catalog(CatalogError::Poisoned { .. })),
            "{poisoned}"
        );
        assert!(names(&catalog).contains(&"more"));
    }

    #[test]
    fn one_damaged_copy_is_repaired_and_two_are_an_error() {
        let disk = SimDisk::new(1);
        open(&disk).unwrap().create("a", &NONE).unwrap();
        let [a, b] = MirroredFile::paths(Path::new("/data"), CATALOG);
        let flip = |path: &Path| {
            disk.flip_bit(path, 50, 1, trilith_env::sim::FlipIn::Both)
                .unwrap()
        };
        flip(&a);
        assert_eq!(names(&open(&disk).unwrap()), ["a"]);
        flip(&b);
        assert_eq!(
            names(&open(&disk).unwrap()),
            ["a"],
            "the first copy was written again"
        );
        flip(&a);
        flip(&b);
        let error = open(&disk).unwrap_err();
        assert!(
            matches!(error, CatalogError::File(MirroredError::BothDamaged { .. })),
            "{error}"
        );
        disk.create_dir_all(Path::new("/data/topics/1")).unwrap();
        let error = open(&disk).unwrap_err();
        assert!(
            matches!(error, CatalogError::Missing { .. } | CatalogError::File(_)),
            "{error}"
        );
    }

    #[test]
    fn content_that_is_no_catalog_is_refused_and_so_is_a_directory_that_cannot_be_read() {
        let disk = SimDisk::new(1);
        drop(open(&disk).unwrap());
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut file = MirroredFile::load(&shared, Path::new("/data"), CATALOG)
            .unwrap()
            .file;
        file.store(b"nonsense").unwrap();
        assert!(matches!(
            open(&disk),
            Err(CatalogError::File(MirroredError::Content { .. }))
        ));

        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/data/topics")).unwrap();
        disk.fail(Failure::of(Op::List));
        assert!(matches!(
            open(&disk),
            Err(CatalogError::File(MirroredError::Io { .. }))
        ));
        assert!(open(&disk).is_ok(), "an empty directory of topics is none");
    }
}
