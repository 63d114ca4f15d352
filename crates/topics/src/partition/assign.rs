//! What a partition decides about the batches that come in: their numbers and their time.

use bytes::Bytes;
use trilith_batch::{BatchHeader, PREFIX_BYTES, prefix};
use trilith_storage::{Entry, EntryKind};
use trilith_types::{LogIndex, Offset, Term, TimestampMs};

/// A partition's leader: it numbers batches and stamps them. Offsets are dense from the log's end
/// on, log indexes too, and the append time never goes back, whatever the clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    term: Term,
    next_index: LogIndex,
    next_offset: Offset,
    append_time: TimestampMs,
}

/// A batch with its place in the partition, ready to be appended.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The entry's number.
    pub index: LogIndex,
    /// The leader's term.
    pub term: Term,
    /// The offset of its first record.
    pub first_offset: Offset,
    /// How many records it holds.
    pub records: u32,
    /// The leader's time.
    pub append_time: TimestampMs,
    /// The highest of its records' timestamps.
    pub max_timestamp: TimestampMs,
    prefix: [u8; PREFIX_BYTES],
    batch: Bytes,
    /// The partition as it was before.
    before: Partition,
}

impl Partition {
    /// A partition whose log ends at `end`, with `last_index` as its last entry.
    #[must_use]
    pub const fn new(
        term: Term,
        last_index: LogIndex,
        end: Offset,
        append_time: TimestampMs,
    ) -> Self {
        Self {
            term,
            next_index: last_index.next(),
            next_offset: end,
            append_time,
        }
    }

    /// The offset that the next record will have.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Gives `batch`, whose header is `header`, its place behind everything assigned so far.
    ///
    /// The batch has passed [`trilith_batch::check`]. `now` is the wall clock.
    pub fn assign(&mut self, header: &BatchHeader, batch: Bytes, now: TimestampMs) -> Assigned {
        let before = *self;
        let records = u32::try_from(header.record_count)
            .expect("a checked batch has a positive record count");
        assert!(
            batch.len() >= PREFIX_BYTES,
            "a checked batch is longer than its prefix"
        );
        self.append_time = self.append_time.max(now);
        self.next_index = self.next_index.next();
        self.next_offset = self.next_offset.plus(u64::from(records));
        // Kafka's leader epoch has 32 bits; the entry's own frame holds all 64 of the term.
        let epoch = self.term.0 as i32;
        Assigned {
            index: before.next_index,
            term: self.term,
            first_offset: before.next_offset,
            records,
            append_time: self.append_time,
            max_timestamp: header.max_timestamp,
            prefix: prefix(header, before.next_offset, epoch),
            batch,
            before,
        }
    }

    /// Takes back `assigned` and everything assigned after it: it could not be appended.
    pub fn take_back(&mut self, assigned: &Assigned) {
        *self = assigned.before;
    }
}

impl Assigned {
    /// The payload in two pieces: the bytes that the server sets, and the rest as it arrived.
    #[must_use]
    pub fn payload(&self) -> [&[u8]; 2] {
        [
            &self.prefix,
            self.batch.get(PREFIX_BYTES..).unwrap_or_default(),
        ]
    }

    /// The log entry, given the payload's pieces from [`Assigned::payload`].
    #[must_use]
    pub const fn entry<'a>(&self, payload: &'a [&'a [u8]]) -> Entry<'a> {
        Entry {
            index: self.index,
            term: self.term,
            kind: EntryKind::BATCH,
            first_offset: self.first_offset,
            records: self.records,
            append_time: self.append_time,
            max_timestamp: self.max_timestamp,
            payload,
        }
    }

    /// The offset behind its last record.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.first_offset.plus(self.records as u64)
    }

    /// Bytes of the batch.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batch.len()
    }
}

#[cfg(test)]
mod tests {
    use trilith_batch::{BatchBuilder, BatchLimits, Compression, check, decode};

    use super::*;

    fn batch(records: u32) -> (BatchHeader, Bytes) {
        let mut builder = BatchBuilder::new(Compression::None);
        for n in 0..records {
            builder
                .push_parts(None, Some(b"v"), &[], TimestampMs(i64::from(n)))
                .unwrap();
        }
        let batch = builder.build().unwrap();
        (check(&batch, &BatchLimits::default()).unwrap(), batch)
    }

    fn assign(partition: &mut Partition, records: u32, now: i64) -> Assigned {
        let (header, batch) = batch(records);
        partition.assign(&header, batch, TimestampMs(now))
    }

    #[test]
    fn offsets_and_indexes_are_dense() {
        let mut partition = Partition::new(Term(3), LogIndex(8), Offset(100), TimestampMs(0));
        let first = assign(&mut partition, 5, 1);
        let second = assign(&mut partition, 1, 2);
        assert_eq!(
            (first.index, first.first_offset, first.next_offset()),
            (LogIndex(9), Offset(100), Offset(105))
        );
        assert_eq!(
            (second.index, second.first_offset),
            (LogIndex(10), Offset(105))
        );
        assert_eq!(
            (partition.next_offset(), first.max_timestamp),
            (Offset(106), TimestampMs(4))
        );
    }

    #[test]
    fn the_append_time_never_goes_back() {
        let mut partition = Partition::new(Term(1), LogIndex(0), Offset(0), TimestampMs(50));
        let times = [40, 60, 55, 61].map(|now| assign(&mut partition, 1, now).append_time.0);
        assert_eq!(times, [50, 60, 60, 61]);
    }

    #[test]
    fn what_could_not_be_appended_leaves_no_hole() {
        let mut partition = Partition::new(Term(1), LogIndex(0), Offset(0), TimestampMs(0));
        assign(&mut partition, 2, 1);
        let before = partition;
        let failed = assign(&mut partition, 3, 2);
        assign(&mut partition, 4, 3);
        partition.take_back(&failed);
        assert_eq!(partition, before);
    }

    #[test]
    fn the_stored_batch_is_the_sent_one_with_its_offset_and_epoch() {
        let mut partition = Partition::new(Term(7), LogIndex(0), Offset(42), TimestampMs(0));
        let (header, sent) = batch(2);
        let assigned = partition.assign(&header, sent.clone(), TimestampMs(9));
        let pieces = assigned.payload();
        let entry = assigned.entry(&pieces);
        let stored = Bytes::from(entry.payload.concat());
        assert_eq!(
            (entry.kind, entry.records, entry.term),
            (EntryKind::BATCH, 2, Term(7))
        );
        assert_eq!((stored.len(), assigned.bytes()), (sent.len(), sent.len()));
        assert_eq!(stored[PREFIX_BYTES..], sent[PREFIX_BYTES..]);
        let offsets: Vec<_> = decode(stored.clone())
            .unwrap()
            .map(|item| item.unwrap().0)
            .collect();
        assert_eq!(offsets, [Offset(42), Offset(43)]);
        assert_eq!(BatchHeader::parse(&stored).unwrap().leader_epoch, 7);
    }
}
