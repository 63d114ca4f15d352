//! A partition: numbers and times for its batches, producers known again, a start that moves.
//!
//! [`PartitionMachine`] is the replicated partition: its committed part is a pure function of the
//! log's entries ([`PartitionMachine::apply`]), and its leader decides against that and the
//! uncommitted tail ([`PartitionMachine::decide`]). The reasons are in
//! `docs/adr/0007-exactly-once.md`, the bytes in `docs/format-partition.md`.

mod codec;
mod command;
mod machine;
mod producers;
mod speculation;
mod state;
#[cfg(test)]
mod tests;

pub use codec::fuzz_partition_state;
pub use command::PartitionCommand;
pub use machine::{Decision, PartitionMachine, ProduceRefusal, stored_batch};
pub use producers::{BATCHES_REMEMBERED, Original, PRODUCER_EXPIRY_MS, PRODUCERS_MAX};
pub use state::{Effects, UnknownEntry, payload_head};
