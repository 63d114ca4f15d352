//! What readers were promised.

use super::facts::{Facts, Read};

pub(super) fn see_a_prefix(facts: &Facts) -> Vec<String> {
    let mut breaches = Vec::new();
    for ((reader, partition), reads) in &facts.reads {
        for (expected, Read { offset, record, .. }) in (0_u64..).zip(reads) {
            if *offset != expected {
                breaches.push(format!(
                    "reader {reader}, partition {partition}: was given offset {offset} when {expected} was next"
                ));
                break;
            }
            let there = facts.record_at((*partition, *offset));
            if there != Some(*record) {
                let there = there.map_or_else(|| "nothing".to_owned(), |other| other.to_string());
                breaches.push(format!(
                    "reader {reader}, partition {partition}, offset {offset}: read {record}; in the end there is {there}"
                ));
            }
        }
    }
    breaches
}

/// Something that shows how far a partition reached at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reached {
    at: u64,
    end: u64,
}

pub(super) fn ends_are_current(facts: &Facts) -> Vec<String> {
    let mut breaches = Vec::new();
    for (partition, ends) in &facts.ends {
        let reached = reached(facts, *partition);
        let length = facts.log.get(partition).map_or(0, |log| log.len() as u64);
        for told in ends {
            // The highest end known by the time of the question: the last one before it.
            let before = reached.partition_point(|known| known.at < told.asked);
            let known = before.checked_sub(1).and_then(|last| reached.get(last));
            if let Some(known) = known.filter(|known| known.end > told.end) {
                breaches.push(format!(
                    "partition {partition}: asked at {} us, its end was told as {}, but {} was known at {} us",
                    told.asked, told.end, known.end, known.at
                ));
            }
            if told.end > length {
                breaches.push(format!(
                    "partition {partition}: its end was told as {}, and in the end it has {length} records",
                    told.end
                ));
            }
        }
    }
    breaches
}

/// How far a partition was known to reach, in the order of time, only rising.
fn reached(facts: &Facts, partition: u32) -> Vec<Reached> {
    let acked = facts.acked.values().flatten();
    let acked = acked
        .filter(|answer| answer.place.0 == partition)
        .map(|answer| Reached {
            at: answer.at,
            end: answer.place.1 + 1,
        });
    let reads = facts.reads.iter().filter(|((_, of), _)| *of == partition);
    let reads = reads.flat_map(|(_, reads)| reads).map(|read| Reached {
        at: read.at,
        end: read.offset + 1,
    });
    let ends = facts.ends.get(&partition).into_iter().flatten();
    let ends = ends.map(|told| Reached {
        at: told.answered,
        end: told.end,
    });
    let mut reached: Vec<Reached> = acked.chain(reads).chain(ends).collect();
    reached.sort_unstable();
    let mut highest = 0;
    for known in &mut reached {
        highest = known.end.max(highest);
        known.end = highest;
    }
    reached
}
