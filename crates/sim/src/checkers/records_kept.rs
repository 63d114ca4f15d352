//! An acknowledged record stays: whoever reads where it was stored sees it, and nothing else.

use std::collections::BTreeMap;

use trilith_types::Offset;

use super::Checker;
use crate::{
    event::Event,
    log_event::{LogEvent, Partition, RecordId},
    view::View,
};

/// The name of this checker.
pub(super) const NAME: &str = "acknowledged records";

/// Remembers what was acknowledged where.
#[derive(Debug, Default)]
pub(super) struct RecordsKept {
    partitions: BTreeMap<Partition, BTreeMap<Offset, RecordId>>,
}

impl RecordsKept {
    fn acknowledged(
        &mut self,
        partition: Partition,
        first: Offset,
        records: &[RecordId],
    ) -> Result<(), String> {
        let known = self.partitions.entry(partition).or_default();
        for (place, record) in (0..).zip(records) {
            let offset = Offset(first.0 + place);
            let before = *known.entry(offset).or_insert(*record);
            if before != *record {
                return Err(format!(
                    "{partition} acknowledges {record} at {offset}, where {before} was acknowledged"
                ));
            }
        }
        Ok(())
    }

    fn fetched(
        &self,
        partition: Partition,
        (from, next): (Offset, Offset),
        records: &[(Offset, RecordId)],
    ) -> Result<(), String> {
        let Some(known) = self.partitions.get(&partition).filter(|_| from < next) else {
            return Ok(());
        };
        let mut shown = records.iter().peekable();
        for (offset, acknowledged) in known.range(from..next) {
            while shown.next_if(|(at, _)| at < offset).is_some() {}
            match shown.peek() {
                Some((at, record)) if at == offset && record == acknowledged => {}
                Some((at, record)) if at == offset => {
                    return Err(format!(
                        "{acknowledged} was acknowledged at {offset} of {partition}; {record} is there"
                    ));
                }
                _ => {
                    return Err(format!(
                        "{acknowledged} was acknowledged at {offset} of {partition}; a reader passes by"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Checker for RecordsKept {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        match *event {
            Event::Log(LogEvent::Acknowledged {
                partition,
                first,
                records,
                ..
            }) => self.acknowledged(partition, first, records),
            Event::Log(LogEvent::Fetched {
                partition,
                from,
                next,
                records,
                ..
            }) => self.fetched(partition, (from, next), records),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{Bench, acknowledged, fetched};

    #[test]
    fn what_was_acknowledged_is_found() {
        let mut bench = Bench::new(RecordsKept::default(), 1);
        bench.good(&acknowledged(3, &[RecordId(7), RecordId(8)]));
        bench.good(&fetched(0, 3, &[(Offset(2), RecordId(5))]));
        let shown = [(Offset(3), RecordId(7)), (Offset(4), RecordId(8))];
        bench.good(&fetched(3, 5, &shown));
        bench.good(&fetched(3, 3, &[]));
    }

    #[test]
    fn a_lost_or_another_record_is_seen() {
        let mut bench = Bench::new(RecordsKept::default(), 1);
        bench.good(&acknowledged(3, &[RecordId(7), RecordId(8)]));
        let other = [(Offset(3), RecordId(9)), (Offset(4), RecordId(8))];
        assert!(bench.bad(&fetched(3, 5, &other)).contains("is there"));
        let hole = [(Offset(3), RecordId(7))];
        assert!(bench.bad(&fetched(3, 5, &hole)).contains("passes by"));
        let twice = acknowledged(4, &[RecordId(6)]);
        assert!(bench.bad(&twice).contains("was acknowledged"));
    }
}
