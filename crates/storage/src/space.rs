//! Room on the disk: reserved ahead of the writes, with a part that is always left free.

use std::{io, path::Path};

use trilith_env::Disk;

use crate::{config::LogConfig, error::AppendError};

/// Each step is this many times what is reserved already. Few large steps keep a file's extents
/// within its inode: a tree of extents costs every sync another block of the file system's journal.
const STEP_GROWTH: u64 = 63;

/// Whether appends may take more space.
#[derive(Debug, Default)]
pub(crate) struct SpaceGuard {
    /// The disk ran full, and there has not been clearly enough space since.
    full: bool,
}

impl SpaceGuard {
    /// Checks that `bytes` more can be taken and the reserve is still free then. After the disk
    /// ran full, `resume_bytes` more must be free, so that appends do not flutter at the brink.
    pub(crate) fn check(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        bytes: u64,
        config: &LogConfig,
    ) -> Result<(), AppendError> {
        let available = disk
            .space(dir)
            .map_err(|source| AppendError::Io {
                what: "ask for the free space of",
                path: dir.to_owned(),
                source,
            })?
            .available;
        let hysteresis = if self.full { config.resume_bytes } else { 0 };
        let needed = bytes
            .saturating_add(config.reserve_bytes)
            .saturating_add(hysteresis);
        self.full = available < needed;
        if self.full {
            Err(full(dir, available, needed, config))
        } else {
            Ok(())
        }
    }

    /// Turns what the file system answered into "disk full" where that is what it means.
    pub(crate) fn judge(
        &mut self,
        source: io::Error,
        what: &'static str,
        path: &Path,
        bytes: u64,
        config: &LogConfig,
    ) -> AppendError {
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            self.full = true;
            return full(path, 0, bytes.saturating_add(config.reserve_bytes), config);
        }
        AppendError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }

    /// Space was taken that is to be left free.
    pub(crate) const fn note_full(&mut self) {
        self.full = true;
    }

    /// Whether the last append was refused for want of space.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }
}

fn full(path: &Path, available: u64, needed: u64, config: &LogConfig) -> AppendError {
    AppendError::DiskFull {
        path: path.to_owned(),
        available,
        needed,
        reserve: config.reserve_bytes,
    }
}

/// How far to reserve space in a store of which `allocated` bytes are, so that it holds `needed`.
pub(crate) fn next_allocation(allocated: u64, needed: u64, config: &LogConfig) -> u64 {
    let step = allocated
        .saturating_mul(STEP_GROWTH)
        .max(config.preallocate_bytes_min)
        .min(config.preallocate_bytes_max);
    // A segment ends at its size; more would only be given back.
    let ceiling = config
        .segment_bytes
        .saturating_add(config.preallocate_bytes_min);
    needed.max((allocated + step).min(ceiling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_up_to_their_limit_and_to_the_segment_size() {
        let config = LogConfig {
            preallocate_bytes_max: 1 << 20,
            segment_bytes: 3 << 20,
            ..LogConfig::default()
        };
        let first = 16 << 10;
        assert_eq!(next_allocation(0, 100, &config), first);
        assert_eq!(next_allocation(first, first + 1, &config), 64 * first);
        assert_eq!(next_allocation(2 << 20, (2 << 20) + 1, &config), 3 << 20);
        assert_eq!(next_allocation(0, 9 << 20, &config), 9 << 20);
        let beyond = next_allocation(3 << 20, (3 << 20) + 1, &config);
        assert_eq!(beyond, (3 << 20) + first);
    }
}
