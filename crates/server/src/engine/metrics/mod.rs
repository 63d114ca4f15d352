//! The node's counts, as Prometheus reads them.

mod journal;
mod replicas;

use trilith_host::Metrics as HostMetrics;
use trilith_node::{Metrics, Node};
use trilith_transport::{PeerTraffic, Peers};

use crate::metrics::{Kind, Text};

/// Buckets with what each counts up to its bound, the number in all, and the sum.
type Buckets = (Vec<(u64, u64)>, u64, u64);

/// Writes all of them.
pub(super) fn render(text: &mut Text, node: &Node, peers: Option<&Peers>) {
    let metrics = node.metrics();
    counters(text, metrics);
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
    let commit = metrics.commit_micros.snapshot();
    histogram(
        text,
        "log_commit_seconds",
        "Time from a batch's arrival at the node to its answer.",
        (commit.cumulative, commit.count, commit.sum),
        seconds,
    );
    links(text, peers);
    if let Some(groups) = node.host_metrics() {
        group_counters(text, &groups);
        group_gauges(text, &groups);
        group_histograms(text, &groups);
    }
    if let Some(stats) = node.journal_stats() {
        journal::render(text, &stats);
    }
    replicas::render(text, node);
}

/// What goes between this node and each other one.
fn links(text: &mut Text, peers: Option<&Peers>) {
    let traffic = peers.map(Peers::traffic).unwrap_or_default();
    type Value = fn(&PeerTraffic) -> u64;
    let all: [(Kind, &str, &str, Value); 5] = [
        (
            Kind::Gauge,
            "connected",
            "1 while connected to the node.",
            |t| u64::from(t.link.is_connected),
        ),
        (
            Kind::Counter,
            "received_bytes_total",
            "Bytes from the node.",
            |t| t.bytes_in,
        ),
        (
            Kind::Counter,
            "sent_bytes_total",
            "Bytes to the node.",
            |t| t.bytes_out,
        ),
        (
            Kind::Gauge,
            "queued_bytes",
            "Bytes that wait to be sent to the node.",
            |t| t.queued_bytes as u64,
        ),
        (
            Kind::Counter,
            "dropped_messages_total",
            "Messages to the node that found no room.",
            |t| t.dropped,
        ),
    ];
    for (kind, name, help, value) in all {
        let name = format!("trilith_peer_{name}");
        text.metric(kind, &name, help);
        for of in &traffic {
            let node = of.link.node.to_string();
            text.sample(&name, &[("node", &node)], value(of));
        }
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
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
    ];
    for (name, help, counter) in all {
        let name = format!("trilith_log_{name}_total");
        text.single(Kind::Counter, &name, help, counter.get());
    }
}

