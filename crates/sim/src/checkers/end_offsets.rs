//! Where a partition ends is linearisable: an end that is told is behind everything that was
//! acknowledged, shown or told before it was asked for. Its beginning never goes back.

use std::collections::BTreeMap;

use trilith_types::Offset;

use super::Checker;
use crate::{
    event::Event,
    log_event::{LogEvent, Partition},
    time::SimTime,
    view::View,
};

/// The name of this checker.
pub(super) const NAME: &str = "end offsets";

/// A bound that only grows, and since when it has been what.
#[derive(Debug, Default)]
struct Growing(Vec<(SimTime, Offset)>);

impl Growing {
    /// It is known at `at` to be at least `bound`.
    fn raise(&mut self, at: SimTime, bound: Offset) {
        match self.0.last_mut() {
            Some((_, known)) if *known >= bound => {}
            // Of one moment the highest counts.
            Some((since, known)) if *since == at => *known = bound,
            _ => self.0.push((at, bound)),
        }
    }

    /// What it was before a moment.
    fn before(&self, moment: SimTime) -> Offset {
        let place = self.0.partition_point(|(at, _)| *at < moment);
        let last = place.checked_sub(1).and_then(|place| self.0.get(place));
        last.map_or(Offset::ZERO, |(_, bound)| *bound)
    }
}

/// Remembers how far each partition is known to go.
#[derive(Debug, Default)]
pub(super) struct EndOffsets {
    ends: BTreeMap<Partition, Growing>,
    beginnings: BTreeMap<Partition, Growing>,
}

impl EndOffsets {
    fn told(
        &mut self,
        partition: Partition,
        (asked, at): (SimTime, SimTime),
        (earliest, end): (Offset, Offset),
    ) -> Result<(), String> {
        let ends = self.ends.entry(partition).or_default();
        let least = ends.before(asked);
        if end < least {
            return Err(format!(
                "{partition} was asked for its end at {asked} and says {end}; it went to {least} by then"
            ));
        }
        ends.raise(at, end);
        self.begins(partition, (asked, at), earliest)
    }

    fn begins(
        &mut self,
        partition: Partition,
        (asked, at): (SimTime, SimTime),
        earliest: Offset,
    ) -> Result<(), String> {
        let beginnings = self.beginnings.entry(partition).or_default();
        let least = beginnings.before(asked);
        if earliest < least {
            return Err(format!(
                "{partition} was asked for its beginning at {asked} and says {earliest}; it was {least} by then"
            ));
        }
        beginnings.raise(at, earliest);
        Ok(())
    }
}

impl Checker for EndOffsets {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        let Event::Log(event) = *event else {
            return Ok(());
        };
        match event {
            LogEvent::Acknowledged {
                partition,
                at,
                first,
                records,
            } => {
                let end = first.plus(records.len() as u64);
                self.ends.entry(partition).or_default().raise(at, end);
            }
            LogEvent::Fetched {
                partition,
                at,
                next,
                ..
            } => self.ends.entry(partition).or_default().raise(at, next),
            LogEvent::Overtaken {
                partition,
                at,
                earliest,
                ..
            } => self.begins(partition, (at, at), earliest)?,
            LogEvent::Bounds {
                partition,
                asked,
                at,
                earliest,
                end,
            } => self.told(partition, (asked, at), (earliest, end))?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::testing::{Bench, PARTITION, acknowledged},
        log_event::RecordId,
    };

    fn bounds(asked: u64, at: u64, earliest: u64, end: u64) -> Event<'static> {
        Event::Log(LogEvent::Bounds {
            partition: PARTITION,
            asked: SimTime(asked),
            at: SimTime(at),
            earliest: Offset(earliest),
            end: Offset(end),
        })
    }

    #[test]
    fn an_end_may_be_behind_only_what_it_ran_beside() {
        let mut bench = Bench::new(EndOffsets::default(), 1);
        // Acknowledged at 10.
        bench.good(&acknowledged(4, &[RecordId(1), RecordId(2)]));
        bench.good(&bounds(9, 12, 0, 3));
        bench.good(&bounds(10, 12, 0, 4));
        bench.good(&bounds(11, 12, 2, 6));
        bench.good(&bounds(12, 13, 1, 6));
        assert!(bench.bad(&bounds(11, 13, 2, 5)).contains("says 5"));
    }

    #[test]
    fn neither_end_goes_back() {
        let mut bench = Bench::new(EndOffsets::default(), 1);
        bench.good(&bounds(1, 2, 3, 9));
        assert!(bench.bad(&bounds(3, 4, 3, 8)).contains("its end"));
        assert!(bench.bad(&bounds(3, 4, 2, 9)).contains("its beginning"));
        let overtaken = |earliest| {
            Event::Log(LogEvent::Overtaken {
                reader: 1,
                partition: PARTITION,
                at: SimTime(5),
                earliest: Offset(earliest),
            })
        };
        assert!(bench.bad(&overtaken(2)).contains("says 2"));
        bench.good(&overtaken(4));
        assert!(bench.bad(&bounds(6, 7, 3, 9)).contains("says 3"));
    }
}
