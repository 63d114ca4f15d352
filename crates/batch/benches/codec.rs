//! How fast batches are built, checked and read: records per second, for 100-byte and tiny records.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use trilith_batch::{BatchBuilder, BatchLimits, Compression, check, decode, murmur2};
use trilith_types::TimestampMs;

const RECORDS: u64 = 1000;

fn fill(builder: &mut BatchBuilder, value: &[u8]) {
    for n in 0..RECORDS {
        builder
            .push_parts(
                None,
                Some(value),
                &[],
                TimestampMs(1_700_000_000_000 + n as i64),
            )
            .expect("the records fit one batch");
    }
}

fn value(bytes: usize) -> Vec<u8> {
    let text = b"{\"station\":\"lintel\",\"reading\":";
    text.iter()
        .copied()
        .cycle()
        .zip(0_u32..)
        .map(|(byte, n)| byte ^ (n >> 4) as u8)
        .take(bytes)
        .collect()
}

fn codec(c: &mut Criterion) {
    for (bytes, compression) in [
        (10, Compression::None),
        (100, Compression::None),
        (1024, Compression::None),
        (100, Compression::Lz4),
    ] {
        let mut group = c.benchmark_group(format!("{bytes} B {compression:?}").to_lowercase());
        group.throughput(Throughput::Elements(RECORDS));
        let value = value(bytes);
        let mut builder = BatchBuilder::new(compression);
        group.bench_function("build", |b| {
            b.iter(|| {
                fill(&mut builder, &value);
                black_box(builder.build())
            });
        });
        fill(&mut builder, &value);
        let batch = builder.build().expect("records were pushed");
        let limits = BatchLimits::default();
        group.bench_function("check", |b| b.iter(|| check(black_box(&batch), &limits)));
        group.bench_function("decode", |b| {
            b.iter_batched(
                || batch.clone(),
                |batch| decode(batch).map(|records| records.filter(Result::is_ok).count()),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
    c.bench_function("murmur2 of 16 bytes", |b| {
        b.iter(|| murmur2(black_box(b"0123456789abcdef")))
    });
}

criterion_group!(benches, codec);
criterion_main!(benches);
