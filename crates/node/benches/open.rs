//! How long a node takes to make a topic of many partitions, and to open and close them all again
//! after a clean stop.

use std::{path::Path, time::Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use trilith_node::{Node, NodeConfig, TopicSettingsPatch};

const PARTITIONS: u32 = 1000;

fn open(c: &mut Criterion) {
    // Beside the build, on a real disk: /tmp may be memory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(target).expect("the build directory is writable");
    let start = || {
        let (node, report) = Node::open(&trilith_env::os::env(), NodeConfig::new(dir.path()))
            .expect("the node opens");
        assert!(report.recovered.is_empty() && report.unavailable.is_empty());
        node
    };
    let node = start();
    let began = Instant::now();
    let settings = TopicSettingsPatch {
        partitions: Some(PARTITIONS),
        ..Default::default()
    };
    node.create_topic("many", &settings)
        .expect("the topic is new");
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
