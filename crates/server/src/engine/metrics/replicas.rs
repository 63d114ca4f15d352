//! Each replica of a topic by itself, as many as a scrape bears.

use trilith_node::{Node, ReplicaNumbers};

use crate::metrics::{Kind, Text};

/// Replicas with samples of their own; the others are counted.
const REPLICAS_MAX: usize = 256;

pub(super) fn render(text: &mut Text, node: &Node) {
    let (replicas, beyond) = node.replicas(REPLICAS_MAX);
    type Value = fn(&ReplicaNumbers) -> u64;
    let gauges: [(&str, &str, Value); 5] = [
        ("leads", "1 where this node leads the partition.", |r| {
            u64::from(r.leads)
        }),
        ("term", "The term of the replica.", |r| r.term),
        ("start_offset", "The first offset of the replica.", |r| {
            r.start.0
        }),
        (
            "end_offset",
            "Behind the last record that the replica shows.",
            |r| r.end.0,
        ),
        (
            "apply_lag",
            "Committed entries that the replica has not applied.",
            |r| r.apply_lag,
        ),
    ];
    for (name, help, value) in gauges {
        let name = format!("trilith_replica_{name}");
        text.metric(Kind::Gauge, &name, help);
        for replica in &replicas {
            let partition = replica.partition.to_string();
            let labels = [("topic", &*replica.topic), ("partition", &*partition)];
            text.sample(&name, &labels, value(replica));
        }
    }
    text.single(
        Kind::Gauge,
        "trilith_replicas_left_out",
        "Replicas on this node without samples of their own.",
        beyond,
    );
}
