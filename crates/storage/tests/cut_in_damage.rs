//! A log that is cut, or goes on, where entries, headers or an index are damaged or of a newer
//! version.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::{io::IoSlice, ops::RangeInclusive, path::Path};

use common::{DIR, GROUP, append, check_dense, entries, env_on, original, read_all, small};
use trilith_env::{
    Disk, OpenMode,
    sim::{FlipIn, Op, SimDisk},
};
use trilith_storage::{
    FileCache, Log, MarkPart, OpenError, Opened, ReadError, RewriteError, inspect,
};
use trilith_types::{LogIndex, Offset};

fn open(disk: &SimDisk, mark: Option<&MarkPart>) -> (Log, Opened) {
    let (env, files) = (env_on(disk), FileCache::new(4));
    Log::open_replicated(&env, files, Path::new(DIR), GROUP, small(), mark).unwrap()
}

fn filled(disk: &SimDisk, count: u32) -> Log {
    let (mut log, _) = open(disk, None);
    for _ in 0..count {
        append(&mut log, 3, 200).unwrap();
    }
    log
}

/// Removes every index of the log.
fn remove_indexes(disk: &SimDisk) {
    for entry in disk.list(Path::new(DIR)).unwrap() {
        let name = entry.path.to_string_lossy().into_owned();
        if !name.contains("manifest") && !name.ends_with(".log") {
            disk.remove_file(&entry.path).unwrap();
        }
    }
}

/// Flips a bit in the headers of these entries of the first segment.
fn flip_headers(disk: &SimDisk, log: &Log, entries: RangeInclusive<u64>) {
    let store = inspect::store_path(Path::new(DIR), &log.segments()[0]);
    for n in entries {
        let at = 64 + (n - 1) * 280 + 20;
        disk.flip_bit(&store, at, 3, FlipIn::Both).unwrap();
    }
}

#[test]
fn a_log_can_be_cut_behind_a_damaged_entry() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 10);
    log.sync().unwrap();
    flip_headers(&disk, &log, 4..=4);
    log.truncate(LogIndex(5)).unwrap();
    // The index knows where it ends; what is lost of it stays lost.
    assert_eq!(
        (log.last_index(), log.end_offset()),
        (LogIndex(4), Offset(12))
    );
    let [damage] = log.damage()[..] else {
        panic!("{:?}", log.damage())
    };
    assert_eq!(
        (damage.first_index, damage.next_index),
        (LogIndex(4), LogIndex(5))
    );
    append(&mut log, 3, 200).unwrap();
    log.publish(log.end_offset());
    assert_eq!(read_all(&log.reader()).1, [(9, 12)]);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    drop(log);
    disk.power_cut();
    disk.restart();
    let (mut log, opened) = open(&disk, Some(&mark));
    assert_eq!(
        (opened.damage, log.last_index()),
        (vec![damage], LogIndex(5))
    );
    let (fourth, payload) = original(4);
    assert!(log.rewrite(&fourth, &[&payload]).unwrap());
    let all = entries(&log.reader(), LogIndex(1), LogIndex(5));
    assert_eq!(all.len(), 5);
}

