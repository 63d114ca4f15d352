//! How fast a node takes batches: checked, appended, synced, acknowledged. Each round sends a
//! window of batches and waits for all answers; one partition, the default sync policy.

use std::{
    fs::File,
    io::{Seek, Write},
    path::Path,
    sync::{Arc, mpsc},
};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trilith_batch::{BatchBuilder, Compression};
use trilith_node::{NoPeers, Node, NodeConfig, Produce, TopicSettingsPatch};
use trilith_types::{PartitionId, TimestampMs};

/// Keeps the disk from filling while a benchmark runs.
const RETENTION_BYTES: u64 = 1 << 30;

fn batch(records: usize, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        builder
            .push_parts(None, Some(&vec![b'x'; bytes]), &[], TimestampMs(0))
            .expect("it fits one batch");
    }
    builder.build().expect("records were pushed")
}

fn round(node: &Node, batch: &Bytes, window: usize) {
    let (tx, rx) = mpsc::channel();
    for _ in 0..window {
        let tx = tx.clone();
        let (topic, partition) = ("bench", PartitionId(0));
        let produce = Produce {
            topic,
            partition,
            batch: batch.clone(),
            deadline: None,
            permit: None,
        };
        node.produce(produce, move |result| {
            tx.send(result.expect("the batch is stored"))
                .expect("somebody waits");
        });
    }
    drop(tx);
    assert_eq!(rx.into_iter().count(), window);
}

/// What the same bytes cost as one plain write and one sync: what the rounds compare with.
fn plain(file: &mut File, batch: &Bytes, window: usize) {
    let bytes: Vec<u8> = batch.repeat(window);
    file.write_all(&bytes)
        .and_then(|()| file.sync_data())
        .expect("the disk takes it");
    if file
        .metadata()
        .is_ok_and(|meta| meta.len() > RETENTION_BYTES)
    {
        file.set_len(0)
            .and_then(|()| file.rewind())
            .expect("the disk takes it");
    }
}

fn produce(c: &mut Criterion) {
    // Beside the build, on a real disk: /tmp may be memory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(target).expect("the build directory is writable");
    let config = NodeConfig::new(dir.path());
    let opened = Node::open(&trilith_env::os::env(), config, Arc::new(NoPeers));
    let (node, _) = opened.expect("the node opens");
    let settings = TopicSettingsPatch {
        retention_bytes: Some(RETENTION_BYTES),
        ..Default::default()
    };
    let (tx, rx) = mpsc::channel();
    node.create_topic("bench", &settings, false, move |made| {
        tx.send(made).expect("somebody waits");
    });
    let made = rx.recv().expect("it is answered");
    made.expect("the topic is new");
    let mut file = File::create(dir.path().join("plain")).expect("the directory is new");
    let mut group = c.benchmark_group("produce");
    for (name, records, bytes, window) in [
        ("1 x 100 B, alone", 1, 100, 1),
        ("1 x 100 B, 64 at a time", 1, 100, 64),
        ("1000 x 100 B, 64 at a time", 1000, 100, 64),
        ("128 x 1 KiB, 64 at a time", 128, 1024, 64),
    ] {
        let batch = batch(records, bytes);
        group.throughput(Throughput::Elements((records * window) as u64));
        group.bench_function(name, |b| b.iter(|| round(&node, &batch, window)));
        group.bench_function(format!("{name}, plain"), |b| {
            b.iter(|| plain(&mut file, &batch, window))
        });
    }
    group.finish();
    node.shutdown();
}

criterion_group!(benches, produce);
criterion_main!(benches);
