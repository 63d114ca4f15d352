//! How long a node takes to make a topic of many partitions, and to open and close them all again
//! after a clean stop.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Instant,
};

use criterion::{Criterion, criterion_group, criterion_main};
use trilith_node::{NoPeers, Node, NodeConfig, TopicSettingsPatch};

const PARTITIONS: u32 = 1000;

fn open(c: &mut Criterion) {
    // Beside the build, on a real disk: /tmp may be memory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(target).expect("the build directory is writable");
    let start = || {
        let config = NodeConfig::new(dir.path());
        let opened = Node::open(&trilith_env::os::env(), config, Arc::new(NoPeers));
        opened.expect("the node opens").0
    };
    let node = start();
    let began = Instant::now();
    let settings = TopicSettingsPatch {
        partitions: Some(PARTITIONS),
        ..Default::default()
    };
    let (tx, rx) = mpsc::channel();
    node.create_topic("many", &settings, false, move |made| {
        tx.send(made).expect("somebody waits");
    });
    let made = rx.recv().expect("it is answered");
    made.expect("the topic is new");
    println!(
        "a topic of {PARTITIONS} partitions made in {:.2?}",
        began.elapsed()
    );
    node.shutdown();
    let mut group = c.benchmark_group("open");
    group.sample_size(10);
    group.bench_function(format!("{PARTITIONS} partitions, clean"), |b| {
        b.iter(|| start().shutdown())
    });
    group.finish();
}

criterion_group!(benches, open);
criterion_main!(benches);
