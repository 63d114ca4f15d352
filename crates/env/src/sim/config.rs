//! How a simulated disk behaves.

use super::survive::Freedom;

/// What [`super::SimDisk`] does on its own account. Faults that a test asks for one by one are
/// methods of the disk.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Decides every choice. The same calls on disks of one seed give the same results.
    pub seed: u64,
    /// A power cut loses unsynced changes. Without it everything survives.
    pub lose: bool,
    /// What is lost is lost sector by sector (512 bytes), so that pages and frames are torn.
    /// Without it pages (4096 bytes), or without `reorder` whole writes, survive or do not.
    pub tear: bool,
    /// A later change may survive while an earlier one is lost. Without it what survives is what
    /// was made before some moment.
    pub reorder: bool,
    /// The disk's size in bytes, counted in pages of 4096; `None` is without end. Names and
    /// directories take no space.
    pub capacity: Option<u64>,
    /// Most files that may be open; `None` is as many as one likes.
    pub open_files_max: Option<usize>,
    /// Submitted writes and syncs wait until [`super::SimDisk::complete_next`] or somebody's
    /// [`crate::Completion::wait`] carries them out.
    pub slow: bool,
    /// Most unsynced bytes of one file. Past it the whole file is written back, as a kernel does
    /// in time; it bounds the memory that a file takes which nobody syncs.
    pub dirty_bytes_max: u64,
}

impl SimConfig {
    /// A disk without end that answers at once and takes every freedom at a power cut.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            lose: true,
            tear: true,
            reorder: true,
            capacity: None,
            open_files_max: None,
            slow: false,
            dirty_bytes_max: 64 << 20,
        }
    }

    pub(super) const fn freedom(&self) -> Freedom {
        Freedom {
            lose: self.lose,
            tear: self.tear,
            reorder: self.reorder,
            cut_seq: u64::MAX,
            keep_cuts: false,
        }
    }
}
