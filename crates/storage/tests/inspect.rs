//! Looking at a log without opening it, fuzzing its decoders, and the odd corners of reading.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::{io::IoSlice, path::Path};

use common::*;
use trilith_env::{
    Disk, OpenMode,
    sim::{Failure, FlipIn, Op, SimDisk},
};
use trilith_storage::{
    AppendError, Entry, EntryKind, FileCache, Log, LogConfig, OpenError, ReadError, file_header,
    frame, inspect, manifest,
    mirrored::CopyState,
    scan::{Body, Found, Scan},
    verify,
};
use trilith_types::{EntryMeta, LogIndex, Offset, Term, TimestampMs};

fn filled(disk: &SimDisk, entries: u32) -> Log {
    let (mut log, _) = open(disk, small());
    for n in 0..entries {
        append(&mut log, n % 4, 150).unwrap();
    }
    log.sync().unwrap();
    log.publish(log.end_offset());
    log
}

#[test]
fn a_directory_tree_is_searched_for_logs_and_each_is_shown() {
    let disk = SimDisk::new(1);
    filled(&disk, 40).close().unwrap();
    disk.create_dir_all(Path::new("/data/empty/below")).unwrap();
    let dyn_disk = env_on(&disk).disk;
    let dirs = inspect::log_dirs(&dyn_disk, Path::new("/")).unwrap();
    assert_eq!(dirs, [Path::new(DIR)]);
    let manifest = inspect::manifest(&dyn_disk, Path::new(DIR)).unwrap();
    assert!(manifest.is_clean() && manifest.segments.len() > 1);
    let mut entries = 0;
    for meta in &manifest.segments {
        inspect::frames(&dyn_disk, Path::new(DIR), meta, &mut |found| {
            entries += u32::from(matches!(
                found,
                Found::Frame {
                    body: Body::Good,
                    ..
                }
            ));
            true
        })
        .unwrap();
    }
    assert_eq!(entries, 40);
    let mut first = None;
    inspect::frames(
        &dyn_disk,
        Path::new(DIR),
        &manifest.segments[0],
        &mut |found| {
            first = Some(*found);
            false
        },
    )
    .unwrap();
    assert!(matches!(first, Some(Found::Frame { position: 64, .. })));
    let copies = inspect::manifest_copies(&dyn_disk, Path::new(DIR)).unwrap();
    assert!(
        copies
            .iter()
            .all(|(_, copy)| matches!(copy, CopyState::Intact { .. }))
    );
    assert!(inspect::manifest(&dyn_disk, Path::new("/data/empty")).is_err());
    assert!(
        inspect::unsynced_log_dirs(&dyn_disk, Path::new("/"))
            .unwrap()
            .is_empty()
    );
    // The segments' own headers say what a manifest that is not there would.
    let by_headers = inspect::manifest_by_headers(&dyn_disk, Path::new(DIR)).unwrap();
    let known = |m: &manifest::Manifest| {
        let segments = m.segments.iter();
        let segments = segments.map(|s| (s.id, s.base, s.first_index, s.salt));
        (
            m.group,
            m.start.offset,
            m.start.index,
            segments.collect::<Vec<_>>(),
        )
    };
    assert_eq!(known(&by_headers), known(&manifest));
    for copy in ["manifest.a", "manifest.b"] {
        disk.remove_file(&Path::new(DIR).join(copy)).unwrap();
    }
    let dirs = inspect::unsynced_log_dirs(&dyn_disk, Path::new("/")).unwrap();
    assert_eq!(dirs, [Path::new(DIR)]);
    let nothing = inspect::manifest_by_headers(&dyn_disk, Path::new("/data/empty"));
    assert!(nothing.is_err());
    assert!(inspect::log_dirs(&dyn_disk, Path::new("/nowhere")).is_err());
}

#[test]
fn entries_are_found_in_segments_that_nothing_else_speaks_of() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 40);
    let stored = entries(&log.reader(), LogIndex(1), LogIndex(40));
    drop(log);
    disk.crash_process();
    for copy in ["manifest.a", "manifest.b"] {
        disk.remove_file(&Path::new(DIR).join(copy)).unwrap();
    }
    let dyn_disk = env_on(&disk).disk;
    let found = |group, wanted: &[(u64, u64)]| {
        let wanted = wanted
            .iter()
            .map(|&(index, term)| (LogIndex(index), Term(term)));
        inspect::salvage(&dyn_disk, Path::new(DIR), group, &wanted.collect())
    };
    // The second one is of another term, and so another entry.
    let some = found(GROUP, &[(3, 1), (12, 1), (25, 3), (99, 9)]);
    let expected = [&stored[2], &stored[24]];
    assert!(some.values().eq(expected), "{some:?}");
    assert!(found(trilith_types::GroupId(8), &[(3, 1)]).is_empty());
    assert!(inspect::salvage(&dyn_disk, Path::new("/no"), GROUP, &[].into()).is_empty());
}

