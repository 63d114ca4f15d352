//! Each decision against that of a leader without a memory, who reads the whole log.

use proptest::prelude::*;
use trilith_batch::{BatchHeader, ProducerStamp, Sequence};
use trilith_topics::partition::{BATCHES_REMEMBERED, Decision, Original, ProduceRefusal};
use trilith_types::{EntryMeta, ProducerId};

use crate::log::{Log, batch};

#[derive(Clone, Debug)]
enum Step {
    /// A batch that is `behind` records (negative: ahead) off the sequence that comes next.
    Send {
        producer: u64,
        epoch: u16,
        behind: i32,
        records: u32,
    },
    /// The nth of the log's batches again.
    Again {
        nth: usize,
    },
    InVain {
        producer: u64,
        records: u32,
    },
    Apply,
    Mark,
    ChangeLeader {
        kept: usize,
        applied: usize,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_u64, 0..3_u16, prop_oneof![3 => Just(0), 1 => -3..6_i32], 1..4_u32).prop_map(
            |(producer, epoch, behind, records)| Step::Send { producer, epoch, behind, records }
        ),
        6 => any::<usize>().prop_map(|nth| Step::Again { nth }),
        1 => (0..3_u64, 1..4_u32).prop_map(|(producer, records)| Step::InVain { producer, records }),
        8 => Just(Step::Apply),
        1 => Just(Step::Mark),
        1 => (any::<usize>(), 0..=8_usize)
            .prop_map(|(kept, applied)| Step::ChangeLeader { kept, applied }),
    ]
}

/// A producer's batches in the log, the oldest first, each with whether it is applied.
fn batches_of(log: &Log, id: ProducerId) -> Vec<(EntryMeta, ProducerStamp, bool)> {
    let stamped = log.entries.iter().enumerate().map(|(n, (meta, head))| {
        let stamp = BatchHeader::parse(head).unwrap().producer().unwrap();
        (*meta, stamp.unwrap(), n < log.applied)
    });
    stamped.filter(|(_, stamp, _)| stamp.id == id).collect()
}

fn next_of(log: &Log, id: ProducerId) -> Option<(u16, Sequence)> {
    let batches = batches_of(log, id);
    let (meta, stamp, _) = batches.last()?;
    Some((stamp.epoch, stamp.sequence.plus(meta.records)))
}

fn naive(log: &Log, stamp: ProducerStamp, records: u32) -> Result<Decision, ProduceRefusal> {
    let (producer, found) = (stamp.id, stamp.sequence);
    let Some((current, expected)) = next_of(log, producer) else {
        return if found == Sequence::ZERO {
            Ok(Decision::Append)
        } else {
            Err(ProduceRefusal::UnknownProducer { producer, found })
        };
    };
    if stamp.epoch < current {
        let found = stamp.epoch;
        return Err(ProduceRefusal::StaleEpoch {
            producer,
            current,
            found,
        });
    }
    let expected = if stamp.epoch > current {
        Sequence::ZERO
    } else {
        expected
    };
    if found == expected {
        return Ok(Decision::Append);
    }
    let mut remembered = 0;
    for (meta, other, applied) in batches_of(log, producer).iter().rev() {
        remembered += usize::from(*applied);
        if remembered > BATCHES_REMEMBERED {
            break;
        }
        if (*other, meta.records) == (stamp, records) {
            return Ok(if *applied {
                Decision::Duplicate(Original {
                    first_offset: meta.first_offset,
                    records,
                    append_time: meta.append_time,
                })
            } else {
                Decision::AttachTo { index: meta.index }
            });
        }
    }
    Err(ProduceRefusal::OutOfSequence {
        producer,
        expected,
        found,
    })
}

fn send(log: &mut Log, stamp: ProducerStamp, records: u32) {
    let expected = naive(log, stamp, records);
    assert_eq!(
        log.produce(&batch(stamp, records)),
        expected,
        "{stamp:?} x {records}"
    );
}

fn run(log: &mut Log, step: &Step) {
    match *step {
        Step::Send {
            producer,
            epoch,
            behind,
            records,
        } => {
            let id = ProducerId(producer);
            let known = next_of(log, id).filter(|(current, _)| *current == epoch);
            let next = known.map_or(Sequence::ZERO, |(_, next)| next);
            let sequence = match u32::try_from(behind) {
                Ok(behind) => next.minus(behind),
                Err(_) => next.plus(behind.unsigned_abs()),
            };
            send(
                log,
                ProducerStamp {
                    id,
                    epoch,
                    sequence,
                },
                records,
            );
        }
        Step::Again { nth } => {
            let nth = nth.checked_rem(log.entries.len());
            if let Some((meta, head)) = nth.and_then(|nth| log.entries.get(nth)) {
                let records = meta.records;
                let stamp = BatchHeader::parse(head).unwrap().producer().unwrap();
                send(log, stamp.unwrap(), records);
            }
        }
        Step::InVain { producer, records } => {
            let id = ProducerId(producer);
            let (epoch, sequence) = next_of(log, id).unwrap_or_default();
            log.produce_in_vain(&batch(
                ProducerStamp {
                    id,
                    epoch,
                    sequence,
                },
                records,
            ));
        }
        Step::Apply => drop(log.apply()),
        Step::Mark => log.mark(),
        Step::ChangeLeader { kept, applied } => log.change_leader(kept, applied),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_machine_decides_as_one_who_reads_the_log(
        steps in prop::collection::vec(any_step(), 1..120), wraps: bool,
    ) {
        let mut log = Log::default();
        if wraps {
            // As after two thousand million records: the next batches go over the end.
            let sequence = Sequence::MAX.minus(4);
            for id in (0..3).map(ProducerId) {
                log.append(&batch(ProducerStamp { id, epoch: 0, sequence }, 2));
                log.apply();
            }
        }
        for step in &steps {
            run(&mut log, step);
        }
    }
}
