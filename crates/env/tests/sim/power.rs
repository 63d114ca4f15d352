//! Power cuts: what was synced stays, what was not is lost, torn or reordered.

use std::collections::BTreeSet;

use trilith_env::{
    Disk, OpenMode,
    sim::{Op, SimConfig, SimDisk},
};

use super::{
    assert_power_cut, assert_stale, config, content, durable_file, open, outcomes, path, write,
};

/// A durable file of 8 sectors of `old`, over each of which `new` was written unsynced, in order.
fn overwritten(config: SimConfig) -> SimDisk {
    let disk = SimDisk::with(config);
    let file = durable_file(&disk, "f");
    write(&*file, 0, &[b'o'; 4096]).unwrap();
    file.sync().unwrap();
    write(&*file, 0, &[b'n'; 4096]).unwrap();
    disk
}

/// `o` or `n` for each sector; panics when one is mixed.
fn sectors(content: &[u8]) -> String {
    let whole = |sector: &[u8]| {
        assert!(sector.iter().all(|b| *b == sector[0]), "a sector is torn");
        sector[0] as char
    };
    content.chunks(512).map(whole).collect()
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, b"synced").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.on_device(path("f")).unwrap(), b"synced");
    for found in outcomes(&disk, |d| content(d, "f").unwrap()) {
        assert_eq!(found, b"synced");
    }
}

#[test]
fn what_was_not_synced_may_be_lost_or_kept() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, b"data").unwrap();
    assert_eq!(disk.on_device(path("f")).unwrap(), b"");
    let found: BTreeSet<_> = outcomes(&disk, |d| content(d, "f").unwrap())
        .into_iter()
        .collect();
    // Also the length without the bytes: the file is found full of zeros.
    let expected: [&[u8]; 3] = [b"", b"\0\0\0\0", b"data"];
    assert_eq!(found, expected.map(<[u8]>::to_vec).into());
}

#[test]
fn pages_are_torn_at_sectors() {
    let disk = overwritten(config(1));
    let found: BTreeSet<_> = outcomes(&disk, |d| sectors(&content(d, "f").unwrap()))
        .into_iter()
        .collect();
    assert!(found.contains("oooooooo") && found.contains("nnnnnnnn"));
    assert!(
        found.iter().any(|f| f.starts_with('o') && f.contains('n')),
        "{found:?}"
    );
    assert!(found.len() > 50, "{found:?}");
    let fork = disk.fork(0);
    fork.configure(|c| c.tear = false);
    let whole: BTreeSet<_> = outcomes(&fork, |d| sectors(&content(d, "f").unwrap()))
        .into_iter()
        .collect();
    assert_eq!(whole, ["oooooooo", "nnnnnnnn"].map(str::to_owned).into());
}

#[test]
fn a_sector_is_found_as_it_was_after_any_of_its_writes() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, b"...").unwrap();
    file.sync().unwrap();
    for pos in 0..3 {
        write(&*file, pos, b"x").unwrap();
    }
    let found: BTreeSet<_> = outcomes(&disk, |d| content(d, "f").unwrap())
        .into_iter()
        .collect();
    assert_eq!(
        found,
        [b"...", b"x..", b"xx.", b"xxx"].map(|f| f.to_vec()).into()
    );
}

/// Writes to two files, one page each time, in turn: `a0 b0 a1 b1 ...`; what survived of each.
fn in_turn(config: SimConfig) -> Vec<(String, String)> {
    let disk = SimDisk::with(config);
    let (a, b) = (durable_file(&disk, "a"), durable_file(&disk, "b"));
    for n in 0..4u64 {
        write(&*a, n * 4096, &[b'n'; 4096]).unwrap();
        write(&*b, n * 4096, &[b'n'; 4096]).unwrap();
    }
    let survived = |d: &SimDisk, name| sectors(&content(d, name).unwrap().replace_zeros());
    outcomes(&disk, |d| (survived(d, "a"), survived(d, "b")))
}

trait ReplaceZeros {
    fn replace_zeros(self) -> Self;
}

impl ReplaceZeros for Vec<u8> {
    fn replace_zeros(mut self) -> Self {
        self.iter_mut().filter(|b| **b == 0).for_each(|b| *b = b'o');
        self
    }
}

#[test]
fn later_writes_may_survive_earlier_ones() {
    let found = in_turn(config(1));
    let reordered = |f: &str| f.trim_end_matches('o').contains('o');
    assert!(found.iter().any(|(a, _)| reordered(a)));
    assert!(found.iter().any(|(a, b)| a.is_empty() && !b.is_empty()));
}

