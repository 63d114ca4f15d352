//! A record is stored once: however often it is sent, it has one offset.

use std::collections::BTreeMap;

use trilith_types::Offset;

use super::Checker;
use crate::{
    event::Event,
    log_event::{LogEvent, Partition, RecordId},
    view::View,
};

/// The name of this checker.
pub(super) const NAME: &str = "records once";

/// Remembers where each record was seen, or said to be.
#[derive(Debug, Default)]
pub(super) struct RecordsOnce {
    places: BTreeMap<(Partition, RecordId), Offset>,
}

impl RecordsOnce {
    fn at(&mut self, partition: Partition, record: RecordId, offset: Offset) -> Result<(), String> {
        let known = *self.places.entry((partition, record)).or_insert(offset);
        if known == offset {
            return Ok(());
        }
        Err(format!(
            "{record} of {partition} is at {offset}, and at {known}"
        ))
    }
}

impl Checker for RecordsOnce {
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
            }) => (0..).zip(records).try_for_each(|(place, record)| {
                self.at(partition, *record, Offset(first.0 + place))
            }),
            Event::Log(LogEvent::Fetched {
                partition, records, ..
            }) => records
                .iter()
                .try_for_each(|(offset, record)| self.at(partition, *record, *offset)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{Bench, acknowledged, fetched};

    #[test]
    fn a_record_seen_again_where_it_was_is_one() {
        let mut bench = Bench::new(RecordsOnce::default(), 1);
        bench.good(&acknowledged(3, &[RecordId(7), RecordId(8)]));
        bench.good(&acknowledged(3, &[RecordId(7), RecordId(8)]));
        bench.good(&fetched(4, 5, &[(Offset(4), RecordId(8))]));
    }

    #[test]
    fn a_record_at_two_places_is_seen() {
        let mut bench = Bench::new(RecordsOnce::default(), 1);
        bench.good(&fetched(4, 5, &[(Offset(4), RecordId(8))]));
        assert!(
            bench
                .bad(&fetched(5, 6, &[(Offset(5), RecordId(8))]))
                .contains("at 5, and at 4")
        );
        bench.bad(&acknowledged(6, &[RecordId(8)]));
    }
}
