//! Cuts the power between any two operations of a workload with rotation, retention, settling and
//! reopening, then during the recovery from that, and checks what was promised: every
//! acknowledged entry is there, once and in order, and nothing is damaged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::*;
use trilith_env::sim::{Failure, Op, SimConfig, SimDisk};
use trilith_storage::{AppendError, Log, RetentionPolicy, SyncError};
use trilith_types::{LogIndex, Offset, TimestampMs};

/// What the workload was promised so far.
#[derive(Clone, Copy, Debug)]
struct Promise {
    /// Entries up to this one were synced.
    acked: LogIndex,
    /// Entries up to this one were submitted: no other may show up.
    submitted: LogIndex,
    /// Where the log begins at least, and at most.
    start: (Offset, Offset),
}

const NOTHING: Promise = Promise {
    acked: LogIndex(0),
    submitted: LogIndex(0),
    start: (Offset(0), Offset(0)),
};

/// The end of a life: the power went.
struct Over;

impl From<SyncError> for Over {
    fn from(_: SyncError) -> Self {
        Self
    }
}

impl From<AppendError> for Over {
    fn from(_: AppendError) -> Self {
        Self
    }
}

/// One life of a process: it appends, syncs now and then, removes old segments and settles.
fn live(log: &mut Log, steps: u64, promise: &mut Promise) -> Result<(), Over> {
    for step in 0..steps {
        promise.submitted = log.last_index().next();
        append(log, (step % 4) as u32, 150 + (step as usize * 131) % 700)?;
        if step % 3 == 2 {
            let point = log.sync()?;
            assert_eq!(point.index, log.last_index());
            promise.acked = point.index;
        }
        if step % 7 == 4 {
            log.mark_if_idle()?;
        }
        if step % 11 == 10 {
            let policy = RetentionPolicy {
                bytes: Some(6 << 10),
                age: None,
            };
            promise.start.1 = log.retention_start(TimestampMs(0), &policy);
            let retired = log.enforce_retention(TimestampMs(0), &policy)?;
            promise.start.0 = log.start_offset();
            retired.remove_files().map_err(|_| Over)?;
        }
        if step % 17 == 16 {
            log.settle()?;
            promise.acked = log.last_index();
        }
    }
    Ok(())
}

/// Opens what is on the disk, if the power lasts, and checks it against the promise.
fn reopen(disk: &SimDisk, promise: &mut Promise) -> Option<Log> {
    let env = env_on(disk);
    let files = trilith_storage::FileCache::new(2);
    let opened = Log::open(&env, files, std::path::Path::new(DIR), GROUP, small());
    let (log, recovery) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            assert!(
                !disk.is_on(),
                "only a power cut keeps a log from opening: {e}"
            );
            return None;
        }
    };
    assert_eq!(recovery.damage, [], "a power cut is no damage");
    assert!(
        log.last_index() >= promise.acked,
        "{} < {promise:?}",
        log.last_index()
    );
    assert!(
        log.last_index() <= promise.submitted,
        "{} > {promise:?}",
        log.last_index()
    );
    assert!(promise.start.0 <= log.start_offset() && log.start_offset() <= promise.start.1);
    log.publish(log.end_offset());
    let (frames, damage) = match try_read_all(&log.reader()) {
        Ok(read) => read,
        Err(e) => {
            assert!(
                !disk.is_on(),
                "only a power cut keeps a log from being read: {e}"
            );
            return None;
        }
    };
    assert_eq!(damage, []);
    if let Some(first) = frames.first() {
        check_dense(&frames, first.index, first.first_offset);
        assert_eq!(frames.last().unwrap().next_offset(), log.end_offset());
        assert_eq!(first.first_offset, log.start_offset());
    }
    match log
        .reader()
        .entries(log.start_index(), log.last_index(), u64::MAX)
    {
        Ok(found) => assert!(found.first().unwrap().meta.index == log.start_index()),
        Err(e) => assert!(!disk.is_on() || log.last_index() < log.start_index(), "{e}"),
    }
    // What recovery gave back is relied on from here on, so it must be as durable as an
    // acknowledged entry.
    promise.acked = log.last_index();
    promise.submitted = log.last_index();
    promise.start = (log.start_offset(), log.start_offset());
    Some(log)
}

/// A disk on which a first life has left a few segments, so that the second one resumes.
fn prepared(seed: u64) -> (SimDisk, Promise) {
    let disk = SimDisk::with(SimConfig::new(seed));
    let mut promise = NOTHING;
    let (mut log, _) = open(&disk, small());
    assert!(live(&mut log, 20, &mut promise).is_ok());
    if seed.is_multiple_of(2) {
        log.close().unwrap();
        promise.acked = promise.submitted;
    } else {
        drop(log);
        disk.crash_process();
    }
    (disk, promise)
}

