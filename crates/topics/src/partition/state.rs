//! What a partition's committed entries make of it, alike on every replica.

use trilith_batch::{BatchHeader, HEADER_BYTES};
use trilith_types::{EntryKind, EntryMeta, LogIndex, Offset};

use super::{
    command::PartitionCommand,
    producers::{Original, Producers},
};

/// An entry that this version cannot apply. The replica stops: to skip it would make it another
/// than the replicas that know the entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "entry {index} of kind {kind} is {what}, which this version does not know; start a newer version on this node"
)]
pub struct UnknownEntry {
    /// The entry.
    pub index: LogIndex,
    /// Its kind.
    pub kind: EntryKind,
    /// What is not known.
    pub what: String,
}

/// What is to be done because an entry was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The log's start has moved here: what lies before may go.
    pub trim: Option<Offset>,
}

/// How many bytes of an entry's payload, from its first, applying it needs.
#[must_use]
pub const fn payload_head(kind: EntryKind) -> usize {
    match kind {
        EntryKind::BATCH => HEADER_BYTES,
        EntryKind::COMMAND => usize::MAX,
        _ => 0,
    }
}

/// The committed part of a partition: a function of its entries alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionState {
    pub(super) log_start: Offset,
    pub(super) producers: Producers,
}

impl PartitionState {
    pub(super) fn apply(&mut self, meta: &EntryMeta, head: &[u8]) -> Result<Effects, UnknownEntry> {
        match meta.kind {
            // What a lost batch said of its producer is lost with it: should it come again, it is
            // stored again.
            EntryKind::NOOP | EntryKind::CONFIGURATION | EntryKind::LOST => Ok(Effects::default()),
            EntryKind::BATCH => self.take(meta, head),
            EntryKind::COMMAND => {
                let command = PartitionCommand::decode(head);
                let command = command.map_err(|what| unknown(meta, what))?;
                Ok(self.command(command, meta))
            }
            _ => Err(unknown(
                meta,
                "of another kind than a partition's".to_owned(),
            )),
        }
    }

    fn take(&mut self, meta: &EntryMeta, head: &[u8]) -> Result<Effects, UnknownEntry> {
        let stamp = BatchHeader::parse(head).and_then(|header| header.producer());
        if let Some(stamp) = stamp.map_err(|error| unknown(meta, error.to_string()))? {
            let batch = Original {
                first_offset: meta.first_offset,
                records: meta.records,
                append_time: meta.append_time,
            };
            self.producers.take(stamp, batch);
        }
        // After the batch is taken: one that comes late from a producer goes on from its last.
        self.producers.expire(meta.append_time);
        Ok(Effects::default())
    }

    fn command(&mut self, command: PartitionCommand, meta: &EntryMeta) -> Effects {
        let PartitionCommand::LogStart { offset } = command;
        let start = offset.min(meta.first_offset);
        if start <= self.log_start {
            return Effects::default();
        }
        self.log_start = start;
        Effects { trim: Some(start) }
    }
}

pub(super) const fn unknown(meta: &EntryMeta, what: String) -> UnknownEntry {
    UnknownEntry {
        index: meta.index,
        kind: meta.kind,
        what,
    }
}
