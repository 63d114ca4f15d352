//! The log of a replicated group as its host sees it: no syncs, truncation, trimming, reading by
//! entry, damage that another replica repairs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::path::Path;

use common::{DIR, GROUP, append, check_dense, entries, env_on, original, read_all, small};
use trilith_env::{
    Disk,
    sim::{Failure, FlipIn, Op, SimDisk},
};
use trilith_storage::{
    FileCache, Log, LogConfig, MarkPart, OpenError, Opened, ReadError, RetentionPolicy,
    RewriteError, SyncRounds, TermRun, TruncateError, sync_together, verify,
};
use trilith_types::{GroupId, LogIndex, Offset, Term, TimestampMs};

fn open(disk: &SimDisk, mark: Option<&MarkPart>) -> (Log, Opened) {
    let (env, files) = (env_on(disk), FileCache::new(4));
    Log::open_replicated(&env, files, Path::new(DIR), GROUP, small(), mark).unwrap()
}

fn syncs(disk: &SimDisk) -> u64 {
    [Op::Sync, Op::SyncDir, Op::Flush]
        .map(|op| disk.count(op))
        .iter()
        .sum()
}

fn filled(disk: &SimDisk, count: u32) -> Log {
    let (mut log, opened) = open(disk, None);
    assert_eq!(opened, Opened::default());
    for _ in 0..count {
        append(&mut log, 3, 200).unwrap();
    }
    log
}

fn last_read(log: &Log) -> Vec<Offset> {
    let (frames, damage) = read_all(&log.reader());
    assert_eq!(damage, []);
    frames.iter().map(|frame| frame.first_offset).collect()
}

#[test]
fn a_log_without_entries_touches_no_file_and_no_sync_is_waited_for() {
    let disk = SimDisk::new(1);
    let before = disk.mutations();
    let (mut log, _) = open(&disk, None);
    assert_eq!(disk.mutations(), before);
    assert_eq!(log.mark().unwrap().index, LogIndex(0));
    for _ in 0..60 {
        append(&mut log, 1, 300).unwrap();
    }
    log.truncate(LogIndex(50)).unwrap();
    append(&mut log, 1, 300).unwrap();
    log.publish(Offset(30));
    assert!(log.trim(Offset(20), LogIndex(30)).unwrap() > 0);
    log.park();
    append(&mut log, 1, 300).unwrap();
    log.reset(LogIndex(100), Offset(100), Term(20)).unwrap();
    // Those of segments that ended were submitted, and nobody has waited for them.
    assert_eq!(disk.count(Op::SyncDir) + disk.count(Op::Flush), 0);
    assert!(disk.count(Op::Sync) < 8 && log.needs_sync());
    assert_eq!(log.mark(), None);
    log.sync().unwrap();
    assert_eq!(log.mark().unwrap().index, LogIndex(99));
    let files = disk.list(Path::new(DIR)).unwrap();
    assert_eq!(files.len(), 2, "only the manifest is left: {files:?}");
}

#[test]
fn the_first_sync_takes_few_syncs_and_a_parked_log_holds_no_files() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 1);
    log.park();
    assert!(!log.is_open_for_writing() && log.needs_sync());
    let pending = log.begin_sync().unwrap().unwrap();
    let landed = log.finish_sync(pending.wait()).unwrap();
    assert_eq!(landed.index, LogIndex(1));
    let first = syncs(&disk);
    assert!(first <= 8, "{first} syncs");
    append(&mut log, 3, 200).unwrap();
    log.sync().unwrap();
    assert_eq!(syncs(&disk), first + 1, "then it is one");
    log.publish(Offset(6));
    assert_eq!(last_read(&log), [Offset(0), Offset(3)]);
}

#[test]
fn what_follows_the_mark_is_cut_and_comes_back_from_the_journal() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 20);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    for _ in 0..9 {
        append(&mut log, 3, 200).unwrap();
    }
    drop(log);
    disk.crash_process();
    let (mut log, opened) = open(&disk, Some(&mark));
    assert_eq!((log.last_index(), log.mark()), (LogIndex(20), Some(mark)));
    assert_eq!(
        (opened.scanned_bytes, opened.missing),
        (0, None),
        "the index knows"
    );
    assert!(opened.cut_bytes > 0);
    let before = log.segments().len();
    append(&mut log, 3, 200).unwrap();
    assert_eq!(log.segments().len(), before, "the segment goes on");
    log.publish(log.end_offset());
    check_dense(&read_all(&log.reader()).0, LogIndex(1), Offset(0));
}