#[test]
fn what_stands_for_lost_records_is_refused_and_what_lies_around_it_is_read() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, small());
    for index in 1..=9 {
        let lost = index == 4 || index == 5;
        if lost {
            let first_offset = log.end_offset();
            let entry = EntryMeta {
                index: LogIndex(index),
                term: Term(1),
                kind: EntryKind::LOST,
                first_offset,
                // The second one took no offsets: there is nothing to be missed.
                records: if index == 4 { 3 } else { 0 },
                append_time: TimestampMs(0),
                max_timestamp: TimestampMs(0),
            };
            log.append(&Entry::new(&entry, &[])).unwrap();
        } else {
            append_at(&mut log, 2, 100, TimestampMs(0)).unwrap();
        }
    }
    log.sync().unwrap();
    log.publish(log.end_offset());
    let reader = log.reader();
    for max_bytes in [1, 1 << 20] {
        let (frames, damaged) = try_read_all(&reader).unwrap();
        assert_eq!((frames.len(), &damaged[..]), (7, &[(6, 9)][..]));
        let refused = reader.read(Offset(7), max_bytes).unwrap_err();
        let ReadError::Damaged { first, next, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!((first, next), (Offset(7), Offset(9)));
        assert_eq!(
            reader.read(Offset(9), max_bytes).unwrap().frames[0].index,
            LogIndex(6)
        );
    }
    // Replicas are handed it as it is.
    assert_eq!(
        entries(&reader, LogIndex(4), LogIndex(4))[0].meta.kind,
        EntryKind::LOST
    );
    log.close().unwrap();
    let verified = verify::verify(&env_on(&disk).disk, Path::new(DIR)).unwrap();
    let findings = verified.findings;
    assert_eq!(
        (findings.len(), findings[0].loses_records),
        (1, true),
        "{findings:?}"
    );
}

#[test]
fn verify_looks_at_a_log_that_was_not_closed_too() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 10);
    log.mark_if_idle().unwrap();
    drop(log);
    disk.crash_process();
    let verified = verify::verify(&env_on(&disk).disk, Path::new(DIR)).unwrap();
    assert_eq!(
        (verified.entries, verified.records, verified.findings.len()),
        (10, 13, 0)
    );
    // Half a frame at the end is an unfinished write, and loses nothing that was acknowledged.
    let path = inspect::store_path(
        Path::new(DIR),
        &inspect::manifest(&env_on(&disk).disk, Path::new(DIR))
            .unwrap()
            .segments[0],
    );
    let file = disk.open(&path, OpenMode::Existing).unwrap();
    file.write_at(64 + 10 * 232 + 80, &[IoSlice::new(b"TFRM half a header")])
        .unwrap();
    let verified = verify::verify(&env_on(&disk).disk, Path::new(DIR)).unwrap();
    assert_eq!(verified.findings.len(), 1);
    assert!(
        verified.findings[0].what.contains("unfinished write")
            && !verified.findings[0].loses_records
    );
}

#[test]
fn a_scan_passes_over_what_looks_like_a_frame_in_a_payload() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(
        &disk,
        LogConfig {
            segment_bytes: 1 << 20,
            ..small()
        },
    );
    append(&mut log, 1, 100).unwrap();
    log.sync().unwrap();
    // The whole first segment, stored as the payload of another entry.
    let path = inspect::store_path(Path::new(DIR), &log.segments()[0]);
    let mut copy = vec![0; 64 + 184];
    disk.open(&path, OpenMode::ReadOnly)
        .unwrap()
        .read_at(0, &mut copy)
        .unwrap();
    let entry = trilith_storage::Entry {
        index: LogIndex(2),
        term: log.last_term(),
        kind: EntryKind::BATCH,
        first_offset: Offset(1),
        records: 1,
        append_time: TimestampMs(5),
        max_timestamp: TimestampMs(5),
        payload: &[&copy],
    };
    log.append(&entry).unwrap();
    append(&mut log, 1, 100).unwrap();
    log.sync().unwrap();
    log.mark_if_idle().unwrap();
    drop(log);
    disk.crash_process();
    disk.flip_bit(&path, 64 + 184 + 30, 0, FlipIn::Both)
        .unwrap();
    let (log, recovery) = open(&disk, small());
    assert_eq!(recovery.damage.len(), 1);
    assert_eq!(
        (
            recovery.damage[0].first_index,
            recovery.damage[0].next_index
        ),
        (LogIndex(2), LogIndex(3))
    );
    assert_eq!(log.last_index(), LogIndex(3));
}

