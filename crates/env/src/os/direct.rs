//! Writes past the page cache.

use std::{
    fs,
    io::{self, IoSlice},
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::file::write_full;
use crate::{DIRECT_ALIGN, DurableWrites};

/// A second descriptor of a file, by which writes bypass the page cache and return when the
/// device has the bytes. Opened when it is first asked for; few files ever need it.
#[derive(Debug, Default)]
pub(super) struct Direct {
    file: OnceLock<Option<fs::File>>,
    /// The file system took the descriptor and refused a write.
    refused: AtomicBool,
}

impl Direct {
    /// Writes `parts`, when they are aligned and the file system takes it; `None` when not, and
    /// nothing is known to be written then.
    pub(super) fn write(
        &self,
        path: &Path,
        file: &fs::File,
        pos: u64,
        parts: &[IoSlice<'_>],
    ) -> Option<io::Result<()>> {
        if !is_aligned(pos, parts) {
            return None;
        }
        let direct = self.get(path, file)?;
        match write_full(direct, pos, parts) {
            // Some file systems want more alignment, or none of this at all.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                self.refused.store(true, Ordering::Relaxed);
                None
            }
            other => Some(other),
        }
    }

    pub(super) fn mode(&self, path: &Path, file: &fs::File) -> DurableWrites {
        match self.get(path, file) {
            Some(_) => DurableWrites::Direct,
            None => DurableWrites::Buffered,
        }
    }

    fn get(&self, path: &Path, file: &fs::File) -> Option<&fs::File> {
        if self.refused.load(Ordering::Relaxed) {
            return None;
        }
        self.file.get_or_init(|| open(path, file)).as_ref()
    }
}

fn is_aligned(pos: u64, parts: &[IoSlice<'_>]) -> bool {
    let aligned = |part: &IoSlice<'_>| {
        part.len().is_multiple_of(DIRECT_ALIGN)
            && (part.as_ptr() as usize).is_multiple_of(DIRECT_ALIGN)
    };
    pos.is_multiple_of(DIRECT_ALIGN as u64) && parts.iter().all(aligned)
}

/// Opens the file at `path` once more, if it is still `file`.
#[cfg(target_os = "linux")]
fn open(path: &Path, file: &fs::File) -> Option<fs::File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    use rustix::fs::OFlags;

    let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
    let direct = fs::OpenOptions::new()
        .write(true)
        .custom_flags(flags.cast_signed())
        .open(path)
        .ok()?;
    let id = |file: &fs::File| file.metadata().ok().map(|m| (m.dev(), m.ino()));
    (id(&direct).is_some() && id(&direct) == id(file)).then_some(direct)
}

/// Other systems have no such flags, or other ones.
#[cfg(not(target_os = "linux"))]
fn open(_path: &Path, _file: &fs::File) -> Option<fs::File> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer of `len` bytes at an aligned address within `space`.
    fn aligned(space: &mut Vec<u8>, len: usize) -> &mut [u8] {
        space.resize(len + DIRECT_ALIGN, 0);
        let start = space.as_ptr().align_offset(DIRECT_ALIGN);
        &mut space[start..start + len]
    }

    #[test]
    fn only_aligned_parts_go_directly() {
        let mut space = Vec::new();
        let buffer = aligned(&mut space, 2 * DIRECT_ALIGN);
        let (whole, part) = (
            IoSlice::new(&buffer[..DIRECT_ALIGN]),
            IoSlice::new(&buffer[..512]),
        );
        let shifted = IoSlice::new(&buffer[512..512 + DIRECT_ALIGN]);
        assert!(is_aligned(0, &[whole]) && is_aligned(8192, &[whole, whole]));
        assert!(!is_aligned(512, &[whole]));
        assert!(!is_aligned(0, &[whole, part]));
        assert!(!is_aligned(0, &[shifted]));
    }

    #[test]
    fn a_file_that_has_been_replaced_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = fs::File::create_new(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::File::create_new(&path).unwrap();
        assert!(open(&path, &file).is_none());
    }

    #[test]
    fn a_refused_write_is_left_to_the_page_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = fs::File::create_new(&path).unwrap();
        let direct = Direct::default();
        direct.refused.store(true, Ordering::Relaxed);
        let mut space = Vec::new();
        let buffer = aligned(&mut space, DIRECT_ALIGN);
        assert!(
            direct
                .write(&path, &file, 0, &[IoSlice::new(buffer)])
                .is_none()
        );
        assert_eq!(direct.mode(&path, &file), DurableWrites::Buffered);
    }
}
