//! What a leader has decided and does not know to be committed yet.

use std::collections::{BTreeMap, VecDeque};

use trilith_batch::{ProducerStamp, Sequence};
use trilith_types::{LogIndex, ProducerId};

/// A producer's batch in the log's uncommitted tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uncommitted {
    pub(super) index: LogIndex,
    pub(super) epoch: u16,
    pub(super) first: Sequence,
    pub(super) records: u32,
}

impl Uncommitted {
    pub(super) const fn next(&self) -> Sequence {
        self.first.plus(self.records)
    }
}

/// The producers' batches of the uncommitted tail. It is as long as the tail, which the consensus
/// core bounds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Speculation {
    /// Never an empty queue.
    by_producer: BTreeMap<ProducerId, VecDeque<Uncommitted>>,
    order: VecDeque<(LogIndex, ProducerId)>,
}

impl Speculation {
    /// A producer's uncommitted batches, the oldest first.
    pub(super) fn of(&self, id: ProducerId) -> Option<&VecDeque<Uncommitted>> {
        self.by_producer.get(&id)
    }

    pub(super) fn push(&mut self, index: LogIndex, stamp: ProducerStamp, records: u32) {
        debug_assert!(self.order.back().is_none_or(|&(last, _)| last < index));
        self.order.push_back((index, stamp.id));
        let batches = self.by_producer.entry(stamp.id).or_default();
        batches.push_back(Uncommitted {
            index,
            epoch: stamp.epoch,
            first: stamp.sequence,
            records,
        });
    }

    /// The entries up to `index` are committed now.
    pub(super) fn committed(&mut self, index: LogIndex) {
        while let Some(&(first, id)) = self.order.front()
            && first <= index
        {
            self.order.pop_front();
            self.take(id, VecDeque::pop_front);
        }
    }

    /// The entries from `index` on are not in the log after all.
    pub(super) fn take_back(&mut self, index: LogIndex) {
        while let Some(&(last, id)) = self.order.back()
            && last >= index
        {
            self.order.pop_back();
            self.take(id, VecDeque::pop_back);
        }
    }

    fn take(
        &mut self,
        id: ProducerId,
        end: impl FnOnce(&mut VecDeque<Uncommitted>) -> Option<Uncommitted>,
    ) {
        let Some(batches) = self.by_producer.get_mut(&id) else {
            return;
        };
        end(batches);
        if batches.is_empty() {
            self.by_producer.remove(&id);
        }
    }
}