#[test]
fn a_scan_of_any_bytes_ends() {
    let disk = SimDisk::new(1);
    let mut seed = 1_u64;
    for round in 0..200_usize {
        let path = format!("/{round}");
        let file = disk.open(Path::new(&path), OpenMode::CreateNew).unwrap();
        let mut bytes = vec![0; 64 + round * 7];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Mostly the bytes of the magic, so that there is something to try.
            *byte = b"TFRM\0\0\0\x01"[(seed >> 60) as usize % 8];
        }
        file.write_at(0, &[IoSlice::new(&bytes)]).unwrap();
        let mut scan = Scan::new(&*file, 0, 64, u64::MAX).unwrap();
        let mut steps = 0;
        while scan.next_found().unwrap().is_some() {
            steps += 1;
        }
        assert!(steps <= 1 + bytes.len() / 8 && scan.position() <= bytes.len() as u64);
    }
}

#[test]
fn fuzz_functions_take_a_seeded_corpus() {
    let mut seed = 7_u64;
    let valid = [
        manifest::Manifest::new(
            GROUP,
            manifest::LogStart {
                offset: Offset(3),
                index: LogIndex(4),
                prev_term: trilith_types::Term(1),
            },
        )
        .encode(),
        vec![0; 64],
        b"TFRM".repeat(20),
        b"TRILITHS".repeat(8),
    ];
    for round in 0..20_000_usize {
        let mut bytes = valid[round % valid.len()].clone();
        for _ in 0..round % 5 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 20) as u8;
        }
        bytes.truncate(bytes.len() - round % 3);
        frame::fuzz(&bytes);
        file_header::fuzz(&bytes);
        manifest::fuzz(&bytes);
    }
}

#[test]
fn a_read_that_the_disk_refuses_is_told_and_may_be_tried_again() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 5);
    disk.fail(Failure::of(Op::Read));
    let refused = log.reader().read(Offset(0), 100).unwrap_err();
    assert!(matches!(refused, ReadError::Io { .. }), "{refused}");
    assert_eq!(log.reader().read(Offset(0), 100).unwrap().frames.len(), 1);
}

#[test]
fn what_fails_while_a_segment_is_made_is_told_and_leaves_a_log_that_opens() {
    for op in [
        Op::Create,
        Op::Write,
        Op::Allocate,
        Op::SyncDir,
        Op::Sync,
        Op::SetLen,
        Op::Map,
    ] {
        for nth in 1..=6 {
            let disk = SimDisk::new(1);
            let mut log = filled(&disk, 12);
            let acked = log.last_index();
            disk.fail(Failure::of(op).nth(nth));
            for _ in 0..20 {
                let failed = append(&mut log, 1, 300).is_err();
                if failed && log.poisoned().is_some() {
                    assert!(matches!(
                        append(&mut log, 1, 300),
                        Err(AppendError::Poisoned { .. })
                    ));
                    break;
                }
            }
            // Whether the entry whose write failed is there is not known.
            let last = log.last_index();
            drop(log);
            disk.clear_failures();
            disk.crash_process();
            let (log, recovery) = open(&disk, small());
            assert!(
                log.last_index() >= acked && log.last_index() <= last.next(),
                "{op:?} {nth}"
            );
            assert_eq!(recovery.damage, []);
            log.publish(log.end_offset());
            read_all(&log.reader()).0.iter().for_each(check);
        }
    }
}

#[test]
fn an_opening_that_fails_at_any_operation_can_be_repeated() {
    for op in [
        Op::Open,
        Op::Create,
        Op::Write,
        Op::Sync,
        Op::SyncDir,
        Op::SetLen,
        Op::Read,
        Op::List,
        Op::Len,
        Op::Flush,
        Op::CreateDir,
    ] {
        for nth in 1..=8 {
            let disk = SimDisk::new(1);
            let mut log = filled(&disk, 12);
            append(&mut log, 1, 100).unwrap();
            drop(log);
            disk.crash_process();
            disk.fail(Failure::of(op).nth(nth));
            let env = env_on(&disk);
            let opened = Log::open(&env, FileCache::new(2), Path::new(DIR), GROUP, small());
            if let Err(e) = &opened {
                assert!(
                    matches!(e, OpenError::Io { .. } | OpenError::Manifest(_)),
                    "{e}"
                );
            }
            drop(opened);
            disk.clear_failures();
            disk.crash_process();
            let (log, _) = open(&disk, small());
            assert_eq!(log.last_index(), LogIndex(13), "{op:?} {nth}");
        }
    }
}

