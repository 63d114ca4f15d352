//! The journal's counts.

use trilith_storage::journal::{JournalStats, SYNC_BUCKETS, SyncHistogram};

use super::{histogram, seconds};
use crate::metrics::{Kind, Text};

pub(super) fn render(text: &mut Text, stats: &JournalStats) {
    let counters = [
        ("frames", "Frames on disk, seals included.", stats.frames),
        ("seals", "Seals among the frames.", stats.seals),
        (
            "bytes",
            "Bytes of frames, stamps and padding included.",
            stats.bytes,
        ),
        (
            "payload_bytes",
            "Bytes of payload in frames.",
            stats.payload_bytes,
        ),
        ("operations", "Operations in frames.", stats.ops),
        (
            "files_refused",
            "Times that a new file was refused, for want of space or otherwise.",
            stats.files_refused,
        ),
    ];
    for (name, help, value) in counters {
        let name = format!("trilith_journal_{name}_total");
        text.single(Kind::Counter, &name, help, value);
    }
    let gauges = [
        (
            "files_live",
            "Files with what is needed at a start, the one that is written included.",
            stats.files_live as u64,
        ),
        (
            "files_ready",
            "Files that are ready to be written.",
            stats.files_ready as u64,
        ),
        (
            "queued_operations",
            "Operations that wait for a frame.",
            stats.queued_ops as u64,
        ),
        (
            "queued_bytes",
            "Bytes of payload and state that wait for a frame.",
            stats.queued_bytes,
        ),
        (
            "frames_in_flight",
            "Frames on their way to the disk.",
            stats.in_flight,
        ),
        (
            "stalled",
            "1 while appends wait for a file that can be written.",
            u64::from(stats.stalled),
        ),
    ];
    for (name, help, value) in gauges {
        text.single(Kind::Gauge, &format!("trilith_journal_{name}"), help, value);
    }
    histogram(
        text,
        "journal_sync_seconds",
        "Time to write a frame and sync it.",
        (
            cumulative(&stats.syncs),
            stats.syncs.count(),
            stats.syncs.sum_us,
        ),
        seconds,
    );
}

/// Counts up to each bound in microseconds.
fn cumulative(syncs: &SyncHistogram) -> Vec<(u64, u64)> {
    let mut upto = 0;
    let bounded = (0..SYNC_BUCKETS).zip(&syncs.counts);
    let bounded = bounded.filter_map(|(bucket, count)| {
        upto += count;
        let bound = SyncHistogram::bound(bucket)?;
        Some((u64::try_from(bound.as_micros()).ok()?, upto))
    });
    bounded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_grow_from_bucket_to_bucket_and_the_last_has_no_bound() {
        let mut syncs = SyncHistogram::default();
        syncs.counts[0] = 3;
        syncs.counts[2] = 4;
        syncs.counts[SYNC_BUCKETS - 1] = 5;
        let cumulative = cumulative(&syncs);
        assert_eq!(cumulative[..4], [(50, 3), (100, 3), (200, 7), (400, 7)]);
        assert_eq!(cumulative.len(), SYNC_BUCKETS - 1);
        assert_eq!((cumulative.last().unwrap().1, syncs.count()), (7, 12));
    }
}
