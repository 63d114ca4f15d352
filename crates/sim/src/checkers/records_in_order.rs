//! What a producer sends to a partition is stored in the order in which it was sent.

use std::collections::BTreeMap;

use trilith_types::Offset;

use super::Checker;
use crate::{
    event::Event,
    log_event::{LogEvent, Partition, RecordId},
    view::View,
};

/// The name of this checker.
pub(super) const NAME: &str = "records in order";

/// Remembers the offsets of each producer's records, by their places in its order.
#[derive(Debug, Default)]
pub(super) struct RecordsInOrder {
    sent: BTreeMap<(Partition, u32), BTreeMap<u32, Offset>>,
}

impl RecordsInOrder {
    fn at(&mut self, partition: Partition, record: RecordId, offset: Offset) -> Result<(), String> {
        let Some((producer, serial)) = record.place() else {
            return Ok(());
        };
        let sent = self.sent.entry((partition, producer)).or_default();
        if sent.insert(serial, offset) == Some(offset) {
            return Ok(());
        }
        let before = sent.range(..serial).next_back();
        let after = sent.range(serial + 1..).next();
        let wrong = before
            .filter(|(_, at)| **at >= offset)
            .or_else(|| after.filter(|(_, at)| **at <= offset));
        match wrong {
            None => Ok(()),
            Some((other, at)) => Err(format!(
                "{record} of {partition} is at {offset}, and {producer}/{other} at {at}"
            )),
        }
    }
}

impl Checker for RecordsInOrder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        match *event {
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
    use crate::checkers::testing::{Bench, fetched};

    fn shown(places: &[(u64, u32, u32)]) -> Vec<(Offset, RecordId)> {
        let record = |(at, producer, serial): &(u64, u32, u32)| {
            (Offset(*at), RecordId::of(*producer, *serial))
        };
        places.iter().map(record).collect()
    }

    #[test]
    fn producers_may_alternate_and_leave_out_what_was_never_stored() {
        let mut bench = Bench::new(RecordsInOrder::default(), 1);
        let records = shown(&[(0, 1, 0), (1, 2, 0), (2, 1, 3), (3, 2, 1)]);
        bench.good(&fetched(0, 4, &records));
        bench.good(&fetched(0, 4, &records));
    }

    #[test]
    fn a_later_record_at_an_earlier_place_is_seen() {
        let mut bench = Bench::new(RecordsInOrder::default(), 1);
        bench.good(&fetched(2, 4, &shown(&[(2, 1, 4), (3, 1, 6)])));
        let behind = bench.bad(&fetched(9, 10, &shown(&[(9, 1, 5)])));
        assert!(behind.contains("1/6 at 3"), "{behind}");
        let before = bench.bad(&fetched(1, 2, &shown(&[(1, 1, 7)])));
        assert!(before.contains("is at 1"), "{before}");
    }
}
