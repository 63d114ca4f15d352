//! Remembers the failure after which a log takes no more writes.

use std::sync::OnceLock;

use crate::error::{AppendError, SyncError};

/// Set once, by the first failed write or sync; shared by the log and its readers.
#[derive(Debug, Default)]
pub(crate) struct Poison(OnceLock<String>);

impl Poison {
    /// Closes the log to writes; the first reason stays.
    pub(crate) fn set(&self, reason: String) {
        let _ = self.0.set(reason);
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    pub(crate) fn check(&self) -> Result<(), AppendError> {
        self.reason().map_or(Ok(()), |reason| {
            Err(AppendError::Poisoned {
                reason: reason.to_owned(),
            })
        })
    }

    pub(crate) fn check_sync(&self) -> Result<(), SyncError> {
        self.reason().map_or(Ok(()), |reason| {
            Err(SyncError {
                reason: reason.to_owned(),
            })
        })
    }
}
