//! Whether a history keeps the promises.
//!
//! Each promise is a check of its own, on what clients saw alone. A record whose fate is unknown
//! may be there or not, but never twice.

mod facts;
mod producers;
mod readers;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::history::Event;
use facts::Facts;

/// So many breaches of one promise are told; the others are counted.
const TOLD_MAX: usize = 5;

/// A promise that a history may break.
type Check = (&'static str, fn(&Facts) -> Vec<String>);

const CHECKS: &[Check] = &[
    (
        "the log has no holes and holds nothing foreign",
        producers::log_is_whole,
    ),
    ("no record is stored twice", producers::nothing_is_doubled),
    (
        "acknowledged records are where their answer said",
        producers::acked_is_there,
    ),
    (
        "what was said not to be stored is not",
        producers::not_stored_is_absent,
    ),
    (
        "a producer's records are in its order",
        producers::producers_order,
    ),
    (
        "what was acknowledged before another was sent comes before it",
        producers::real_time_order,
    ),
    (
        "readers see the log from its start, each record once, in order",
        readers::see_a_prefix,
    ),
    (
        "an end that is told lies behind everything known by then",
        readers::ends_are_current,
    ),
];

/// What became of the records of a history, and which promises it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Records that were sent.
    pub sent: usize,
    /// Acknowledged.
    pub acked: usize,
    /// Said not to be stored.
    pub not_stored: usize,
    /// Whose fate the client does not know, those without any answer included.
    pub unknown: usize,
    /// Of those, the ones that are stored.
    pub unknown_stored: usize,
    /// Records given to readers.
    pub reads: usize,
    /// The longest time without an acknowledgement, in microseconds.
    pub gap_max: u64,
    /// The broken promises.
    pub broken: Vec<Broken>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The promise.
    pub promise: &'static str,
    /// How often it is broken.
    pub times: usize,
    /// The first breaches.
    pub examples: Vec<String>,
}

/// Checks a history.
#[must_use]
pub fn check(events: &[Event]) -> Verdict {
    let facts = Facts::of(events);
    let broken = CHECKS.iter().filter_map(|(promise, check)| {
        let mut examples = check(&facts);
        let times = examples.len();
        examples.truncate(TOLD_MAX);
        (times > 0).then_some(Broken {
            promise,
            times,
            examples,
        })
    });
    let unknown = facts
        .sent
        .keys()
        .filter(|record| facts.is_unknown(**record));
    let stored = unknown
        .clone()
        .filter(|record| facts.place(**record).is_some());
    Verdict {
        sent: facts.sent.len(),
        acked: facts.acked.len(),
        not_stored: facts.not_stored.len(),
        unknown: unknown.clone().count(),
        unknown_stored: stored.count(),
        reads: facts.reads.values().map(Vec::len).sum(),
        gap_max: facts.gap_max(),
        broken: broken.collect(),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} records sent: {} acknowledged, {} not stored, {} unknown (of which {} are stored); {} read; \
             longest time without an acknowledgement {:.3} s",
            self.sent,
            self.acked,
            self.not_stored,
            self.unknown,
            self.unknown_stored,
            self.reads,
            self.gap_max as f64 / 1e6
        )?;
        for broken in &self.broken {
            writeln!(f, "BROKEN {} times: {}", broken.times, broken.promise)?;
            for example in &broken.examples {
                writeln!(f, "  {example}")?;
            }
        }
        if self.broken.is_empty() {
            write!(f, "all {} promises are kept", CHECKS.len())?;
        }
        Ok(())
    }
}
