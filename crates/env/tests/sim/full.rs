//! A disk that runs full.

use std::io::ErrorKind;

use trilith_env::{
    Disk, OpenMode,
    sim::{SimConfig, SimDisk},
};

use super::{config, content, durable_file, open, outcomes, path, write};

fn disk_of(pages: u64) -> SimDisk {
    SimDisk::with(SimConfig {
        capacity: Some(pages * 4096),
        ..config(1)
    })
}

fn free(disk: &SimDisk) -> u64 {
    disk.space(path("/")).unwrap().available / 4096
}

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has() {
    let disk = disk_of(3);
    let file = open(&disk, "f");
    write(&*file, 0, &[1; 8192]).unwrap();
    assert_eq!(free(&disk), 1);
    let error = write(&*file, 8000, &[2; 10_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("cannot write to f"), "{error}");
    // As with a short write, what there was room for has been written.
    assert_eq!(content(&disk, "f").unwrap().len(), 12_288);
    assert_eq!(free(&disk), 0);
    write(&*file, 0, &[3; 12_288]).unwrap();
    assert_eq!(
        write(&*file, 12_288, &[4]).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    assert_eq!(file.len().unwrap(), 12_288);
    assert_eq!(disk.fault_counts().full, 2);
}

#[test]
fn allocated_space_is_had_and_a_refused_allocation_changes_nothing() {
    let disk = disk_of(4);
    let (a, b) = (open(&disk, "a"), open(&disk, "b"));
    a.allocate(0, 3 * 4096).unwrap();
    assert_eq!(free(&disk), 1);
    assert_eq!(
        b.allocate(0, 8192).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    assert_eq!((b.len().unwrap(), free(&disk)), (0, 1));
    write(&*b, 0, &[1; 4096]).unwrap();
    write(&*a, 0, &[1; 3 * 4096]).unwrap();
    a.allocate(0, 3 * 4096).unwrap();
    assert_eq!(free(&disk), 0);
    // A hole is filled as far as there is room.
    disk.configure(|c| c.capacity = Some(6 * 4096));
    b.set_len(10 * 4096).unwrap();
    write(&*b, 8192, &[1; 4096]).unwrap();
    assert!(write(&*b, 4096, &[2; 5 * 4096]).is_err());
    assert_eq!(content(&disk, "b").unwrap()[4096..12_288], [2; 8192]);
}

#[test]
fn space_comes_back_and_a_disk_can_grow() {
    let disk = disk_of(2);
    let file = open(&disk, "f");
    write(&*file, 0, &[1; 8192]).unwrap();
    file.set_len(1).unwrap();
    assert_eq!(free(&disk), 1);
    disk.remove_file(path("f")).unwrap();
    assert_eq!(free(&disk), 1, "an open file keeps its space");
    write(&*file, 0, &[1; 8192]).unwrap();
    assert_eq!(free(&disk), 0);
    drop(file);
    assert_eq!(free(&disk), 2);
    let file = open(&disk, "g");
    assert!(write(&*file, 0, &[1; 3 * 4096]).is_err());
    disk.configure(|c| c.capacity = Some(3 * 4096));
    write(&*file, 0, &[1; 3 * 4096]).unwrap();
    disk.configure(|c| c.capacity = Some(4096));
    assert_eq!((free(&disk), write(&*file, 0, b"x").is_ok()), (0, true));
}

#[test]
fn space_is_counted_anew_after_a_crash() {
    let disk = disk_of(8);
    let file = durable_file(&disk, "f");
    file.allocate(0, 8192).unwrap();
    file.sync().unwrap();
    let gone = open(&disk, "gone");
    write(&*gone, 0, &[1; 4096]).unwrap();
    disk.remove_file(path("gone")).unwrap();
    assert_eq!(free(&disk), 5);
    disk.crash_process();
    assert_eq!(free(&disk), 6);
    disk.power_cut();
    disk.restart();
    assert_eq!(free(&disk), 6);
    write(&*open(&disk, "f"), 0, &[1; 8192]).unwrap();
    assert_eq!(free(&disk), 6);
}

#[test]
fn what_a_power_cut_took_is_free_again() {
    let disk = disk_of(8);
    durable_file(&disk, "a").allocate(0, 3 * 4096).unwrap();
    write(&*open(&disk, "b"), 0, &[1; 3 * 4096]).unwrap();
    let left = outcomes(&disk, |d| {
        let before = free(d);
        for name in ["a", "b"] {
            drop(d.remove_file(path(name)));
        }
        assert_eq!(free(d), 8);
        before
    });
    assert!(left.contains(&8) && left.contains(&2), "{left:?}");
}

#[test]
fn a_lock_is_had_on_a_full_disk() {
    let disk = disk_of(0);
    let held = disk.lock(path("lock"), "me").unwrap();
    assert!(disk.lock(path("lock"), "you").is_err());
    drop(held);
}

#[test]
fn no_more_files_are_open_than_may_be() {
    let disk = SimDisk::new(7);
    disk.configure(|config| config.open_files_max = Some(2));
    let first = open(&disk, "a");
    let second = open(&disk, "a");
    let refused = disk.open(path("b"), OpenMode::CreateIfMissing).unwrap_err();
    assert!(trilith_env::is_out_of_files(&refused), "{refused}");
    drop((first, second));
    assert!(disk.open(path("b"), OpenMode::CreateIfMissing).is_ok());
}
