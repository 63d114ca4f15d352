//! Trilith's log against the crate `commitlog` 0.2: the same records, the same batches, the same
//! syncs, in one run. `cd benches/commitlog && cargo run --release`.
//!
//! `TRILITH_BENCH_ROW` chooses rows by a part of their name.
//!
//! `commitlog` flushes without an fsync, so its files are synced here, as ours are.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use commitlog::{
    CommitLog, LogOptions, ReadLimit,
    message::{MessageBuf, MessageSet},
};
use trilith_storage::{Entry, EntryKind, FileCache, Log, LogConfig};
use trilith_types::{GroupId, Offset, Term, TimestampMs};

const ROUNDS: usize = 5;
const KIB: usize = 1 << 10;
const TOTAL: usize = 256 << 20;
const SEGMENT: usize = 64 << 20;

fn main() {
    let dir =
        std::env::var_os("TRILITH_BENCH_DIR").map_or_else(|| "target/bench".into(), PathBuf::from);
    let rows: [(&str, fn(&Path) -> (Duration, Duration)); 4] = [
        ("append 256 MiB, batches of 128 x 1 KiB, one sync", append),
        ("1000 times append 4 x 1 KiB and sync", closed_loop),
        ("read 256 MiB in order, checksums verified", read),
        ("100,000 lookups by offset", lookup),
    ];
    let wanted = std::env::var("TRILITH_BENCH_ROW").unwrap_or_default();
    for (name, row) in rows.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).expect("the directory can be made");
            let (a, b) = row(&dir);
            ours.push(a);
            theirs.push(b);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "{name}: trilith {ours:.1?}, commitlog {theirs:.1?}, {:.2} times as fast",
            theirs.as_secs_f64() / ours.as_secs_f64()
        );
    }
    let _ = fs::remove_dir_all(&dir);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ours(dir: &Path) -> Log {
    let config = LogConfig {
        segment_bytes: SEGMENT as u64,
        ..LogConfig::default()
    };
    let env = trilith_env::os::env();
    Log::open(
        &env,
        FileCache::new(64),
        &dir.join("ours"),
        GroupId(1),
        config,
    )
    .expect("opens")
    .0
}

fn theirs(dir: &Path) -> CommitLog {
    let mut options = LogOptions::new(dir.join("theirs"));
    options.segment_max_bytes(SEGMENT).index_max_items(1 << 20);
    CommitLog::new(options).expect("opens")
}

fn push_ours(log: &mut Log, records: &[Vec<u8>]) {
    let parts: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    log.append(&Entry {
        index: log.last_index().next(),
        term: Term(1),
        kind: EntryKind::BATCH,
        first_offset: log.end_offset(),
        records: records.len() as u32,
        append_time: TimestampMs(1),
        max_timestamp: TimestampMs(1),
        payload: &parts,
    })
    .expect("appends");
}

fn push_theirs(log: &mut CommitLog, records: &[Vec<u8>]) {
    let mut batch: MessageBuf = records.iter().collect();
    log.append(&mut batch).expect("appends");
}

/// Flushes, and syncs the newest `newest` of the store files.
fn sync_theirs(log: &mut CommitLog, dir: &Path, newest: usize) {
    log.flush().expect("flushes");
    let mut stores: Vec<PathBuf> = fs::read_dir(dir.join("theirs"))
        .expect("lists")
        .map(|entry| entry.expect("lists").path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    stores.sort();
    for path in stores.iter().rev().take(newest) {
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.sync_data())
            .expect("syncs");
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn append(dir: &Path) -> (Duration, Duration) {
    let records = vec![vec![7; KIB]; 128];
    let batches = TOTAL / (128 * KIB);
    let (mut a, mut b) = (ours(dir), theirs(dir));
    let theirs = timed(|| {
        (0..batches).for_each(|_| push_theirs(&mut b, &records));
        sync_theirs(&mut b, dir, usize::MAX);
    });
    let ours = timed(|| {
        (0..batches).for_each(|_| push_ours(&mut a, &records));
        a.sync().expect("syncs");
    });
    (ours, theirs)
}

fn closed_loop(dir: &Path) -> (Duration, Duration) {
    let records = vec![vec![7; KIB]; 4];
    let (mut a, mut b) = (ours(dir), theirs(dir));
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..1000 {
        theirs += timed(|| {
            push_theirs(&mut b, &records);
            sync_theirs(&mut b, dir, 1);
        });
        ours += timed(|| {
            push_ours(&mut a, &records);
            a.sync().expect("syncs");
        });
    }
    (ours, theirs)
}

/// Both logs with the same records, so many to a batch.
fn filled(dir: &Path, batch: usize) -> (Log, CommitLog) {
    let records = vec![vec![7; KIB]; batch];
    let (mut a, mut b) = (ours(dir), theirs(dir));
    for _ in 0..TOTAL / (batch * KIB) {
        push_ours(&mut a, &records);
        push_theirs(&mut b, &records);
    }
    a.publish(a.end_offset());
    (a, b)
}

fn read(dir: &Path) -> (Duration, Duration) {
    let (a, b) = filled(dir, 128);
    let theirs = timed(|| {
        let mut next = 0;
        while next < b.next_offset() {
            let batch = b
                .read(next, ReadLimit::max_bytes(256 * KIB))
                .expect("reads");
            assert!(batch.iter().all(|message| message.verify_hash()));
            next += batch.len() as u64;
        }
    });
    let ours = timed(|| {
        let mut cursor = a.reader().cursor(Offset(0));
        while !cursor.read(256 * KIB).expect("reads").frames.is_empty() {}
    });
    (ours, theirs)
}

fn lookup(dir: &Path) -> (Duration, Duration) {
    let (a, b) = filled(dir, 1);
    let records = (TOTAL / KIB) as u64;
    let wanted = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % records;
    let theirs = timed(|| {
        for n in 0..100_000 {
            let batch = b
                .read(wanted(n), ReadLimit::max_bytes(KIB + 100))
                .expect("reads");
            assert!(batch.iter().all(|message| message.verify_hash()));
        }
    });
    let reader = a.reader();
    let ours = timed(|| {
        for n in 0..100_000 {
            assert_eq!(
                reader
                    .read(Offset(wanted(n)), 1)
                    .expect("reads")
                    .frames
                    .len(),
                1
            );
        }
    });
    (ours, theirs)
}