#[test]
fn without_reordering_what_survives_is_the_beginning() {
    let found = in_turn(SimConfig {
        reorder: false,
        ..config(1)
    });
    let mut lengths = BTreeSet::new();
    for (a, b) in found {
        assert!(!a.contains('o') && !b.contains('o'), "{a} {b}");
        // A torn write may leave a part of one page, and only the last may be torn.
        let (pages_a, pages_b) = (a.len().div_ceil(8), b.len().div_ceil(8));
        assert!(pages_a == pages_b || pages_a == pages_b + 1 || a.len() / 8 >= b.len() / 8);
        lengths.insert(a.len() + b.len());
    }
    assert!(lengths.len() > 8, "{lengths:?}");
    let whole = in_turn(SimConfig {
        reorder: false,
        tear: false,
        ..config(1)
    });
    assert!(
        whole
            .iter()
            .all(|(a, b)| a.len() == b.len() || a.len() == b.len() + 8)
    );
}

#[test]
fn a_disk_that_loses_nothing_keeps_all() {
    let disk = overwritten(SimConfig {
        lose: false,
        ..config(1)
    });
    open(&disk, "unsynced");
    for (found, also) in outcomes(&disk, |d| {
        (content(d, "f").unwrap(), content(d, "unsynced"))
    }) {
        assert_eq!(sectors(&found), "nnnnnnnn");
        assert!(also.is_ok());
    }
}

#[test]
fn a_cut_file_is_old_or_new_but_never_a_mixture() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, &[b'o'; 4096]).unwrap();
    file.sync().unwrap();
    file.set_len(0).unwrap();
    write(&*file, 0, &[b'n'; 4096]).unwrap();
    let mut kinds = BTreeSet::new();
    for found in outcomes(&disk, |d| content(d, "f").unwrap()) {
        assert!(!(found.contains(&b'o') && found.contains(&b'n')));
        kinds.insert(found.first().copied());
    }
    assert_eq!(kinds, [None, Some(0), Some(b'n'), Some(b'o')].into());
}

/// A regression: the block that a cut goes through came back with its old bytes behind the cut.
#[test]
fn the_block_that_a_cut_goes_through_is_written_with_the_cut() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, &[b'o'; 1024]).unwrap();
    file.sync().unwrap();
    write(&*file, 0, &[b'n'; 1024]).unwrap();
    file.set_len(100).unwrap();
    file.set_len(200).unwrap();
    let mut lengths = BTreeSet::new();
    for found in outcomes(&disk, |d| content(d, "f").unwrap()) {
        assert!(found.len() == 1024 || found[..100] == [b'n'; 100]);
        lengths.insert(found.len());
    }
    assert_eq!(lengths, [100, 200, 1024].into());
}

/// A regression: a page that was written, cut off and written again did not reach the device.
#[test]
fn a_page_that_was_cut_off_and_written_again_is_synced() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, &[b'o'; 8192]).unwrap();
    file.sync().unwrap();
    write(&*file, 4096, b"1").unwrap();
    file.set_len(0).unwrap();
    write(&*file, 4096, b"2").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.on_device(path("f")).unwrap()[4096..], *b"2");
}

#[test]
fn lengths_and_space_come_back_as_they_were_at_one_moment() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    file.allocate(0, 8192).unwrap();
    file.set_len(20_000).unwrap();
    file.set_len(100).unwrap();
    let found: BTreeSet<_> = outcomes(&disk, |d| content(d, "f").unwrap().len())
        .into_iter()
        .collect();
    assert_eq!(found, [0, 100, 8192, 20_000].into());
}

#[test]
fn faults_of_a_power_cut_are_counted() {
    let disk = overwritten(config(1));
    let file = open(&disk, "f");
    for _ in 0..4 {
        write(&*file, 0, &[b'n'; 4096]).unwrap();
    }
    open(&disk, "g");
    let counts = outcomes(&disk, SimDisk::fault_counts);
    assert!(
        counts
            .iter()
            .all(|c| c.power_cuts == 1 && c.writes_lost + c.writes_torn <= 5)
    );
    assert!(counts.iter().any(|c| c.writes_lost == 5));
    assert!(counts.iter().any(|c| c.writes_torn > 0));
    assert!(counts.iter().any(|c| c.names_lost == 1));
    assert!(
        counts
            .iter()
            .any(|c| c.writes_lost + c.writes_torn + c.names_lost == 0)
    );
}

#[test]
fn without_power_nothing_works() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    file.allocate(0, 4096).unwrap();
    let map = file.map(0, 4096).unwrap();
    let lock = disk.lock(path("lock"), "me").unwrap();
    disk.power_cut();
    disk.power_cut();
    assert_eq!(disk.fault_counts().power_cuts, 1);
    assert!(!disk.is_on());
    assert_power_cut(file.len());
    assert_power_cut(file.read_at(0, &mut [0]));
    assert_power_cut(write(&*file, 0, b"x"));
    assert_power_cut(file.sync());
    assert_power_cut(map.flush());
    assert_power_cut(disk.open(path("f"), OpenMode::Existing));
    assert_power_cut(disk.list(path("/")));
    assert_power_cut(disk.space(path("/")));
    assert_power_cut(disk.create_dir_all(path("/d")));
    let refused = disk.lock(path("lock"), "me").unwrap_err();
    assert_eq!(
        trilith_env::sim::Gone::caused(&refused),
        Some(trilith_env::sim::Gone::PowerCut)
    );
    disk.restart();
    assert!(disk.is_on());
    assert_stale(file.len());
    assert_stale(map.flush());
    drop((file, map, lock));
    disk.open(path("f"), OpenMode::Existing).unwrap();
}

