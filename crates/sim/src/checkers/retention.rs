//! Retention takes nothing from a topic that keeps everything.

use std::collections::BTreeSet;

use trilith_types::{Offset, TopicId};

use super::Checker;
use crate::{
    event::Event,
    log_event::{LogEvent, Partition},
    view::View,
};

/// The name of this checker.
pub(super) const NAME: &str = "retention";

/// Remembers which topics keep everything.
#[derive(Debug, Default)]
pub(super) struct Retention {
    keeps_all: BTreeSet<TopicId>,
}

impl Checker for Retention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        let begins = |partition: Partition, earliest: Offset| {
            if earliest == Offset::ZERO || !self.keeps_all.contains(&partition.topic) {
                return Ok(());
            }
            Err(format!(
                "{partition} keeps everything, and begins at {earliest}"
            ))
        };
        match *event {
            Event::Log(LogEvent::KeepsAll { topic }) => {
                self.keeps_all.insert(topic);
                Ok(())
            }
            Event::Log(
                LogEvent::Bounds {
                    partition,
                    earliest,
                    ..
                }
                | LogEvent::Overtaken {
                    partition,
                    earliest,
                    ..
                },
            ) => begins(partition, earliest),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::testing::{Bench, PARTITION},
        time::SimTime,
    };

    #[test]
    fn only_what_keeps_everything_begins_at_zero() {
        let mut bench = Bench::new(Retention::default(), 1);
        let begins = |earliest| {
            Event::Log(LogEvent::Bounds {
                partition: PARTITION,
                asked: SimTime(1),
                at: SimTime(2),
                earliest: Offset(earliest),
                end: Offset(9),
            })
        };
        bench.good(&begins(3));
        let topic = PARTITION.topic;
        bench.good(&Event::Log(LogEvent::KeepsAll { topic }));
        bench.good(&begins(0));
        assert!(bench.bad(&begins(3)).contains("begins at 3"));
    }
}
