//! How the writer shows readers what they may see.
//!
//! The writer stores index slots with relaxed atomics and then raises [`Visible`] with a release;
//! a reader acquires it first and only then loads slots of offsets below it. Nothing else orders
//! the two. The loom model in `tests/loom.rs` runs this very code.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

/// A 64-bit word that one thread stores and others load. On disk it is little-endian.
pub trait Cell {
    /// The value.
    fn get(&self) -> u64;
    /// Replaces the value.
    fn put(&self, value: u64);
}

impl Cell for std::sync::atomic::AtomicU64 {
    fn get(&self) -> u64 {
        u64::from_le(self.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn put(&self, value: u64) {
        self.store(value.to_le(), std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(loom)]
impl Cell for AtomicU64 {
    fn get(&self) -> u64 {
        u64::from_le(self.load(Ordering::Relaxed))
    }

    fn put(&self, value: u64) {
        self.store(value.to_le(), Ordering::Relaxed);
    }
}

/// The number below which readers see everything.
#[derive(Debug)]
pub struct Visible(AtomicU64);

impl Visible {
    /// Everything below `upto` may be seen.
    #[must_use]
    pub fn new(upto: u64) -> Self {
        Self(AtomicU64::new(upto))
    }

    /// Below this, everything that the writer stored before it raised the number is there.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Raises the number; a lower one changes nothing. Only the one writer may call it.
    pub fn raise(&self, upto: u64) {
        if upto > self.0.load(Ordering::Relaxed) {
            self.0.store(upto, Ordering::Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn visible_only_rises() {
        let visible = Visible::new(3);
        visible.raise(9);
        visible.raise(5);
        assert_eq!(visible.get(), 9);
    }
}
