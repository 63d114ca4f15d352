//! What is lost where nobody else has it.

use trilith_host::Alarm;
use trilith_storage::{ReadError, verify};
use trilith_types::{LogIndex, NodeId, Offset};

use crate::{
    damage::{journals, lose, stores},
    support::{Cluster, node},
};

/// A group of one replica with some values, which the journal alone has on disk.
fn alone(seed: u64) -> (Cluster, NodeId, Vec<u64>) {
    let mut cluster = Cluster::new(seed, 1);
    cluster.settings.sync_bytes = 64 << 20;
    cluster.start_all();
    cluster.await_leader();
    let stored = cluster.store(20, 2_000);
    assert_eq!(cluster.agree(), stored);
    (cluster, node(1), stored)
}

#[test]
fn what_the_journal_has_lost_is_taken_from_the_segments() {
    let (mut cluster, id, stored) = alone(200);
    cluster.kill(id);
    lose(&cluster, id, &journals(&cluster, id), stored[7]);
    lose(&cluster, id, &journals(&cluster, id), stored[8]);
    cluster.start(id);
    assert_eq!(cluster.agree(), stored);
    assert_eq!(cluster.read_log(id), stored);
    assert!(cluster.alarms(id).is_empty(), "nothing is lost");
    cluster.until("it is on disk again", |c| {
        c.status(id).synced >= LogIndex(21)
    });
    cluster.power_cut(id);
    cluster.start(id);
    assert_eq!(cluster.agree(), stored);
}

#[test]
fn what_is_lost_in_both_is_refused_and_everything_else_is_served() {
    let (mut cluster, id, stored) = alone(201);
    cluster.kill(id);
    for value in [stored[7], stored[19]] {
        lose(&cluster, id, &journals(&cluster, id), value);
        lose(&cluster, id, &stores(&cluster, id), value);
    }
    let rest: Vec<u64> = stored
        .iter()
        .copied()
        .filter(|v| ![stored[7], stored[19]].contains(v))
        .collect();
    for restart in [false, true, true] {
        if restart {
            cluster.power_cut(id);
        }
        cluster.start(id);
        cluster.await_leader();
        let reader = cluster.group(id).reader();
        cluster.until("all is applied", |c| {
            c.group(id).reader().visible_upto() >= Offset(20)
        });
        if !restart {
            let alarms = cluster.alarms(id);
            let lost =
                |alarm: &&Alarm| matches!(alarm, Alarm::Damaged { first, last } if first == last);
            assert_eq!(alarms.iter().filter(lost).count(), 2, "{alarms:?}");
        }
        let mut served = Vec::new();
        let mut refused = Vec::new();
        let mut at = Offset(0);
        while at < Offset(20) {
            match reader.read(at, 1) {
                Ok(chunk) => {
                    served.push(at);
                    at = chunk.next;
                }
                Err(ReadError::Damaged { first, next, .. }) => {
                    refused.push((first, next));
                    at = next;
                }
                Err(error) => panic!("{error}"),
            }
        }
        let lost = [(Offset(7), Offset(8)), (Offset(19), Offset(20))];
        assert_eq!(
            (served.len(), &refused[..]),
            (18, &lost[..]),
            "restart {restart}"
        );
    }
    assert_eq!(cluster.values(id), rest);
    // New records get offsets of their own.
    let more = cluster.store(3, 100);
    assert_eq!(cluster.values(id), [rest, more].concat());
    cluster.stop(id);
    let dir = stores(&cluster, id).remove(0);
    let disk = std::sync::Arc::new(cluster.nodes[&id].disk.clone());
    let verified = verify::verify(&(disk as _), dir.parent().unwrap()).unwrap();
    let losses = verified
        .findings
        .iter()
        .filter(|finding| finding.loses_records);
    assert_eq!(losses.count(), 2, "{:?}", verified.findings);
}