#[test]
fn a_log_is_cut_within_a_segment_and_across_several() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 60);
    log.sync().unwrap();
    log.publish(Offset(30));
    let was = log.segments();
    assert!(was.len() > 4);
    log.truncate(LogIndex(21)).unwrap();
    assert_eq!(
        (log.last_index(), log.end_offset(), log.last_term()),
        (LogIndex(20), Offset(60), Term(3))
    );
    append(&mut log, 2, 100).unwrap();
    let now = log.segments();
    let (cut, fresh) = (now[now.len() - 2], now[now.len() - 1]);
    assert_eq!(cut.state.end().unwrap().next_index, LogIndex(21));
    assert!(fresh.id > was[was.len() - 1].id, "no number is used again");
    assert_eq!(fresh.first_index, LogIndex(21));
    let found = log.reader().entries(LogIndex(21), LogIndex(99), 1 << 20);
    assert_eq!(found.unwrap().len(), 1);
    let refused = log.truncate(LogIndex(10)).unwrap_err();
    assert!(
        matches!(refused, TruncateError::Visible { .. }),
        "{refused}"
    );
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    drop(log);
    disk.power_cut();
    disk.restart();
    let (log, _) = open(&disk, Some(&mark));
    let found = entries(&log.reader(), LogIndex(1), log.last_index());
    assert_eq!((found.len(), found[20].meta.records), (21, 2));
    drop(log);
    let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(disk);
    let verified = verify::verify(&disk, Path::new(DIR)).unwrap();
    assert!(verified.findings.iter().all(|found| !found.loses_records));
    assert_eq!(verified.entries, 21);
}

#[test]
fn what_is_not_in_the_log_is_not_taken_back() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 5);
    log.truncate(LogIndex(6)).unwrap();
    assert_eq!(log.last_index(), LogIndex(5));
    log.reset(LogIndex(40), Offset(100), Term(3)).unwrap();
    let refused = log.truncate(LogIndex(39)).unwrap_err().to_string();
    assert!(refused.contains("the log begins at 40"), "{refused}");
    assert_eq!(log.term_at(LogIndex(39)), Some(Term(3)));
    let gone = log.reader().entries(LogIndex(5), LogIndex(9), 1);
    let gone = gone.unwrap_err().to_string();
    assert_eq!(gone, "entry 5 is gone; the earliest is 40");
}

#[test]
fn a_reader_in_a_segment_that_is_cut_goes_on_with_what_replaces_it() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 8);
    let mut inside = log.reader().cursor(Offset(0));
    log.publish(Offset(9));
    assert_eq!(inside.read(1 << 20).unwrap().frames.len(), 3);
    for from in [7, 5, 4] {
        log.truncate(LogIndex(from)).unwrap();
        while log.last_index() < LogIndex(9) {
            append(&mut log, from as u32, 50).unwrap();
        }
    }
    log.publish(log.end_offset());
    let mut found = Vec::new();
    loop {
        let chunk = inside.read(1 << 20).unwrap();
        if chunk.frames.is_empty() {
            break;
        }
        found.extend(chunk.frames);
    }
    check_dense(&found, LogIndex(4), Offset(9));
    assert!(found.len() == 6 && found.iter().all(|frame| frame.records == 4));
}

#[test]
fn a_reader_at_the_end_of_a_settled_or_parked_log_sees_what_is_appended() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 2);
    log.publish(log.end_offset());
    let mut cursor = log.reader().cursor(Offset(0));
    cursor.read(1 << 20).unwrap();
    for round in 0..6 {
        match round % 2 {
            0 => log.settle().unwrap(),
            _ => log.park(),
        }
        assert!(cursor.read(1 << 20).unwrap().frames.is_empty());
        append(&mut log, 3, 100).unwrap();
        log.publish(log.end_offset());
        let read = cursor.read(1 << 20).unwrap();
        assert_eq!(read.frames.len(), 1, "round {round}");
    }
}

#[test]
fn terms_are_known_without_reading() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 35);
    let run = |term, first, last| TermRun {
        term: Term(term),
        first: LogIndex(first),
        last: LogIndex(last),
    };
    let all = [run(1, 1, 9), run(2, 10, 19), run(3, 20, 29), run(4, 30, 35)];
    assert_eq!(log.term_runs(), all);
    assert_eq!(log.term_at(LogIndex(0)), Some(Term(0)));
    assert_eq!(
        (log.term_at(LogIndex(19)), log.term_at(LogIndex(36))),
        (Some(Term(2)), None)
    );
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    drop(log);
    disk.crash_process();
    assert_eq!(open(&disk, Some(&mark)).0.term_runs(), all);
    let (mut log, _) = open(&disk, Some(&mark));
    log.settle().unwrap();
    let reads = disk.count(Op::Read);
    assert_eq!(
        (log.term_runs(), disk.count(Op::Read)),
        (all.to_vec(), reads)
    );
}

