//! Frames: what is written is read again, and no bytes make a reader panic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod corpus;
mod frames;
mod values;
