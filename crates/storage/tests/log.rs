//! The log as its users see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::{path::Path, time::Duration};

use common::*;
use trilith_env::sim::{Failure, Op, SimDisk};
use trilith_storage::{
    AppendError, Entry, EntryKind, FileCache, Log, LogConfig, OpenError, ReadError, RetentionPolicy,
};
use trilith_types::{GroupId, LogIndex, Offset, Term, TimestampMs};

/// A log with `entries` entries of three records each.
fn filled(disk: &SimDisk, entries: usize) -> Log {
    let (mut log, _) = open(disk, small());
    for _ in 0..entries {
        append(&mut log, 3, 200).unwrap();
    }
    log.sync().unwrap();
    log.publish(log.end_offset());
    log
}

#[test]
fn what_is_appended_comes_back_across_segments() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 100);
    assert!(log.segments().len() > 5, "segments of 4 KiB");
    let (frames, damage) = read_all(&log.reader());
    assert_eq!((frames.len(), damage), (100, vec![]));
    check_dense(&frames, LogIndex(1), Offset(0));
}

#[test]
fn every_offset_is_found_also_in_the_middle_of_a_batch() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 60);
    let reader = log.reader();
    for offset in 0..180 {
        let chunk = reader.read(Offset(offset), 1).unwrap();
        assert_eq!(
            chunk.frames.len(),
            1,
            "at least one entry, however small the limit"
        );
        assert_eq!(chunk.frames[0].first_offset, Offset(offset / 3 * 3));
        check(&chunk.frames[0]);
    }
    assert!(reader.read(Offset(180), 1).unwrap().frames.is_empty());
    let beyond = reader.read(Offset(181), 1).unwrap_err();
    assert_eq!(beyond.to_string(), "offset 181 lies past the end, 180");
}

#[test]
fn readers_see_only_what_was_published() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, small());
    let reader = log.reader();
    let mut cursor = reader.cursor(Offset(0));
    for n in 0..50_u64 {
        append(&mut log, 2, 100).unwrap();
        assert!(cursor.read(4000).unwrap().frames.is_empty());
        log.publish(Offset(1_000_000));
        let chunk = cursor.read(4000).unwrap();
        assert_eq!((chunk.frames.len(), chunk.next), (1, Offset(2 * n + 2)));
        log.publish(Offset(0));
        assert_eq!(
            log.visible_upto(),
            Offset(2 * n + 2),
            "what was visible stays so"
        );
    }
}

#[test]
fn a_clean_close_leaves_nothing_to_scan_and_appends_go_on_in_the_same_segment() {
    let disk = SimDisk::new(1);
    filled(&disk, 8).close().unwrap();
    let (mut log, recovery) = open(&disk, small());
    assert!(recovery.clean && recovery.scanned_segments == 0);
    assert_eq!(
        (log.last_index(), log.end_offset(), log.last_term()),
        (LogIndex(8), Offset(24), Term(1))
    );
    append(&mut log, 3, 200).unwrap();
    assert_eq!(log.segments().len(), 1);
    log.settle().unwrap();
    append(&mut log, 3, 200).unwrap();
    assert_eq!(log.segments().len(), 1, "after a settling, too");
    log.publish(log.end_offset());
    let (frames, _) = read_all(&log.reader());
    check_dense(&frames, LogIndex(1), Offset(0));
    assert_eq!(frames.len(), 10);
}

#[test]
fn a_clean_close_survives_a_power_cut() {
    let disk = SimDisk::new(1);
    filled(&disk, 40).close().unwrap();
    disk.power_cut();
    disk.restart();
    let (log, recovery) = open(&disk, small());
    assert!(recovery.clean);
    log.publish(log.end_offset());
    assert_eq!(read_all(&log.reader()).0.len(), 40);
}

#[test]
fn entries_without_records_take_no_offsets() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, small());
    for n in 0..90 {
        append(&mut log, n % 3, 150).unwrap();
    }
    log.publish(log.end_offset());
    assert_eq!(log.end_offset(), Offset(90));
    let (frames, _) = read_all(&log.reader());
    check_dense(&frames, LogIndex(2), Offset(0));
    assert_eq!(frames.len(), 60, "consumers do not see them");
    let all = entries(&log.reader(), LogIndex(1), LogIndex(90));
    assert_eq!(
        all.iter().filter(|entry| entry.meta.records == 0).count(),
        30
    );
    let mut cursor = log.reader().cursor(Offset(0));
    while !cursor.read(1).unwrap().frames.is_empty() {}
    assert_eq!(cursor.position(), Offset(90));
    let chunk = log.reader().read(Offset(1), 1).unwrap();
    assert_eq!(chunk.frames[0].first_offset, Offset(1));
}

