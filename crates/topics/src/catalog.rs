//! The catalog on disk.

use std::{path::Path, sync::Arc};

use trilith_env::Disk;
use trilith_storage::mirrored::{MirroredError, MirroredFile, MirroredKind};
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
            if matches!(&error, MirroredError::Io { what, .. } if what.starts_with("sync")) {
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
