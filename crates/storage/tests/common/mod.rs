//! What the tests of this crate share: small logs on simulated disks, and entries whose payload
//! says which they are.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::{path::Path, sync::Arc, time::Duration};

use trilith_env::{
    Env,
    sim::{SimClock, SimDisk, SimRng},
};
use trilith_storage::{
    Entry, EntryKind, FileCache, Log, LogConfig, LogReader, ReadError, Recovery, StoredEntry,
};
use trilith_types::{EntryMeta, GroupId, LogIndex, Offset, Term, TimestampMs};

pub(crate) const DIR: &str = "/data/log";
pub(crate) const GROUP: GroupId = GroupId(7);

/// A world on this disk.
pub(crate) fn env_on(disk: &SimDisk) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(TimestampMs(0))),
        rng: Arc::new(SimRng::new(5)),
    }
}

/// Segments of 4 KiB, so that a few entries fill one.
pub(crate) fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 4 << 10,
        segment_entries_max: 100,
        segment_offsets_max: 10_000,
        payload_bytes_max: 64 << 10,
        preallocate_bytes_max: 8 << 10,
        reserve_bytes: 0,
        resume_bytes: 0,
        time_index_interval: 256,
        ..LogConfig::default()
    }
}

pub(crate) fn open_in(env: &Env, dir: &Path, config: LogConfig) -> (Log, Recovery) {
    Log::open(env, FileCache::new(4), dir, GROUP, config).unwrap()
}

pub(crate) fn open(disk: &SimDisk, config: LogConfig) -> (Log, Recovery) {
    open_in(&env_on(disk), Path::new(DIR), config)
}

/// The payload of the entry that holds `first`: which one it is, and filling.
pub(crate) fn payload(index: u64, first: u64, records: u32, len: usize) -> Vec<u8> {
    let mut out = format!("entry {index} with {records} records from {first};").into_bytes();
    let filling = (index as u8) | 1;
    out.resize(len.max(out.len()), filling);
    out
}

/// Appends the next entry.
pub(crate) fn append(
    log: &mut Log,
    records: u32,
    len: usize,
) -> Result<(), trilith_storage::AppendError> {
    append_at(
        log,
        records,
        len,
        TimestampMs(log.last_index().get() as i64 * 10),
    )
}

/// Appends the next entry, accepted at `time`.
pub(crate) fn append_at(
    log: &mut Log,
    records: u32,
    len: usize,
    time: TimestampMs,
) -> Result<(), trilith_storage::AppendError> {
    let (index, first) = (log.last_index().next(), log.end_offset());
    let body = payload(index.get(), first.get(), records, len);
    let (head, tail) = body.split_at(5);
    log.append(&Entry {
        index,
        term: Term(1 + index.get() / 10),
        kind: if records == 0 {
            EntryKind::NOOP
        } else {
            EntryKind::BATCH
        },
        first_offset: first,
        records,
        append_time: time,
        max_timestamp: time,
        payload: &[head, tail],
    })
}

/// The entry of this number in a log that was filled with `append(log, 3, 200)` alone.
pub(crate) fn original(index: u64) -> (EntryMeta, Vec<u8>) {
    let first = (index - 1) * 3;
    let time = TimestampMs(index as i64 * 10 - 10);
    let meta = EntryMeta {
        index: LogIndex(index),
        term: Term(1 + index / 10),
        kind: EntryKind::BATCH,
        first_offset: Offset(first),
        records: 3,
        append_time: time,
        max_timestamp: time,
    };
    (meta, payload(index, first, 3, 200))
}

/// Everything that can be read from the start, and the damage that was met: as (first, next).
pub(crate) fn read_all(reader: &LogReader) -> Read {
    try_read_all(reader).unwrap()
}

/// What a reader got: entries, and damage as (first, next).
pub(crate) type Read = (Vec<trilith_storage::ReadFrame>, Vec<(u64, u64)>);

/// As [`read_all`], on a disk that may fail.
pub(crate) fn try_read_all(reader: &LogReader) -> Result<Read, ReadError> {
    let (mut frames, mut damage) = (Vec::new(), Vec::new());
    let mut cursor = reader.cursor(reader.start_offset());
    loop {
        match cursor.read(1000) {
            Ok(chunk) if chunk.frames.is_empty() => {
                assert_eq!(chunk.next, reader.visible_upto(), "only the end is empty");
                return Ok((frames, damage));
            }
            Ok(chunk) => frames.extend(chunk.frames),
            Err(ReadError::Damaged { first, next, .. }) => {
                assert!(next > first, "damage that takes nothing is no error");
                damage.push((first.get(), next.get()));
                cursor.seek(next);
            }
            Err(e) => return Err(e),
        }
    }
}

/// Checks that a frame holds what the entry of this number was given.
pub(crate) fn check(frame: &trilith_storage::ReadFrame) {
    let text = String::from_utf8_lossy(&frame.payload);
    let head = format!(
        "entry {} with {} records from {};",
        frame.index, frame.records, frame.first_offset
    );
    assert!(text.starts_with(&head), "{text:?} is not {head:?}");
    let filling = (frame.index.get() as u8) | 1;
    assert!(frame.payload[head.len()..].iter().all(|&b| b == filling));
}

/// Checks that frames follow each other without a gap in their offsets, from `index` and `offset`
/// on. Entries without records may lie between them.
pub(crate) fn check_dense(
    frames: &[trilith_storage::ReadFrame],
    mut index: LogIndex,
    mut offset: Offset,
) {
    for frame in frames {
        check(frame);
        assert!(frame.records > 0, "consumers see records only");
        assert_eq!(frame.first_offset, offset);
        assert!(frame.index >= index, "{} < {index}", frame.index);
        (index, offset) = (frame.index.next(), frame.next_offset());
    }
}

/// All entries from `from` up to and with `last`, with those that have no records; checked.
pub(crate) fn entries(reader: &LogReader, from: LogIndex, last: LogIndex) -> Vec<StoredEntry> {
    let mut found: Vec<StoredEntry> = Vec::new();
    let mut next = from;
    while next <= last {
        for entry in reader.entries(next, last, 1000).unwrap() {
            assert_eq!(entry.meta.index, next);
            next = next.next();
            found.push(entry);
        }
    }
    found
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
