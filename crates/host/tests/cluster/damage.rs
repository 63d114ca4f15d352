//! Bits that flip on one disk.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use trilith_env::{
    Disk, OpenMode,
    sim::{FlipIn, Op, SimDisk},
};
use trilith_host::Alarm;
use trilith_storage::ReadError;
use trilith_types::{NodeId, Offset};

use crate::support::{Cluster, GROUP};

/// The group's store files on a node's disk, largest first.
pub(crate) fn stores(cluster: &Cluster, id: NodeId) -> Vec<PathBuf> {
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

/// Behind the last byte of a store that is not zero.
pub(crate) fn written(disk: &SimDisk, store: &Path) -> u64 {
    let file = disk.open(store, OpenMode::ReadOnly).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
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
    let reader = cluster.group(hurt).reader();
    let met = (0..100).find_map(|offset| match reader.read(Offset(offset), 1) {
        Err(ReadError::Damaged { next, .. }) => Some(next),
        _ => None,
    });
    let next = met.expect("a reader meets it");
    cluster.handle(hurt).damaged(GROUP, next);
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

#[test]
fn cold_damage_that_nobody_meets_is_found_and_mended() {
    let mut cluster = Cluster::new(94, 3);
    cluster.settings.scrub_bytes_per_second = 1 << 20;
    cluster.settings.scrub_every = Duration::from_secs(5);
    cluster.start_all();
    cluster.await_leader();
    let stored = cluster.store(40, 2_000);
    cluster.agree();
    let hurt = follower(&cluster);
    let passes = |c: &Cluster| c.handle(hurt).metrics().scrub_passes.get();
    cluster.until("everything was read through", |c| passes(c) > 0);
    let store = stores(&cluster, hurt).remove(0);
    let disk = cluster.nodes[&hurt].disk.clone();
    for place in [9_000, 19_500] {
        disk.flip_bit(&store, place, 3, FlipIn::Both).unwrap();
    }
    cluster.until("it is mended", |c| {
        c.handle(hurt).metrics().repaired_entries.get() == 2
            && c.status(hurt).core.first_damaged.is_none()
    });
    assert_eq!(cluster.read_log(hurt), stored);
    // One pass of each shard in five seconds, whatever there is to read.
    let before = passes(&cluster);
    cluster.ticks(500);
    let (more, shards) = (passes(&cluster) - before, cluster.settings.shards as u64);
    assert!(
        (1..=3).contains(&(more / shards)),
        "{more} passes in 10 seconds"
    );
}

#[test]
fn a_reader_that_meets_the_first_of_several_damaged_entries_has_all_of_them_mended() {
    // Where the entry behind the damage was damaged too, nobody found out which entry was meant, and
    // the reader waited for ever.
    let mut cluster = Cluster::started(93, 3);
    let stored = cluster.store(40, 2_000);
    cluster.agree();
    let hurt = follower(&cluster);
    let store = stores(&cluster, hurt).remove(0);
    let disk = cluster.nodes[&hurt].disk.clone();
    for place in [9_000, 11_100, 13_200, 19_500] {
        disk.flip_bit(&store, place, 3, FlipIn::Both).unwrap();
    }
    cluster.until("it is mended", |c| {
        let reader = c.group(hurt).reader();
        let mut offset = Offset(0);
        while offset < reader.visible_upto() {
            match reader.read(offset, 1) {
                Ok(chunk) => offset = chunk.next,
                // As a reader of a topic does: it says what it has met, and comes again.
                Err(ReadError::Damaged { next, .. }) => {
                    c.handle(hurt).damaged(GROUP, next);
                    return false;
                }
                Err(error) => panic!("{error}"),
            }
        }
        true
    });
    assert_eq!(cluster.read_log(hurt), stored);
}

#[test]
fn offsets_stay_dense_when_what_was_cut_off_lay_behind_a_damaged_entry() {
    // The offset that followed was looked up in the entry before, and where that was damaged the end
    // of what had just been cut off was taken: readers saw a hole that no record had ever filled.
    let mut cluster = Cluster::started(92, 3);
    let stored = cluster.store(10, 1_000);
    cluster.agree();
    let leader = cluster.leader().unwrap();
    cluster.cut_off(leader);
    let (_, lost) = cluster.put_at(leader, 1_000);
    cluster.ticks(3);
    assert!(!lost.is_stored());
    for id in cluster.ids() {
        cluster.stop(id);
    }
    let store = stores(&cluster, leader).remove(0);
    let disk = cluster.nodes[&leader].disk.clone();
    // The last entry that was acknowledged, and the one behind it that nobody else has.
    let end = written(&disk, &store);
    for back in [1_500, 500] {
        disk.flip_bit(&store, end - back, 3, FlipIn::Both).unwrap();
    }
    cluster.heal();
    // The others do not hear each other: it is the only one that can be elected.
    let others: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != leader)
        .collect();
    cluster.cut(others[0], others[1]);
    cluster.cut(others[1], others[0]);
    cluster.start_all();
    cluster.until("it leads again", |c| c.leader() == Some(leader));
    let more = cluster.store(1, 100);
    assert_eq!(cluster.agree(), [stored, more].concat());
    for id in cluster.ids() {
        assert_eq!(cluster.status(id).end_offset, Offset(11), "node {id}");
    }
}

#[test]
fn many_damaged_entries_are_mended_with_few_messages_and_syncs() {
    // 605 entries took 95 seconds: each walked its segment twice, had its index built again, was
    // synced, and was asked for alone.
    let mut cluster = Cluster::new(91, 3);
    cluster.log.segment_bytes = 1 << 20;
    cluster.start_all();
    cluster.await_leader();
    let leader = cluster.leader().unwrap();
    let mut stored = Vec::new();
    for _ in 0..20 {
        let batch: Vec<_> = (0..50).map(|_| cluster.put_at(leader, 1_000)).collect();
        cluster.until("they are stored", |_| {
            batch.iter().all(|(_, ticket)| ticket.is_stored())
        });
        stored.extend(batch.iter().map(|(value, _)| *value));
    }
    cluster.agree();
    let hurt = follower(&cluster);
    cluster.stop(hurt);
    let store = stores(&cluster, hurt).remove(0);
    let disk = cluster.nodes[&hurt].disk.clone();
    let mut entries = 0;
    for place in (5_000..650_000).step_by(1_600) {
        disk.flip_bit(&store, place, 3, FlipIn::Both).unwrap();
        entries += 1;
    }
    cluster.start(hurt);
    assert_eq!(cluster.agree(), stored);
    let syncs = disk.count(Op::Sync);
    cluster.net.lock().repairs = (0, 0);
    cluster.handle(hurt).check_log(GROUP);
    // No clock is needed.
    cluster.settle();
    let (found, mended) = {
        let metrics = cluster.handle(hurt).metrics();
        (
            metrics.damaged_entries.get(),
            metrics.repaired_entries.get(),
        )
    };
    assert!(
        found > entries * 9 / 10 && mended == found,
        "{found} {mended}"
    );
    assert_eq!(cluster.status(hurt).core.first_damaged, None);
    let (asked, answered) = cluster.net.lock().repairs;
    assert!(
        asked as u64 <= 2 + found / 64,
        "{asked} requests for {found}"
    );
    assert!(answered <= asked);
    let syncs = disk.count(Op::Sync) - syncs;
    assert!(syncs < 8 * (asked as u64 + 1), "{syncs} syncs");
    assert_eq!(cluster.read_log(hurt), stored);
}

/// The journal's files on a node's disk.
pub(crate) fn journals(cluster: &Cluster, id: NodeId) -> Vec<PathBuf> {
    let files = cluster.nodes[&id]
        .disk
        .list(&PathBuf::from("/data"))
        .unwrap();
    let files = files.into_iter().filter(|entry| !entry.is_dir);
    let journal = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.contains("journal") && !name.contains("torn")
    };
    files.map(|entry| entry.path).filter(journal).collect()
}