fn group_counters(text: &mut Text, m: &HostMetrics) {
    let all = [
        (
            "proposed_entries",
            "Entries appended as leader.",
            &m.proposed_entries,
        ),
        (
            "proposed_bytes",
            "Payload bytes of those.",
            &m.proposed_bytes,
        ),
        (
            "received_entries",
            "Entries appended that came from leaders.",
            &m.received_entries,
        ),
        (
            "received_bytes",
            "Payload bytes of those.",
            &m.received_bytes,
        ),
        ("applied_entries", "Entries applied.", &m.applied_entries),
        (
            "refused_requests",
            "Requests refused before they were decided on.",
            &m.refused_requests,
        ),
        (
            "sent_messages",
            "Messages sent to other nodes.",
            &m.sent_messages,
        ),
        (
            "received_messages",
            "Messages received from other nodes.",
            &m.received_messages,
        ),
        (
            "dropped_messages",
            "Messages that came late, doubled, or of another time.",
            &m.dropped_messages,
        ),
        (
            "refused_messages",
            "Messages that found an inbox full, a full disk, or no group.",
            &m.refused_messages,
        ),
        (
            "recent_sends",
            "Sends of entries that were still in memory.",
            &m.recent_sends,
        ),
        (
            "read_sends",
            "Sends of entries that were read from the log.",
            &m.read_sends,
        ),
        (
            "elections_won",
            "Elections that this node has won.",
            &m.elections_won,
        ),
        (
            "truncations",
            "Conflicting suffixes that were truncated.",
            &m.truncations,
        ),
        (
            "segment_syncs",
            "Syncs of segments in the background.",
            &m.segment_syncs,
        ),
        ("marks", "Durable marks given to the journal.", &m.marks),
        ("snapshots_sent", "Snapshots sent whole.", &m.snapshots_sent),
        (
            "snapshots_installed",
            "Snapshots put in place.",
            &m.snapshots_installed,
        ),
        (
            "snapshot_bytes_sent",
            "Bytes of snapshots sent.",
            &m.snapshot_bytes_sent,
        ),
        (
            "snapshot_bytes_received",
            "Bytes of snapshots received.",
            &m.snapshot_bytes_received,
        ),
        (
            "lost_logs",
            "Logs that could not be opened and are rebuilt from a peer's snapshot.",
            &m.lost_logs,
        ),
        (
            "scrubbed_bytes",
            "Bytes of logs read in the background to find damage.",
            &m.scrubbed_bytes,
        ),
        (
            "scrub_passes",
            "Times that a shard has read all of its logs through.",
            &m.scrub_passes,
        ),
        (
            "damaged_entries",
            "Entries found damaged.",
            &m.damaged_entries,
        ),
        (
            "repaired_entries",
            "Damaged entries written again.",
            &m.repaired_entries,
        ),
    ];
    for (name, help, counter) in all {
        let name = format!("trilith_group_{name}_total");
        text.single(Kind::Counter, &name, help, counter.get());
    }
}

fn group_gauges(text: &mut Text, m: &HostMetrics) {
    let all = [
        ("groups", "Groups hosted.", &m.groups),
        ("groups_leading", "Groups that this node leads.", &m.leading),
        (
            "groups_awake",
            "Groups whose time passes; the others are quiet, or have no leader and no majority in \
             reach.",
            &m.awake,
        ),
        (
            "groups_stopped",
            "Replicas that stopped after a failure.",
            &m.stopped,
        ),
        (
            "groups_voteless",
            "Replicas whose vote is lost: they take no part until the node is replaced.",
            &m.voteless,
        ),
        (
            "groups_full",
            "Groups whose log finds no room on the disk.",
            &m.full,
        ),
        (
            "group_queued_requests",
            "Requests that wait for their shard.",
            &m.queued_requests,
        ),
        (
            "group_pending_requests",
            "Requests whose entries wait for a majority.",
            &m.pending_requests,
        ),
        (
            "group_recent_bytes",
            "Bytes of recent entries kept in memory.",
            &m.recent_bytes,
        ),
    ];
    for (name, help, gauge) in all {
        text.single(Kind::Gauge, &format!("trilith_{name}"), help, gauge.get());
    }
}

fn group_histograms(text: &mut Text, m: &HostMetrics) {
    type Unit = fn(u64) -> f64;
    let number: Unit = |n| n as f64;
    let all = [
        (
            "segment_sync_seconds",
            "Time from the order to sync a log's segments until they are on disk.",
            &m.segment_sync_micros,
            seconds as Unit,
        ),
        (
            "journal_persist_seconds",
            "Time from a submission to the journal until it is on disk.",
            &m.persist_micros,
            seconds,
        ),
        (
            "journal_entries_per_submission",
            "Entries of one group in one submission to the journal.",
            &m.entries_per_submission,
            number,
        ),
        (
            "shard_events_per_turn",
            "Events that one turn of a shard took.",
            &m.events_per_turn,
            number,
        ),
    ];
    for (name, help, of, unit) in all {
        let of = of.snapshot();
        histogram(text, name, help, (of.cumulative, of.count, of.sum), unit);
    }
}

fn histogram(
    text: &mut Text,
    name: &str,
    help: &str,
    (buckets, count, sum): Buckets,
    unit: impl Fn(u64) -> f64,
) {
    let name = format!("trilith_{name}");
    text.metric(Kind::Histogram, &name, help);
    let bounded = buckets.iter().map(|(bound, n)| (Some(unit(*bound)), *n));
    let buckets: Vec<_> = bounded.chain([(None, count)]).collect();
    text.cumulative(&name, &[], &buckets, unit(sum), count);
}
