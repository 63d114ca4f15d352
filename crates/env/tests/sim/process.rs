//! A process that ends: the page cache stays.

use std::{io::ErrorKind, sync::Arc};

use trilith_env::{
    Disk, Env, LockError, OpenMode, Rng,
    sim::{SimClock, SimDisk, SimRng},
};
use trilith_types::TimestampMs;

use super::{assert_stale, content, durable_file, open, path, write};

#[test]
fn a_process_crash_keeps_the_cache_and_a_power_cut_drops_it() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, b"unsynced").unwrap();
    disk.crash_process();
    assert_eq!(disk.fault_counts().process_crashes, 1);
    assert_stale(write(&*file, 0, b"x"));
    assert_stale(file.sync());
    // It reads back fine, and it is on no disk.
    assert_eq!(content(&disk, "f").unwrap(), b"unsynced");
    assert_eq!(disk.on_device(path("f")).unwrap(), b"");
    let lost = (0..50).filter(|&seed| {
        let fork = disk.fork(seed);
        fork.power_cut();
        fork.restart();
        content(&fork, "f").unwrap() != b"unsynced"
    });
    assert!(lost.count() > 0);
}

#[test]
fn a_restart_with_the_power_on_is_a_process_crash() {
    let disk = SimDisk::new(1);
    let file = open(&disk, "f");
    write(&*file, 0, b"kept").unwrap();
    disk.restart();
    assert_stale(file.len());
    assert_eq!(content(&disk, "f").unwrap(), b"kept");
    disk.power_cut();
    disk.crash_process();
    assert_eq!(disk.fault_counts().process_crashes, 1);
}

#[test]
fn locks_die_with_their_process() {
    let disk = SimDisk::new(1);
    let dead = disk.lock(path("lock"), "first").unwrap();
    assert!(matches!(
        disk.lock(path("lock"), "second"),
        Err(LockError::Held { .. })
    ));
    disk.crash_process();
    let alive = disk.lock(path("lock"), "second").unwrap();
    // The dead process's guard is dropped late and must not free what is not its own.
    drop(dead);
    let refused = disk.lock(path("lock"), "third").unwrap_err();
    assert_eq!(refused.to_string(), "lock is locked by second");
    disk.power_cut();
    disk.restart();
    drop(alive);
    disk.lock(path("lock"), "third").unwrap();
}

#[test]
fn a_fork_has_no_handles_and_no_locks() {
    let disk = SimDisk::new(1);
    let _held = disk.lock(path("lock"), "first").unwrap();
    disk.fork(2).lock(path("lock"), "second").unwrap();
}

#[test]
fn names_may_not_climb() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(path("/a")).unwrap();
    let up = disk.open(path("/a/../b"), OpenMode::CreateNew).unwrap_err();
    assert_eq!(up.kind(), ErrorKind::InvalidInput);
    assert!(disk.open(path("/"), OpenMode::Existing).is_err());
    assert!(disk.open(path("./f"), OpenMode::CreateNew).is_ok());
    assert!(
        disk.flip_bit(path("/"), 0, 0, trilith_env::sim::FlipIn::Both)
            .is_err()
    );
    let file = path("/f");
    assert_eq!(
        disk.sync_dir(file).unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
}

#[test]
fn the_simulated_world_is_an_environment() {
    let (disk, rng) = (SimDisk::new(1), SimRng::new(2));
    let clock = SimClock::new(TimestampMs(0));
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(clock.clone()),
        rng: Arc::new(rng.clone()),
    };
    assert_eq!(format!("{disk:?}"), "SimDisk");
    clock.jump_wall(5);
    assert_eq!(env.clock.wall(), TimestampMs(5));
    assert_ne!(env.rng.next_u64(), rng.next_u64());
    let file = env.disk.open(path("f"), OpenMode::CreateNew).unwrap();
    assert!(format!("{file:?}").contains('f'));
    assert!(content(&disk, "f").unwrap().is_empty());
}