#[test]
fn the_start_moves_as_told_and_segments_follow() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 60);
    log.publish(log.end_offset());
    let policy = RetentionPolicy {
        bytes: Some(8 << 10),
        age: None,
    };
    let (index, offset) = log.retention_target(TimestampMs(0), &policy).unwrap();
    let before = log.segments().len();
    let gone = log.trim(offset, LogIndex(0)).unwrap();
    assert_eq!(
        (gone, log.start_offset()),
        (0, offset),
        "nothing was applied"
    );
    assert!(log.trim(offset, index).unwrap() > 0);
    assert_eq!((log.start_index(), log.start_offset()), (index, offset));
    assert_eq!(log.trim(offset.plus(1), index).unwrap(), 0);
    assert_eq!(log.start_offset(), offset.plus(1), "within a segment, too");
    let gone = log.reader().read(offset, 1).unwrap_err();
    assert!(matches!(gone, ReadError::OffsetGone { .. }));
    let gone = log.reader().entries(index.prev(), index, 1).unwrap_err();
    assert!(matches!(gone, ReadError::EntryGone { .. }));
    let names = |disk: &SimDisk| disk.list(Path::new(DIR)).unwrap().len();
    let held = names(&disk);
    log.sync().unwrap();
    assert!(names(&disk) < held && log.segments().len() < before);
    assert_eq!(log.retention_target(TimestampMs(0), &policy), None);
}

#[test]
fn a_log_without_records_is_trimmed_by_what_was_applied() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, None);
    for _ in 0..40 {
        append(&mut log, 0, 400).unwrap();
    }
    assert!(log.trim(log.end_offset(), LogIndex(25)).unwrap() > 1);
    assert!(log.start_index() > LogIndex(10) && log.start_index() <= LogIndex(26));
    assert_eq!(log.reader().read(Offset(0), 1).unwrap().frames.len(), 0);
}

#[test]
fn entries_come_in_pieces_of_the_size_asked_for_and_across_segments() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 30);
    append(&mut log, 0, 20_000).unwrap();
    let reader = log.reader();
    for limit in [1, 281, 700, 3000, 1 << 20] {
        let mut next = LogIndex(1);
        while next <= log.last_index() {
            let found = reader.entries(next, log.last_index(), limit).unwrap();
            let len = |entry: &trilith_storage::StoredEntry| 80 + entry.payload.len() as u64;
            let bytes: u64 = found.iter().map(len).sum();
            assert!(found.len() == 1 || bytes <= limit, "{bytes} of {limit}");
            next = next.plus(found.len() as u64);
        }
    }
    let three = reader.entries(LogIndex(4), LogIndex(6), 1 << 20).unwrap();
    assert_eq!(three.len(), 3);
    let beyond = reader.entries(LogIndex(32), LogIndex(40), 1).unwrap_err();
    assert_eq!(
        beyond.to_string(),
        "entry 32 lies past the end; the last one is 31"
    );
}

