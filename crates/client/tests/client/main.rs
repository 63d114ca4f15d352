//! The client against a server whose every answer the test decides.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fake;
mod leaders;

mod consumer;
mod producer;
mod requests;
