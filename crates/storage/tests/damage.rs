//! Flips every bit's byte of a small log: each flip is detected and costs no other record, or is
//! provably harmless.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use trilith_env::{
    Disk,
    sim::{FlipIn, SimDisk},
};
use trilith_storage::{FileCache, Log, LogConfig, OpenError, ReadError, inspect, verify};
use trilith_types::{LogIndex, Offset, TimestampMs};

/// Every file of the log, with its length.
fn files(disk: &SimDisk) -> Vec<(PathBuf, u64)> {
    let env = env_on(disk);
    let entries = env.disk.list(Path::new(DIR)).unwrap();
    let len = |path: &Path| {
        env.disk
            .open(path, trilith_env::OpenMode::ReadOnly)
            .unwrap()
            .len()
            .unwrap()
    };
    entries
        .into_iter()
        .map(|entry| (entry.path.clone(), len(&entry.path)))
        .collect()
}

/// How many entries the log has.
const ENTRIES: u64 = 8;

/// Segments so small that four entries fill one.
fn tiny() -> LogConfig {
    LogConfig {
        segment_bytes: 4 * FRAME,
        preallocate_bytes_max: 256,
        ..small()
    }
}

/// Length of a frame: the header, a payload of 90 bytes and its padding.
const FRAME: u64 = 80 + 96;

/// Two segments, synced and marked.
fn small_log(disk: &SimDisk) -> Log {
    let (mut log, _) = open(disk, tiny());
    for n in 0..ENTRIES {
        append(&mut log, 1 + n as u32 % 3, 90).unwrap();
    }
    log.sync().unwrap();
    log.mark_if_idle().unwrap();
    log.sync().unwrap();
    assert_eq!(log.segments().len(), 2);
    log
}

/// Reads everything and checks that what is missing is one entry at most, and said to be missing.
fn check_reading(log: &mut Log, what: &str) -> usize {
    log.publish(log.end_offset());
    let reader = log.reader();
    let (frames, damage) = read_all(&reader);
    frames.iter().for_each(check);
    assert!(
        frames.len() + 1 >= ENTRIES as usize && frames.len() + damage.len() == ENTRIES as usize,
        "{what}: {damage:?}"
    );
    // Each offset on its own, by way of the index: the right entry, or the same refusal.
    for offset in 0..log.end_offset().get() {
        match reader.read(Offset(offset), 1) {
            Ok(chunk) => {
                let frame = &chunk.frames[0];
                assert!(
                    frame.first_offset.get() <= offset && offset < frame.next_offset().get(),
                    "{what}"
                );
                check(frame);
            }
            Err(ReadError::Damaged { .. }) => {
                assert!(
                    damage.iter().any(|d| d.0 <= offset && offset < d.1),
                    "{what}: {offset}"
                );
            }
            Err(e) => panic!("{what}: {e}"),
        }
    }
    for time in 0..=ENTRIES as i64 {
        let found = reader.offset_at_time(TimestampMs(time * 10)).unwrap();
        let expected = frames
            .iter()
            .find(|frame| frame.max_timestamp.get() >= time * 10);
        let expected = expected.map_or(log.end_offset(), |frame| frame.first_offset);
        assert!(found <= expected, "{what}: time {time}");
    }
    // The log takes more, whatever is damaged.
    append(log, 2, 50).unwrap();
    log.publish(log.end_offset());
    let last = reader.read(log.end_offset().prev(), 1).unwrap();
    assert_eq!(last.frames[0].index, LogIndex(ENTRIES + 1), "{what}");
    damage.len()
}

/// Flips a bit of every byte that means something, and of some of those that are padding, and
/// runs `after`.
fn flip_everywhere(disk: &SimDisk, mut after: impl FnMut(&SimDisk, &str) -> usize) -> usize {
    let mut lost = 0;
    for (path, len) in files(disk) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_index = !name.ends_with(".log") && !name.starts_with("manifest");
        for position in 0..len {
            // An index is a page that begins with its header, and pages of slots; these are used.
            let used = position < 64 || (4096..4096 + 4 * 24).contains(&position);
            if is_index && !used && !position.is_multiple_of(97) {
                continue;
            }
            let copy = disk.fork(position);
            copy.flip_bit(&path, position, (position % 8) as u8, FlipIn::Both)
                .unwrap();
            lost += after(&copy, &format!("{name} at {position}"));
        }
    }
    lost
}

#[test]
fn a_flipped_bit_after_a_clean_close_costs_at_most_its_own_entry() {
    let disk = SimDisk::new(1);
    small_log(&disk).close().unwrap();
    let lost = flip_everywhere(&disk, |disk, what| {
        let (mut log, recovery) = open(disk, tiny());
        assert!(recovery.clean, "{what}");
        check_reading(&mut log, what)
    });
    assert!(lost as u64 > ENTRIES * 90, "the flips took place: {lost}");
}