/// The particulars and the payload of the entry that `append` made.
#[test]
fn a_damaged_entry_is_told_by_number_and_put_back() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 30);
    log.sync().unwrap();
    log.publish(log.end_offset());
    let store = trilith_storage::inspect::store_path(Path::new(DIR), &log.segments()[0]);
    // The headers of the third and the fourth entry, and the payload of the fourth.
    for at in [64 + 2 * 280 + 20, 64 + 3 * 280 + 20, 64 + 3 * 280 + 100] {
        disk.flip_bit(&store, at, 3, FlipIn::Both).unwrap();
    }
    let reader = log.reader();
    let met = reader.entries(LogIndex(3), LogIndex(9), 1).unwrap_err();
    let index = LogIndex(3);
    assert!(
        matches!(met, ReadError::EntryDamaged { index: i, .. } if i == index),
        "{met}"
    );
    let before = reader.entries(LogIndex(1), LogIndex(9), 1 << 20).unwrap();
    assert_eq!(before.len(), 2);
    let noted = log.note_damage(LogIndex(4)).unwrap().unwrap();
    assert_eq!(
        (noted.first_index, noted.next_index),
        (LogIndex(4), LogIndex(5)),
        "the index knows where each of them was"
    );
    let before = log.note_damage(index).unwrap().unwrap();
    assert_eq!(log.damage(), [before, noted]);
    let (third, third_payload) = original(3);
    let (fourth, fourth_payload) = original(4);
    let mut altered = third_payload.clone();
    altered[150] ^= 1;
    for wrong in [&b"too short"[..], &altered] {
        let refused = log.rewrite(&third, &[wrong]).unwrap_err();
        assert!(
            matches!(refused, RewriteError::DoesNotFit { .. }),
            "{refused}"
        );
    }
    let refused = log.rewrite(&original(9).0, &[&fourth_payload]).unwrap_err();
    assert!(
        matches!(refused, RewriteError::NotDamaged { .. }),
        "{refused}"
    );
    assert!(log.rewrite(&fourth, &[&fourth_payload]).unwrap());
    assert!(log.rewrite(&third, &[&third_payload]).unwrap());
    assert_eq!(
        (log.damage().len(), log.note_damage(LogIndex(4)).unwrap()),
        (0, None)
    );
    assert_eq!(last_read(&log).len(), 30);
}

#[test]
fn neighbours_are_put_back_one_after_another() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 30);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    log.publish(log.end_offset());
    let store = trilith_storage::inspect::store_path(Path::new(DIR), &log.segments()[0]);
    for n in 2..5 {
        let at = 64 + n * 280 + 20;
        disk.flip_bit(&store, at, 3, FlipIn::Both).unwrap();
    }
    drop(log);
    disk.crash_process();
    // Without an index nobody knows where one ends and the next begins.
    for entry in disk.list(Path::new(DIR)).unwrap() {
        let name = entry.path.to_string_lossy().into_owned();
        if !name.contains("manifest") && !name.ends_with(".log") {
            disk.remove_file(&entry.path).unwrap();
        }
    }
    let (mut log, _) = open(&disk, Some(&mark));
    log.publish(log.end_offset());
    let noted = log.note_damage(LogIndex(4)).unwrap().unwrap();
    let range = (noted.first_index, noted.next_index);
    assert_eq!(range, (LogIndex(3), LogIndex(6)));
    let (fourth, payload) = original(4);
    let refused = log.rewrite(&fourth, &[&payload]).unwrap_err();
    assert!(
        matches!(refused, RewriteError::NotDamaged { .. }),
        "{refused}"
    );
    for index in 3..6 {
        let (meta, payload) = original(index);
        let (head, tail) = payload.split_at(7);
        assert_eq!(log.rewrite(&meta, &[head, tail]).unwrap(), index == 5);
    }
    assert_eq!(log.damage(), []);
    check_dense(&read_all(&log.reader()).0, LogIndex(1), Offset(0));
    log.sync().unwrap();
    drop(log);
    disk.power_cut();
    disk.restart();
    let (log, opened) = open(&disk, Some(&mark));
    assert_eq!(opened.damage, []);
    let all = entries(&log.reader(), LogIndex(1), LogIndex(30));
    assert_eq!(all.len(), 30);
}

