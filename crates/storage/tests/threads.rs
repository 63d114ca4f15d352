//! Writers and readers on threads of their own, over the real disk.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use common::*;
use trilith_env::os;
use trilith_storage::{
    CommitError, Committer, DataDir, DataDirError, Durability, Entry, EntryKind, FileCache, Log,
    LogConfig, LogReader, NewEntry, ReadError, RetentionPolicy, SyncPolicy,
};
use trilith_types::{LogIndex, Offset, Term, TimestampMs};

fn entry(records: u32, payload: &[u8]) -> NewEntry {
    NewEntry {
        kind: EntryKind::BATCH,
        records,
        max_timestamp: TimestampMs(1),
        payload: Bytes::copy_from_slice(payload),
    }
}

#[test]
fn readers_follow_a_writer_that_rotates_and_removes() {
    let dir = tempfile::tempdir().unwrap();
    let env = os::env();
    let (mut log, _) = open_in(&env, dir.path(), small());
    let reader = log.reader();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut cursor = reader.cursor(Offset(0));
                let (mut seen, mut skipped) = (0_u64, 0);
                loop {
                    let over = done.load(Ordering::Acquire);
                    match cursor.read(3000) {
                        Ok(chunk) if chunk.frames.is_empty() && over => break,
                        Ok(chunk) => {
                            chunk.frames.iter().for_each(check);
                            seen += chunk.frames.len() as u64;
                        }
                        Err(ReadError::OffsetGone { earliest, .. }) => {
                            skipped += earliest.since(cursor.position()).unwrap() / 2;
                            cursor.seek(earliest);
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
                assert_eq!(seen + skipped, 3000);
            });
        }
        for n in 0..3000 {
            append(&mut log, 2, 100 + n % 400).unwrap();
            log.publish(log.end_offset());
            if n % 250 == 249 {
                let policy = RetentionPolicy {
                    bytes: Some(20 << 10),
                    age: None,
                };
                let retired = log.enforce_retention(TimestampMs(0), &policy).unwrap();
                retired.remove_files().unwrap();
            }
        }
        done.store(true, Ordering::Release);
    });
    log.close().unwrap();
    let (log, recovery) = open_in(&env, dir.path(), small());
    assert!(recovery.clean && recovery.leftovers_removed == 0);
    assert_eq!(log.end_offset(), Offset(6000));
}

#[test]
fn one_sync_covers_all_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let env = os::env();
    let (log, _) = open_in(&env, dir.path(), LogConfig::default());
    let committer = Committer::start(log, SyncPolicy::Always).unwrap();
    let mut offsets: Vec<u64> = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let append = |_| {
                        let committed = committer.append(entry(2, b"payload")).unwrap();
                        assert_eq!(committed.durability, Durability::Synced);
                        committed.first_offset.get()
                    };
                    (0..50).map(append).collect::<Vec<_>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    offsets.sort_unstable();
    assert!(
        offsets.iter().copied().eq((0..800).step_by(2)),
        "each once, and dense"
    );
    let log = committer.stop().unwrap();
    assert_eq!(
        (log.last_index(), log.visible_upto()),
        (LogIndex(400), Offset(800))
    );
    assert!(matches!(
        committer.append(entry(1, b"late")),
        Err(CommitError::Closed)
    ));
    assert!(matches!(committer.stop(), Err(CommitError::Closed)));
}

#[test]
fn an_acknowledgement_says_what_was_reached() {
    let reached = |policy| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open_in(&os::env(), dir.path(), LogConfig::default());
        let committer = Committer::start(log, policy).unwrap();
        let append = |_| committer.append(entry(1, &[7; 100])).unwrap().durability;
        (0..4).map(append).collect::<Vec<_>>()
    };
    use Durability::{Synced, Written};
    assert_eq!(reached(SyncPolicy::Always), [Synced; 4]);
    assert_eq!(reached(SyncPolicy::Os), [Written; 4]);
    assert_eq!(
        reached(SyncPolicy::EveryBytes(250)),
        [Written, Written, Synced, Written]
    );
    let hours = reached(SyncPolicy::Every(Duration::from_secs(36_000)));
    assert_eq!(hours, [Written; 4]);
}