/// Without an index nobody knows where in a stretch of damage an entry ends: what is cut there
/// keeps the whole stretch, and the entries before the cut are damaged.
#[test]
fn a_log_can_be_cut_within_damage_whose_entries_cannot_be_told_apart() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 10);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    flip_headers(&disk, &log, 3..=5);
    drop(log);
    disk.crash_process();
    remove_indexes(&disk);
    let (mut log, _) = open(&disk, Some(&mark));
    // Entry 3 is kept and entries 4 and 5 are not.
    log.truncate(LogIndex(4)).unwrap();
    assert_eq!(
        (log.last_index(), log.end_offset()),
        (LogIndex(3), Offset(6))
    );
    let [damage] = log.damage()[..] else {
        panic!("{:?}", log.damage())
    };
    assert_eq!(
        (damage.first_index, damage.next_index),
        (LogIndex(3), LogIndex(4))
    );
    // An entry behind whole ones is found by a walk.
    log.truncate(LogIndex(3)).unwrap();
    assert_eq!(
        (log.last_index(), log.end_offset()),
        (LogIndex(2), Offset(6))
    );
    assert_eq!(log.damage(), []);
    for index in 3..=12 {
        append(&mut log, 3, 200).unwrap();
        assert_eq!(log.last_index(), LogIndex(index));
    }
    log.publish(log.end_offset());
    let (frames, damage) = read_all(&log.reader());
    assert_eq!(damage, []);
    check_dense(&frames, LogIndex(1), Offset(0));
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    drop(log);
    disk.power_cut();
    disk.restart();
    let (log, opened) = open(&disk, Some(&mark));
    assert_eq!(opened.damage, []);
    let all = entries(&log.reader(), LogIndex(1), LogIndex(12));
    assert_eq!(all.len(), 12);
}

/// The store ends before its segment does, which shows only when it is read.
#[test]
fn entries_that_are_gone_with_the_end_of_a_store_are_put_back() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 30);
    log.sync().unwrap();
    log.publish(log.end_offset());
    let first = log.segments()[0];
    let past = log.segments()[1].first_index;
    let store = inspect::store_path(Path::new(DIR), &first);
    let file = disk.open(&store, OpenMode::Existing).unwrap();
    file.set_len(64 + 5 * 280).unwrap();
    log.close().unwrap();
    remove_indexes(&disk);
    let (mut log, opened) = open(&disk, None);
    assert_eq!(opened.damage, []);
    let noted = log.note_damage(LogIndex(7)).unwrap().unwrap();
    assert_eq!((noted.first_index, noted.next_index), (LogIndex(6), past));
    for index in 6..past.get() {
        let (meta, payload) = original(index);
        assert_eq!(
            log.rewrite(&meta, &[&payload]).unwrap(),
            index == past.get() - 1
        );
    }
    let all = entries(&log.reader(), LogIndex(1), LogIndex(30));
    assert_eq!(all.len(), 30);
}

/// Where nothing says any more what lies in it, a hole grows over what was damaged before.
#[test]
fn damage_that_grows_over_other_damage_is_one_and_is_put_back_from_its_start() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 10);
    log.sync().unwrap();
    log.publish(log.end_offset());
    let store = inspect::store_path(Path::new(DIR), &log.segments()[0]);
    disk.flip_bit(&store, 64 + 4 * 280 + 100, 3, FlipIn::Both)
        .unwrap();
    let known = log.note_damage(LogIndex(5)).unwrap().unwrap();
    assert_eq!(
        (known.first_index, known.next_index),
        (LogIndex(5), LogIndex(6))
    );
    log.close().unwrap();
    let (log, _) = open(&disk, None);
    flip_headers(&disk, &log, 3..=7);
    drop(log);
    disk.crash_process();
    remove_indexes(&disk);
    let (mut log, _) = open(&disk, None);
    let grown = log.note_damage(LogIndex(6)).unwrap().unwrap();
    assert_eq!(
        (grown.first_index, grown.next_index),
        (LogIndex(3), LogIndex(8))
    );
    assert_eq!(log.damage(), [grown]);
    let (meta, payload) = original(5);
    let refused = log.rewrite(&meta, &[&payload]).unwrap_err();
    assert!(
        matches!(refused, RewriteError::NotDamaged { .. }),
        "{refused}"
    );
    for index in 3..=7 {
        let (meta, payload) = original(index);
        assert_eq!(log.rewrite(&meta, &[&payload]).unwrap(), index == 7);
    }
    assert_eq!(log.damage(), []);
    assert_eq!(entries(&log.reader(), LogIndex(1), LogIndex(10)).len(), 10);
}

