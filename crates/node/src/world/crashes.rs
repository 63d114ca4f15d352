//! The promise: what was acknowledged as synced is there after a crash at any point, once and in
//! its place.

use std::{collections::BTreeMap, time::Duration};

use trilith_env::{
    Rng,
    sim::{SimConfig, SimDisk, SimRng},
};
use trilith_types::{Offset, PartitionId};

use super::{Answer, World, config};
use crate::{NodeConfig, TopicSettingsPatch};

const PARTITIONS: u32 = 3;

/// What was acknowledged, by partition and offset.
type Promised = BTreeMap<(u32, Offset), String>;

/// Sends batches while the disk answers in an order of its own, until the power goes.
fn work(world: &mut World, rng: &SimRng, life: u64, promised: &mut Promised) {
    let mut sent: Vec<(u32, Vec<String>, Answer)> = Vec::new();
    for n in 0..60 {
        let partition = rng.below(PARTITIONS.into()) as u32;
        let padding = "p".repeat(rng.below(900) as usize);
        let values: Vec<_> = (0..=rng.below(3))
            .map(|k| format!("{life}-{n}-{k}-{padding}"))
            .collect();
        let answer = world.produce(
            "t",
            partition,
            &values.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        sent.push((partition, values, answer));
        if rng.below(3) == 0 {
            world.run();
        }
        if rng.below(2) == 0 {
            world.disk.complete_next();
        }
        if rng.below(15) == 0 {
            world.finish();
        }
        // Marks, settling and retention fall due at times.
        if rng.below(6) == 0 {
            world.clock.advance(Duration::from_millis(
                [60, 11_000, 61_000][rng.below(3) as usize],
            ));
        }
    }
    for (partition, values, answer) in sent {
        if let Some(Ok(appended)) = answer.poll() {
            let offsets = (appended.first_offset.0..).map(Offset);
            promised.extend(
                offsets
                    .zip(values)
                    .map(|(offset, value)| ((partition, offset), value)),
            );
        }
    }
}

/// How many of the promised records are not there. Retention may have taken what is below the
/// earliest, and nothing else.
fn lost(world: &World, promised: &Promised) -> usize {
    let mut lost = 0;
    for partition in 0..PARTITIONS {
        let found = world.values("t", partition);
        let earliest = world
            .node
            .reader("t", PartitionId(partition))
            .unwrap()
            .earliest();
        let kept = promised.range((partition, earliest)..(partition + 1, Offset(0)));
        let is_lost = |((_, offset), value): &(&(u32, Offset), &String)| {
            found.get((offset.0 - earliest.0) as usize) != Some(&(*offset, (*value).clone()))
        };
        lost += kept.filter(is_lost).count();
    }
    lost
}

fn check(world: &World, promised: &Promised, seed: u64) {
    assert_eq!(lost(world, promised), 0, "seed {seed}");
    for partition in 0..PARTITIONS {
        let found = world.values("t", partition);
        let earliest = world
            .node
            .reader("t", PartitionId(partition))
            .unwrap()
            .earliest();
        let dense = (earliest.0..).take(found.len());
        assert!(
            found.iter().map(|(offset, _)| offset.0).eq(dense),
            "seed {seed}: dense"
        );
        let mut seen: Vec<_> = found.iter().map(|(_, value)| value).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(
            seen.len(),
            found.len(),
            "seed {seed}: nothing is there twice"
        );
    }
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let (mut cuts_in_the_middle, mut retired) = (0, 0);
    for seed in 0..60 {
        let rng = SimRng::new(seed);
        let disk = SimDisk::with(SimConfig {
            slow: true,
            ..SimConfig::new(seed)
        });
        let node_config = || NodeConfig {
            shards: 1 + (seed % 2) as usize,
            ..config()
        };
        let mut world = World::start(&disk, node_config()).unwrap();
        let small = TopicSettingsPatch {
            partitions: Some(PARTITIONS),
            segment_bytes: Some(16 << 10),
            retention_bytes: (seed % 3 > 0).then_some(20_000),
            ..Default::default()
        };
        world.node.create_topic("t", &small).unwrap();
        let mut promised = Promised::new();
        for life in 0..4 {
            disk.power_cut_after(1 + rng.below(400));
            work(&mut world, &rng, life, &mut promised);
            cuts_in_the_middle += u32::from(!disk.is_on());
            retired += world.node.metrics().retired_segments.get();
            drop(world);
            disk.power_cut();
            disk.restart();
            world = World::start(&disk, node_config()).unwrap();
            check(&world, &promised, seed);
        }
    }
    assert!(
        cuts_in_the_middle > 60 && retired > 20,
        "{cuts_in_the_middle}, {retired}"
    );
}

#[test]
fn what_was_acknowledged_survives_the_end_of_the_process() {
    for seed in 0..20 {
        let rng = SimRng::new(seed);
        let disk = SimDisk::with(SimConfig {
            slow: true,
            ..SimConfig::new(seed)
        });
        let sync = if seed % 2 == 0 {
            crate::SyncPolicy::Os
        } else {
            crate::SyncPolicy::Always
        };
        let config = || NodeConfig { sync, ..config() };
        let mut world = World::start(&disk, config()).unwrap();
        let settings = TopicSettingsPatch {
            partitions: Some(PARTITIONS),
            ..Default::default()
        };
        world.node.create_topic("t", &settings).unwrap();
        let mut promised = Promised::new();
        work(&mut world, &rng, 0, &mut promised);
        let world = World::start(&world.crash(), config()).unwrap();
        check(&world, &promised, seed);
        assert!(!promised.is_empty());
    }
}

/// That the checks above can fail: a promise that is not backed by a sync is not kept.
#[test]
fn what_was_only_written_may_be_lost_in_a_power_cut() {
    let lost_records: usize = (0..10)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            let config = || NodeConfig {
                sync: crate::SyncPolicy::Os,
                ..config()
            };
            let mut world = World::start(&disk, config()).unwrap();
            let settings = TopicSettingsPatch {
                partitions: Some(PARTITIONS),
                ..Default::default()
            };
            world.node.create_topic("t", &settings).unwrap();
            let mut promised = Promised::new();
            work(&mut world, &SimRng::new(seed), 0, &mut promised);
            drop(world);
            disk.power_cut();
            disk.restart();
            lost(&World::start(&disk, config()).unwrap(), &promised)
        })
        .sum();
    assert!(lost_records > 10, "{lost_records}");
}