#[test]
fn holes_in_the_offsets_are_passed_over() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, small());
    let entry = |index: u64, first: u64| Entry {
        index: LogIndex(index),
        term: Term(1),
        kind: EntryKind::BATCH,
        first_offset: Offset(first),
        records: 2,
        append_time: TimestampMs(1),
        max_timestamp: TimestampMs(1),
        payload: &[],
    };
    for (index, first) in [(1, 5), (2, 10), (3, 12), (4, 30)] {
        log.append(&entry(index, first)).unwrap();
    }
    log.publish(log.end_offset());
    let at = |from| log.reader().read(Offset(from), 1).unwrap().frames[0].first_offset;
    assert_eq!(
        (at(0), at(5), at(7), at(10), at(13), at(14)),
        (
            Offset(5),
            Offset(5),
            Offset(10),
            Offset(10),
            Offset(12),
            Offset(30)
        )
    );
}

#[test]
fn a_hole_larger_than_a_segment_may_span_begins_a_new_one() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, small());
    let far = 1 << 40;
    for (index, first) in [(1, far), (2, far + 1), (3, 3 * far), (4, 3 * far + 9_999)] {
        log.append(&Entry {
            index: LogIndex(index),
            term: Term(1),
            kind: EntryKind::BATCH,
            first_offset: Offset(first),
            records: 1,
            append_time: TimestampMs(1),
            max_timestamp: TimestampMs(1),
            payload: &[],
        })
        .unwrap();
    }
    log.sync().unwrap();
    log.publish(log.end_offset());
    let at = |from| {
        log.reader().read(Offset(from), 1).unwrap().frames[0]
            .first_offset
            .get()
    };
    assert_eq!((at(0), at(far + 1), at(far + 2)), (far, far + 1, 3 * far));
    assert_eq!(
        (at(3 * far + 1), log.segments().len()),
        (3 * far + 9_999, 2)
    );
    let (frames, _) = read_all(&log.reader());
    assert_eq!(frames.len(), 4);
}

#[test]
fn retention_may_take_what_was_never_synced() {
    let disk = SimDisk::new(1);
    let config = LogConfig {
        segment_age: Some(HOUR),
        ..small()
    };
    let (mut log, _) = open(&disk, config.clone());
    append_at(&mut log, 3, 100, TimestampMs(0)).unwrap();
    let now = TimestampMs(3_600_000);
    assert!(log.rotate_if_old(now).unwrap());
    let policy = RetentionPolicy {
        bytes: Some(0),
        age: None,
    };
    log.enforce_retention(now, &policy)
        .unwrap()
        .remove_files()
        .unwrap();
    drop(log);
    disk.power_cut();
    disk.restart();
    let (mut log, _) = open(&disk, config);
    assert_eq!(
        (log.start_offset(), log.end_offset(), log.last_index()),
        (Offset(3), Offset(3), LogIndex(1))
    );
    append_at(&mut log, 3, 100, now).unwrap();
}

#[test]
fn what_cannot_follow_is_refused_and_changes_nothing() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 15);
    let good = Entry {
        index: LogIndex(16),
        term: Term(2),
        kind: EntryKind::BATCH,
        first_offset: Offset(45),
        records: 1,
        append_time: TimestampMs(0),
        max_timestamp: TimestampMs(0),
        payload: &[b"x"],
    };
    let large = vec![0; (64 << 10) + 1];
    let cases = [
        (
            Entry {
                index: LogIndex(15),
                ..good
            },
            "entry 15 cannot follow: the next one is 16",
        ),
        (
            Entry {
                first_offset: Offset(44),
                ..good
            },
            "first offset 44 lies below the end of the log, 45",
        ),
        (
            Entry {
                term: Term(1),
                ..good
            },
            "term 1 cannot follow term 2",
        ),
        (
            Entry {
                payload: &[&large],
                ..good
            },
            "an entry of 65537 bytes is larger than the 65536 allowed",
        ),
        (
            Entry {
                records: 10_001,
                ..good
            },
            "an entry that takes 10001 offsets is larger than the 10000 that a segment may span",
        ),
        (
            Entry {
                kind: EntryKind::MARK,
                ..good
            },
            "cannot append to : marks are the log's own",
        ),
    ];
    for (entry, message) in cases {
        assert_eq!(log.append(&entry).unwrap_err().to_string(), message);
    }
    let partial = log.append_all(&[good, good]).unwrap_err();
    assert_eq!((partial.appended, log.last_index()), (1, LogIndex(16)));
}

