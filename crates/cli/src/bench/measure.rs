//! What is counted during a run.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::failure::Failure;

/// Longest latency that is told from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(3600);
/// Decimal digits that a latency keeps.
const DIGITS: u8 = 3;

/// When a run begins, when it counts, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) start: Instant,
    pub(super) counted: Instant,
    pub(super) end: Instant,
}

impl Times {
    /// A run that starts now.
    pub(super) fn new(warmup: Duration, counted: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            counted: start + warmup,
            end: start + warmup + counted,
        }
    }

    fn counts(&self, at: Instant) -> bool {
        (self.counted..self.end).contains(&at)
    }
}

/// Counts of one client or of all of them.
#[derive(Debug)]
pub(super) struct Measure {
    times: Times,
    /// Answered while the run counted.
    pub(super) records: u64,
    pub(super) requests: u64,
    pub(super) bytes: u64,
    /// Nanoseconds, of requests that were due while the run counted.
    pub(super) latency: Histogram<u64>,
    pub(super) failures: u64,
    pub(super) first_failure: Option<String>,
}

impl Measure {
    pub(super) fn new(times: Times) -> Result<Self, Failure> {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, DIGITS)
            .map_err(|error| Failure::because("cannot make a histogram", error))?;
        Ok(Self {
            times,
            records: 0,
            requests: 0,
            bytes: 0,
            latency,
            failures: 0,
            first_failure: None,
        })
    }

    /// `records` with `bytes` of values arrived now.
    pub(super) fn arrived(&mut self, records: u64, bytes: u64) {
        if self.times.counts(Instant::now()) {
            self.records += records;
            self.bytes += bytes;
        }
    }

    /// What was due then is answered now.
    pub(super) fn answered(&mut self, due: Instant) {
        let now = Instant::now();
        if self.times.counts(now) {
            self.requests += 1;
        }
        if self.times.counts(due) {
            self.latency
                .saturating_record((now - due).as_nanos() as u64);
        }
    }

    pub(super) fn failed(&mut self, why: impl std::fmt::Display) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(|| why.to_string());
    }

    /// Adds another client's counts.
    pub(super) fn add(&mut self, other: Self) -> Result<(), Failure> {
        self.records += other.records;
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.failures += other.failures;
        if self.first_failure.is_none() {
            self.first_failure = other.first_failure;
        }
        let added = self.latency.add(other.latency);
        added.map_err(|error| Failure::because("cannot add histograms", error))
    }

    /// The latency below which this share of the requests lies.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(share))
    }

    pub(super) fn latency_max(&self) -> Duration {
        Duration::from_nanos(self.latency.max())
    }

    /// Seconds that counted.
    pub(super) fn seconds(&self) -> f64 {
        (self.times.end - self.times.counted).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_falls_into_the_counted_time_counts() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let mut running = Measure::new(Times {
            start: now,
            counted: now,
            end: now + hour,
        })
        .unwrap();
        running.arrived(3, 300);
        running.answered(now);
        assert_eq!(
            (running.records, running.bytes, running.requests),
            (3, 300, 1)
        );
        assert_eq!(running.latency.len(), 1);

        let mut warming = Measure::new(Times {
            start: now,
            counted: now + hour,
            end: now + hour,
        })
        .unwrap();
        warming.arrived(3, 300);
        warming.answered(now);
        warming.failed("first");
        warming.failed("second");
        assert_eq!(
            (warming.records, warming.requests, warming.latency.len()),
            (0, 0, 0)
        );
        running.add(warming).unwrap();
        assert_eq!((running.records, running.failures), (3, 2));
        assert_eq!(running.first_failure.as_deref(), Some("first"));
    }
}