#[test]
fn a_parked_log_whose_index_is_lost_goes_on_with_one_that_is_built_again() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 5);
    log.sync().unwrap();
    let store = inspect::store_path(Path::new(DIR), &log.segments()[0]);
    log.park();
    let entries_file = store.with_extension("entries");
    disk.flip_bit(&entries_file, 9, 1, FlipIn::Both).unwrap();
    append(&mut log, 3, 200).unwrap();
    log.publish(log.end_offset());
    check_dense(&read_all(&log.reader()).0, LogIndex(1), Offset(0));
    let reads = disk.count(Op::Read);
    entries(&log.reader(), LogIndex(5), LogIndex(6));
    assert!(
        disk.count(Op::Read) - reads <= 3,
        "the index knows where they are"
    );
    let all = entries(&log.reader(), LogIndex(1), LogIndex(6));
    assert_eq!(all.len(), 6);
}

/// Gives a file's header the number of a version to come.
fn make_newer(disk: &SimDisk, path: &Path) {
    let file = disk.open(path, OpenMode::Existing).unwrap();
    let mut header = [0; 64];
    file.read_at(0, &mut header).unwrap();
    header[8] = 9;
    let sum = crc32c::crc32c(&header[..60]).to_le_bytes();
    header[60..].copy_from_slice(&sum);
    file.write_at(0, &[IoSlice::new(&header)]).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 5);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    let store = inspect::store_path(Path::new(DIR), &log.segments()[0]);
    drop(log);
    disk.crash_process();
    make_newer(&disk, &store);
    let before = disk.on_device(&store).unwrap();
    let (env, files) = (env_on(&disk), FileCache::new(4));
    let opened = Log::open_replicated(&env, files, Path::new(DIR), GROUP, small(), Some(&mark));
    let refused = opened.unwrap_err();
    assert!(matches!(refused, OpenError::Format(_)), "{refused}");
    assert_eq!(disk.on_device(&store).unwrap(), before);
}

/// An index can be built again, but not over one that a newer version may still want.
#[test]
fn an_index_of_a_newer_version_is_neither_used_nor_replaced_by_a_clean_start() {
    let disk = SimDisk::new(1);
    let (mut log, _) = common::open(&disk, small());
    for _ in 0..5 {
        append(&mut log, 3, 200).unwrap();
    }
    log.sync().unwrap();
    let store = inspect::store_path(Path::new(DIR), &log.segments()[0]);
    log.close().unwrap();
    let index = store.with_extension("entries");
    make_newer(&disk, &index);
    let (mut log, _) = common::open(&disk, small());
    let refused = append(&mut log, 3, 200).unwrap_err().to_string();
    assert!(
        refused.contains("use the index of") && refused.contains("version 9"),
        "{refused}"
    );
    log.publish(log.end_offset());
    let refused = log.reader().read(Offset(4), 10).unwrap_err();
    assert!(matches!(refused, ReadError::Format { .. }), "{refused}");
    let mut header = [0; 9];
    let file = disk.open(&index, OpenMode::ReadOnly).unwrap();
    file.read_at(0, &mut header).unwrap();
    assert_eq!(header[8], 9);
}

#[test]
fn a_damaged_header_of_a_store_costs_nothing_and_is_written_again() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 5);
    log.sync().unwrap();
    let mark = log.mark().unwrap();
    let store = inspect::store_path(Path::new(DIR), &log.segments()[0]);
    drop(log);
    disk.power_cut();
    disk.restart();
    let whole = disk.on_device(&store).unwrap();
    disk.flip_bit(&store, 20, 1, FlipIn::Both).unwrap();
    let (mut log, opened) = open(&disk, Some(&mark));
    assert_eq!((opened.damage, log.last_index()), (vec![], LogIndex(5)));
    log.sync().unwrap();
    append(&mut log, 3, 200).unwrap();
    log.sync().unwrap();
    assert_eq!(disk.on_device(&store).unwrap()[..64], whole[..64]);
    let all = entries(&log.reader(), LogIndex(1), LogIndex(6));
    assert_eq!(all.len(), 6);
}
