//! The journal over a simulated disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub
)]

mod basics;
mod failures;
mod model;
mod policies;
mod power;
mod recycling;
mod rules;
mod threads;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use trilith_env::{
    Env,
    sim::{SimClock, SimDisk, SimRng},
};
use trilith_storage::journal::{
    Inspection, Journal, JournalConfig, JournalFailed, JournalOp, Mark, Replayed, Submission,
    inspect,
};
use trilith_types::{EntryKind, EntryMeta, GroupId, LogIndex, Offset, Term, TimestampMs};

const DIR: &str = "/data/journal";

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);

/// A world on this disk, and its clock.
fn world(disk: &SimDisk) -> (Env, SimClock) {
    let clock = SimClock::new(TimestampMs(0));
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(clock.clone()),
        rng: Arc::new(SimRng::new(5)),
    };
    (env, clock)
}

/// Files of 16 blocks: a few frames fill one.
fn small() -> JournalConfig {
    JournalConfig {
        file_bytes: 64 << 10,
        files_max: 4,
        ..JournalConfig::default()
    }
}

fn open(disk: &SimDisk) -> (Journal, Replayed) {
    Journal::open(&world(disk).0, Path::new(DIR), small()).unwrap()
}

fn look(disk: &SimDisk) -> Inspection {
    inspect(disk, Path::new(DIR)).unwrap()
}

/// A payload that says whose it is.
fn payload(group: GroupId, index: u64, term: u64, len: usize) -> Vec<u8> {
    let mut out = format!("{group}/{index}@{term};").into_bytes();
    let filling = (group.0 * 31 + index * 7 + term) as u8;
    out.resize(len.max(out.len()), filling);
    out
}

fn meta(index: u64, term: u64) -> EntryMeta {
    EntryMeta {
        index: LogIndex(index),
        term: Term(term),
        kind: EntryKind::BATCH,
        first_offset: Offset(index * 10),
        records: 10,
        append_time: TimestampMs(index as i64),
        max_timestamp: TimestampMs(index as i64),
    }
}

/// An entry of `len` bytes that follows one of `prev_term`.
fn append(group: GroupId, index: u64, term: u64, prev_term: u64, len: usize) -> JournalOp {
    let body = Bytes::from(payload(group, index, term, len));
    JournalOp::Append {
        meta: meta(index, term),
        prev_term: Term(prev_term),
        payload: body.into(),
    }
}

fn mark(index: u64, term: u64) -> Mark {
    Mark {
        index: LogIndex(index),
        next_offset: Offset(index * 10 + 10),
        last_term: Term(term),
        applied: LogIndex(index),
        commit: LogIndex(index),
        state: Bytes::from(format!("state at {index}")),
        ..Mark::default()
    }
}

/// What a submission was told, once it was.
type Told = Arc<Mutex<Option<Result<(), JournalFailed>>>>;

fn submit(journal: &Journal, group: GroupId, ops: Vec<JournalOp>) -> Told {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let done = Box::new(move |result| {
        assert!(tell.lock().replace(result).is_none(), "told once");
    });
    journal.submit(Submission { group, ops, done });
    told
}

/// Submits on a fast disk, where the answer comes at once.
#[track_caller]
fn write(journal: &Journal, group: GroupId, ops: Vec<JournalOp>) {
    assert_eq!(*submit(journal, group, ops).lock(), Some(Ok(())));
}

fn close(journal: &Journal) -> Told {
    let told = Told::default();
    let tell = Arc::clone(&told);
    journal.close(Box::new(move |result| *tell.lock() = Some(result)));
    told
}

/// A power cut now, and the machine again.
fn cut(disk: &SimDisk) {
    disk.power_cut();
    disk.restart();
}

/// The entries of a group as text: what they should be.
fn entries(journal: &Journal, replayed: &Replayed, group: GroupId) -> Vec<String> {
    let Some(found) = replayed.groups.get(&group) else {
        return Vec::new();
    };
    let text = |entry: &trilith_storage::journal::ReplayEntry| {
        let (index, term) = (entry.meta.index.0, entry.meta.term.0);
        match journal.payload(&entry.payload) {
            Ok(bytes) if entry.state == trilith_storage::journal::ReplayState::Intact => {
                let expected = payload(group, index, term, bytes.len());
                assert_eq!(bytes, expected, "{group}/{index}@{term}");
                assert_eq!(entry.meta, meta(index, term));
                format!("{index}@{term}")
            }
            _ => format!("{index}@{term} damaged"),
        }
    };
    found.entries.iter().map(text).collect()
}
