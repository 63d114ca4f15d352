//! Counts of durations and sizes in fixed buckets, cheap enough for every request.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Powers of two from 1 up to 2^26 and one bucket for the rest: microseconds up to a minute.
const BUCKETS: usize = 28;

/// A histogram. Each bucket counts what is at most its bound and more than the one before.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// A histogram's numbers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Upper bound and how many were at most that, for each bucket: growing, as Prometheus wants
    /// it. What is beyond the last bound is in `count` alone.
    pub cumulative: Vec<(u64, u64)>,
    /// How many in all.
    pub count: u64,
    /// All together.
    pub sum: u64,
}

impl Histogram {
    /// Counts a value.
    pub fn record(&self, value: u64) {
        // The smallest power of two that is at least the value.
        let place = u64::BITS - value.max(1).saturating_sub(1).leading_zeros();
        let bucket = (place as usize).min(BUCKETS - 1);
        if let Some(counter) = self.buckets.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a duration in microseconds.
    pub fn record_micros(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut count = 0;
        let mut cumulative = Vec::with_capacity(BUCKETS);
        for (place, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            if place < BUCKETS - 1 {
                cumulative.push((1 << place, count));
            }
        }
        HistogramSnapshot {
            cumulative,
            count,
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_of_the_next_power_of_two() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 5, u64::MAX >> 8] {
            histogram.record(value);
        }
        histogram.record_micros(Duration::from_micros(1024));
        let snapshot = histogram.snapshot();
        let at = |bound| {
            snapshot
                .cumulative
                .iter()
                .find(|(b, _)| *b == bound)
                .unwrap()
                .1
        };
        assert_eq!(
            (at(1), at(2), at(4), at(8), at(512), at(1024)),
            (2, 3, 5, 6, 6, 7)
        );
        assert_eq!(snapshot.cumulative.last(), Some(&(1 << 26, 7)));
        assert_eq!(
            (snapshot.count, snapshot.sum),
            (8, (u64::MAX >> 8) + 15 + 1024)
        );
    }
}
