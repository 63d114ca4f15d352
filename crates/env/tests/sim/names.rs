//! Names that were not synced.

use std::collections::BTreeSet;

use trilith_env::{
    Disk,
    sim::{Failure, Op, SimConfig, SimDisk},
};

use super::{config, content, durable_file, open, outcomes, path, write};

fn names(disk: &SimDisk, dir: &str) -> String {
    let entries = disk.list(path(dir)).unwrap();
    let names = entries
        .iter()
        .map(|e| e.path.file_name().unwrap().to_str().unwrap().to_owned());
    names.collect::<Vec<_>>().join(" ")
}

fn found(disk: &SimDisk, dir: &str) -> BTreeSet<String> {
    outcomes(disk, |d| names(d, dir)).into_iter().collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn names_survive_each_on_its_own() {
    let disk = SimDisk::new(1);
    durable_file(&disk, "old");
    open(&disk, "a");
    disk.remove_file(path("old")).unwrap();
    open(&disk, "b");
    let all = ["", "a", "a b", "a b old", "a old", "b", "b old", "old"];
    assert_eq!(found(&disk, "/"), set(all));
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(found(&disk, "/"), set(["a b"]));
}

#[test]
fn syncing_a_file_does_not_make_its_name_durable() {
    let disk = SimDisk::new(1);
    let file = open(&disk, "f");
    write(&*file, 0, b"x").unwrap();
    file.sync().unwrap();
    assert_eq!(found(&disk, "/"), set(["", "f"]));
}

#[test]
fn a_rename_survives_as_a_whole() {
    let disk = SimDisk::new(1);
    let new = durable_file(&disk, "new");
    write(&*new, 0, b"new").unwrap();
    let old = durable_file(&disk, "name");
    write(&*old, 0, b"old").unwrap();
    new.sync().unwrap();
    old.sync().unwrap();
    disk.rename(path("new"), path("name")).unwrap();
    let found: BTreeSet<_> = outcomes(&disk, |d| (names(d, "/"), content(d, "name").unwrap()))
        .into_iter()
        .collect();
    let expected = [
        ("name".to_owned(), b"new".to_vec()),
        ("name new".to_owned(), b"old".to_vec()),
    ];
    assert_eq!(found, expected.into());
}

#[test]
fn a_move_to_another_directory_survives_as_a_whole() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(path("/to")).unwrap();
    durable_file(&disk, "f");
    disk.rename(path("f"), path("/to/f")).unwrap();
    let both = |d: &SimDisk| (names(d, "/"), names(d, "/to"));
    let found: BTreeSet<_> = outcomes(&disk, both).into_iter().collect();
    let expected = [("f to", ""), ("to", "f")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(found, expected.into());
    let other = disk.fork(2);
    for (disk, synced) in [(disk, "/"), (other, "/to")] {
        disk.sync_dir(path(synced)).unwrap();
        assert!(outcomes(&disk, both).iter().all(|f| f.1 == "f"), "{synced}");
    }
}

/// A regression: the first of two renames was lost and the second was not, and the file had two
/// names.
#[test]
fn a_file_is_never_found_in_two_places() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(path("/to")).unwrap();
    durable_file(&disk, "a");
    disk.rename(path("a"), path("b")).unwrap();
    disk.rename(path("b"), path("/to/c")).unwrap();
    let both = |d: &SimDisk| format!("{} | {}", names(d, "/"), names(d, "/to"));
    let all: BTreeSet<_> = outcomes(&disk, both).into_iter().collect();
    assert_eq!(all, set(["a to | ", "b to | ", "to | c"]));
    disk.sync_dir(path("/to")).unwrap();
    assert!(outcomes(&disk, both).iter().all(|f| f == "to | c"));
}

/// The same, where a failed sync made the device miss the first move.
#[test]
fn a_move_that_the_device_missed_is_made_up_for() {
    let ended = |seed| {
        let disk = SimDisk::new(seed);
        durable_file(&disk, "a");
        disk.rename(path("a"), path("b")).unwrap();
        disk.fail(Failure::of(Op::SyncDir));
        assert!(disk.sync_dir(path("/")).is_err());
        let missed = outcomes(&disk, |d| names(d, "/"));
        disk.rename(path("b"), path("c")).unwrap();
        disk.sync_dir(path("/")).unwrap();
        assert!(outcomes(&disk, |d| names(d, "/")).iter().all(|f| f == "c"));
        missed[0].clone()
    };
    assert_eq!((0..20).map(ended).collect::<BTreeSet<_>>(), set(["a", "b"]));
}

#[test]
fn made_directories_are_durable() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(path("/a/b")).unwrap();
    open(&disk, "/a/b/f");
    assert_eq!(found(&disk, "/a"), set(["b"]));
    assert_eq!(found(&disk, "/a/b"), set(["", "f"]));
    disk.sync_dir(path("/a/b")).unwrap();
    disk.remove_file(path("/a/b/f")).unwrap();
    disk.remove_dir(path("/a/b")).unwrap();
    assert_eq!(found(&disk, "/a"), set(["", "b"]));
}

#[test]
fn without_reordering_names_survive_up_to_a_moment() {
    let disk = SimDisk::with(SimConfig {
        reorder: false,
        ..config(1)
    });
    for name in ["a", "b", "c"] {
        open(&disk, name);
    }
    assert_eq!(found(&disk, "/"), set(["", "a", "a b", "a b c"]));
}

/// The journal of a real file system commits by itself in time; here at 4096 changes.
#[test]
fn very_many_unsynced_names_become_durable_from_the_oldest() {
    let disk = SimDisk::with(SimConfig {
        reorder: false,
        ..config(1)
    });
    for n in 0..4097 {
        open(&disk, &format!("{n:05}"));
    }
    let kept = outcomes(&disk, |d| d.list(path("/")).unwrap().len());
    assert!(kept.iter().all(|n| *n >= 1), "{kept:?}");
    assert!(kept.iter().any(|n| *n < 4097));
}
