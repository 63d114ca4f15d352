//! Breaks a real cluster under load, and checks what its clients saw.
//!
//! Three nodes run as processes. Producers write numbered records, readers follow the partitions,
//! somebody asks for their ends; meanwhile nodes are killed, paused, cut off and filled up. What
//! the clients did and saw is a [`history`], and [`check`] says which promises it breaks.

pub mod check;
pub mod disk;
pub mod faults;
pub mod history;
pub mod load;
pub mod network;
pub mod nodes;
pub mod rng;
pub mod run;