/// Flips a bit of a value's bytes, which lie once in some files.
pub(crate) fn lose(cluster: &Cluster, id: NodeId, files: &[PathBuf], value: u64) {
    let disk = &cluster.nodes[&id].disk;
    let sought = [value.to_le_bytes(), [7; 8]].concat();
    let mut found = 0;
    for path in files {
        let file = disk.open(path, OpenMode::ReadOnly).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        for at in (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&sought)) {
            disk.flip_bit(path, at as u64, 6, FlipIn::Both).unwrap();
            found += 1;
        }
    }
    assert_eq!(found, 1, "an entry is there once");
}

/// Flips bits here and there in what the journal has.
pub(crate) fn hurt_journal(cluster: &Cluster, id: NodeId, seed: u64) {
    let disk = &cluster.nodes[&id].disk;
    for path in journals(cluster, id) {
        for place in 0..6 {
            let block = 1 + (seed * 7 + place * 5) % 24;
            let pos = block * 4096 + 500 + seed * 131 % 3000;
            disk.flip_bit(&path, pos, (seed % 8) as u8, FlipIn::Both)
                .unwrap();
        }
    }
}

#[test]
fn a_damaged_journal_of_one_node_costs_nothing() {
    let (mut found, mut mended) = (0, 0);
    for seed in 0..20 {
        let mut cluster = Cluster::started(100 + seed, 3);
        let stored = cluster.store(30, 3_000);
        cluster.agree();
        let hurt = follower(&cluster);
        cluster.power_cut(hurt);
        hurt_journal(&cluster, hurt, seed);
        cluster.start(hurt);
        assert_eq!(cluster.agree(), stored, "seed {seed}");
        let metrics = cluster.handle(hurt).metrics();
        found += metrics.damaged_entries.get();
        mended += metrics.repaired_entries.get();
        cluster.until("nothing is damaged", |c| {
            c.status(hurt).core.first_damaged.is_none()
        });
        assert_eq!(cluster.read_log(hurt), stored, "seed {seed}");
        cluster.power_cut(hurt);
        cluster.start(hurt);
        assert_eq!(cluster.agree(), stored, "seed {seed}");
    }
    assert!(mended > 10, "{mended} entries were mended");
    // What a start finds damaged was mended and never counted as found.
    assert!(found >= mended, "{found} found, {mended} mended");
}

