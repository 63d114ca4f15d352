//! The journal's settings.

use std::time::Duration;

use super::{
    block::{BLOCK_BYTES, BLOCK_DATA_BYTES},
    descriptor::APPEND_BYTES,
};
use crate::sync_policy::SyncPolicy;

/// Most frames that are being written at once. The journal's format relies on it: a frame carries
/// the descriptors of the one before it, and no others.
pub const FRAMES_IN_FLIGHT_MAX: u64 = 2;

/// The settings of a [`Journal`](super::Journal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Bytes of each file; a multiple of 4096. It limits the largest operation, see
    /// [`JournalConfig::op_bytes_max`], and the marks of all groups, see
    /// [`JournalConfig::marks_bytes_max`].
    pub file_bytes: u64,
    /// Files from which on appends wait until the oldest can be written again. What was queued
    /// ahead of the marks that set it free still goes, into files beyond this.
    pub files_max: usize,
    /// Zeroed files that are kept ready beside the one that is written.
    pub files_ahead: usize,
    /// A frame takes no more operations when it has this many bytes; one larger operation has a
    /// frame of its own.
    pub frame_bytes: u64,
    /// Frames that are being written at once: 1 or 2.
    pub frames_in_flight: u64,
    /// A seal frame is written when nothing has come for this long.
    pub seal_after: Duration,
    /// When frames are made durable. [`SyncPolicy::Always`] is what replicated groups need. With
    /// any other, answers come once a frame is in the page cache: a process that dies loses
    /// nothing, and a power cut takes what was not synced, from the end.
    pub sync: SyncPolicy,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            files_max: 8,
            files_ahead: 1,
            frame_bytes: 4 << 20,
            frames_in_flight: FRAMES_IN_FLIGHT_MAX,
            seal_after: Duration::from_millis(2),
            sync: SyncPolicy::Always,
        }
    }
}

/// A setting that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal's setting {name} is {value}: {must}")]
pub struct JournalConfigError {
    /// The setting.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// What it must be.
    pub must: &'static str,
}

/// Smallest file: a header, the marks, and the largest operation, each in whole blocks.
const FILE_BLOCKS_MIN: u64 = 16;

/// Largest file: positions within a frame are 32-bit numbers.
const FILE_BYTES_MAX: u64 = 1 << 31;

impl JournalConfig {
    pub(super) const fn check(&self) -> Result<(), JournalConfigError> {
        let (name, value, must) = if !self.file_bytes.is_multiple_of(BLOCK_BYTES as u64)
            || self.file_bytes < FILE_BLOCKS_MIN * BLOCK_BYTES as u64
            || self.file_bytes > FILE_BYTES_MAX
        {
            let must = "a multiple of 4096 between 64 KiB and 2 GiB";
            ("file_bytes", self.file_bytes, must)
        } else if self.files_max < 3 {
            ("files_max", self.files_max as u64, "at least 3")
        } else if self.files_ahead >= self.files_max {
            let must = "less than files_max";
            ("files_ahead", self.files_ahead as u64, must)
        } else if self.frame_bytes == 0 {
            ("frame_bytes", 0, "more than 0")
        } else if self.frames_in_flight == 0 || self.frames_in_flight > FRAMES_IN_FLIGHT_MAX {
            ("frames_in_flight", self.frames_in_flight, "1 or 2")
        } else {
            return Ok(());
        };
        Err(JournalConfigError { name, value, must })
    }

    /// Blocks of a file.
    pub(super) const fn file_blocks(&self) -> u32 {
        (self.file_bytes / BLOCK_BYTES as u64) as u32
    }

    /// Bytes of content in a file.
    const fn content_bytes(&self) -> u64 {
        (self.file_blocks() as u64 - 1) * BLOCK_DATA_BYTES as u64
    }

    /// Most bytes that one operation may have, its descriptor counted. A file holds one, the
    /// marks of all groups before it, and the copies of descriptors around them.
    #[must_use]
    pub const fn op_bytes_max(&self) -> u64 {
        // Less a block, for frames take whole ones.
        self.content_bytes() / 16 * 5 - BLOCK_BYTES as u64
    }

    /// Most bytes that the payload of one entry may have.
    #[must_use]
    pub const fn payload_bytes_max(&self) -> u64 {
        self.op_bytes_max().saturating_sub(APPEND_BYTES as u64)
    }

    /// Most bytes that the marks of all groups may have together.
    #[must_use]
    pub const fn marks_bytes_max(&self) -> u64 {
        self.content_bytes() / 4
    }

    /// Most bytes of a frame with more than one operation.
    pub(super) const fn frame_bytes_max(&self) -> u64 {
        let most = self.content_bytes() / 8;
        if self.frame_bytes < most {
            self.frame_bytes
        } else {
            most
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{block::blocks_for, build::overhead_bytes};

    /// Marks and the largest operation fit one file, with the descriptors that each frame repeats.
    #[test]
    fn what_is_admitted_fits_an_empty_file() {
        for blocks in (FILE_BLOCKS_MIN..300).chain([16 << 10]) {
            let config = JournalConfig {
                file_bytes: blocks * BLOCK_BYTES as u64,
                frame_bytes: u64::MAX,
                ..JournalConfig::default()
            };
            let (marks, op) = (config.marks_bytes_max(), config.op_bytes_max());
            let first = blocks_for(overhead_bytes(config.frame_bytes_max()) + marks);
            let second = blocks_for(overhead_bytes(marks) + op);
            assert!(1 + first + second <= blocks, "{blocks} blocks");
        }
        assert!(JournalConfig::default().op_bytes_max() > (16 << 20) + (128 << 10));
    }

    #[test]
    fn each_setting_has_a_range() {
        let good = JournalConfig::default();
        assert_eq!(good.check(), Ok(()));
        let wrong = |change: fn(&mut JournalConfig)| {
            let mut config = good;
            change(&mut config);
            config.check().unwrap_err().name
        };
        assert_eq!(wrong(|c| c.file_bytes += 1), "file_bytes");
        assert_eq!(wrong(|c| c.file_bytes = 4096), "file_bytes");
        assert_eq!(wrong(|c| c.file_bytes = 4 << 30), "file_bytes");
        assert_eq!(wrong(|c| c.files_max = 2), "files_max");
        assert_eq!(wrong(|c| c.files_ahead = 8), "files_ahead");
        assert_eq!(wrong(|c| c.frame_bytes = 0), "frame_bytes");
        assert_eq!(wrong(|c| c.frames_in_flight = 3), "frames_in_flight");
        let text = JournalConfig {
            files_max: 1,
            ..good
        }
        .check()
        .unwrap_err()
        .to_string();
        assert_eq!(text, "the journal's setting files_max is 1: at least 3");
    }
}