#[test]
fn many_entries_go_with_one_write() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 1);
    let config = LogConfig {
        segment_bytes: 1 << 20,
        ..small()
    };
    log.set_config(config).unwrap();
    let payloads: Vec<_> = (0..50).map(|n| payload(n + 2, n + 3, 1, 60)).collect();
    let parts: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [&p[..]]).collect();
    let entries: Vec<_> = parts
        .iter()
        .zip(0..)
        .map(|(payload, n)| Entry {
            index: LogIndex(n + 2),
            term: Term(1),
            kind: EntryKind::BATCH,
            first_offset: Offset(n + 3),
            records: 1,
            append_time: TimestampMs(0),
            max_timestamp: TimestampMs(0),
            payload,
        })
        .collect();
    let before = disk.count(Op::Write);
    log.append_all(&entries).unwrap();
    assert_eq!(disk.count(Op::Write) - before, 1);
    log.publish(log.end_offset());
    check_dense(&read_all(&log.reader()).0, LogIndex(1), Offset(0));
}

#[test]
fn segments_end_by_age_and_by_index_capacity() {
    let disk = SimDisk::new(1);
    let config = LogConfig {
        segment_age: Some(Duration::from_millis(100)),
        segment_entries_max: 4,
        segment_offsets_max: 10,
        segment_bytes: 1 << 20,
        ..small()
    };
    let (mut log, _) = open(&disk, config);
    for (records, time) in [
        (1, 0),
        (1, 99),
        (1, 100),
        (1, 101),
        (1, 102),
        (1, 103),
        (1, 104),
        (9, 105),
        (9, 106),
    ] {
        append_at(&mut log, records, 10, TimestampMs(time)).unwrap();
    }
    let firsts: Vec<_> = log
        .segments()
        .iter()
        .map(|meta| meta.first_index.get())
        .collect();
    assert_eq!(firsts, [1, 3, 7, 9], "by age, by entries, by offsets");
    assert!(!log.rotate_if_old(TimestampMs(200)).unwrap());
    assert!(log.rotate_if_old(TimestampMs(206)).unwrap());
    assert!(
        !log.rotate_if_old(TimestampMs(400)).unwrap(),
        "there is nothing to end"
    );
    log.sync().unwrap();
    append_at(&mut log, 1, 10, TimestampMs(207)).unwrap();
    assert_eq!(log.segments().len(), 5);
}

#[test]
fn boundaries_do_not_depend_on_marks_or_restarts() {
    let boundaries = |restart: bool| {
        let disk = SimDisk::new(1);
        let (mut log, _) = open(&disk, small());
        for n in 0..60 {
            append(&mut log, 3, 200).unwrap();
            log.sync().unwrap();
            log.mark_if_idle().unwrap();
            if restart && n % 7 == 0 {
                log.close().unwrap();
                log = open(&disk, small()).0;
            }
            if restart && n % 11 == 0 {
                drop(log);
                disk.power_cut();
                disk.restart();
                log = open(&disk, small()).0;
            }
        }
        log.segments()
            .iter()
            .map(|meta| meta.base)
            .collect::<Vec<_>>()
    };
    assert_eq!(boundaries(false), boundaries(true));
}

#[test]
fn retention_takes_whole_segments_and_tells_laggards() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 100);
    let reader = log.reader();
    let mut pinned = reader.cursor(Offset(0));
    pinned.read(1).unwrap();
    let before = log.segments();
    let policy = RetentionPolicy {
        bytes: Some(8 << 10),
        age: None,
    };
    assert_eq!(
        log.retention_start(TimestampMs(0), &policy),
        before[before.len() - 3].base
    );
    let retired = log.enforce_retention(TimestampMs(0), &policy).unwrap();
    assert_eq!(
        (retired.segments(), log.segments().len()),
        (before.len() - 3, 3)
    );
    assert!(retired.bytes() > 0);
    retired.remove_files().unwrap();
    let earliest = log.start_offset();
    assert_eq!(earliest, log.segments()[0].base);
    let gone = reader.read(Offset(0), 1000).unwrap_err();
    assert_eq!(
        gone.to_string(),
        format!("offset 0 is gone; the earliest is {earliest}")
    );
    // The cursor finishes its segment, and is then told as well.
    let mut last = Offset(0);
    let gone = loop {
        match pinned.read(1000) {
            Ok(chunk) => last = chunk.next,
            Err(gone) => break gone,
        }
    };
    assert_eq!(last, before[1].base);
    assert!(matches!(gone, ReadError::OffsetGone { offset, .. } if offset == last));
    drop(log);
    disk.power_cut();
    disk.restart();
    let (log, recovery) = open(&disk, small());
    assert_eq!(
        (log.start_offset(), recovery.leftovers_removed),
        (earliest, 0)
    );
    log.publish(log.end_offset());
    assert_eq!(
        read_all(&log.reader()).0.first().unwrap().first_offset,
        earliest
    );
}

