//! The core under a small in-memory host: transcripts, the paper's sentences, repairs, chance.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "a test that meets the unexpected stops"
)]

mod support;

mod checklist;
mod delays;
mod doubt;
mod fetching;
mod fuzz;
mod known;
mod leases;
mod paper;
mod quiet;
mod random;
mod repair;
mod scenarios;
mod wrong_input;
