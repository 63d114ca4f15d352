//! Three hosts in one thread: on simulated disks, with a network that is a queue, and a clock that
//! goes on when nothing else does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets what it did not expect has failed"
)]

mod basics;
mod chaos;
mod damage;
mod discard;
mod disk_full;
mod machine;
mod many;
mod membership;
mod only_copy;
mod restart;
mod snapshot;
mod stranded;
mod support;
mod threads;
