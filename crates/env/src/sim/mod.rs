//! The simulated world: a disk, a clock and a generator that one seed decides.
//!
//! # What is durable: the model in a page
//!
//! A [`SimDisk`] keeps three things apart for every file:
//!
//! - the **cache**: what every read returns;
//! - the **device**: what is there after a power cut if nothing else arrives;
//! - the **pending changes**: writes, new lengths and reserved space, in the order they were
//!   made, that are in the cache and that nobody has synced.
//!
//! A write changes the cache and adds a pending change. A **sync** brings the touched pages to
//! the device as they stand in the cache, and the list is empty. Directories work the same way:
//! a name made, renamed or removed is seen at once and is pending until [`crate::Disk::sync_dir`]
//! on its directory; syncing a file says nothing about its name.
//!
//! **A process crash** ([`SimDisk::crash_process`]) ends the handles, frees the locks and keeps
//! cache, device and pending changes. The next process reads everything back, *also what is on
//! no device yet*: this is why recovery must not rely on having read something.
//!
//! **A power cut** ([`SimDisk::power_cut`], [`SimDisk::power_cut_after`]) stops every operation.
//! [`SimDisk::restart`] then draws what the device has got of the pending changes, and the cache
//! becomes that:
//!
//! - each 512-byte sector is as it was after the first *k* of the pending writes that touched it,
//!   for a *k* of its own. So bytes are lost, pages are torn, and later writes may be there while
//!   earlier ones are not. A sector itself is never torn.
//! - the length and the reserved space are as they were at one moment; the write at that moment
//!   may have got half way. A file may be long enough and hold zeros.
//! - a file that was cut and written again shows its old bytes or its new ones, never both.
//! - each pending change of a name is there or is not, but a file's later moves are there only
//!   with its earlier ones. A rename is there as a whole, and syncing either directory suffices.
//!
//! One outcome in four is a plain one (nothing arrived, everything did), and one in four a
//! beginning of the list; pure chance would hardly ever give these. [`SimConfig`] takes each
//! freedom away: `lose`, `tear`, `reorder`.
//!
//! **A durable write** is on the device when it completes, and says nothing about earlier ones.
//! When power is cut before that, each 4 KiB block of it has arrived, or not, or its first
//! sectors have: blocks in any order, a block from its beginning. When it fails, the cache has all
//! of it and the device such a part.
//!
//! **A failed sync** brings some pages to the device and forgets the rest: they read back clean
//! and are lost, and a second sync that succeeds proves nothing. Only writing them again helps.
//! This is what Linux does (Rebello et al., "Can Applications Recover from fsync Failures?",
//! USENIX ATC 2020).
//!
//! **A mapping** is part of the cache. Words stored in it become pending writes of their sectors
//! when somebody looks: at a read, a sync, a flush or a crash. A flush is a sync of the file.
//!
//! # Faults on demand
//!
//! | fault | call |
//! |---|---|
//! | power cut at the n-th changing operation | [`SimDisk::power_cut_after`]; loop n to [`SimDisk::mutations`] |
//! | the n-th operation of a kind fails | [`SimDisk::fail`] with a [`Failure`] |
//! | full disk, and room again | [`SimConfig::capacity`] by [`SimDisk::configure`] |
//! | no more files may be opened | [`SimConfig::open_files_max`] by [`SimDisk::configure`] |
//! | slow disk: completions when the host says so, in any order | [`SimConfig::slow`], [`SimDisk::complete_next`] |
//! | a flipped bit in cache, device or both | [`SimDisk::flip_bit`] |
//! | a write that lands elsewhere | [`SimDisk::misdirect_next_write`] |
//! | lost pages come to light | [`SimDisk::drop_clean_cache`] |
//! | many outcomes from one point | [`SimDisk::fork`] |
//!
//! [`SimDisk::fault_counts`] tells what has happened, so that a test can show that its faults
//! took place. After a crash, errors carry [`Gone`], which [`Gone::caused`] finds under any
//! wrapping.
//!
//! A crash test runs a workload once to count its operations, then once for each `n` with
//! `power_cut_after(n)`; after `restart` it opens what is left and checks what was promised. For
//! more outcomes of one cut it calls `fork(seed)` before `restart`.
//!
//! # What is not modelled
//!
//! - Sectors torn within, devices that lie about a sync (but see `flip_bit` and
//!   `misdirect_next_write`), and unsynced blocks that show another file's old bytes: journaling
//!   file systems zero them.
//! - Metadata that is damaged: names, lengths and space are lost or kept, never nonsense.
//! - Stores into a mapping one by one: what reaches the device is a state that somebody looked
//!   at, or the last one. A store past a cut file's end is ignored; a real one ends the process.
//! - A mapping that grows over another one: it is refused, since heap memory cannot move.
//! - Blocks for names and directories, inodes, links, permissions, times and `..` in paths.
//! - Time: a slow disk knows an order, not a duration.

mod clock;
mod config;
mod content;
mod disk;
mod durable;
mod extents;
mod fault;
mod files;
mod handle;
mod map;
mod names;
mod page;
mod queue;
mod rng;
mod state;
mod survive;
mod tree;

pub use clock::{DRIFT_PPM_MAX, SimClock};
pub use config::SimConfig;
pub use disk::{FlipIn, SimDisk};
pub use fault::{Failure, FaultCounts, Gone, Op};
pub use queue::SLOW_QUEUE_MAX;
pub use rng::SimRng;