#[test]
fn a_flipped_bit_in_a_log_that_was_not_closed_is_damage_and_no_torn_tail() {
    let disk = SimDisk::new(1);
    drop(small_log(&disk));
    disk.crash_process();
    let lost = flip_everywhere(&disk, |disk, what| {
        let (mut log, recovery) = open(disk, tiny());
        assert_eq!(log.last_index(), LogIndex(ENTRIES), "{what}");
        let known = recovery
            .damage
            .iter()
            .filter(|damage| !damage.is_harmless())
            .count();
        let lost = check_reading(&mut log, what);
        assert_eq!(known, lost, "{what}");
        // It is known after a clean close as well.
        log.close().unwrap();
        let (log, recovery) = open(disk, tiny());
        assert!(recovery.clean && recovery.damage == log.damage(), "{what}");
        assert_eq!(
            recovery
                .damage
                .iter()
                .filter(|damage| !damage.is_harmless())
                .count(),
            lost
        );
        lost
    });
    assert!(lost as u64 > ENTRIES * 90, "the flips took place: {lost}");
}

#[test]
fn verify_finds_every_flipped_bit_that_matters_and_names_its_place() {
    let disk = SimDisk::new(1);
    small_log(&disk).close().unwrap();
    let clean = verify::verify(&env_on(&disk).disk, Path::new(DIR)).unwrap();
    assert_eq!(
        (clean.segments, clean.entries, clean.findings),
        (2, ENTRIES, vec![])
    );
    let mut found = 0;
    flip_everywhere(&disk, |disk, what| {
        let verified = verify::verify(&env_on(disk).disk, Path::new(DIR)).unwrap();
        let is_index = [".offsets", ".entries", ".times"]
            .iter()
            .any(|end| what.contains(end));
        assert!(is_index || !verified.findings.is_empty(), "{what}");
        for finding in &verified.findings {
            let name = finding.path.file_name().unwrap().to_string_lossy();
            assert!(what.starts_with(&*name), "{what}: {finding}");
        }
        found += usize::from(!verified.findings.is_empty());
        0
    });
    assert!(found > ENTRIES as usize * 90);
}

#[test]
fn a_store_that_is_gone_is_damage_and_the_rest_is_served() {
    let disk = SimDisk::new(1);
    small_log(&disk).close().unwrap();
    let manifest = inspect::manifest(&env_on(&disk).disk, Path::new(DIR)).unwrap();
    let first = inspect::store_path(Path::new(DIR), &manifest.segments[0]);
    disk.remove_file(&first).unwrap();
    let (log, _) = open(&disk, tiny());
    log.publish(log.end_offset());
    let (frames, damage) = read_all(&log.reader());
    let border = manifest.segments[1].base;
    assert_eq!(damage, [(0, border.get())]);
    check_dense(&frames, manifest.segments[1].first_index, border);
    let verified = verify::verify(&env_on(&disk).disk, Path::new(DIR)).unwrap();
    assert_eq!(
        verified.findings[0].to_string(),
        format!("{}: at byte 0: the file is missing", first.display())
    );
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let disk = SimDisk::new(1);
    drop(small_log(&disk));
    disk.crash_process();
    let (path, _) = files(&disk)
        .into_iter()
        .find(|(path, _)| path.extension().unwrap() == "log")
        .unwrap();
    let file = disk.open(&path, trilith_env::OpenMode::Existing).unwrap();
    let mut header = [0; 64];
    file.read_at(0, &mut header).unwrap();
    header[8] = 9;
    let sum = crc32c::crc32c(&header[..60]).to_le_bytes();
    header[60..].copy_from_slice(&sum);
    file.write_at(0, &[std::io::IoSlice::new(&header)]).unwrap();
    let refused = Log::open(
        &env_on(&disk),
        FileCache::new(2),
        Path::new(DIR),
        GROUP,
        small(),
    )
    .unwrap_err();
    assert!(matches!(refused, OpenError::Format(_)));
    let message = refused.to_string();
    assert!(
        message.contains("version 9, expected magic \"TRILITHS\", version 1"),
        "{message}"
    );
}

#[test]
fn damage_to_two_neighbours_and_to_a_header_is_one_place() {
    let disk = SimDisk::new(1);
    let log = small_log(&disk);
    drop(log);
    disk.crash_process();
    let (path, _) = files(&disk)
        .into_iter()
        .find(|(path, _)| path.extension().unwrap() == "log")
        .unwrap();
    // The second entry begins at 64 + FRAME; its header and the third one's are hit.
    let second = 64 + FRAME;
    for position in [second + 20, second + FRAME + 20] {
        disk.flip_bit(&path, position, 0, FlipIn::Both).unwrap();
    }
    let (mut log, recovery) = open(&disk, tiny());
    let [damage] = recovery.damage[..] else {
        panic!("{:?}", recovery.damage)
    };
    assert_eq!(
        (damage.position, damage.position_end),
        (second, second + 2 * FRAME)
    );
    assert_eq!(
        (damage.first_index, damage.next_index),
        (LogIndex(2), LogIndex(4))
    );
    log.publish(log.end_offset());
    let refused = log.reader().read(Offset(2), 10).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "{} is damaged at bytes 240..592: offsets 1 up to 6 cannot be read; reading can go on at 6",
            path.display()
        )
    );
    append(&mut log, 1, 10).unwrap();
}
