//! A latency histogram that many threads add to without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the buckets in microseconds: one, two and five of each power of ten.
const BOUNDS_US: [u64; 18] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Counts durations by size.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One for each bound, and one for what is longer than all of them.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let slot = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(slot) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Counts up to each bound (in seconds; `None` is no bound), the sum in seconds, the count.
    pub(crate) fn snapshot(&self) -> (Vec<(Option<f64>, u64)>, f64, u64) {
        let mut total = 0;
        let bounds = BOUNDS_US
            .iter()
            .map(|us| Some(*us as f64 / 1e6))
            .chain([None]);
        let cumulative = bounds
            .zip(&self.buckets)
            .map(|(bound, bucket)| {
                total += bucket.load(Relaxed);
                (bound, total)
            })
            .collect();
        (cumulative, self.sum_us.load(Relaxed) as f64 / 1e6, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_bucket_and_in_every_larger_one() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(50));
        histogram.record(Duration::from_micros(51));
        histogram.record(Duration::from_secs(3600));
        let (buckets, sum, count) = histogram.snapshot();
        assert_eq!(buckets[0], (Some(0.000_05), 1));
        assert_eq!(buckets[1], (Some(0.000_1), 2));
        assert_eq!(buckets[17], (Some(30.0), 2));
        assert_eq!(buckets[18], (None, 3));
        assert_eq!(count, 3);
        assert!(sum > 3600.0);
    }
}
