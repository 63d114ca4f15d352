//! A node as its users have it: real threads over a real disk.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use bytes::Bytes;
use trilith_batch::{BatchBuilder, Compression, decode};
use trilith_node::{
    ControlError, NoPeers, Node, NodeConfig, OpenError, PartitionReader, Produce, ProduceError,
    TopicSettingsPatch,
};
use trilith_types::{Offset, PartitionId, TimestampMs};

fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .push_parts(None, Some(value.as_bytes()), &[], TimestampMs(0))
        .unwrap();
    builder.build().unwrap()
}

fn produce(partition: u32, value: &str) -> Produce<'static> {
    Produce {
        topic: "t",
        partition: PartitionId(partition),
        batch: batch(value),
        deadline: None,
        permit: None,
    }
}

fn open(config: NodeConfig) -> Node {
    let (node, report) = Node::open(&trilith_env::os::env(), config, Arc::new(NoPeers)).unwrap();
    assert!(report.is_founded && !report.host.unwrap().unclean);
    node
}

/// Asks the node something and waits for the answer.
fn ask<T: Send + 'static>(question: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> T {
    let (tx, rx) = mpsc::channel();
    question(Box::new(move |answer| tx.send(answer).unwrap_or_default()));
    rx.recv().unwrap()
}

fn create(node: &Node, name: &str, partitions: u32) -> Result<(), ControlError> {
    let patch = self::partitions(partitions);
    ask(|done| node.create_topic(name, &patch, false, done)).map(drop)
}

fn reader(node: &Node, partition: u32) -> PartitionReader {
    ask(|done| node.reader("t", PartitionId(partition), done)).unwrap()
}

fn partitions(n: u32) -> TopicSettingsPatch {
    TopicSettingsPatch {
        partitions: Some(n),
        segment_bytes: Some(64 << 10),
        ..Default::default()
    }
}

fn values(reader: &PartitionReader) -> Vec<String> {
    let mut cursor = reader.cursor(reader.earliest());
    let mut values = Vec::new();
    while cursor.position() < reader.end() {
        let read = cursor.read(1 << 20).unwrap();
        for batch in read.batches {
            let records = decode(batch.bytes)
                .unwrap()
                .map(|item| item.unwrap().1.value.unwrap());
            values.extend(records.map(|value| String::from_utf8(value.into()).unwrap()));
        }
    }
    values
}

#[test]
fn many_threads_append_and_everything_is_there_after_a_clean_stop() {
    const THREADS: usize = 8;
    const EACH: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let config = || NodeConfig {
        shards: 2,
        ..NodeConfig::new(dir.path().join("data"))
    };
    let node = open(config());
    create(&node, "t", 3).unwrap();
    let (tx, rx) = mpsc::channel();
    thread::scope(|scope| {
        for writer in 0..THREADS {
            let (node, tx) = (node.clone(), tx.clone());
            scope.spawn(move || {
                for n in 0..EACH {
                    let value = format!("{writer}-{n}-{}", "x".repeat(n));
                    let tx = tx.clone();
                    let answer = value.clone();
                    node.produce(produce((n % 3) as u32, &value), move |result| {
                        tx.send((answer, result.unwrap())).unwrap();
                    });
                }
            });
        }
    });
    drop(tx);
    let acknowledged: BTreeMap<_, _> = rx
        .into_iter()
        .map(|(value, a)| ((a.partition.0, a.first_offset), value))
        .collect();
    assert_eq!(
        acknowledged.len(),
        THREADS * EACH,
        "each has an offset of its own"
    );
    node.shutdown();

    let node = open(config());
    for partition in 0..3 {
        let found = values(&reader(&node, partition));
        let expected = acknowledged.iter().filter(|((p, _), _)| *p == partition);
        assert!(
            expected.map(|(_, value)| value).eq(&found),
            "partition {partition}"
        );
        for writer in 0..THREADS {
            let prefix = format!("{writer}-");
            let numbers = found.iter().filter_map(|value| value.strip_prefix(&prefix));
            let numbers =
                numbers.map(|rest| rest.split('-').next().unwrap().parse::<u64>().unwrap());
            assert!(numbers.is_sorted(), "the order of one writer is kept");
        }
    }
    node.shutdown();
}