#[test]
fn power_is_cut_at_the_operation_that_was_named() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    let before = disk.mutations();
    disk.power_cut_after(3);
    write(&*file, 0, b"1").unwrap();
    file.len().unwrap();
    file.read_at(0, &mut [0]).unwrap();
    write(&*file, 1, b"2").unwrap();
    assert_power_cut(write(&*file, 2, b"3"));
    assert_power_cut(file.sync());
    assert_eq!(disk.mutations(), before + 3);
    assert_eq!(disk.count(Op::Write), 3);
    disk.restart();
    durable_file(&disk, "g").sync().unwrap();
}

/// The operation that the power cut struck may have had its effect, wholly or in part, or none.
#[test]
fn the_operation_under_way_may_have_had_its_effect() {
    let ended = |seed| {
        let disk = SimDisk::with(SimConfig {
            lose: false,
            ..config(seed)
        });
        let file = open(&disk, "f");
        disk.power_cut_after(1);
        assert_power_cut(write(&*file, 0, &[1; 1024]));
        disk.restart();
        content(&disk, "f").unwrap().len()
    };
    assert_eq!(
        (0..100).map(ended).collect::<BTreeSet<_>>(),
        [0, 512, 1024].into()
    );
    let made = |seed| {
        let disk = SimDisk::with(SimConfig {
            lose: false,
            ..config(seed)
        });
        disk.power_cut_after(1);
        assert_power_cut(disk.create_dir_all(path("/d")));
        disk.restart();
        disk.list(path("/d")).is_ok()
    };
    assert_eq!(
        (0..100).map(made).collect::<BTreeSet<_>>(),
        [false, true].into()
    );
}

/// The loop that the crash tests of other crates run: a log of numbers, each acknowledged after
/// its sync, cut at every operation. What was acknowledged is found, in order.
#[test]
fn a_loop_over_a_whole_workload_keeps_what_was_acknowledged() {
    let run = |disk: &SimDisk, acked: &mut Vec<u8>| -> std::io::Result<()> {
        disk.create_dir_all(path("/log"))?;
        let file = disk.open(path("/log/a"), OpenMode::CreateIfMissing)?;
        disk.sync_dir(path("/log"))?;
        for n in 0..10 {
            write(&*file, n, &[n as u8 + 1])?;
            file.sync()?;
            acked.push(n as u8 + 1);
        }
        Ok(())
    };
    let whole = SimDisk::new(0);
    run(&whole, &mut Vec::new()).unwrap();
    assert_eq!(whole.mutations(), 23);
    for n in 1..=whole.mutations() {
        let disk = SimDisk::new(n);
        disk.power_cut_after(n);
        let mut acked = Vec::new();
        assert_power_cut(run(&disk, &mut acked));
        disk.restart();
        let found = content(&disk, "/log/a").unwrap_or_default();
        assert!(
            found.starts_with(&acked),
            "cut at {n}: {acked:?} was acked, {found:?} found"
        );
        assert!(found.len() <= acked.len() + 1);
    }
}

#[test]
fn one_seed_gives_one_outcome() {
    let run = |seed| {
        let disk = overwritten(config(seed));
        disk.power_cut();
        disk.restart();
        (content(&disk, "f").unwrap(), disk.fault_counts())
    };
    assert!((0..50).all(|seed| run(seed) == run(seed)));
    let different: BTreeSet<_> = (0..50).map(|seed| run(seed).0).collect();
    assert!(different.len() > 5);
}

#[test]
fn a_fork_goes_its_own_way() {
    let disk = overwritten(config(1));
    let before = content(&disk, "f").unwrap();
    let fork = disk.fork(2);
    let file = open(&fork, "f");
    write(&*file, 0, b"fork").unwrap();
    fork.power_cut();
    fork.restart();
    assert_eq!(content(&disk, "f").unwrap(), before);
    let dark = disk.fork(3);
    dark.power_cut();
    let forks: BTreeSet<_> = (0..50)
        .map(|seed| {
            let again = dark.fork(seed);
            assert!(!again.is_on());
            again.restart();
            content(&again, "f").unwrap()
        })
        .collect();
    assert!(forks.len() > 5);
}

#[test]
fn a_file_that_nobody_syncs_is_written_back_in_time() {
    let disk = SimDisk::with(SimConfig {
        dirty_bytes_max: 10_000,
        ..config(1)
    });
    let file = durable_file(&disk, "f");
    write(&*file, 0, &[1; 10_000]).unwrap();
    assert_eq!(disk.on_device(path("f")).unwrap(), b"");
    write(&*file, 10_000, &[2]).unwrap();
    assert_eq!(disk.on_device(path("f")).unwrap().len(), 10_001);
    write(&*file, 10_001, &[2]).unwrap();
    assert_eq!(disk.on_device(path("f")).unwrap().len(), 10_001);
}