/// What it costs to find and put back 40 entries of a log with so many: reads and openings.
fn cost_of_mending(entries: u32) -> (u64, u64) {
    let disk = SimDisk::new(1);
    let (env, files) = (env_on(&disk), FileCache::new(4));
    let config = LogConfig {
        segment_bytes: 32 << 20,
        segment_entries_max: 10_000,
        ..small()
    };
    let opened = Log::open_replicated(&env, files, Path::new(DIR), GROUP, config, None);
    let (mut log, _) = opened.unwrap();
    for _ in 0..entries {
        append(&mut log, 3, 4000).unwrap();
    }
    log.sync().unwrap();
    log.settle().unwrap();
    log.publish(log.end_offset());
    let store = trilith_storage::inspect::store_path(Path::new(DIR), &log.segments()[0]);
    let reader = log.reader();
    let step = u64::from(entries) / 40;
    let hurt: Vec<u64> = (0..40).map(|n| 2 + n * step).collect();
    let originals: Vec<_> = hurt
        .iter()
        .map(|&n| {
            reader
                .entries(LogIndex(n), LogIndex(n), 1)
                .unwrap()
                .remove(0)
        })
        .collect();
    for &n in &hurt {
        // Headers and payloads in turn.
        let within = if n % 2 == 0 { 20 } else { 900 };
        let at = 64 + (n - 1) * (80 + 4000) + within;
        disk.flip_bit(&store, at, 3, FlipIn::Both).unwrap();
    }
    let before = (disk.count(Op::Read), disk.count(Op::Open));
    for entry in &originals {
        let index = entry.meta.index;
        assert!(reader.entries(index, index, 1).is_err());
        assert!(log.note_damage(index).unwrap().is_some());
        assert!(reader.entries(index, index, 1).is_err());
        assert!(log.rewrite(&entry.meta, &[&entry.payload]).unwrap());
    }
    log.sync().unwrap();
    let after = (disk.count(Op::Read), disk.count(Op::Open));
    assert_eq!(last_read(&log).len(), entries as usize);
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn mending_an_entry_costs_the_same_in_a_large_log() {
    // Each walked the whole segment, and had its index built again.
    assert_eq!(cost_of_mending(80), cost_of_mending(1600));
}

#[test]
fn an_entry_whose_payload_is_lost_keeps_its_place() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 3);
    let (meta, payload) = original(4);
    log.append_lost(&meta, payload.len() as u32).unwrap();
    append(&mut log, 3, 200).unwrap();
    assert_eq!((log.last_index(), log.damage().len()), (LogIndex(5), 1));
    let lost = log.reader().entries(LogIndex(4), LogIndex(5), 1);
    let lost = lost.unwrap_err().to_string();
    assert!(lost.contains("entries 4 up to 5 cannot be read"), "{lost}");
    log.publish(log.end_offset());
    assert_eq!(read_all(&log.reader()).1, [(9, 12)]);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    drop(log);
    disk.power_cut();
    disk.restart();
    let (mut log, opened) = open(&disk, Some(&mark));
    assert_eq!(opened.damage.len(), 1);
    assert!(log.rewrite(&meta, &[&payload]).unwrap());
    let all = entries(&log.reader(), LogIndex(1), LogIndex(5));
    assert_eq!(all.len(), 5);
}

#[test]
fn a_store_that_is_short_of_the_mark_is_damage() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 6);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    let store = trilith_storage::inspect::store_path(Path::new(DIR), &log.segments()[0]);
    drop(log);
    disk.crash_process();
    let file = disk.open(&store, trilith_env::OpenMode::Existing).unwrap();
    file.set_len(64 + 4 * 280 + 30).unwrap();
    let range = |opened: &Opened| (opened.damage[0].first_index, opened.damage[0].next_index);
    let (log, opened) = open(&disk, Some(&mark));
    assert_eq!(range(&opened), (LogIndex(5), LogIndex(7)));
    assert_eq!(log.last_index(), LogIndex(6));
    drop(log);
    disk.remove_file(&store).unwrap();
    let (mut log, opened) = open(&disk, Some(&mark));
    assert_eq!(range(&opened), (LogIndex(1), LogIndex(7)));
    for index in 1..7 {
        let (meta, payload) = original(index);
        log.rewrite(&meta, &[&payload]).unwrap();
    }
    let all = entries(&log.reader(), LogIndex(1), LogIndex(6));
    assert_eq!(all.len(), 6);
}

#[test]
fn a_manifest_that_is_gone_or_of_another_group_is_refused() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 6);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    drop(log);
    let (env, dir) = (env_on(&disk), Path::new(DIR));
    let other = Log::open_replicated(&env, FileCache::new(1), dir, GroupId(9), small(), None);
    assert!(matches!(other.unwrap_err(), OpenError::WrongGroup { .. }));
    for copy in ["manifest.a", "manifest.b"] {
        disk.remove_file(&dir.join(copy)).unwrap();
    }
    let gone = Log::open_replicated(&env, FileCache::new(1), dir, GROUP, small(), Some(&mark));
    assert!(matches!(
        gone.unwrap_err(),
        OpenError::ManifestMissing { .. }
    ));
}