#[test]
fn kinds_have_names() {
    let kinds = [0, 1, 2, 3, 16, 17, 18, 255, 77].map(|n| EntryKind(n).to_string());
    assert_eq!(
        kinds,
        [
            "no-op",
            "batch",
            "configuration",
            "command",
            "prepare",
            "commit",
            "abort",
            "mark",
            "kind 77"
        ]
    );
}

#[test]
fn a_tail_that_was_synced_and_is_gone_is_damage() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 6);
    log.settle().unwrap();
    append(&mut log, 2, 100).unwrap();
    log.sync().unwrap();
    let path = inspect::store_path(Path::new(DIR), &log.segments()[0]);
    let end = log.end_offset();
    drop(log);
    disk.crash_process();
    // The manifest says that six entries are on disk; the file ends after the fourth.
    disk.open(&path, OpenMode::Existing)
        .unwrap()
        .set_len(64 + 4 * 232)
        .unwrap();
    let (mut log, recovery) = open(&disk, small());
    let [damage] = recovery.damage[..] else {
        panic!("{:?}", recovery.damage)
    };
    assert_eq!(
        (damage.first_index, damage.next_index),
        (LogIndex(5), LogIndex(7))
    );
    assert_eq!(
        (log.last_index(), log.end_offset()),
        (LogIndex(6), end.prev().prev())
    );
    append(&mut log, 1, 100).unwrap();
    assert_eq!(
        log.segments().len(),
        2,
        "nobody knows where the first one ended"
    );
    log.publish(log.end_offset());
    let (frames, damage) = read_all(&log.reader());
    assert_eq!(damage.len(), 1);
    assert_eq!(frames.last().unwrap().index, LogIndex(7));
}

#[test]
fn verify_tells_newer_files_from_damaged_ones_and_goes_on_past_an_index() {
    let start = SimDisk::new(1);
    filled(&start, 40).close().unwrap();
    let shared = env_on(&start).disk;
    let manifest = inspect::manifest(&shared, Path::new(DIR)).unwrap();
    let store = inspect::store_path(Path::new(DIR), &manifest.segments[0]);
    let end = manifest.segments[0].state.end().unwrap();
    let entries = store.with_extension("entries");
    let write = |disk: &SimDisk, path: &Path, position, bytes: &[u8]| {
        let file = env_on(disk).disk.open(path, OpenMode::Existing).unwrap();
        file.write_at(position, &[IoSlice::new(bytes)]).unwrap();
        file.sync().unwrap();
    };
    let check = |disk: &SimDisk| {
        let verified = verify::verify(&env_on(disk).disk, Path::new(DIR)).unwrap();
        assert_eq!(verified.entries, 40, "the rest is checked");
        let [finding] = &verified.findings[..] else {
            panic!("one finding: {:?}", verified.findings)
        };
        finding.clone()
    };

    let newer = start.fork(1);
    let mut header = [0; file_header::FILE_HEADER_BYTES];
    let file = env_on(&newer)
        .disk
        .open(&store, OpenMode::ReadOnly)
        .unwrap();
    file.read_at(0, &mut header).unwrap();
    header[8] = 2;
    let (covered, sum) = header.split_at_mut(file_header::FILE_HEADER_BYTES - 4);
    sum.copy_from_slice(&crc32c::crc32c(covered).to_le_bytes());
    write(&newer, &store, 0, &header);
    let finding = check(&newer);
    assert!(
        finding.what.contains("version 2") && finding.loses_records,
        "{finding}"
    );

    let longer = start.fork(2);
    write(&longer, &store, end.position, b"more than was written");
    let finding = check(&longer);
    assert!(
        finding.what.contains("behind the segment's end"),
        "{finding}"
    );
    assert_eq!(
        (finding.position, finding.loses_records),
        (end.position, false)
    );

    let unreadable = start.fork(3);
    let refused = Failure::of(Op::Open).under(&entries).forever();
    unreadable.fail(refused);
    let finding = check(&unreadable);
    assert!(finding.what.contains("index cannot be read"), "{finding}");
    assert!(!finding.loses_records);
}
