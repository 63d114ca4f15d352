//! Bits that flip on one disk.

use std::path::PathBuf;

use trilith_env::{Disk, sim::FlipIn};
use trilith_host::Alarm;
use trilith_types::NodeId;

use crate::support::Cluster;

/// The group's store files on a node's disk, largest first.
fn stores(cluster: &Cluster, id: NodeId) -> Vec<PathBuf> {
    let disk = &cluster.nodes[&id].disk;
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from("/data/group-7")];
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(&dir).unwrap() {
            if entry.is_dir {
                dirs.push(entry.path);
            } else if entry.path.extension().is_some_and(|e| e == "log") {
                found.push(entry.path);
            }
        }
    }
    found.sort();
    found
}

fn follower(cluster: &Cluster) -> NodeId {
    let leader = cluster.leader();
    cluster
        .ids()
        .into_iter()
        .find(|&id| Some(id) != leader)
        .unwrap()
}

#[test]
fn a_damaged_segment_of_a_follower_is_mended_from_a_peer() {
    let mut cluster = Cluster::started(90, 3);
    let stored = cluster.store(100, 2_000);
    cluster.agree();
    let hurt = follower(&cluster);
    cluster.stop(hurt);
    let store = stores(&cluster, hurt)
        .into_iter()
        .next()
        .expect("there are stores");
    let disk = cluster.nodes[&hurt].disk.clone();
    disk.flip_bit(&store, 9_000, 3, FlipIn::Both).unwrap();
    cluster.start(hurt);
    assert_eq!(cluster.agree(), stored);
    cluster.handle(hurt).check_log(crate::support::GROUP);
    cluster.until("it is mended", |c| {
        let alarms = c.alarms(hurt);
        let mended = alarms
            .iter()
            .any(|alarm| matches!(alarm, Alarm::Repaired { .. }));
        mended && c.status(hurt).core.first_damaged.is_none()
    });
    assert_eq!(cluster.read_log(hurt), stored);
    cluster.store(3, 100);
    assert_eq!(cluster.agree().len(), 103);
}
