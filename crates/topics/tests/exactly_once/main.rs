//! Exactly-once into the log, against naive models of it: a leader that decides by reading the
//! whole log, and producers that send again over a network that repeats and delays, while leaders
//! change and tails are cut off.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod decisions;
mod log;
mod producers;
