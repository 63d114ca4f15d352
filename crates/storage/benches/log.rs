//! The log against the plain file operations it is made of, in the same run.
//!
//! `cargo bench -p trilith-storage [-- ROW…]`; `TRILITH_BENCH_DIR` chooses where the files go and
//! `TRILITH_BENCH_GIB` how much the append row writes. Each row alternates the two sides, takes
//! the medians, and prints their ratio and how much processor time the hypervisor stole.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    fs,
    io::{IoSlice, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use trilith_env::{Env, OpenMode, os};
use trilith_storage::{
    Committer, Entry, EntryKind, FileCache, Log, LogConfig, NewEntry, SyncPolicy, inspect,
};
use trilith_types::{GroupId, Offset, Term, TimestampMs};

/// A row of the table: its name, and what measures it in a directory of its own.
type Row = (&'static str, fn(&Path));

fn main() {
    let rows: [Row; 6] = [
        ("append", append),
        ("closed-loop", closed_loop),
        ("group-commit", group_commit),
        ("read", read),
        ("lookup", lookup),
        ("beside", beside),
    ];
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let root = std::env::var_os("TRILITH_BENCH_DIR").map_or_else(
        || std::env::current_dir().unwrap().join("../../target/bench"),
        PathBuf::from,
    );
    for (name, row) in rows {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let dir = root.join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let (stolen, start) = (steal_ticks(), Instant::now());
        row(&dir);
        let stolen = (steal_ticks() - stolen) as f64 / 100.0;
        println!(
            "  {name}: {:.1} s, of which {stolen:.2} s stolen",
            start.elapsed().as_secs_f64()
        );
        let _ = fs::remove_dir_all(&dir);
    }
}

/// Ticks (10 ms) that the hypervisor gave to others, over all processors.
fn steal_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    line.split_whitespace()
        .nth(8)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn report(what: &str, ours: f64, base: f64, unit: &str, goal: &str) {
    println!(
        "{what}: {ours:.1} {unit}, baseline {base:.1} {unit}, ratio {:.2} (goal {goal})",
        ours / base
    );
}

fn fresh(env: &Env, dir: &Path, config: LogConfig) -> Log {
    Log::open(env, FileCache::new(64), dir, GroupId(1), config)
        .unwrap()
        .0
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Appends one batch of `records` records.
fn push(log: &mut Log, records: u32, payload: &[u8]) {
    log.append(&Entry {
        index: log.last_index().next(),
        term: Term(1),
        kind: EntryKind::BATCH,
        first_offset: log.end_offset(),
        records,
        append_time: TimestampMs(1),
        max_timestamp: TimestampMs(1),
        payload: &[payload],
    })
    .unwrap();
}

/// 1 KiB records in batches of 128, one sync at the end, against write + fdatasync.
fn append(dir: &Path) {
    let gib: f64 = std::env::var("TRILITH_BENCH_GIB")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1.0);
    let batch = vec![7; 128 * KIB];
    let total = (gib * (1 << 30) as f64) as usize / batch.len();
    let config = LogConfig::default();
    let per_file = config.segment_bytes as usize / batch.len();
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let path = dir.join(format!("plain{round}"));
        fs::create_dir(&path).unwrap();
        let start = Instant::now();
        let mut files = Vec::new();
        for n in 0..total.div_ceil(per_file) {
            let mut file = fs::File::create(path.join(n.to_string())).unwrap();
            for _ in 0..per_file.min(total - n * per_file) {
                file.write_all(&batch).unwrap();
            }
            files.push(file);
        }
        files.iter().for_each(|file| file.sync_data().unwrap());
        base.push(start.elapsed());
        drop(files);
        fs::remove_dir_all(&path).unwrap();

        let env = os::env();
        let mut log = fresh(&env, &dir.join("log"), config.clone());
        let start = Instant::now();
        for _ in 0..total {
            push(&mut log, 128, &batch);
        }
        log.sync().unwrap();
        ours.push(start.elapsed());
        drop(log);
        fs::remove_dir_all(dir.join("log")).unwrap();
    }
    let rate = |times| gib * 1024.0 / median(times).as_secs_f64();
    report(
        "append 128 x 1 KiB, one sync",
        rate(ours),
        rate(base),
        "MiB/s",
        ">= 0.90",
    );
}

/// One batch appended and synced, again and again, against write + fdatasync of as many bytes as
/// its frame has, on a file whose space is reserved in the same steps. The first row's frame is
/// 4 KiB, header and all; the second one's payload is, and its frames cross pages, as batches do.
fn closed_loop(dir: &Path) {
    let header = trilith_storage::frame::FRAME_HEADER_BYTES;
    for (what, len) in [("4 KiB", 4 * KIB - header), ("4 KiB and a header", 4 * KIB)] {
        let dir = dir.join(len.to_string());
        fs::create_dir(&dir).unwrap();
        closed_loop_of(what, len, &dir);
    }
}

fn closed_loop_of(what: &str, len: usize, dir: &Path) {
    let env = os::env();
    let config = LogConfig::default();
    let (batch, frame) = (vec![7; len], vec![7; len + 80]);
    let step = config.preallocate_bytes_max;
    let plain = env
        .disk
        .open(&dir.join("plain"), OpenMode::CreateNew)
        .unwrap();
    let mut log = fresh(&env, &dir.join("log"), config);
    let (mut position, mut allocated) = (0, 0);
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for round in 0..6000 {
        let start = Instant::now();
        if position + frame.len() as u64 > allocated {
            plain.allocate(allocated, step).unwrap();
            allocated += step;
        }
        plain.write_at(position, &[IoSlice::new(&frame)]).unwrap();
        plain.sync().unwrap();
        position += frame.len() as u64;
        let plain_time = start.elapsed();
        let start = Instant::now();
        push(&mut log, 4, &batch);
        log.sync().unwrap();
        if round > 500 {
            base.push(plain_time);
            ours.push(start.elapsed());
        }
    }
    let rate = |times| 1.0 / median(times).as_secs_f64();
    report(
        &format!("append + sync of {what}"),
        rate(ours),
        rate(base),
        "/s",
        ">= 0.90",
    );
}

/// 64 writers of one small record each, against one.
fn group_commit(dir: &Path) {
    let env = os::env();
    let rate = |writers: usize, round: usize| {
        let log = fresh(
            &env,
            &dir.join(format!("{writers}-{round}")),
            LogConfig::default(),
        );
        let committer = Committer::start(log, SyncPolicy::Always).unwrap();
        let (stop, count) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..writers {
                scope.spawn(|| {
                    let payload = Bytes::from_static(&[7; 100]);
                    while !stop.load(Ordering::Relaxed) {
                        let entry = NewEntry {
                            kind: EntryKind::BATCH,
                            records: 1,
                            max_timestamp: TimestampMs(1),
                            payload: payload.clone(),
                        };
                        committer.append(entry).unwrap();
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(Duration::from_secs(1));
            stop.store(true, Ordering::Relaxed);
        });
        count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
    };
    let middle = |writers| {
        let mut rates: Vec<f64> = (0..3).map(|round| rate(writers, round)).collect();
        rates.sort_by(f64::total_cmp);
        rates[1]
    };
    report(
        "64 writers against one",
        middle(64),
        middle(1),
        "/s",
        ">= 20",
    );
}

/// A log of so many bytes in batches of 128 KiB.
fn filled(env: &Env, dir: &Path, bytes: usize) -> Log {
    let mut log = fresh(env, dir, LogConfig::default());
    let batch = vec![7; 128 * KIB];
    for _ in 0..bytes / batch.len() {
        push(&mut log, 128, &batch);
    }
    log.sync().unwrap();
    log.publish(log.end_offset());
    log
}

fn read_through(log: &Log, block: usize) -> Duration {
    let start = Instant::now();
    let mut cursor = log.reader().cursor(Offset(0));
    while !cursor.read(block).unwrap().frames.is_empty() {}
    start.elapsed()
}

/// A sequential read with checksums, against plain pread in the same block size.
fn read(dir: &Path) {
    const BYTES: usize = 1 << 30;
    let env = os::env();
    let log = filled(&env, &dir.join("log"), BYTES);
    for block in [256 * KIB, MIB] {
        let (mut ours, mut base) = (Vec::new(), Vec::new());
        for _ in 0..7 {
            let start = Instant::now();
            let mut buffer = vec![0; block];
            for entry in fs::read_dir(dir.join("log")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|end| end == "log") {
                    let file = fs::File::open(path).unwrap();
                    let mut at = 0;
                    loop {
                        let n = file.read_at(&mut buffer, at).unwrap();
                        if n == 0 {
                            break;
                        }
                        at += n as u64;
                    }
                }
            }
            base.push(start.elapsed());
            ours.push(read_through(&log, block));
        }
        let rate = |times| BYTES as f64 / MIB as f64 / median(times).as_secs_f64();
        let what = format!("sequential read in blocks of {} KiB", block / KIB);
        report(&what, rate(ours), rate(base), "MiB/s", ">= 0.60");
    }
}

/// Lookup by offset plus read of the batch, from ten thousand to a hundred million records.
fn lookup(dir: &Path) {
    let env = os::env();
    let mut first = None;
    for records in [10_000_u64, 1_000_000, 100_000_000] {
        let path = dir.join(records.to_string());
        let mut log = fresh(
            &env,
            &path,
            LogConfig {
                segment_bytes: 1 << 30,
                ..LogConfig::default()
            },
        );
        let per_batch = 100;
        let payload = [7; 100];
        for _ in 0..records / per_batch {
            push(&mut log, per_batch as u32, &payload);
        }
        log.close().unwrap();
        let start = Instant::now();
        let log = fresh(&env, &path, LogConfig::default());
        let opened = start.elapsed();
        log.publish(log.end_offset());
        let reader = log.reader();
        let mut at = 1_u64;
        let mut look = |count: u64| {
            let start = Instant::now();
            for _ in 0..count {
                at = at
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let chunk = reader.read(Offset((at >> 20) % records), 1).unwrap();
                assert_eq!(chunk.frames.len(), 1);
            }
            start.elapsed().as_nanos() as f64 / count as f64
        };
        look(2_000_000);
        let time = look(500_000);
        let base = *first.get_or_insert(time);
        report(
            &format!("lookup among {records} records"),
            time,
            base,
            "ns",
            "<= 2.00",
        );
        let plain = random_preads(&path, 500_000);
        println!("  plain pread of one frame at a random place of the same files: {plain:.0} ns");
        println!("  opened in {:.1} ms", opened.as_secs_f64() * 1000.0);
        log.close().unwrap();
        fs::remove_dir_all(&path).unwrap();
    }
}

/// What the file system and the processor's caches alone take for such a read, in ns.
fn random_preads(dir: &Path, count: u64) -> f64 {
    const FRAME: u64 = 184;
    let stores = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files: Vec<_> = stores
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .map(|path| fs::File::open(path).unwrap())
        .map(|file| (file.metadata().unwrap().len() / FRAME, file))
        .collect();
    let mut buffer = [0; FRAME as usize];
    let mut pass = |count: u64| {
        let start = Instant::now();
        let mut at = 1_u64;
        for _ in 0..count {
            at = at
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (frames, file) = &files[(at >> 50) as usize % files.len()];
            file.read_at(&mut buffer, (at >> 20) % frames * FRAME)
                .unwrap();
        }
        start.elapsed().as_nanos() as f64 / count as f64
    };
    pass(count);
    pass(count)
}

/// One reader beside one writer, against the reader alone; and what a plain `pread` of the same
/// files loses to a plain write + fdatasync of as many bytes, which no log can do anything about.
fn beside(dir: &Path) {
    const BYTES: usize = 512 << 20;
    const WRITTEN: usize = 16 * KIB;
    let env = os::env();
    let mut log = filled(&env, &dir.join("log"), BYTES);
    let reader = log.reader();
    let end = log.end_offset();
    let read = || {
        let start = Instant::now();
        let mut cursor = reader.cursor(Offset(0));
        while cursor.position() < end {
            cursor.read(256 * KIB).unwrap();
        }
        start.elapsed()
    };
    let stores: Vec<fs::File> = log
        .segments()
        .iter()
        .map(|meta| inspect::store_path(&dir.join("log"), meta))
        .map(|path| fs::File::open(path).unwrap())
        .collect();
    let mut buffer = vec![0; 256 * KIB];
    let mut plain_read = || {
        let start = Instant::now();
        let mut left = BYTES;
        for store in &stores {
            let mut at = 0;
            while left > 0
                && let n @ 1.. = store.read_at(&mut buffer, at).unwrap()
            {
                at += n as u64;
                left = left.saturating_sub(n);
            }
        }
        start.elapsed()
    };
    let step = LogConfig::default().preallocate_bytes_max;
    let path = dir.join("plain");
    let plain = env.disk.open(&path, OpenMode::CreateNew).unwrap();
    let (mut position, mut allocated) = (0, 0);
    let batch = vec![7; WRITTEN];
    let mut write = || {
        push(&mut log, 16, &batch);
        log.sync().unwrap();
        log.publish(log.end_offset());
    };
    let mut plain_write = || {
        if position + WRITTEN as u64 > allocated {
            plain.allocate(allocated, step).unwrap();
            allocated += step;
        }
        plain.write_at(position, &[IoSlice::new(&batch)]).unwrap();
        plain.sync().unwrap();
        position += WRITTEN as u64;
    };
    let (mut ours, mut base) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..9 {
        ours[0].push(read());
        ours[1].push(while_writing(&mut write, read));
        base[0].push(plain_read());
        base[1].push(while_writing(&mut plain_write, &mut plain_read));
    }
    let rate = |times| BYTES as f64 / MIB as f64 / median(times).as_secs_f64();
    for (what, [alone, beside]) in [
        ("a reader beside a writer", ours),
        ("  plain pread beside plain write + fdatasync", base),
    ] {
        report(what, rate(beside), rate(alone), "MiB/s", ">= 0.90");
    }
}

/// How long `read` takes while another thread writes again and again.
fn while_writing(write: &mut (impl FnMut() + Send), read: impl FnOnce() -> Duration) -> Duration {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                write();
            }
        });
        let time = read();
        stop.store(true, Ordering::Relaxed);
        time
    })
}