#[test]
fn one_damaged_journal_and_no_power_anywhere_loses_nothing() {
    for seed in 0..15 {
        let mut cluster = Cluster::started(130 + seed, 3);
        let stored = cluster.store(20, 3_000);
        cluster.agree();
        let hurt = NodeId(1 + seed % 3);
        for id in cluster.ids() {
            cluster.power_cut(id);
        }
        hurt_journal(&cluster, hurt, seed);
        cluster.start_all();
        assert_eq!(cluster.agree(), stored, "seed {seed}");
        let more = cluster.store(5, 100);
        assert_eq!(cluster.agree(), [stored, more].concat(), "seed {seed}");
    }
}

/// Removes both copies of the manifest of the group's log on a node's disk, or spoils them.
pub(crate) fn lose_manifests(cluster: &Cluster, id: NodeId, flip: bool) {
    let disk = cluster.nodes[&id].disk.clone();
    let dir = stores(cluster, id).remove(0).parent().unwrap().to_owned();
    for copy in ["manifest.a", "manifest.b"] {
        let path = dir.join(copy);
        if flip {
            disk.flip_bit(&path, 90, 3, FlipIn::Both).unwrap();
        } else {
            disk.remove_file(&path).unwrap();
        }
    }
}

#[test]
fn a_replica_that_has_lost_its_manifests_is_rebuilt_from_a_peer() {
    for (seed, flip) in [(150, false), (151, true)] {
        let mut cluster = Cluster::started(seed, 3);
        let stored = cluster.store(60, 3_000);
        cluster.agree();
        let hurt = follower(&cluster);
        cluster.stop(hurt);
        lose_manifests(&cluster, hurt, flip);
        cluster.start(hurt);
        let lost = |alarm: &Alarm| matches!(alarm, Alarm::LogLost { .. });
        assert!(cluster.alarms(hurt).iter().any(lost));
        assert!(cluster.status(hurt).core.needs_snapshot);
        assert_eq!(cluster.handle(hurt).metrics().lost_logs.get(), 1);
        cluster.until("it is rebuilt", |c| {
            let core = c.status(hurt).core;
            !core.needs_snapshot && !core.unknown_suffix
        });
        assert_eq!(cluster.agree(), stored);
        assert_eq!(cluster.read_log(hurt), stored);
        // It is a replica like any other: also after a start, and as one of a bare majority.
        cluster.stop(hurt);
        cluster.start(hurt);
        assert!(!cluster.status(hurt).core.needs_snapshot);
        let other = cluster
            .ids()
            .into_iter()
            .find(|&id| Some(id) != cluster.leader() && id != hurt);
        cluster.power_cut(other.unwrap());
        let more = cluster.store(5, 100);
        assert_eq!(cluster.agree(), [stored, more].concat());
    }
}

