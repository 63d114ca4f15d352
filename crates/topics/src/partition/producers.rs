//! What is remembered of producers: enough to know a batch again.

use std::collections::{BTreeMap, VecDeque};

use trilith_batch::{ProducerStamp, Sequence};
use trilith_types::{Offset, ProducerId, TimestampMs};

/// Most producers that a partition remembers. At the limit the one whose last batch is the oldest
/// is forgotten: its next batch is refused as an unknown producer's, unless it begins anew.
pub const PRODUCERS_MAX: usize = 1_000;

/// A producer is forgotten when the partition takes a batch so much later than the producer's
/// last, in milliseconds: a day, as in Kafka. A retry must come sooner.
pub const PRODUCER_EXPIRY_MS: u64 = 24 * 60 * 60 * 1000;

/// So many batches of a producer are known again, counted from the last: as many as it may have in
/// flight at once, as in Kafka.
pub const BATCHES_REMEMBERED: usize = 5;

/// A batch as it was stored, which is the answer to a duplicate of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its first record's offset.
    pub first_offset: Offset,
    /// How many records it has.
    pub records: u32,
    /// The time of the append.
    pub append_time: TimestampMs,
}

/// A producer's last batches. Their sequences follow one another, so that only the end of the last
/// is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) epoch: u16,
    /// The sequence after the last batch's.
    pub(super) next: Sequence,
    /// The last batches, the oldest first; at least one.
    pub(super) batches: VecDeque<Original>,
}

impl Producer {
    /// The remembered batch with exactly these sequences.
    pub(super) fn find(&self, first: Sequence, records: u32) -> Option<&Original> {
        let mut end = self.next;
        self.batches.iter().rev().find(|batch| {
            let begin = end.minus(batch.records);
            let found = (begin, batch.records) == (first, records);
            end = begin;
            found
        })
    }

    pub(super) fn last(&self) -> &Original {
        self.batches
            .back()
            .expect("a producer that is remembered has sent a batch")
    }

    fn push(&mut self, batch: Original) {
        if self.batches.len() >= BATCHES_REMEMBERED {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
        self.next = self.next.plus(batch.records);
    }
}

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    table: BTreeMap<ProducerId, Producer>,
    /// By the offset of the last batch, which is also the order of time, and never the same twice.
    by_age: BTreeMap<Offset, ProducerId>,
}

impl Producers {
    pub(super) fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.table.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.table.iter().map(|(&id, producer)| (id, producer))
    }

    /// Takes a batch that is committed. What the leader decided is not judged again: a batch that
    /// does not go on from what is remembered begins a new memory.
    pub(super) fn take(&mut self, stamp: ProducerStamp, batch: Original) {
        let known = self.table.remove(&stamp.id).inspect(|known| {
            self.by_age.remove(&known.last().first_offset);
        });
        let mut producer = known
            .filter(|known| (known.epoch, known.next) == (stamp.epoch, stamp.sequence))
            .unwrap_or_else(|| Producer {
                epoch: stamp.epoch,
                next: stamp.sequence,
                batches: VecDeque::new(),
            });
        producer.push(batch);
        let fresh = self.insert(stamp.id, producer);
        debug_assert!(fresh, "two batches have one offset");
        while self.table.len() > PRODUCERS_MAX {
            self.forget_oldest();
        }
    }

    /// Puts a producer in; false when its last batch's offset is another's, which cannot be.
    pub(super) fn insert(&mut self, id: ProducerId, producer: Producer) -> bool {
        let taken = self.by_age.insert(producer.last().first_offset, id);
        self.table.insert(id, producer);
        taken.is_none()
    }

    /// Forgets whoever sent nothing for [`PRODUCER_EXPIRY_MS`] before `now`, an entry's time.
    pub(super) fn expire(&mut self, now: TimestampMs) {
        while self
            .oldest()
            .is_some_and(|last| now.millis_since(last) > PRODUCER_EXPIRY_MS)
        {
            self.forget_oldest();
        }
    }

    fn oldest(&self) -> Option<TimestampMs> {
        let (_, id) = self.by_age.first_key_value()?;
        Some(self.table.get(id)?.last().append_time)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.by_age.pop_first() {
            self.table.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(producers: &mut Producers, id: u64, epoch: u16, sequence: Sequence, batch: Original) {
        let stamp = ProducerStamp {
            id: ProducerId(id),
            epoch,
            sequence,
        };
        producers.take(stamp, batch);
    }

    const fn at(offset: u64, records: u32, time: i64) -> Original {
        Original {
            first_offset: Offset(offset),
            records,
            append_time: TimestampMs(time),
        }
    }

    #[test]
    fn the_last_batches_are_found_by_their_exact_sequences() {
        let mut producers = Producers::default();
        let mut sequence = Sequence::MAX.minus(2);
        let begin = sequence;
        for n in 0..7_u32 {
            take(
                &mut producers,
                1,
                0,
                sequence,
                at(u64::from(n) * 10, n + 1, 0),
            );
            sequence = sequence.plus(n + 1);
        }
        let producer = producers.get(ProducerId(1)).unwrap();
        let mut first = begin;
        for n in 0..7_u32 {
            let expected = (n >= 2).then(|| at(u64::from(n) * 10, n + 1, 0));
            assert_eq!(producer.find(first, n + 1).copied(), expected, "batch {n}");
            assert_eq!(producer.find(first, n + 2), None);
            first = first.plus(n + 1);
        }
    }

    #[test]
    fn another_epoch_or_a_leap_begins_a_new_memory() {
        let mut producers = Producers::default();
        take(&mut producers, 1, 0, Sequence::ZERO, at(0, 2, 0));
        take(&mut producers, 1, 1, Sequence::ZERO, at(2, 3, 0));
        let producer = producers.get(ProducerId(1)).unwrap();
        assert_eq!(
            (producer.epoch, producer.next.get(), producer.batches.len()),
            (1, 3, 1)
        );
        take(&mut producers, 1, 1, Sequence::ZERO.plus(9), at(5, 1, 0));
        let producer = producers.get(ProducerId(1)).unwrap();
        assert_eq!((producer.next.get(), producer.batches.len()), (10, 1));
    }

    #[test]
    fn the_one_that_was_silent_longest_goes_first() {
        let mut producers = Producers::default();
        for n in 0..PRODUCERS_MAX as u64 {
            take(&mut producers, 5_000 - n, 0, Sequence::ZERO, at(n, 1, 7));
        }
        take(
            &mut producers,
            5_000,
            0,
            Sequence::ZERO.plus(1),
            at(4_000, 1, 7),
        );
        take(&mut producers, 1, 0, Sequence::ZERO, at(4_001, 1, 7));
        assert_eq!(producers.len(), PRODUCERS_MAX);
        assert!(producers.get(ProducerId(5_000)).is_some(), "it sent again");
        assert!(producers.get(ProducerId(1)).is_some(), "it is the newest");
        assert!(producers.get(ProducerId(4_999)).is_none());
    }

    #[test]
    fn a_day_of_silence_is_remembered_and_no_more() {
        let mut producers = Producers::default();
        let day = PRODUCER_EXPIRY_MS as i64;
        take(&mut producers, 1, 0, Sequence::ZERO, at(0, 1, 5));
        take(&mut producers, 2, 0, Sequence::ZERO, at(1, 1, 6));
        producers.expire(TimestampMs(5 + day));
        assert_eq!(producers.len(), 2);
        producers.expire(TimestampMs(6 + day));
        assert_eq!(
            producers.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            [ProducerId(2)]
        );
        producers.expire(TimestampMs(i64::MAX));
        assert_eq!(producers, Producers::default());
    }
}
