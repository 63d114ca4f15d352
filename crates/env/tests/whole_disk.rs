//! What concerns many files at once: names made without a sync, and the sync of a file system.
#![allow(clippy::unwrap_used)]

use std::{io::IoSlice, path::Path, sync::Arc};

use trilith_env::{
    Disk, OpenMode, os, remove_tree,
    sim::{Failure, Op, SimConfig, SimDisk},
};

/// Makes a few files in a directory of their own.
fn fill(disk: &dyn Disk, dir: &Path) {
    disk.create_dir(dir).unwrap();
    disk.create_dir(dir).unwrap();
    for n in 0..5_u8 {
        let path = dir.join(n.to_string());
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(0, &[IoSlice::new(&[n; 100])]).unwrap();
    }
}

fn content(disk: &dyn Disk, path: &Path) -> Option<[u8; 100]> {
    let file = disk.open(path, OpenMode::ReadOnly).ok()?;
    let mut found = [0xFF; 100];
    file.read_at(0, &mut found).unwrap();
    Some(found)
}

#[test]
fn a_directory_without_a_sync_may_go_and_one_that_was_synced_stays() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimDisk::with(SimConfig::new(seed));
        let (kept, risked) = (Path::new("/kept"), Path::new("/risked"));
        fill(&disk, kept);
        disk.sync_all(Path::new("/")).unwrap();
        fill(&disk, risked);
        disk.power_cut();
        disk.restart();
        for n in 0..5_u8 {
            let found = content(&disk, &kept.join(n.to_string()));
            assert_eq!(found, Some([n; 100]));
        }
        lost += u32::from(disk.list(risked).is_err());
    }
    assert!(lost > 2, "{lost} of 20 were lost");
}

#[test]
fn a_failed_sync_of_everything_promises_nothing() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimDisk::with(SimConfig::new(seed));
        fill(&disk, Path::new("/d"));
        disk.sync_dir(Path::new("/")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.fail(Failure::of(Op::Sync));
        assert!(disk.sync_all(Path::new("/")).is_err());
        disk.sync_all(Path::new("/")).unwrap();
        disk.power_cut();
        disk.restart();
        let whole = (0..5_u8).filter(|n| {
            let path = Path::new("/d").join(n.to_string());
            content(&disk, &path) == Some([*n; 100])
        });
        lost += 5 - whole.count();
    }
    assert!(lost > 5, "{lost} of 100 were lost for good");
}

#[test]
fn the_operating_system_does_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = os::env().disk;
    fill(&*disk, &dir.path().join("d"));
    for _ in 0..2 {
        if let Err(e) = disk.sync_all(dir.path()) {
            assert_eq!(e.kind(), std::io::ErrorKind::Unsupported);
        }
    }
    let parentless = disk.create_dir(&dir.path().join("a/b")).unwrap_err();
    assert_eq!(parentless.kind(), std::io::ErrorKind::NotFound);
    assert!(disk.sync_all(&dir.path().join("missing")).is_err());
    let (tell, told) = std::sync::mpsc::channel();
    let held = Arc::clone(&disk);
    disk.run(Box::new(move || {
        tell.send(held.list(Path::new("/")).is_ok()).unwrap()
    }));
    assert!(told.recv().unwrap());
}

#[test]
fn two_may_remove_the_same_tree() {
    let place = tempfile::tempdir().unwrap();
    let disk = os::OsDisk::new();
    for round in 0..20 {
        let top = place.path().join(round.to_string());
        disk.create_dir(&top).unwrap();
        fill(&disk, &top);
        fill(&disk, &top.join("below"));
        std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| remove_tree(&disk, &top)));
            for done in both {
                done.join().unwrap().unwrap();
            }
        });
        assert!(!top.exists());
    }
    let sim = SimDisk::with(SimConfig::new(1));
    fill(&sim, Path::new("/d"));
    remove_tree(&sim, Path::new("/d")).unwrap();
    remove_tree(&sim, Path::new("/d")).unwrap();
    assert!(sim.list(Path::new("/d")).is_err());
    // A refusal is told.
    fill(&sim, Path::new("/e"));
    sim.fail(Failure::of(Op::RemoveFile));
    assert!(remove_tree(&sim, Path::new("/e")).is_err());
}
