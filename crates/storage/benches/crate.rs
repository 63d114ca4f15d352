//! The storage rows for Criterion: how each operation's time is distributed, beside the plain system
//! calls that do the same. `benches/log.rs` alternates the two sides and prints their ratios.
//!
//! `cargo bench -p trilith-storage --bench crate [-- FILTER]`; the data lie in the system's
//! directory for temporary files.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{fs, hint::black_box, io::IoSlice, os::unix::fs::FileExt, path::Path};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use trilith_env::{OpenMode, os};
use trilith_storage::{
    Entry, EntryKind, FileCache, Log, LogConfig, frame::FRAME_HEADER_BYTES, inspect,
};
use trilith_types::{GroupId, Offset, Term, TimestampMs};

const KIB: usize = 1 << 10;

/// Segments go when they have this many bytes in a benchmark that appends without end.
const KEPT_BYTES: u64 = 256 << 20;

fn open(dir: &Path) -> Log {
    let files = FileCache::new(64);
    let config = LogConfig::default();
    Log::open(&os::env(), files, dir, GroupId(1), config)
        .unwrap()
        .0
}

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

/// Keeps the disk from filling up.
fn retain(log: &mut Log) {
    let policy = trilith_storage::RetentionPolicy {
        bytes: Some(KEPT_BYTES),
        age: None,
    };
    let retired = log.enforce_retention(TimestampMs(1), &policy).unwrap();
    retired.remove_files().unwrap();
}

/// One batch appended and synced, against a write and a sync of as many bytes in reserved space.
fn append_and_sync(c: &mut Criterion) {
    let mut group = c.benchmark_group("append and sync");
    group.sample_size(30);
    for len in [4 * KIB - FRAME_HEADER_BYTES, 128 * KIB] {
        let dir = tempfile::tempdir().unwrap();
        let frame = (len + FRAME_HEADER_BYTES) as u64;
        group.throughput(Throughput::Bytes(frame));
        let batch = vec![7; len];
        let mut log = open(&dir.path().join("log"));
        group.bench_function(BenchmarkId::new("log", len), |b| {
            b.iter(|| {
                push(&mut log, 1, &batch);
                log.sync().unwrap()
            });
            retain(&mut log);
        });
        let disk = os::env().disk;
        let path = dir.path().join("plain");
        let plain = disk.open(&path, OpenMode::CreateNew).unwrap();
        let step = 16 << 20;
        plain.allocate(0, step).unwrap();
        let bytes = vec![7; frame as usize];
        let mut at = 0;
        group.bench_function(BenchmarkId::new("write and fdatasync", len), |b| {
            b.iter(|| {
                at = if at + 2 * frame > step { 0 } else { at + frame };
                plain.write_at(at, &[IoSlice::new(&bytes)]).unwrap();
                plain.sync().unwrap();
            });
        });
    }
    group.finish();
}

/// A batch appended to the page cache.
fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for len in [100, 4 * KIB, 128 * KIB] {
        let dir = tempfile::tempdir().unwrap();
        let batch = vec![7; len];
        let mut log = open(dir.path());
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("log", len), |b| {
            b.iter(|| push(&mut log, 1, &batch));
            retain(&mut log);
        });
    }
    group.finish();
}

/// A log in the page cache, and the paths of its stores.
fn filled(dir: &Path, entries: usize, records: u32, payload: &[u8]) -> (Log, Vec<fs::File>) {
    let mut log = open(dir);
    for _ in 0..entries {
        push(&mut log, records, payload);
    }
    log.sync().unwrap();
    log.publish(log.end_offset());
    let metas = log.segments();
    let paths = metas.iter().map(|meta| inspect::store_path(dir, meta));
    let stores = paths.map(|path| fs::File::open(path).unwrap()).collect();
    (log, stores)
}

/// Everything read once, checksums verified, against plain reads of the same files.
fn read(c: &mut Criterion) {
    const BLOCK: usize = 256 * KIB;
    let dir = tempfile::tempdir().unwrap();
    let (log, stores) = filled(dir.path(), 1024, 128, &vec![7; 128 * KIB]);
    let mut group = c.benchmark_group("sequential read");
    group.sample_size(20);
    group.throughput(Throughput::Bytes((1024 * 128 * KIB) as u64));
    group.bench_function("log", |b| {
        b.iter(|| {
            let mut cursor = log.reader().cursor(Offset(0));
            while !cursor.read(BLOCK).unwrap().frames.is_empty() {}
        });
    });
    let mut buffer = vec![0; BLOCK];
    group.bench_function("pread", |b| {
        b.iter(|| {
            for store in &stores {
                let mut at = 0;
                while let n @ 1.. = store.read_at(&mut buffer, at).unwrap() {
                    at += n as u64;
                }
            }
        });
    });
    group.finish();
}

/// An offset looked up and its batch read, against a plain read of a frame at a random place.
fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    for entries in [10_000_u64, 1_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let (log, stores) = filled(dir.path(), entries as usize, 1, &[7; 100]);
        let reader = log.reader();
        let mut at = 1_u64;
        let mut next = || {
            at = at
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            at >> 20
        };
        group.bench_function(BenchmarkId::new("log", entries), |b| {
            b.iter(|| reader.read(Offset(next() % entries), 1).unwrap());
        });
        let frame = trilith_storage::frame::frame_len(100);
        let mut buffer = vec![0; frame as usize];
        let lens: Vec<u64> = stores.iter().map(|f| f.metadata().unwrap().len()).collect();
        group.bench_function(BenchmarkId::new("pread", entries), |b| {
            b.iter(|| {
                let store = next() as usize % stores.len();
                let position = next() % (lens[store] / frame) * frame;
                stores[store].read_at(&mut buffer, position).unwrap();
                black_box(buffer[0])
            });
        });
    }
    group.finish();
}

criterion_group!(rows, append, append_and_sync, read, lookup);
criterion_main!(rows);