#[test]
fn many_logs_are_synced_with_few_syncs() {
    let disk = SimDisk::new(1);
    let (env, files) = (env_on(&disk), FileCache::new(4));
    let log_in = |n: u64, mark: Option<&MarkPart>| {
        let (dir, files) = (format!("/data/{n}"), std::sync::Arc::clone(&files));
        let dir = Path::new(&dir);
        let opened = Log::open_replicated(&env, files, dir, GroupId(n), small(), mark);
        opened.unwrap().0
    };
    let mut logs: Vec<Log> = (0..30).map(|n| log_in(n, None)).collect();
    for round in 0..2 {
        for log in &mut logs {
            append(log, 3, 200).unwrap();
            log.park();
        }
        let before = syncs(&disk);
        let prepared = logs
            .iter_mut()
            .map(|log| log.prepare_sync().unwrap().unwrap());
        let outcomes = sync_together(&disk, Path::new("/data"), prepared.collect());
        for (log, outcome) in logs.iter_mut().zip(outcomes) {
            log.finish_sync(outcome).unwrap();
        }
        assert_eq!(
            syncs(&disk) - before,
            2 - round,
            "the manifests are known by then"
        );
    }
    let marks: Vec<MarkPart> = logs.iter().map(|log| log.mark().unwrap()).collect();
    drop(logs);
    disk.power_cut();
    disk.restart();
    for (n, mark) in (0..).zip(&marks) {
        let log = log_in(n, Some(mark));
        assert_eq!((log.last_index(), log.damage().len()), (LogIndex(2), 0));
    }
}

#[test]
fn a_round_of_syncs_that_fails_fails_each_of_its_logs() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 3);
    let prepared = log.prepare_sync().unwrap().unwrap();
    disk.fail(Failure::of(Op::Sync));
    let outcomes = sync_together(&disk, Path::new(DIR), vec![prepared]);
    for outcome in outcomes {
        assert!(log.finish_sync(outcome).is_err());
    }
    assert!(log.poisoned().is_some());
}

/// On the operating system, where rounds gather while one is under way.
#[test]
fn rounds_answer_every_sync() {
    let dir = tempfile::tempdir().unwrap();
    let env = trilith_env::os::env();
    let rounds = SyncRounds::new(std::sync::Arc::clone(&env.disk), dir.path().to_owned());
    let config = LogConfig {
        reserve_bytes: 0,
        ..small()
    };
    let log_in = |n: u64| {
        let (dir, files) = (dir.path().join(n.to_string()), FileCache::new(4));
        let opened = Log::open_replicated(&env, files, &dir, GroupId(n), config.clone(), None);
        opened.unwrap().0
    };
    let mut logs: Vec<Log> = (0..40).map(log_in).collect();
    let (answers, answered) = std::sync::mpsc::channel();
    for (n, log) in logs.iter_mut().enumerate() {
        append(log, 1, 100).unwrap();
        let pending = log.prepare_sync().unwrap().unwrap();
        let answers = answers.clone();
        rounds.submit(
            pending,
            Box::new(move |outcome| answers.send((n, outcome)).unwrap()),
        );
    }
    drop(answers);
    for (n, outcome) in answered {
        let log = &mut logs[n];
        assert_eq!(log.finish_sync(outcome).unwrap().index, LogIndex(1));
    }
    assert!(
        logs.iter()
            .all(|log| log.mark().unwrap().index == LogIndex(1))
    );
}

/// On a real file system: what an almost empty log takes, and that a thousand need no syncs.
#[test]
fn a_thousand_logs_take_little() {
    let dir = tempfile::tempdir().unwrap();
    let env = trilith_env::os::env();
    let config = LogConfig {
        preallocate_bytes_min: 16 << 10,
        reserve_bytes: 0,
        ..LogConfig::default()
    };
    let files = FileCache::new(8);
    let log_in = |n: u64, mark: Option<&MarkPart>| {
        let dir = dir.path().join(format!("groups/{n}"));
        let files = std::sync::Arc::clone(&files);
        let opened = Log::open_replicated(&env, files, &dir, GroupId(n), config.clone(), mark);
        opened.unwrap().0
    };
    let mut logs: Vec<Log> = (0..1000).map(|n| log_in(n, None)).collect();
    assert!(!dir.path().join("groups").exists(), "no entry, no file");
    for log in &mut logs {
        append(log, 0, 0).unwrap();
        log.park();
    }
    let blocks = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        let entries = std::fs::read_dir(path).unwrap();
        let blocks = entries.map(|entry| entry.unwrap().metadata().unwrap().blocks());
        blocks.sum::<u64>() * 512
    };
    let log = &mut logs[7];
    log.sync().unwrap();
    let bytes = blocks(&dir.path().join("groups/7"));
    assert!(bytes <= 60 << 10, "{bytes} bytes");
    let mark = log.mark().unwrap();
    drop(logs);
    let reopened: Vec<Log> = (0..1000)
        .map(|n| log_in(n, (n == 7).then_some(&mark)))
        .collect();
    assert_eq!(reopened[7].last_index(), LogIndex(1));
    assert_eq!(reopened[8].last_index(), LogIndex(0));
}
