//! Operations that fail because the test says so.

use std::{collections::BTreeSet, io::ErrorKind, sync::atomic::Ordering::Relaxed};

use trilith_env::{
    Disk, OpenMode,
    sim::{Failure, Op, SimConfig, SimDisk},
};

use super::{config, content, durable_file, open, outcomes, path, write};

#[test]
fn the_nth_operation_of_a_kind_fails() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    disk.fail(
        Failure::of(Op::Write)
            .nth(2)
            .times(2)
            .with(ErrorKind::QuotaExceeded),
    );
    write(&*file, 0, b"1").unwrap();
    for _ in 0..2 {
        let error = write(&*file, 1, b"2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert!(
            error.to_string().starts_with("cannot write to f: "),
            "{error}"
        );
    }
    write(&*file, 1, b"2").unwrap();
    assert_eq!(disk.fault_counts().failures, 2);
}

#[test]
fn any_operation_can_fail_and_leaves_no_effect() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    file.allocate(0, 4096).unwrap();
    disk.create_dir_all(path("/d")).unwrap();
    let fails = |op, f: &dyn Fn() -> std::io::Result<()>| {
        disk.fail(Failure::of(op));
        assert!(f().is_err(), "{op:?}");
        assert!(f().is_ok(), "{op:?}");
    };
    fails(Op::Open, &|| {
        disk.open(path("f"), OpenMode::Existing).map(drop)
    });
    fails(Op::Create, &|| {
        disk.open(path("g"), OpenMode::CreateNew).map(drop)
    });
    fails(Op::List, &|| disk.list(path("/")).map(drop));
    fails(Op::Rename, &|| disk.rename(path("g"), path("h")));
    fails(Op::RemoveFile, &|| disk.remove_file(path("h")));
    fails(Op::RemoveDir, &|| disk.remove_dir(path("/d")));
    fails(Op::Space, &|| disk.space(path("/")).map(drop));
    fails(Op::Lock, &|| {
        disk.lock(path("lock"), "me")
            .map(drop)
            .map_err(std::io::Error::other)
    });
    fails(Op::Len, &|| file.len().map(drop));
    fails(Op::SetLen, &|| file.set_len(8192));
    fails(Op::Allocate, &|| file.allocate(0, 16_384));
    fails(Op::Read, &|| file.read_at(0, &mut [0]).map(drop));
    fails(Op::Map, &|| file.map(0, 4096).map(drop));
    assert_eq!(disk.fault_counts().failures, 13);
}

/// A directory is made in the cache before its parent is synced.
#[test]
fn a_directory_may_be_made_and_its_making_fail() {
    let disk = SimDisk::new(1);
    disk.fail(Failure::of(Op::CreateDir).nth(2));
    assert!(disk.create_dir_all(path("/a/b")).is_err());
    disk.create_dir_all(path("/a/b")).unwrap();
    let found = outcomes(&disk, |d| d.list(path("/a/b")).is_ok());
    assert!(found.contains(&false), "its entry was never synced");
}

#[test]
fn a_failure_holds_until_it_is_taken_back() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(path("/a")).unwrap();
    disk.create_dir_all(path("/b")).unwrap();
    disk.fail(Failure::of(Op::Create).forever().under("/a"));
    for n in 0..3 {
        assert!(
            disk.open(path(&format!("/a/{n}")), OpenMode::CreateNew)
                .is_err()
        );
        open(&disk, &format!("/b/{n}"));
    }
    disk.clear_failures();
    open(&disk, "/a/0");
}

#[test]
fn a_failed_write_may_have_written_a_part() {
    let written = |seed| {
        let disk = SimDisk::new(seed);
        let file = open(&disk, "f");
        disk.fail(Failure::of(Op::Write));
        assert!(write(&*file, 0, &[1; 1000]).is_err());
        content(&disk, "f").unwrap().len()
    };
    assert_eq!(
        (0..100).map(written).collect::<BTreeSet<_>>(),
        [0, 512, 1000].into()
    );
}

/// The trap that databases fell into: the kernel takes the lost pages for clean, so the second
/// sync has nothing to do and succeeds.
#[test]
fn a_failed_sync_loses_pages_that_read_back_clean() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, &[1; 16_384]).unwrap();
    disk.fail(Failure::of(Op::Sync));
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(content(&disk, "f").unwrap(), [1; 16_384]);
    assert_ne!(disk.on_device(path("f")).unwrap(), [1; 16_384]);
    assert_eq!(disk.fault_counts().writes_marked_clean, 1);
    disk.crash_process();
    assert_eq!(content(&disk, "f").unwrap(), [1; 16_384]);
    let lost = outcomes(&disk, |d| content(d, "f").unwrap());
    assert!(lost.iter().all(|found| *found != [1; 16_384]));
    // The way out: what was read is written again, and synced.
    let file = open(&disk, "f");
    write(&*file, 0, &[1; 16_384]).unwrap();
    file.sync().unwrap();
    assert!(
        outcomes(&disk, |d| content(d, "f").unwrap())
            .iter()
            .all(|f| *f == [1; 16_384])
    );
}

#[test]
fn memory_pressure_shows_what_was_lost() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, &[1; 16_384]).unwrap();
    disk.fail(Failure::of(Op::Sync));
    assert!(file.sync().is_err());
    write(&*file, 4096, &[2; 4096]).unwrap();
    disk.drop_clean_cache();
    let found = content(&disk, "f").unwrap();
    assert_ne!(found[..4096], [1; 4096]);
    assert_eq!(found[4096..8192], [2; 4096], "what is dirty stays");
    assert_eq!(found.len(), 16_384);
}

#[test]
fn a_failed_flush_is_a_failed_sync() {
    let disk = SimDisk::with(SimConfig {
        tear: false,
        ..config(3)
    });
    let file = durable_file(&disk, "f");
    file.allocate(0, 8192).unwrap();
    file.sync().unwrap();
    let map = file.map(0, 8192).unwrap();
    for word in [0, 512] {
        map.words()[word].store(1, Relaxed);
    }
    disk.fail(Failure::of(Op::Flush));
    assert!(map.flush().is_err());
    map.flush().unwrap();
    assert_eq!(disk.fault_counts().writes_marked_clean, 2);
    assert_eq!(
        disk.on_device(path("f"))
            .unwrap()
            .iter()
            .filter(|b| **b == 1)
            .count(),
        0
    );
    assert_eq!(
        content(&disk, "f")
            .unwrap()
            .iter()
            .filter(|b| **b == 1)
            .count(),
        2
    );
}

#[test]
fn a_failed_directory_sync_forgets_names() {
    let kept = |seed| {
        let disk = SimDisk::new(seed);
        open(&disk, "a");
        open(&disk, "b");
        disk.fail(Failure::of(Op::SyncDir));
        assert!(disk.sync_dir(path("/")).is_err());
        disk.sync_dir(path("/")).unwrap();
        assert_eq!(disk.list(path("/")).unwrap().len(), 2);
        disk.power_cut();
        disk.restart();
        disk.list(path("/")).unwrap().len()
    };
    assert_eq!((0..50).map(kept).collect::<BTreeSet<_>>(), [0, 1, 2].into());
    let disk = SimDisk::new(1);
    disk.fail(Failure::of(Op::SyncDir));
    assert!(disk.sync_dir(path("/missing")).is_err());
}
