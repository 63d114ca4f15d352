//! Time.

use std::{fmt, time::Duration};

use trilith_types::TimestampMs;

/// A source of time. Two clocks: one that never goes back, and the one on the wall.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Time since some fixed moment in this process's past; never goes back.
    fn monotonic(&self) -> Duration;

    /// The wall clock; may jump either way.
    fn wall(&self) -> TimestampMs;
}
