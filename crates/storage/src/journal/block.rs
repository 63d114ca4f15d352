//! Blocks: the unit in which the journal is written, each stamped at both ends.

/// Length of a block; frames begin and end at multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// Length of the stamp at either end of a block.
pub const STAMP_BYTES: usize = 24;

/// What a block holds between its stamps.
pub const BLOCK_DATA_BYTES: usize = BLOCK_BYTES - 2 * STAMP_BYTES;