/// A life on `disk` from opening to the end of the steps or of the power.
fn second_life(disk: &SimDisk, promise: &mut Promise) {
    if let Some(mut log) = reopen(disk, promise)
        && live(&mut log, 40, promise).is_ok()
        && log.close().is_ok()
    {
        promise.acked = promise.submitted;
    }
}

/// Cuts the power at every operation of a life and of the recovery that follows.
fn cut_everywhere(seed: u64, stride: u64) -> (u64, u64) {
    let (start, promised) = prepared(seed);
    let whole = start.fork(seed);
    second_life(&whole, &mut promised.clone());
    let operations = whole.mutations() - start.mutations();
    let (mut cuts, mut second_cuts) = (0, 0);
    let mut at = 1 + seed % stride;
    while at <= operations {
        let disk = start.fork(seed * 1000 + at);
        let mut promise = promised;
        disk.power_cut_after(at);
        second_life(&disk, &mut promise);
        cuts += u64::from(!disk.is_on());
        disk.restart();
        // Now cut the recovery as well: everywhere, each time from the same wreck.
        let mut during = 1 + at % 3;
        loop {
            let again = disk.fork(seed * 7 + during);
            let mut promise = promise;
            again.power_cut_after(during);
            let survived = reopen(&again, &mut promise.clone()).is_some();
            if again.is_on() {
                assert!(survived);
                break;
            }
            second_cuts += 1;
            again.restart();
            let mut log = reopen(&again, &mut promise).expect("the power is on");
            // The log lives on.
            assert!(live(&mut log, 5, &mut promise).is_ok());
            drop(log);
            again.power_cut();
            again.restart();
            reopen(&again, &mut promise).expect("the power is on");
            during += 3;
        }
        at += stride;
    }
    (cuts, second_cuts)
}

/// `TRILITH_CRASH_SEEDS=50 cargo test -p trilith-storage --release --test crash` cuts at every
/// operation, over so many seeds; without it, at every fourth of a few.
#[test]
fn acknowledged_entries_survive_power_cuts_anywhere() {
    let wanted = std::env::var("TRILITH_CRASH_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let (seeds, stride) = wanted.map_or((4, 4), |seeds| (seeds, 1));
    let (mut cuts, mut second_cuts) = (0, 0);
    for seed in 0..seeds {
        let (first, second) = cut_everywhere(seed, stride);
        cuts += first;
        second_cuts += second;
    }
    assert!(
        cuts > 100 && second_cuts > 300,
        "the faults took place: {cuts} and {second_cuts}"
    );
}

#[test]
fn a_process_that_dies_loses_nothing_it_wrote() {
    let disk = SimDisk::new(3);
    let mut promise = NOTHING;
    for _ in 0..4 {
        let (mut log, _) = open(&disk, small());
        let before = log.last_index();
        for _ in 0..9 {
            append(&mut log, 2, 300).unwrap();
        }
        promise.submitted = log.last_index();
        promise.acked = log.last_index();
        assert!(before < log.last_index());
        drop(log);
        disk.crash_process();
        drop(reopen(&disk, &mut promise).unwrap());
        disk.power_cut();
        disk.restart();
        drop(reopen(&disk, &mut promise).unwrap());
    }
}

fn first_store(log: &Log) -> std::path::PathBuf {
    trilith_storage::inspect::store_path(std::path::Path::new(DIR), &log.segments()[0])
}

#[test]
fn an_unfinished_write_is_cut_kept_aside_and_reported() {
    let (mut torn, mut dropped) = (0, 0);
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (mut log, _) = open(&disk, small());
        append(&mut log, 1, 500).unwrap();
        log.sync().unwrap();
        if seed.is_multiple_of(2) {
            // The first segment ends, and its sync fails before anybody asks.
            disk.fail(Failure::of(Op::Sync).under(first_store(&log)));
        }
        for _ in 0..12 {
            append(&mut log, 1, 700).unwrap();
        }
        drop(log);
        disk.power_cut();
        disk.restart();
        let (log, recovery) = open(&disk, small());
        assert!(log.last_index() >= LogIndex(1) && recovery.damage.is_empty());
        for cut in &recovery.torn {
            let kept = env_on(&disk)
                .disk
                .open(&cut.kept_in, trilith_env::OpenMode::ReadOnly)
                .unwrap();
            if cut.position > 0 {
                assert_eq!(kept.len().unwrap(), cut.bytes, "all that was cut is kept");
                torn += 1;
            } else {
                dropped += 1;
            }
        }
    }
    assert!(
        torn > 5 && dropped > 5,
        "both kinds took place: {torn} and {dropped}"
    );
}
