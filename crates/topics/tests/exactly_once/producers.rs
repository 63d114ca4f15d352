//! Whole producers: up to five batches in flight each, a network that repeats, delays and loses,
//! leaders that change. In the end every batch is in the log once, in order, where its answer said.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use trilith_batch::{BatchHeader, ProducerStamp, Sequence};
use trilith_topics::partition::{BATCHES_REMEMBERED, Decision};
use trilith_types::{LogIndex, Offset, ProducerId};

use crate::log::{Log, batch};

/// A batch's place among all: its producer, and which of the producer's batches it is.
type Name = (u64, usize);

#[derive(Clone, Debug)]
enum Step {
    /// A producer sends its next batch, or, with a full window, its first unanswered one again.
    Send {
        producer: u64,
        records: u32,
    },
    /// A producer sends one of its unanswered batches again.
    Resend {
        producer: u64,
        nth: usize,
    },
    /// A request arrives, and may arrive again.
    Deliver {
        nth: usize,
        again: bool,
    },
    /// A request is lost.
    Lose {
        nth: usize,
    },
    /// An entry is committed; the answers to it may be lost.
    Commit {
        heard: bool,
    },
    Mark,
    ChangeLeader {
        kept: usize,
        applied: usize,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u64, 1..4_u32).prop_map(|(producer, records)| Step::Send { producer, records }),
        3 => (0..3_u64, any::<usize>()).prop_map(|(producer, nth)| Step::Resend { producer, nth }),
        9 => (any::<usize>(), any::<bool>()).prop_map(|(nth, again)| Step::Deliver { nth, again }),
        1 => any::<usize>().prop_map(|nth| Step::Lose { nth }),
        6 => prop::bool::weighted(0.8).prop_map(|heard| Step::Commit { heard }),
        1 => Just(Step::Mark),
        1 => (any::<usize>(), 0..=8_usize)
            .prop_map(|(kept, applied)| Step::ChangeLeader { kept, applied }),
    ]
}

#[derive(Default)]
struct Producer {
    next: Sequence,
    batches: Vec<Bytes>,
    acked: BTreeMap<usize, Offset>,
}

impl Producer {
    fn unanswered(&self) -> Vec<usize> {
        let all = 0..self.batches.len();
        all.filter(|n| !self.acked.contains_key(n)).collect()
    }
}

#[derive(Default)]
struct World {
    log: Log,
    producers: BTreeMap<u64, Producer>,
    network: Vec<Name>,
    /// Who waits for an entry to commit.
    waiting: BTreeMap<LogIndex, Vec<Name>>,
}

impl World {
    fn step(&mut self, step: &Step) {
        let pick = |nth: usize, len: usize| nth.checked_rem(len);
        match *step {
            Step::Send { producer, records } => self.send(producer, records),
            Step::Resend { producer, nth } => {
                let unanswered = self.producers.entry(producer).or_default().unanswered();
                let n = pick(nth, unanswered.len()).and_then(|n| unanswered.get(n));
                self.network.extend(n.map(|&n| (producer, n)));
            }
            Step::Deliver { nth, again } => {
                let Some(n) = pick(nth, self.network.len()) else {
                    return;
                };
                let name = self.network.swap_remove(n);
                if again {
                    self.network.push(name);
                }
                self.deliver(name);
            }
            Step::Lose { nth } => {
                if let Some(n) = pick(nth, self.network.len()) {
                    self.network.swap_remove(n);
                }
            }
            Step::Commit { heard } => drop(self.commit(heard)),
            Step::Mark => self.log.mark(),
            Step::ChangeLeader { kept, applied } => {
                // Who waits at the old leader hears that the outcome is unknown.
                self.waiting.clear();
                self.log.change_leader(kept, applied);
            }
        }
    }

    fn send(&mut self, producer: u64, records: u32) {
        let state = self.producers.entry(producer).or_default();
        let unanswered = state.unanswered();
        let first = unanswered.first().copied();
        // The window is counted from the first unanswered batch: what lies behind it may be asked
        // for again, and must still be remembered.
        let n = match first.filter(|first| state.batches.len() - first >= BATCHES_REMEMBERED) {
            Some(first) => first,
            None => {
                let stamp = ProducerStamp {
                    id: ProducerId(producer),
                    epoch: 0,
                    sequence: state.next,
                };
                state.next = state.next.plus(records);
                state.batches.push(batch(stamp, records));
                state.batches.len() - 1
            }
        };
        self.network.push((producer, n));
    }

    fn deliver(&mut self, name: Name) {
        let batch = self.producers[&name.0].batches[name.1].clone();
        let index = self.log.next_index();
        match self.log.produce(&batch) {
            Ok(Decision::Append) => self.waiting.entry(index).or_default().push(name),
            Ok(Decision::AttachTo { index }) => {
                assert!(
                    index.0 as usize > self.log.applied,
                    "it is not known as committed"
                );
                self.waiting.entry(index).or_default().push(name);
            }
            Ok(Decision::Duplicate(original)) => self.ack(name, original.first_offset),
            Err(_) => {}
        }
    }

    fn commit(&mut self, heard: bool) -> Option<()> {
        let meta = self.log.apply()?;
        let waiting = self.waiting.remove(&meta.index).unwrap_or_default();
        for name in waiting.into_iter().filter(|_| heard) {
            self.ack(name, meta.first_offset);
        }
        Some(())
    }

    fn ack(&mut self, name: Name, offset: Offset) {
        let producer = self.producers.get_mut(&name.0).unwrap();
        let before = producer.acked.insert(name.1, offset);
        assert!(
            before.is_none_or(|before| before == offset),
            "two answers to {name:?}"
        );
    }

    /// No more faults: everybody sends what is unanswered, in order, until all is answered.
    fn heal(&mut self) {
        self.network.clear();
        while self.commit(true).is_some() {}
        let producers: Vec<u64> = self.producers.keys().copied().collect();
        for producer in producers {
            for n in self.producers[&producer].unanswered() {
                self.deliver((producer, n));
                while self.commit(true).is_some() {}
            }
            assert_eq!(self.producers[&producer].unanswered(), [0_usize; 0]);
        }
    }

    fn check(&self) {
        let mut stored: BTreeMap<u64, Vec<(Bytes, Offset)>> = BTreeMap::new();
        for (meta, head) in &self.log.entries {
            let stamp = BatchHeader::parse(head)
                .unwrap()
                .producer()
                .unwrap()
                .unwrap();
            let batches = stored.entry(stamp.id.0).or_default();
            batches.push((head.clone(), meta.first_offset));
        }
        for (id, producer) in &self.producers {
            let stored = stored.remove(id).unwrap_or_default();
            assert_eq!(stored.len(), producer.batches.len(), "producer {id}");
            for (n, ((head, offset), sent)) in stored.iter().zip(&producer.batches).enumerate() {
                assert!(
                    sent.starts_with(head),
                    "producer {id}: batch {n} is in its place"
                );
                assert_eq!(
                    producer.acked.get(&n),
                    Some(offset),
                    "producer {id}: batch {n}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_batch_is_stored_once_in_order_and_where_its_answer_said(
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
        }
        world.heal();
        world.check();
    }
}
