//! Logs on disks that run full.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::*;
use trilith_env::sim::SimDisk;
use trilith_storage::{AppendError, Entry, EntryKind, LogConfig, RetentionPolicy};
use trilith_types::{LogIndex, Offset, Term, TimestampMs};

#[test]
fn a_full_disk_stops_appends_until_there_is_clearly_space_again() {
    let disk = SimDisk::new(1);
    disk.configure(|config| config.capacity = Some(400 << 10));
    let config = LogConfig {
        reserve_bytes: 100 << 10,
        resume_bytes: 40 << 10,
        ..small()
    };
    let (mut log, _) = open(&disk, config);
    let error = loop {
        match append(&mut log, 3, 1000) {
            Ok(()) => {
                log.sync().unwrap();
                log.publish(log.end_offset());
            }
            Err(e) => break e,
        }
    };
    assert!(
        matches!(error, AppendError::DiskFull { reserve, .. } if reserve == 100 << 10),
        "{error}"
    );
    assert!(log.is_disk_full() && log.poisoned().is_none());
    let (end, count) = (log.end_offset(), read_all(&log.reader()).0.len());
    assert_eq!(
        end.get(),
        count as u64 * 3,
        "what was acknowledged stays readable"
    );
    // The reserve is there for closing and for retention.
    log.settle().unwrap();
    // A little more room is not enough.
    disk.configure(|config| config.capacity = Some(420 << 10));
    assert!(matches!(
        append(&mut log, 3, 1000),
        Err(AppendError::DiskFull { .. })
    ));
    let policy = RetentionPolicy {
        bytes: Some(8 << 10),
        age: None,
    };
    log.enforce_retention(TimestampMs(0), &policy)
        .unwrap()
        .remove_files()
        .unwrap();
    append(&mut log, 3, 1000).unwrap();
    assert!(!log.is_disk_full());
    log.close().unwrap();
}

/// A leader's first entry once took a whole step of space from what is kept free, and small records
/// were then taken into it although the disk was full.
#[test]
fn what_is_promised_takes_what_is_kept_free_and_nothing_else_does() {
    let disk = SimDisk::new(1);
    disk.configure(|config| config.capacity = Some(512 << 10));
    let config = LogConfig {
        reserve_bytes: 1 << 20,
        preallocate_bytes_max: 64 << 10,
        preallocate_bytes_min: 64 << 10,
        ..small()
    };
    let (mut log, _) = open(&disk, config);
    let bytes = payload(1, 0, 3, 100);
    let bytes = [&bytes[..]];
    let first = Entry {
        index: LogIndex(1),
        term: Term(1),
        kind: EntryKind::BATCH,
        first_offset: Offset(0),
        records: 3,
        append_time: TimestampMs(0),
        max_timestamp: TimestampMs(0),
        payload: &bytes,
    };
    let next = Entry {
        index: LogIndex(2),
        first_offset: Offset(3),
        ..first
    };
    let refused = log.append(&first).unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull { .. }), "{refused}");
    log.append_promised(&[first], &[], 0).unwrap();
    assert!(log.is_disk_full());
    // There is room in what was reserved for the first, which was taken from what is kept free.
    let refused = log.make_room(&next, 10).unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull { .. }), "{refused}");

    disk.configure(|config| config.capacity = Some(64 << 20));
    log.make_room(&next, 10).unwrap();
    assert!(!log.is_disk_full());
    log.append(&next).unwrap();
    log.close().unwrap();
}

/// A promise is of entries that may end up in the next segment: the disk is asked for it now.
#[test]
fn room_is_looked_for_past_the_end_of_a_segment() {
    let disk = SimDisk::new(1);
    disk.configure(|config| config.capacity = Some(512 << 10));
    let (mut log, _) = open(&disk, small());
    append(&mut log, 3, 1000).unwrap();
    let next = Entry {
        index: LogIndex(3),
        term: Term(1),
        kind: EntryKind::BATCH,
        first_offset: Offset(6),
        records: 3,
        append_time: TimestampMs(0),
        max_timestamp: TimestampMs(0),
        payload: &[],
    };
    log.make_room(&next, 100 << 10).unwrap();
    let refused = log.make_room(&next, 600 << 10).unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull { .. }), "{refused}");
    assert!(log.poisoned().is_none());
    append(&mut log, 3, 10).unwrap();
}

#[test]
fn a_disk_without_room_for_anything_still_opens_its_log() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, small());
    for _ in 0..30 {
        append(&mut log, 3, 200).unwrap();
    }
    log.sync().unwrap();
    append(&mut log, 3, 100).unwrap();
    drop(log);
    disk.crash_process();
    disk.configure(|config| config.capacity = Some(0));
    let (log, _) = open(&disk, small());
    log.publish(log.end_offset());
    assert_eq!(read_all(&log.reader()).0.len(), 31);
}