#[test]
fn an_idle_log_is_emptied_by_age_once_its_last_segment_has_ended() {
    let disk = SimDisk::new(1);
    let config = LogConfig {
        segment_age: Some(HOUR),
        ..small()
    };
    let (mut log, _) = open(&disk, config.clone());
    append_at(&mut log, 3, 100, TimestampMs(0)).unwrap();
    log.sync().unwrap();
    let policy = RetentionPolicy {
        bytes: None,
        age: Some(HOUR),
    };
    let now = TimestampMs(3_600_000);
    assert_eq!(
        log.enforce_retention(now, &policy).unwrap().segments(),
        0,
        "never the active one"
    );
    assert!(log.rotate_if_old(now).unwrap());
    log.sync().unwrap();
    let retired = log.enforce_retention(now, &policy).unwrap();
    assert_eq!(
        (retired.segments(), log.segments().len(), log.bytes()),
        (1, 0, 0)
    );
    drop(retired);
    assert_eq!(
        (log.start_offset(), log.end_offset()),
        (Offset(3), Offset(3))
    );
    log.close().unwrap();
    let (mut log, recovery) = open(&disk, config);
    assert_eq!(
        (log.start_offset(), log.end_offset(), log.last_term()),
        (Offset(3), Offset(3), Term(1))
    );
    assert_eq!(
        recovery.leftovers_removed, 4,
        "the files that nobody removed"
    );
    append_at(&mut log, 1, 100, now).unwrap();
    log.publish(log.end_offset());
    check_dense(&read_all(&log.reader()).0, LogIndex(2), Offset(3));
}

#[test]
fn times_are_found_although_producers_go_backwards() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, small());
    let times: Vec<i64> = (0..200).map(|n| (n * 37) % 101 + n * 3).collect();
    for &time in &times {
        append_at(&mut log, 2, 60, TimestampMs(time)).unwrap();
    }
    log.sync().unwrap();
    log.publish(log.end_offset());
    let check = |log: &Log| {
        for wanted in -1..=*times.iter().max().unwrap() + 1 {
            let expected = times
                .iter()
                .position(|&time| time >= wanted)
                .unwrap_or(times.len());
            let found = log.reader().offset_at_time(TimestampMs(wanted)).unwrap();
            assert_eq!(found, Offset(expected as u64 * 2), "time {wanted}");
        }
    };
    check(&log);
    log.close().unwrap();
    let (log, _) = open(&disk, small());
    log.publish(log.end_offset());
    check(&log);
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 3);
    append(&mut log, 3, 100).unwrap();
    disk.fail(Failure::of(Op::Sync));
    let message = log.sync().unwrap_err().to_string();
    assert!(
        message.starts_with("a sync failed, so nothing after the last one"),
        "{message}"
    );
    assert!(log.sync().is_err() && log.begin_sync().is_err() && log.settle().is_err());
    assert!(matches!(
        append(&mut log, 1, 1),
        Err(AppendError::Poisoned { .. })
    ));
    assert!(log.poisoned().is_some() && log.reader().poisoned().is_some());
    assert_eq!(
        read_all(&log.reader()).0.len(),
        3,
        "what was acknowledged stays readable"
    );
    drop(log);
    disk.crash_process();
    // The page reads back clean and is lost: recovery writes it again before relying on it.
    let (log, recovery) = open(&disk, small());
    assert!(!recovery.clean && recovery.rewritten_bytes > 0);
    let end = log.end_offset();
    drop(log);
    disk.power_cut();
    disk.restart();
    let (log, _) = open(&disk, small());
    assert_eq!(log.end_offset(), end, "what recovery kept is durable");
}

#[test]
fn a_failed_write_is_final_too() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 3);
    disk.fail(Failure::of(Op::Write));
    assert!(matches!(
        append(&mut log, 3, 100),
        Err(AppendError::Io { what: "write", .. })
    ));
    assert!(matches!(
        append(&mut log, 3, 100),
        Err(AppendError::Poisoned { .. })
    ));
    drop(log);
    disk.crash_process();
    let (mut log, _) = open(&disk, small());
    append(&mut log, 3, 100).unwrap();
}