#[test]
fn every_answer_comes_once_even_when_the_node_shuts_down_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let config = || NodeConfig::new(dir.path());
    let node = open(config());
    create(&node, "t", 2).unwrap();
    let stored = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            let (node, stored, refused) = (node.clone(), Arc::clone(&stored), Arc::clone(&refused));
            scope.spawn(move || {
                for n in 0..2000 {
                    let (stored, refused) = (Arc::clone(&stored), Arc::clone(&refused));
                    node.produce(produce(n % 2, "v"), move |result| match result {
                        Ok(_) => {
                            stored.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(ProduceError::ShuttingDown) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(other) => panic!("{other}"),
                    });
                }
            });
        }
        node.shutdown();
    });
    let stored = stored.load(Ordering::Relaxed);
    assert_eq!(stored + refused.load(Ordering::Relaxed), 8000);
    assert!(matches!(
        create(&node, "u", 1),
        Err(ControlError::ShuttingDown)
    ));
    node.shutdown();

    let node = open(config());
    let found: usize = (0..2)
        .map(|partition| values(&reader(&node, partition)).len())
        .sum();
    assert_eq!(found, stored);
    node.shutdown();
}

#[test]
fn a_data_directory_has_one_node_until_the_last_thread_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(NodeConfig::new(dir.path()));
    let open_again = || {
        let config = NodeConfig::new(dir.path());
        Node::open(&trilith_env::os::env(), config, Arc::new(NoPeers))
    };
    let second = open_again();
    assert!(matches!(second, Err(OpenError::DataDir(_))));
    // Dropped without a shutdown, its threads finish by themselves.
    drop(node);
    loop {
        match open_again() {
            Ok((node, _)) => return node.shutdown(),
            Err(OpenError::DataDir(_)) => thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn topics_come_and_go_while_others_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(NodeConfig::new(dir.path()));
    create(&node, "t", 1).unwrap();
    thread::scope(|scope| {
        let writer = node.clone();
        scope.spawn(move || {
            let (tx, rx) = mpsc::channel();
            for n in 0..500 {
                let tx = tx.clone();
                writer.produce(produce(0, &n.to_string()), move |result| {
                    tx.send(result.unwrap()).unwrap()
                });
            }
            drop(tx);
            assert_eq!(rx.into_iter().count(), 500);
        });
        for _ in 0..5 {
            create(&node, "other", 2).unwrap();
            let described = ask(|done| node.describe_topic("other", done)).unwrap();
            assert_eq!(described.partitions.len(), 2);
            ask(|done| node.delete_topic("other", done)).unwrap();
        }
    });
    let described = ask(|done| node.describe_topic("t", done)).unwrap();
    assert_eq!(
        described.partitions[0].stats.unwrap().end_offset,
        Offset(500)
    );
    assert_eq!(node.list_topics().len(), 1);
    node.shutdown();
}

/// Set for the process that is to panic.
const PANIC_IN: &str = "TRILITH_TEST_PANIC_IN";

#[test]
fn a_panic_in_a_shard_ends_the_process() {
    if let Some(dir) = std::env::var_os(PANIC_IN) {
        let node = open(NodeConfig::new(dir));
        create(&node, "t", 1).unwrap();
        let (never, ends) = mpsc::channel::<()>();
        node.produce(produce(0, "v"), |_| panic!("on purpose"));
        let _ = ends.recv();
        drop(never);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_panic_in_a_shard_ends_the_process"])
        .env(PANIC_IN, dir.path())
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        None,
        "it was ended by a signal: {output:?}"
    );
}
