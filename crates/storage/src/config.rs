//! Settings of one log.

use std::time::Duration;

use trilith_types::limits::BATCH_BYTES_MAX;

use crate::frame::FRAME_ALIGN;

/// Settings of one log. All may be changed while it runs; sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is closed before an entry that would make it larger than this.
    pub segment_bytes: u64,
    /// A segment is closed before an entry accepted this much later than its first one.
    pub segment_age: Option<Duration>,
    /// Most entries in one segment: the capacity of its entry index.
    pub segment_entries_max: u32,
    /// Most offsets that one segment spans: the capacity of its offset index.
    pub segment_offsets_max: u32,
    /// Largest payload of one entry.
    pub payload_bytes_max: u32,
    /// Disk space that a new segment reserves. Small where there are many logs and most stay almost
    /// empty; for a log that is synced after every append as large as the limit of the steps: a file
    /// in a few pieces costs some file systems another write with each sync.
    pub preallocate_bytes_min: u64,
    /// Disk space is reserved ahead in steps that grow up to this size.
    pub preallocate_bytes_max: u64,
    /// Space on the file system that appends leave free, so that closing, recovery, retention and
    /// metadata always have room.
    pub reserve_bytes: u64,
    /// After the disk ran full, appends go on only when this much more than needed is free.
    pub resume_bytes: u64,
    /// The time index has one slot for about this many bytes of entries.
    pub time_index_interval: u32,
}

/// Largest segment: positions are stored in 8-byte units in 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = (u32::MAX as u64) * FRAME_ALIGN / 2;

/// Largest payload that any setting may allow.
pub const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_age: None,
            segment_entries_max: 1 << 24,
            segment_offsets_max: 1 << 28,
            payload_bytes_max: BATCH_BYTES_MAX,
            preallocate_bytes_min: 16 << 20,
            preallocate_bytes_max: 16 << 20,
            reserve_bytes: 64 << 20,
            resume_bytes: 16 << 20,
            time_index_interval: 16 << 10,
        }
    }
}

impl LogConfig {
    /// The settings of one log among thousands, which a journal syncs together.
    #[must_use]
    pub fn of_many() -> Self {
        Self {
            preallocate_bytes_min: 16 << 10,
            ..Self::default()
        }
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("segment_bytes", self.segment_bytes, 1, SEGMENT_BYTES_MAX)?;
        within(
            "segment_entries_max",
            self.segment_entries_max.into(),
            1,
            1 << 30,
        )?;
        within(
            "segment_offsets_max",
            self.segment_offsets_max.into(),
            1,
            1 << 31,
        )?;
        within(
            "payload_bytes_max",
            self.payload_bytes_max.into(),
            1,
            PAYLOAD_BYTES_MAX.into(),
        )?;
        within(
            "preallocate_bytes_max",
            self.preallocate_bytes_max,
            1,
            SEGMENT_BYTES_MAX,
        )?;
        within(
            "preallocate_bytes_min",
            self.preallocate_bytes_min,
            1,
            SEGMENT_BYTES_MAX,
        )?;
        within(
            "time_index_interval",
            self.time_index_interval.into(),
            1,
            1 << 30,
        )
    }
}

fn within(setting: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError {
            setting,
            value,
            min,
            max,
        })
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}, but must lie between {min} and {max}")]
pub struct ConfigError {
    /// The setting's name.
    pub setting: &'static str,
    /// What was given.
    pub value: u64,
    /// The lowest value allowed.
    pub min: u64,
    /// The highest value allowed.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_works_and_each_limit_is_named() {
        assert_eq!(LogConfig::default().check(), Ok(()));
        let bad = LogConfig {
            segment_bytes: 0,
            ..LogConfig::default()
        };
        assert_eq!(bad.check().unwrap_err().setting, "segment_bytes");
        let bad = LogConfig {
            payload_bytes_max: u32::MAX,
            ..LogConfig::default()
        };
        assert!(
            bad.check()
                .unwrap_err()
                .to_string()
                .starts_with("payload_bytes_max is 4294967295")
        );
    }
}
