//! Deterministic simulation: one thread, virtual time, one seed that decides everything.
//!
//! A [`world::World`] brings the nodes. The [`engine`] brings the rest: a [`scheduler`] of
//! virtual time, a [`network`] that loses, delays, doubles, reorders and cuts, a plan of
//! [`faults`] that differs from seed to seed, clients with a [`workload`], and the [`checkers`],
//! one property a file, which see nothing but [`event`]s and the [`view`] they add up to. The
//! same events make the [`trace`], the [`stats`] and the [`picture`].
//!
//! Nothing here reads a clock, starts a thread or walks a hash map: the same seed gives the same
//! trace, byte for byte, in every build.

#[cfg(feature = "planted-bugs")]
pub mod bugs;
pub mod checkers;
pub mod engine;
pub mod event;
pub mod faults;
pub mod history;
pub mod linearize;
pub mod log_event;
pub mod network;
pub mod picture;
pub mod recorder;
pub mod rng;
pub mod scheduler;
pub mod stats;
pub mod tally;
pub mod time;
pub mod trace;
pub mod view;
pub mod workload;
pub mod world;
pub mod worlds;
