//! Errors that name the file they are about.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// What a failed operation wanted to do and with which file.
///
/// It travels inside an [`io::Error`] whose kind is the cause's kind, so callers match on
/// [`io::Error::kind`] as always; [`PathError::of`] and [`raw_os_error`] find the rest again.
#[derive(Debug)]
pub struct PathError {
    /// What was tried, as a verb: "open", "write to", "sync".
    pub operation: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// Where a rename wanted to put it.
    pub to: Option<PathBuf>,
    /// What the file system answered.
    pub source: io::Error,
}

impl PathError {
    /// Wraps `source`, keeping its kind.
    pub(crate) fn wrap(operation: &'static str, path: &Path, source: io::Error) -> io::Error {
        Self::wrap_two(operation, path, None, source)
    }

    /// Wraps what an operation on one or two paths answered.
    pub(crate) fn wrap_two(
        operation: &'static str,
        path: &Path,
        to: Option<&Path>,
        source: io::Error,
    ) -> io::Error {
        let (path, to) = (path.to_owned(), to.map(Path::to_owned));
        io::Error::new(
            source.kind(),
            Self {
                operation,
                path,
                to,
                source,
            },
        )
    }

    /// The operation and path behind `error`, when it came through this crate.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.operation, self.path.display())?;
        if let Some(to) = &self.to {
            write!(f, " to {}", to.display())?;
        }
        write!(f, ": {}", self.source)
    }
}

impl std::error::Error for PathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The operating system's error number behind `error`, also when a [`PathError`] wraps it.
#[must_use]
pub fn raw_os_error(error: &io::Error) -> Option<i32> {
    error
        .raw_os_error()
        .or_else(|| PathError::of(error)?.source.raw_os_error())
}

/// What the file system answered, without the path: for messages that name that themselves.
#[must_use]
pub fn answer(error: &io::Error) -> &io::Error {
    PathError::of(error).map_or(error, |error| &error.source)
}

/// Whether an operation was not tried because the process, or the system, has too many files open.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| raw_os_error(error) == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_wrapped_error_keeps_its_kind_number_and_place() {
        let full = io::Error::from_raw_os_error(28);
        let kind = full.kind();
        let error = PathError::wrap("write to", Path::new("/data/a.log"), full);
        assert_eq!(error.kind(), kind);
        assert_eq!(raw_os_error(&error), Some(28));
        let text = error.to_string();
        assert!(text.starts_with("cannot write to /data/a.log: "), "{text}");
        let inner = PathError::of(&error).unwrap();
        assert_eq!(inner.operation, "write to");
        assert!(inner.source().is_some());
        assert!(!answer(&error).to_string().contains("/data"));
        assert_eq!(answer(answer(&error)).raw_os_error(), Some(28));
    }

    #[test]
    fn an_error_of_a_rename_names_both_places() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let to = Some(Path::new("/b"));
        let error = PathError::wrap_two("rename", Path::new("/a"), to, missing);
        assert!(
            error.to_string().starts_with("cannot rename /a to /b: "),
            "{error}"
        );
    }

    #[test]
    fn a_plain_error_has_its_own_number_and_no_place() {
        assert_eq!(raw_os_error(&io::Error::from_raw_os_error(5)), Some(5));
        let plain = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(raw_os_error(&plain), None);
        assert!(PathError::of(&plain).is_none());
    }

    #[test]
    fn too_many_open_files_is_known_through_a_wrapper() {
        let bare = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let path = Path::new("/data");
        let wrapped = PathError::wrap("sync directory", path, bare(rustix::io::Errno::MFILE));
        assert!(is_out_of_files(&wrapped));
        assert!(is_out_of_files(&bare(rustix::io::Errno::NFILE)));
        assert!(!is_out_of_files(&bare(rustix::io::Errno::IO)));
    }
}
