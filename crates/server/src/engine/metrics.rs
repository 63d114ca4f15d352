//! The node's counts, as Prometheus reads them.

use trilith_node::{HistogramSnapshot, Metrics, Node};

use crate::metrics::{Kind, Text};

/// Writes all of them.
pub(super) fn render(text: &mut Text, node: &Node) {
    let metrics = node.metrics();
    counters(text, metrics);
    gauges(text, metrics);
    // Without an answer there is no sample, which is not the same as zero.
    let name = "trilith_disk_available_bytes";
    text.metric(
        Kind::Gauge,
        name,
        "Free space of the file system with the data, the reserve included.",
    );
    if let Ok(space) = node.disk_space() {
        text.sample(name, &[], space.available);
    }
    let micros = |us: u64| us as f64 / 1e6;
    let name = "trilith_log_commit_seconds";
    text.metric(
        Kind::Histogram,
        name,
        "Time from a batch's arrival at the node to its answer.",
    );
    histogram(text, name, &metrics.commit_micros.snapshot(), micros);
    let name = "trilith_log_append_seconds";
    text.metric(
        Kind::Histogram,
        name,
        "Time of one write of a partition's waiting batches.",
    );
    histogram(text, name, &metrics.append_micros.snapshot(), micros);
    let name = "trilith_log_sync_seconds";
    text.metric(Kind::Histogram, name, "Time of one sync (fdatasync).");
    histogram(text, name, &metrics.sync_micros.snapshot(), micros);
    let name = "trilith_log_batches_per_sync";
    text.metric(Kind::Histogram, name, "Batches that one sync made durable.");
    histogram(text, name, &metrics.batches_per_sync.snapshot(), |n| {
        n as f64
    });
}

fn counters(text: &mut Text, metrics: &Metrics) {
    let all = [
        (
            "appended_batches",
            "Batches appended.",
            &metrics.appended_batches,
        ),
        (
            "appended_records",
            "Records appended.",
            &metrics.appended_records,
        ),
        (
            "appended_bytes",
            "Bytes of batches appended.",
            &metrics.appended_bytes,
        ),
        (
            "failed_batches",
            "Batches refused or not appended.",
            &metrics.failed_batches,
        ),
        (
            "expired_batches",
            "Batches not appended because their deadline passed.",
            &metrics.expired_batches,
        ),
        ("read_batches", "Batches read.", &metrics.read_batches),
        ("read_bytes", "Bytes of batches read.", &metrics.read_bytes),
        ("syncs", "Syncs that succeeded.", &metrics.syncs),
        (
            "failed_syncs",
            "Syncs that failed; each ends a partition's writes.",
            &metrics.failed_syncs,
        ),
        (
            "retired_segments",
            "Segments removed by retention.",
            &metrics.retired_segments,
        ),
        (
            "retired_bytes",
            "Bytes removed by retention.",
            &metrics.retired_bytes,
        ),
    ];
    for (name, help, counter) in all {
        text.single(
            Kind::Counter,
            &format!("trilith_log_{name}_total"),
            help,
            counter.get(),
        );
    }
}

fn gauges(text: &mut Text, metrics: &Metrics) {
    let all = [
        (
            "log_queued_batches",
            "Batches that wait to be appended.",
            &metrics.queued_batches,
        ),
        (
            "log_unsynced_batches",
            "Batches appended and not yet acknowledged.",
            &metrics.unsynced_batches,
        ),
        ("partitions", "Partitions in service.", &metrics.partitions),
        (
            "poisoned_partitions",
            "Partitions that take no writes after a failed sync.",
            &metrics.poisoned_partitions,
        ),
        (
            "full_partitions",
            "Partitions whose last append found no room on the disk.",
            &metrics.full_partitions,
        ),
    ];
    for (name, help, gauge) in all {
        text.single(Kind::Gauge, &format!("trilith_{name}"), help, gauge.get());
    }
}

fn histogram(text: &mut Text, name: &str, of: &HistogramSnapshot, unit: impl Fn(u64) -> f64) {
    let bounded = of
        .cumulative
        .iter()
        .map(|(bound, count)| (Some(unit(*bound)), *count));
    let buckets: Vec<_> = bounded.chain([(None, of.count)]).collect();
    text.cumulative(name, &[], &buckets, unit(of.sum), of.count);
}
