//! Everything at once, decided by a seed: what was acknowledged is never lost, never doubled, and
//! in one order everywhere.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use trilith_env::{
    Disk, Rng,
    sim::{FlipIn, SimDisk, SimRng},
};
use trilith_types::NodeId;

use crate::{
    machine::{Outcome, TRIM, Ticket},
    support::{Cluster, GROUP, node},
};

struct Story {
    rng: SimRng,
    open: Vec<(u64, Ticket)>,
    stored: BTreeSet<u64>,
    never: BTreeSet<u64>,
    /// The one disk that loses bits.
    hurt: NodeId,
    trims: Vec<Ticket>,
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
            10 => self.trim(cluster),
            11 if cluster.is_running(self.hurt) => {
                cluster.power_cut(self.hurt);
                self.flip(cluster);
            }
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

    /// Moves the log's start to somewhere in what is stored.
    fn trim(&mut self, cluster: &mut Cluster) {
        let Some(leader) = cluster.leader() else {
            return;
        };
        let end = cluster.group(leader).reader().visible_upto().0;
        let to = self.rng.below(end.max(1));
        self.trims.push(cluster.request(leader, TRIM | to, false));
    }

    /// Flips a bit in every third file of one node.
    fn flip(&self, cluster: &Cluster) {
        let disk = &cluster.nodes[&self.hurt].disk;
        for path in files(disk, Path::new("/data")) {
            let name = path.file_name().unwrap().to_string_lossy();
            // Votes and manifests are mirrored: both copies are never hit.
            let is_data = name.ends_with(".log") || name.contains("journal");
            if is_data && self.rng.below(3) == 0 {
                let pos = 4096 + self.rng.below(60_000);
                drop(disk.flip_bit(&path, pos, self.rng.below(8) as u8, FlipIn::Both));
            }
        }
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
            cluster.handle(id).check_log(GROUP);
            cluster.until("nothing is damaged", |c| {
                c.status(id).core.first_damaged.is_none()
            });
            let start = cluster.group(id).reader().start_offset().0 as usize;
            let read = cluster.read_log(id);
            assert_eq!(
                read,
                values[start..],
                "seed {seed}: node {id} reads otherwise"
            );
            let fatal = cluster.nodes[&id].ears.fatal.lock().clone();
            assert!(fatal.is_empty(), "seed {seed}: node {id}: {fatal:?}");
        }
    }
}

fn files(disk: &SimDisk, dir: &Path) -> Vec<PathBuf> {
    let entries = disk.list(dir).unwrap().into_iter();
    let below = entries.map(|entry| match entry.is_dir {
        true => files(disk, &entry.path),
        false => vec![entry.path],
    });
    below.flatten().collect()
}

/// Tells a story, and how much of it was acknowledged.
fn run(seed: u64, slow: bool) -> usize {
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
        hurt: node(1 + seed % 3),
        trims: Vec::new(),
    };
    for _ in 0..3 {
        for _ in 0..40 {
            story.step(&mut cluster);
        }
        story.check(&mut cluster, seed);
    }
    story.stored.len()
}

/// Eight seeds, or as many as `HOST_SEEDS` says, from `HOST_FIRST` on.
fn seeds(first: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first: u64 = number("HOST_FIRST").unwrap_or(first);
    first..first + number("HOST_SEEDS").unwrap_or(8)
}

#[test]
fn nothing_acknowledged_is_lost_on_fast_disks() {
    let stored: usize = seeds(10_000).map(|seed| run(seed, false)).sum();
    assert!(stored > 20, "{stored} were stored");
}

#[test]
fn nothing_acknowledged_is_lost_on_slow_disks() {
    let stored: usize = seeds(20_000).map(|seed| run(seed, true)).sum();
    assert!(stored > 20, "{stored} were stored");
}