#[test]
fn another_group_a_newer_version_and_a_lost_manifest_are_refused() {
    let disk = SimDisk::new(1);
    filled(&disk, 30).close().unwrap();
    let env = env_on(&disk);
    let open = |group| Log::open(&env, FileCache::new(4), Path::new(DIR), group, small());
    let wrong = open(GroupId(8)).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "/data/log holds the log of group 7, not of group 8"
    );
    let bad = LogConfig {
        segment_bytes: 0,
        ..small()
    };
    assert!(matches!(
        Log::open(&env, FileCache::new(4), Path::new(DIR), GROUP, bad),
        Err(OpenError::Config(_))
    ));
    for name in ["manifest.a", "manifest.b"] {
        env.disk.remove_file(&Path::new(DIR).join(name)).unwrap();
    }
    assert!(matches!(
        open(GROUP),
        Err(OpenError::ManifestMissing { .. })
    ));
}

#[test]
fn files_stay_open_only_within_the_limit() {
    let disk = SimDisk::new(1);
    filled(&disk, 100).close().unwrap();
    let files = FileCache::new(3);
    let env = env_on(&disk);
    let (log, _) = Log::open(
        &env,
        std::sync::Arc::clone(&files),
        Path::new(DIR),
        GROUP,
        small(),
    )
    .unwrap();
    log.publish(log.end_offset());
    assert_eq!(files.open_segments(), 0, "opening a log opens no segment");
    let (frames, _) = read_all(&log.reader());
    assert_eq!((frames.len(), files.open_segments()), (100, 3));
}

#[test]
fn a_lost_index_is_built_again() {
    let disk = SimDisk::new(1);
    filled(&disk, 100).close().unwrap();
    let env = env_on(&disk);
    for entry in env.disk.list(Path::new(DIR)).unwrap() {
        let name = entry.path.to_string_lossy().into_owned();
        if name.ends_with(".offsets") || name.ends_with(".times") {
            env.disk.remove_file(&entry.path).unwrap();
        }
    }
    let (mut log, recovery) = open(&disk, small());
    assert!(recovery.clean);
    log.publish(log.end_offset());
    assert_eq!(
        log.reader().read(Offset(100), 1).unwrap().frames[0].first_offset,
        Offset(99)
    );
    assert_eq!(
        log.reader().offset_at_time(TimestampMs(500)).unwrap(),
        Offset(150)
    );
    append(&mut log, 3, 100).unwrap();
    log.publish(log.end_offset());
    check_dense(&read_all(&log.reader()).0, LogIndex(1), Offset(0));
}

#[test]
fn an_idle_log_marks_what_is_synced_once() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 3);
    assert!(log.mark_if_idle().unwrap());
    assert!(!log.mark_if_idle().unwrap(), "the mark is there");
    append(&mut log, 1, 10).unwrap();
    assert!(!log.mark_if_idle().unwrap(), "the entry carries the mark");
    log.sync().unwrap();
    assert!(log.mark_if_idle().unwrap());
    log.publish(log.end_offset());
    let (frames, _) = read_all(&log.reader());
    check_dense(&frames, LogIndex(1), Offset(0));
    assert_eq!(frames.len(), 4, "marks are no entries");
    log.close().unwrap();
    let (log, _) = open(&disk, small());
    log.publish(log.end_offset());
    assert_eq!(read_all(&log.reader()).0.len(), 4);
}

#[test]
fn syncs_that_overlap_count_in_order() {
    let disk = SimDisk::new(1);
    disk.configure(|config| config.slow = true);
    let (mut log, _) = open(&disk, small());
    append(&mut log, 1, 10).unwrap();
    let first = log.begin_sync().unwrap().unwrap();
    append(&mut log, 1, 10).unwrap();
    let second = log.begin_sync().unwrap().unwrap();
    assert!(log.begin_sync().unwrap().is_none(), "all is on its way");
    assert_eq!(
        (first.upto().index, second.upto().index),
        (LogIndex(1), LogIndex(2))
    );
    assert!(
        log.settle()
            .unwrap_err()
            .to_string()
            .contains("never given back")
    );
    assert_eq!(log.finish_sync(second.wait()).unwrap().index, LogIndex(0));
    assert_eq!(log.finish_sync(first.wait()).unwrap().index, LogIndex(2));
    log.settle().unwrap();
}
