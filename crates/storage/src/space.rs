//! Room on the disk: reserved ahead of the writes, with a part that is always left free.

use std::{io, path::Path};

use trilith_env::Disk;

use crate::{config::LogConfig, error::AppendError};

/// What is reserved grows eightfold with each step while it is small: few steps, since each costs the
/// file system an extent of the file, and what many small logs reserve in vain is little.
const STEP_GROWTH: u64 = 7;

/// From here on it doubles: a thousand logs of a few megabytes each must not reserve gigabytes that
/// they may never need.
const STEEP_UPTO: u64 = 1 << 20;

/// What a segment may reserve beyond its size: an entry that is larger than a segment ends there.
const BEYOND_BYTES: u64 = 16 << 10;

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
        .min(allocated.max(STEEP_UPTO))
        .max(config.preallocate_bytes_min)
        .min(config.preallocate_bytes_max);
    // A segment ends at its size; more would only be given back.
    let ceiling = config.segment_bytes.saturating_add(BEYOND_BYTES);
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
            ..LogConfig::of_many()
        };
        let first = 16 << 10;
        assert_eq!(next_allocation(0, 100, &config), first);
        assert_eq!(next_allocation(first, first + 1, &config), 8 * first);
        assert_eq!(next_allocation(2 << 20, (2 << 20) + 1, &config), 3 << 20);
        assert_eq!(next_allocation(0, 9 << 20, &config), 9 << 20);
        let beyond = next_allocation(3 << 20, (3 << 20) + 1, &config);
        assert_eq!(beyond, (3 << 20) + first);
    }

    /// One that reserved the first step whole took sixteen times its size.
    #[test]
    fn a_small_segment_reserves_its_size_however_large_the_first_step_is() {
        let config = LogConfig {
            segment_bytes: 1 << 20,
            ..LogConfig::default()
        };
        let full = next_allocation(0, 100, &config);
        assert_eq!(full, (1 << 20) + BEYOND_BYTES);
        assert_eq!(next_allocation(full, full + 1, &config), full + 1);
    }

    /// What is reserved once `used` bytes are in a store, in entries of `entry` bytes each, and in
    /// how many steps.
    fn grown(used: u64, entry: u64) -> (u64, usize) {
        let config = LogConfig::of_many();
        let (mut allocated, mut steps) = (next_allocation(0, 100, &config), 1);
        for entries in 1..=used / entry {
            if entries * entry > allocated {
                allocated = next_allocation(allocated, entries * entry, &config);
                steps += 1;
            }
        }
        (allocated, steps)
    }

    /// A thousand logs on three nodes with a little more than a megabyte each reserved 48 GB: the step
    /// after the first megabyte was sixteen.
    #[test]
    fn no_log_reserves_much_more_than_it_has() {
        for entry in [1 << 10, 64 << 10, 512 << 10, 3 << 20] {
            for used in [2 << 20, 3 << 20, 5 << 20, 9 << 20, 17 << 20, 63 << 20] {
                let (allocated, _) = grown(used, entry);
                assert!(allocated <= 2 * used, "{used} {entry}: {allocated}");
            }
        }
        assert_eq!(grown(1_100 << 10, 1 << 10), (2 << 20, 4));
        assert_eq!(grown(3 << 10, 1 << 10), (16 << 10, 1));
    }

    #[test]
    fn a_full_segment_was_reserved_in_few_steps() {
        for entry in [100, 1 << 10, 512 << 10, 16 << 20] {
            let (allocated, steps) = grown(64 << 20, entry);
            assert!(allocated >= (64 << 20) - entry, "{entry}: {allocated}");
            assert!(steps <= 10, "{entry}: {steps}");
        }
    }

    #[test]
    fn a_large_entry_gets_what_it_needs_at_once() {
        let config = LogConfig::of_many();
        let entry = 16 << 20;
        for allocated in [0, 16 << 10, 1 << 20, 60 << 20] {
            let needed = allocated + entry;
            assert!(next_allocation(allocated, needed, &config) >= needed);
        }
        assert_eq!(next_allocation(16 << 10, 528 << 10, &config), 528 << 10);
    }
}
