//! Every reader sees a beginning of one and the same sequence: without a hole, in order, and what
//! one of them has seen stays what it was.

use std::collections::BTreeMap;

use trilith_types::Offset;

use super::Checker;
use crate::{
    event::Event,
    log_event::{LogEvent, Partition, RecordId},
    view::View,
};

/// The name of this checker.
pub(super) const NAME: &str = "readers' prefix";

/// Remembers where each reader is, and what was seen first at each offset.
#[derive(Debug, Default)]
pub(super) struct ReadersPrefix {
    positions: BTreeMap<(Partition, u32), Offset>,
    seen: BTreeMap<Partition, BTreeMap<Offset, RecordId>>,
}

impl ReadersPrefix {
    fn moves(&mut self, partition: Partition, reader: u32, to: Offset) {
        self.positions.insert((partition, reader), to);
    }

    fn fetched(
        &mut self,
        (partition, reader): (Partition, u32),
        (from, next): (Offset, Offset),
        records: &[(Offset, RecordId)],
    ) -> Result<(), String> {
        let position = self.positions.insert((partition, reader), next);
        if position != Some(from) {
            return Err(format!(
                "reader {reader} of {partition} is shown what is at {from}, and was at {position:?}"
            ));
        }
        let mut expected = from;
        let seen = self.seen.entry(partition).or_default();
        for (offset, record) in records {
            if *offset != expected {
                return Err(format!(
                    "reader {reader} of {partition} sees {offset} where {expected} belongs"
                ));
            }
            let known = *seen.entry(*offset).or_insert(*record);
            if known != *record {
                return Err(format!(
                    "reader {reader} sees {record} at {offset} of {partition}; {known} was there"
                ));
            }
            expected = offset.plus(1);
        }
        if expected != next {
            return Err(format!(
                "reader {reader} of {partition} goes on at {next} after {expected}"
            ));
        }
        Ok(())
    }
}

impl Checker for ReadersPrefix {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        let Event::Log(event) = *event else {
            return Ok(());
        };
        match event {
            LogEvent::Seeks {
                reader,
                partition,
                to,
            } => self.moves(partition, reader, to),
            LogEvent::Overtaken {
                reader,
                partition,
                earliest,
                ..
            } => {
                let position = self.positions.get(&(partition, reader)).copied();
                if position.is_some_and(|position| earliest <= position) {
                    return Err(format!(
                        "reader {reader} of {partition} at {position:?} is told that {earliest} is the first"
                    ));
                }
                self.moves(partition, reader, earliest);
            }
            LogEvent::Fetched {
                reader,
                partition,
                from,
                next,
                records,
                ..
            } => self.fetched((partition, reader), (from, next), records)?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{Bench, PARTITION, fetched};

    fn seeks(to: u64) -> Event<'static> {
        Event::Log(LogEvent::Seeks {
            reader: 1,
            partition: PARTITION,
            to: Offset(to),
        })
    }

    fn bench() -> Bench<ReadersPrefix> {
        let mut bench = Bench::new(ReadersPrefix::default(), 1);
        bench.good(&seeks(3));
        let shown = [(Offset(3), RecordId(7)), (Offset(4), RecordId(8))];
        bench.good(&fetched(3, 5, &shown));
        bench
    }

    #[test]
    fn going_on_and_going_back_are_fine() {
        let mut bench = bench();
        bench.good(&fetched(5, 5, &[]));
        bench.good(&fetched(5, 6, &[(Offset(5), RecordId(9))]));
        bench.good(&seeks(4));
        bench.good(&fetched(4, 5, &[(Offset(4), RecordId(8))]));
    }

    #[test]
    fn holes_leaps_and_changes_are_seen() {
        assert!(
            bench()
                .bad(&fetched(5, 7, &[(Offset(6), RecordId(1))]))
                .contains("where 5")
        );
        assert!(
            bench()
                .bad(&fetched(5, 7, &[(Offset(5), RecordId(1))]))
                .contains("goes on")
        );
        assert!(bench().bad(&fetched(6, 6, &[])).contains("was at"));
        let mut changed = bench();
        changed.good(&seeks(4));
        let other = [(Offset(4), RecordId(9))];
        assert!(changed.bad(&fetched(4, 5, &other)).contains("was there"));
        let back = Event::Log(LogEvent::Overtaken {
            reader: 1,
            partition: PARTITION,
            at: crate::time::SimTime(10),
            earliest: Offset(2),
        });
        assert!(bench().bad(&back).contains("is the first"));
    }
}