#[test]
fn an_entry_that_is_refused_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        payload_bytes_max: 100,
        ..LogConfig::default()
    };
    let (log, _) = open_in(&os::env(), dir.path(), config);
    let committer = Committer::start(log, SyncPolicy::Os).unwrap();
    let submitted: Vec<_> = [10, 101, 20]
        .into_iter()
        .map(|len| committer.submit(entry(1, &vec![7; len])))
        .collect();
    let answers: Vec<_> = submitted
        .into_iter()
        .map(trilith_storage::Submitted::wait)
        .collect();
    assert_eq!(answers[0].as_ref().unwrap().first_offset, Offset(0));
    let refused = answers[1].as_ref().unwrap_err().to_string();
    assert_eq!(
        refused,
        "not appended: an entry of 101 bytes is larger than the 100 allowed"
    );
    assert_eq!(answers[2].as_ref().unwrap().first_offset, Offset(1));
}

#[test]
fn a_sync_that_is_due_by_time_happens_while_nobody_appends() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open_in(&os::env(), dir.path(), LogConfig::default());
    let reader = log.reader();
    let committer = Committer::start(log, SyncPolicy::Every(Duration::from_millis(1))).unwrap();
    committer.append(entry(1, b"x")).unwrap();
    let log = committer.stop().unwrap();
    assert_eq!(
        (log.synced().index, reader.visible_upto()),
        (LogIndex(1), Offset(1))
    );
}

/// Reads everything again and again until the writer is done; gives which term each entry had.
fn read_beside(log: &LogReader, done: &AtomicBool) -> BTreeMap<LogIndex, Term> {
    let mut seen = BTreeMap::new();
    let mut cursor = log.cursor(Offset(0));
    while !done.load(Ordering::Relaxed) || cursor.position() < log.visible_upto() {
        let chunk = cursor.read(700).unwrap();
        for frame in &chunk.frames {
            assert_eq!(&frame.payload[..8], frame.term.get().to_le_bytes());
            let earlier = seen.insert(frame.index, frame.term);
            assert!(earlier.is_none_or(|term| term == frame.term));
        }
        if chunk.frames.is_empty() {
            cursor.seek(Offset(0));
            thread::yield_now();
        }
    }
    seen
}

#[test]
fn readers_never_see_what_is_truncated_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let (env, files) = (os::env(), FileCache::new(2));
    let opened = Log::open_replicated(&env, files, dir.path(), GROUP, small(), None);
    let (mut log, _) = opened.unwrap();
    let reader = log.reader();
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| read_beside(&reader, &done)));
        for term in 1..400_u64 {
            for n in 0..6 {
                let (index, first_offset) = (log.last_index().next(), log.end_offset());
                let mut payload = term.to_le_bytes().to_vec();
                payload.resize(60 + n * 100, 7);
                log.append(&Entry {
                    index,
                    term: Term(term),
                    kind: EntryKind::BATCH,
                    first_offset,
                    records: 1 + n as u32 % 2,
                    append_time: TimestampMs(1),
                    max_timestamp: TimestampMs(1),
                    payload: &[&payload],
                })
                .unwrap();
            }
            // The first two stay, and are seen; the others make room for the next leader's.
            let kept = LogIndex(log.last_index().get() - 4);
            log.truncate(kept.next()).unwrap();
            log.publish(log.end_offset());
            match term % 50 {
                7 => log.park(),
                19 => drop(log.sync().unwrap()),
                _ => {}
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    let all = entries(&reader, LogIndex(1), log.last_index());
    for seen in seen {
        for entry in &all {
            assert_eq!(seen.get(&entry.meta.index), Some(&entry.meta.term));
        }
        assert_eq!(seen.len(), all.len());
    }
}

#[test]
fn a_data_directory_has_one_holder() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::clone(&os::env().disk);
    let path = dir.path().join("data");
    let held = DataDir::take(&disk, &path, "process 1").unwrap();
    assert_eq!(held.path(), path);
    let refused = DataDir::take(&disk, &path, "process 2").unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "{} is in use by process 1; stop that process or choose another directory",
            path.display()
        )
    );
    assert!(matches!(refused, DataDirError::InUse { .. }));
    drop(held);
    DataDir::take(&disk, &path, "process 2").unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let refused = DataDir::take(&disk, &dir.path().join("file"), "process 3").unwrap_err();
    assert!(matches!(refused, DataDirError::Io { .. }));
}
