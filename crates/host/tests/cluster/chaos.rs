//! Everything at once, decided by a seed: what was acknowledged is never lost, never doubled, and
//! in one order everywhere.

use std::collections::BTreeSet;

use trilith_env::{Rng, sim::SimRng};

use crate::{
    machine::{Outcome, Ticket},
    support::{Cluster, node},
};

struct Story {
    rng: SimRng,
    open: Vec<(u64, Ticket)>,
    stored: BTreeSet<u64>,
    never: BTreeSet<u64>,
}

impl Story {
    /// Takes note of what was answered.
    fn listen(&mut self) {
        for (value, ticket) in std::mem::take(&mut self.open) {
            match ticket.outcome() {
                None => self.open.push((value, ticket)),
                Some(Outcome::Stored(_)) => {
                    self.stored.insert(value);
                }
                Some(Outcome::Refused(_) | Outcome::NotStored) => {
                    self.never.insert(value);
                }
                Some(Outcome::Unknown) => {}
            }
        }
    }

    fn step(&mut self, cluster: &mut Cluster) {
        let id = node(1 + self.rng.below(3));
        let is_running = cluster.is_running(id);
        match self.rng.below(16) {
            0 if is_running => cluster.power_cut(id),
            1 if is_running => cluster.kill(id),
            2 if is_running => cluster.stop(id),
            0..=3 if !is_running => cluster.start(id),
            4 => cluster.cut_off(id),
            5 => cluster.cut(id, node(1 + self.rng.below(3))),
            6 | 7 => cluster.heal(),
            8 | 9 => cluster.ticks(1 + self.rng.below(60) as usize),
            _ => {
                let leader = cluster.leader().unwrap_or(id);
                if cluster.is_running(leader) {
                    for _ in 0..=self.rng.below(5) {
                        let bytes = 8 + self.rng.below(4_000) as usize;
                        let put = cluster.put_at(leader, bytes);
                        self.open.push(put);
                    }
                }
                if self.rng.below(2) == 0 {
                    cluster.settle();
                }
            }
        }
        if self.rng.below(3) == 0 {
            cluster.tick();
        }
        self.listen();
    }

    fn check(&mut self, cluster: &mut Cluster, seed: u64) {
        cluster.heal();
        for id in cluster.ids() {
            if !cluster.is_running(id) {
                cluster.start(id);
            }
        }
        let values = cluster.agree();
        self.listen();
        let all: BTreeSet<u64> = values.iter().copied().collect();
        assert_eq!(
            all.len(),
            values.len(),
            "seed {seed}: a value is there twice"
        );
        let lost: Vec<_> = self.stored.difference(&all).collect();
        assert!(
            lost.is_empty(),
            "seed {seed}: {lost:?} were acknowledged and are lost"
        );
        let wrong: Vec<_> = self.never.intersection(&all).collect();
        assert!(
            wrong.is_empty(),
            "seed {seed}: {wrong:?} were said not to be stored"
        );
        for id in cluster.ids() {
            assert_eq!(
                cluster.read_log(id),
                values,
                "seed {seed}: node {id} reads otherwise"
            );
            assert_eq!(cluster.nodes[&id].ears.fatal.lock().len(), 0);
        }
    }
}

fn run(seed: u64, slow: bool) {
    let mut cluster = Cluster::new(seed, 3);
    for node in cluster.nodes.values() {
        node.disk.configure(|config| config.slow = slow);
    }
    cluster.settings.sync_bytes = 30_000;
    cluster.settings.recent_bytes_max = 20_000;
    cluster.log.segment_bytes = 32 << 10;
    cluster.start_all();
    let mut story = Story {
        rng: SimRng::new(seed),
        open: Vec::new(),
        stored: BTreeSet::new(),
        never: BTreeSet::new(),
    };
    for _ in 0..3 {
        for _ in 0..40 {
            story.step(&mut cluster);
        }
        story.check(&mut cluster, seed);
    }
    assert!(
        story.stored.len() > 3,
        "seed {seed}: hardly anything was stored"
    );
}

/// Twelve seeds, or as many as `HOST_SEEDS` says.
fn seeds(first: u64) -> std::ops::Range<u64> {
    let count = std::env::var("HOST_SEEDS").ok();
    first..first + count.and_then(|n| n.parse().ok()).unwrap_or(12)
}

#[test]
fn nothing_acknowledged_is_lost_on_fast_disks() {
    for seed in seeds(10_000) {
        run(seed, false);
    }
}

#[test]
fn nothing_acknowledged_is_lost_on_slow_disks() {
    for seed in seeds(20_000) {
        run(seed, true);
    }
}
