//! A partition's log and the machine that leads it: what a replicated group does, without one.

use bytes::Bytes;
use trilith_batch::{BatchBuilder, BatchHeader, Compression, HEADER_BYTES, ProducerStamp};
use trilith_topics::partition::{Decision, PartitionMachine, ProduceRefusal};
use trilith_types::{EntryKind, EntryMeta, LogIndex, Offset, Term, TimestampMs};

/// A batch of `records` records, as the producer sends it.
pub(crate) fn batch(stamp: ProducerStamp, records: u32) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        builder.push_parts(None, None, &[], TimestampMs(0)).unwrap();
    }
    builder.set_producer(Some(stamp));
    builder.build().unwrap()
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) machine: PartitionMachine,
    pub(crate) entries: Vec<(EntryMeta, Bytes)>,
    /// So many entries are committed: they are never cut off.
    committed: usize,
    /// So many of them are applied by the machine.
    pub(crate) applied: usize,
    /// States of earlier on, with how many entries they stand for: where another replica may be.
    states: Vec<(usize, Bytes)>,
}

impl Log {
    pub(crate) fn next_index(&self) -> LogIndex {
        LogIndex(self.entries.len() as u64 + 1)
    }

    fn next_offset(&self) -> Offset {
        self.entries
            .last()
            .map_or(Offset(0), |(meta, _)| meta.next_offset())
    }

    /// The leader gets a batch.
    pub(crate) fn produce(&mut self, batch: &Bytes) -> Result<Decision, ProduceRefusal> {
        let header = BatchHeader::parse(batch).unwrap();
        let decision = self.machine.decide(&header, self.next_index());
        if decision == Ok(Decision::Append) {
            self.append(batch);
        }
        decision
    }

    /// The leader decides on a batch and cannot append it.
    pub(crate) fn produce_in_vain(&mut self, batch: &Bytes) {
        let header = BatchHeader::parse(batch).unwrap();
        let index = self.next_index();
        if self.machine.decide(&header, index) == Ok(Decision::Append) {
            self.machine.undecide(index);
        }
    }

    pub(crate) fn append(&mut self, batch: &Bytes) {
        let header = BatchHeader::parse(batch).unwrap();
        let meta = EntryMeta {
            index: self.next_index(),
            term: Term(1),
            kind: EntryKind::BATCH,
            first_offset: self.next_offset(),
            records: header.record_count as u32,
            append_time: TimestampMs(self.entries.len() as i64),
            max_timestamp: header.max_timestamp,
        };
        self.entries.push((meta, batch.slice(..HEADER_BYTES)));
    }

    /// The next entry is applied, and committed if it was not; `None` when there is none.
    pub(crate) fn apply(&mut self) -> Option<EntryMeta> {
        let (meta, head) = self.entries.get(self.applied)?;
        self.machine.apply(meta, head).unwrap();
        self.applied += 1;
        self.committed = self.committed.max(self.applied);
        Some(*meta)
    }

    /// A mark is taken, which a replica may be restored from later.
    pub(crate) fn mark(&mut self) {
        self.states.push((self.applied, self.machine.state()));
    }

    /// Another replica leads: all that is committed is there, and some of the rest. It had been
    /// restored from the last mark, and has applied `applied` parts of 8 of what it may.
    pub(crate) fn change_leader(&mut self, kept: usize, applied: usize) {
        let uncommitted = self.entries.len() - self.committed;
        self.entries
            .truncate(self.committed + kept % (uncommitted + 1));
        let (from, state) = self.states.last().cloned().unwrap_or_default();
        self.machine = PartitionMachine::restore(&state).unwrap();
        let to = from + (self.committed - from) * applied / 8;
        for (meta, head) in self.entries.get(from..to).unwrap() {
            self.machine.apply(meta, head).unwrap();
        }
        let tail = self.entries.get(to..).unwrap().iter().cloned();
        self.machine.lead(tail).unwrap();
        self.applied = to;
    }
}