#[test]
fn a_replica_that_has_lost_its_manifests_helps_nobody_behind_it_to_office() {
    // Two of three have the last entries, and one of these two loses its log. The third must not
    // be elected by it: what was acknowledged would be gone.
    for seed in 160..170 {
        let mut cluster = Cluster::started(seed, 3);
        let mut stored = cluster.store(20, 2_000);
        cluster.agree();
        let hurt = follower(&cluster);
        // From here on its log is on disk, and a mark speaks of it.
        cluster.stop(hurt);
        cluster.start(hurt);
        cluster.agree();
        let leader = cluster.leader().unwrap();
        assert_ne!(leader, hurt, "it has only followed");
        let behind = cluster
            .ids()
            .into_iter()
            .find(|&id| id != leader && id != hurt)
            .unwrap();
        cluster.power_cut(behind);
        stored.extend(cluster.store(10, 2_000));
        for id in [leader, hurt] {
            cluster.power_cut(id);
        }
        lose_manifests(&cluster, hurt, seed % 2 == 0);
        cluster.start(hurt);
        cluster.start(behind);
        cluster.ticks(200);
        assert_eq!(cluster.leader(), None, "seed {seed}");
        // Not even after another start, on its way to be rebuilt.
        cluster.power_cut(hurt);
        cluster.start(hurt);
        cluster.ticks(200);
        assert_eq!(cluster.leader(), None, "seed {seed}");
        cluster.start(leader);
        assert_eq!(cluster.agree(), stored, "seed {seed}");
        cluster.until("it is rebuilt", |c| !c.status(hurt).core.needs_snapshot);
        let more = cluster.store(3, 100);
        stored.extend(more);
        assert_eq!(cluster.agree(), stored, "seed {seed}");
        assert_eq!(cluster.read_log(hurt), stored, "seed {seed}");
    }
}

#[test]
fn a_power_cut_while_a_replica_is_rebuilt_costs_nothing() {
    for seed in 170..190 {
        let mut cluster = Cluster::started(seed, 3);
        let stored = cluster.store(40, 3_000);
        cluster.agree();
        let hurt = follower(&cluster);
        cluster.stop(hurt);
        lose_manifests(&cluster, hurt, seed % 2 == 0);
        for round in 1..6 {
            cluster.start(hurt);
            // Ever a little further.
            for _ in 0..round * (seed % 7) {
                cluster.tick();
            }
            cluster.power_cut(hurt);
        }
        cluster.start(hurt);
        assert_eq!(cluster.agree(), stored, "seed {seed}");
        cluster.until("it is rebuilt", |c| !c.status(hurt).core.needs_snapshot);
        assert_eq!(cluster.read_log(hurt), stored, "seed {seed}");
    }
}

#[test]
fn a_replica_on_its_own_does_not_begin_anew_without_its_manifest() {
    let mut cluster = Cluster::started(149, 1);
    cluster.store(30, 3_000);
    let only = cluster.leader().unwrap();
    cluster.stop(only);
    lose_manifests(&cluster, only, false);
    let error = cluster.start_refused(only);
    assert!(error.contains("no manifest"), "{error}");
}
