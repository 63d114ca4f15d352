//! A topic begins empty: what is read in it was offered to it since it was made, and not to another
//! one that had its name before.

use std::collections::{BTreeMap, BTreeSet};

use trilith_types::TopicId;

use super::Checker;
use crate::{
    event::Event,
    log_event::{LogEvent, RecordId},
    view::View,
};

/// The name of this checker.
pub(super) const NAME: &str = "topics";

/// Remembers what was offered to topics that come and go.
#[derive(Debug, Default)]
pub(super) struct Topics {
    offered: BTreeMap<TopicId, BTreeSet<RecordId>>,
    /// Nodes that have not heard of a deletion may still show what was there.
    gone: BTreeSet<TopicId>,
}

impl Checker for Topics {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&mut self, event: &Event<'_>, _: &View) -> Result<(), String> {
        let Event::Log(event) = *event else {
            return Ok(());
        };
        match event {
            LogEvent::TopicMade { topic } => {
                self.gone.remove(&topic);
                self.offered.entry(topic).or_default();
            }
            LogEvent::TopicGone { topic } => {
                self.gone.insert(topic);
                self.offered.remove(&topic);
            }
            // A node may know a topic before its maker has heard that it is made.
            LogEvent::Offered { topic, records } if !self.gone.contains(&topic) => {
                self.offered.entry(topic).or_default().extend(records);
            }
            LogEvent::Fetched {
                partition, records, ..
            } => {
                let Some(offered) = self.offered.get(&partition.topic) else {
                    return Ok(());
                };
                let strange = |(_, record): &&(_, RecordId)| !offered.contains(record);
                if let Some((offset, record)) = records.iter().find(strange) {
                    return Err(format!(
                        "{record} is at {offset} of {partition}, and nobody has offered it there"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::Offset;

    use super::*;
    use crate::checkers::testing::{Bench, PARTITION, fetched};

    const TOPIC: TopicId = PARTITION.topic;

    #[test]
    fn what_was_offered_before_does_not_come_again() {
        let mut bench = Bench::new(Topics::default(), 1);
        let records = [RecordId(7), RecordId(8)];
        let shown = [(Offset(0), RecordId(7)), (Offset(1), RecordId(8))];
        // Topics that nobody follows.
        bench.good(&fetched(0, 2, &shown));
        bench.good(&Event::Log(LogEvent::Offered {
            topic: TOPIC,
            records: &records,
        }));
        bench.good(&Event::Log(LogEvent::TopicMade { topic: TOPIC }));
        bench.good(&fetched(0, 2, &shown));
        let other = [(Offset(2), RecordId(9))];
        assert!(bench.bad(&fetched(2, 3, &other)).contains("nobody"));
        bench.good(&Event::Log(LogEvent::TopicGone { topic: TOPIC }));
        bench.good(&fetched(0, 2, &shown));
        bench.good(&Event::Log(LogEvent::TopicMade { topic: TOPIC }));
        assert!(bench.bad(&fetched(0, 2, &shown)).contains("7"));
    }
}
