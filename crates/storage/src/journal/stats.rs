//! What the journal counts.

use std::time::Duration;

/// Buckets of [`SyncHistogram`]: the last one has no upper bound.
pub const SYNC_BUCKETS: usize = 16;

/// Upper bound of the first bucket, in microseconds; each further one has twice the one before.
const FIRST_BUCKET_US: u64 = 50;

/// How long frames took from the submission of their write to its completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncHistogram {
    /// Frames in each bucket.
    pub counts: [u64; SYNC_BUCKETS],
    /// The sum of all, in microseconds.
    pub sum_us: u64,
}

impl SyncHistogram {
    /// The upper bound of a bucket; `None` for the last one.
    #[must_use]
    pub const fn bound(bucket: usize) -> Option<Duration> {
        if bucket + 1 < SYNC_BUCKETS {
            Some(Duration::from_micros(FIRST_BUCKET_US << bucket))
        } else {
            None
        }
    }

    pub(super) fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let full = us.div_ceil(FIRST_BUCKET_US).max(1);
        let bucket = full.next_power_of_two().trailing_zeros() as usize;
        if let Some(count) = self.counts.get_mut(bucket.min(SYNC_BUCKETS - 1)) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many frames.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What the journal has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Frames that are durable, seals included.
    pub frames: u64,
    /// Seals among them.
    pub seals: u64,
    /// Bytes of these frames, stamps and padding included.
    pub bytes: u64,
    /// Bytes of payload in them.
    pub payload_bytes: u64,
    /// Operations in them.
    pub ops: u64,
    /// How long they took.
    pub syncs: SyncHistogram,
    /// Files that are needed, the one that is written included.
    pub files_live: usize,
    /// Files that are ready to be written.
    pub files_ready: usize,
    /// Times a new file was refused, for want of space or otherwise.
    pub files_refused: u64,
    /// Operations that wait for a frame.
    pub queued_ops: usize,
    /// Bytes of payload and state among them.
    pub queued_bytes: u64,
    /// Frames that are being written.
    pub in_flight: u64,
    /// Appends wait until a file can be written again.
    pub stalled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_falls_below_its_bucket_s_bound() {
        for us in [0, 1, 50, 51, 100, 101, 819_200, 819_201, 10_000_000] {
            let mut histogram = SyncHistogram::default();
            let took = Duration::from_micros(us);
            histogram.record(took);
            let bucket = histogram.counts.iter().position(|&n| n == 1).unwrap();
            assert!(
                SyncHistogram::bound(bucket).is_none_or(|bound| took <= bound),
                "{us}"
            );
            assert!(
                bucket == 0 || SyncHistogram::bound(bucket - 1).is_some_and(|below| took > below),
                "{us}"
            );
            assert_eq!((histogram.count(), histogram.sum_us), (1, us));
        }
    }
}
