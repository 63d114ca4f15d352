//! Chance against the checks of [`Cluster`]: losses, reordering, doubles, crashes, slow disks,
//! transfers, membership changes, damage. A small cousin of the simulator, in the crate itself.

use std::collections::BTreeMap;

use trilith_raft::{
    Change, Config, EntryId, LeaseConfig, Moment, Random, ReadId, Role, SplitMix64, Transition,
};
use trilith_types::{LogIndex, NodeId};

use crate::support::{Cluster, Damage, config, voters};

struct World {
    cluster: Cluster,
    chance: SplitMix64,
    next_value: u64,
    next_read: u64,
    /// What was committed when a read began.
    floors: BTreeMap<ReadId, LogIndex>,
    time: u64,
    quiet: bool,
}

impl World {
    fn new(seed: u64, change: impl Fn(&mut Config)) -> Self {
        let mut cluster = Cluster::default();
        cluster.clock_is_apart = true;
        let mut chance = SplitMix64(seed);
        let quiet = chance.below(2) == 0;
        let lease = (chance.below(3) == 0).then_some(LeaseConfig {
            duration_micros: 6_000,
            promise_micros: 9_000,
        });
        for id in 1..=5 {
            let mut config = config(id);
            config.inflight_messages_max = 1 + chance.below(4) as u32;
            config.quiet_after_ticks = quiet.then_some(8);
            config.lease = lease;
            change(&mut config);
            let members = if id <= 3 {
                voters([1, 2, 3])
            } else {
                Default::default()
            };
            cluster.add(config, members);
            let host = cluster.host(id);
            host.seed = seed * 100 + id;
            host.entries_per_send = 1 + chance.below(4);
            host.crash();
            host.restart(Damage::default());
        }
        Self {
            cluster,
            chance,
            next_value: 0,
            next_read: 0,
            floors: BTreeMap::new(),
            time: 0,
            quiet,
        }
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.chance.below(n) == 0
    }

    fn node(&mut self) -> u64 {
        1 + self.chance.below(5)
    }

    fn is_up(&mut self, id: u64) -> bool {
        self.cluster.host(id).core.is_some()
    }

    fn step(&mut self) {
        self.time += 50;
        for host in self.cluster.hosts.values_mut() {
            host.now = Moment(self.time);
        }
        self.do_something();
        self.check_reads();
    }

    fn read(&mut self, id: u64) {
        self.next_read += 1;
        let (now, read) = (self.cluster.now(id), ReadId(self.next_read));
        self.floors.insert(read, self.cluster.highest_committed());
        let _ = self.cluster.core(id).read(now, read);
    }

    /// A read sees everything that was committed when it began.
    fn check_reads(&mut self) {
        for host in self.cluster.hosts.values_mut() {
            for read in host.reads.drain(..) {
                let floor = self.floors[&read.id];
                if let Ok(index) = read.result {
                    assert!(
                        index >= floor,
                        "a stale read at {index}, {floor} was committed"
                    );
                }
            }
        }
    }

    fn do_something(&mut self) {
        let id = self.node();
        if !self.is_up(id) {
            if self.one_in(4) {
                let damage = self.damage(id);
                self.cluster.restart(id, damage);
            }
            return;
        }
        match self.chance.below(100) {
            0..30 => self.cluster.tick(id),
            30..70 => self.deliver(),
            70..80 => self.propose(id),
            80..86 => self.read(id),
            86 => {
                let syncs = self.one_in(2);
                self.cluster.host(id).syncs = syncs;
            }
            87..90 => {
                self.cluster.host(id).sync_one();
            }
            90 if self.one_in(3) => self.cluster.crash(id),
            91 => {
                let to = NodeId(self.node());
                let _ = self.cluster.core(id).transfer(to);
            }
            92 => self.change(id),
            93 => {
                let peer = NodeId(self.node());
                self.cluster.core(id).peer_suspect(peer);
            }
            94..96 => {
                let peer = NodeId(self.node());
                self.cluster.core(id).peer_alive(peer);
            }
            96 => {
                let applied = self.cluster.core(id).status().applied;
                if applied > self.cluster.core(id).log().base().index {
                    let _ = self.cluster.host(id).trim(applied);
                }
            }
            97 if self.one_in(4) => {
                let other = self.node();
                self.cluster.cut.insert((NodeId(id), NodeId(other)));
            }
            98 => self.cluster.heal(),
            99 if self.one_in(40) => self.cluster.power_cut(),
            _ => {}
        }
        self.cluster.turn(id);
    }

    fn deliver(&mut self) {
        let count = self.cluster.network.len() as u64;
        if count == 0 {
            return;
        }
        let at = if self.one_in(3) {
            self.chance.below(count)
        } else {
            0
        } as usize;
        let packet = self.cluster.network.remove(at).unwrap();
        if self.one_in(20) {
            return;
        }
        if self.one_in(20) {
            self.cluster.network.push_back(packet.clone());
        }
        self.cluster.deliver_packet(packet);
    }

    fn propose(&mut self, id: u64) {
        self.next_value += 1;
        let value = format!("v{}", self.next_value);
        let _ = self.cluster.host(id).propose(&value, 1);
    }

    fn change(&mut self, id: u64) {
        let node = NodeId(self.node());
        let other = NodeId(self.node());
        let kind = |which, node| match which {
            0 => Change::AddVoter(node),
            1 => Change::AddLearner(node),
            _ => Change::Remove(node),
        };
        let mut changes = vec![kind(self.chance.below(3), node)];
        if self.one_in(2) && other != node {
            changes.push(kind(self.chance.below(3), other));
        }
        let _ = self
            .cluster
            .core(id)
            .change_membership(&changes, Transition::Auto);
    }

    /// Damage on node 1 alone never reaches a majority of the copies of anything, as long as no
    /// configuration along its log has less than three voters in either half.
    fn damage(&mut self, id: u64) -> Damage {
        let mut damage = Damage::default();
        let host = self.cluster.host(id);
        let (first, last) = (host.disk.base.index.get() + 1, host.disk.last_index().get());
        let mut members = vec![host.disk.base_configuration.clone()];
        members.extend(host.disk.configurations().into_iter().map(|entry| entry.1));
        let few = members.iter().any(|m| {
            m.voters.incoming().len() < 3 || m.is_joint() && m.voters.outgoing().len() < 3
        });
        if id != 1 || last < first || few || !self.one_in(2) {
            return damage;
        }
        let from = first + self.chance.below(last + 1 - first);
        let to = from + self.chance.below(last + 1 - from);
        damage.ranges.push((LogIndex(from), LogIndex(to)));
        if self.one_in(2) {
            // The end of the log is gone without a trace.
            let cut = first + self.chance.below(last + 1 - first);
            let host = self.cluster.host(id);
            host.disk.entries.truncate((cut - first) as usize);
            damage.unknown = Some(EntryId::MAX);
            damage.ranges.retain(|range| range.1 < LogIndex(cut));
        }
        damage
    }

    fn tail(&self) -> String {
        let events = &self.cluster.events;
        events[events.len().saturating_sub(60)..].join("\n")
    }

    /// Everything is well again: a leader must come and commit.
    fn heal_and_demand_progress(&mut self, seed: u64) {
        self.cluster.clock_is_apart = false;
        self.cluster.heal();
        for id in 1..=5 {
            if !self.is_up(id) {
                self.cluster.restart(id, Damage::default());
            }
            let host = self.cluster.host(id);
            host.syncs = true;
            while host.sync_one() {}
            for peer in 1..=5 {
                self.cluster.core(id).peer_alive(NodeId(peer));
            }
        }
        self.cluster.run(150);
        let leader = self.cluster.leader();
        let Some(leader) = leader else {
            let all: Vec<_> = (1..=5)
                .map(|id| format!("{:?}", self.cluster.core(id).status()))
                .collect();
            panic!(
                "seed {seed}: no leader after healing\n{}\n{}",
                all.join("\n"),
                self.tail()
            );
        };
        let leader = leader.get();
        if self.cluster.core(leader).status().transfer.is_some() {
            self.cluster.run(20);
        }
        let index = self.cluster.propose(leader, "last");
        self.cluster.run(20);
        let status = self.cluster.core(leader).status();
        assert!(
            status.commit >= index,
            "seed {seed}: no progress: {status:?}\n{}",
            self.tail()
        );
        let members: Vec<_> = self
            .cluster
            .core(leader)
            .configuration()
            .members()
            .collect();
        self.cluster.run(60);
        for member in members {
            let other = self.cluster.core(member.get()).status();
            assert!(
                other.applied >= index,
                "seed {seed}: {member} lags: {other:?}\n{}",
                self.tail()
            );
            assert_eq!(
                other.first_damaged, None,
                "seed {seed}: {member} is not mended"
            );
            assert!(
                !other.unknown_suffix,
                "seed {seed}: {member} is still in doubt"
            );
            let quiet = other.quiet || !self.quiet;
            assert!(
                quiet,
                "seed {seed}: {member} is not quiet: {other:?}\n{}",
                self.tail()
            );
        }
    }
}

#[test]
fn whatever_happens_the_properties_hold_and_the_group_comes_back() {
    let seeds = std::env::var("TRILITH_RAFT_SEEDS").map_or(150, |n| n.parse().unwrap());
    let first = std::env::var("TRILITH_RAFT_FIRST").map_or(1, |n| n.parse().unwrap());
    let trace = std::env::var("TRILITH_RAFT_TRACE").is_ok();
    let mut elections = 0;
    for seed in first..first + seeds {
        let mut world = World::new(seed, |_| ());
        world.cluster.label = format!("seed {seed}");
        for _ in 0..3000 {
            world.step();
            if trace {
                for event in &world.cluster.events {
                    eprintln!("{seed}: {event}");
                }
            }
            world.cluster.events.clear();
        }
        world.heal_and_demand_progress(seed);
        elections += world.cluster.elections;
        let leader = world.cluster.leader().unwrap().get();
        assert_eq!(world.cluster.role(leader), Role::Leader);
    }
    assert!(elections >= seeds, "elections happened");
}

/// Switches on each planted bug in turn and counts the seeds until something notices.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_are_noticed() {
    use trilith_raft::planted::{Bug, Planted};

    let seeds: u64 = std::env::var("TRILITH_PLANTED_SEEDS").map_or(400, |n| n.parse().unwrap());
    std::panic::set_hook(Box::new(|_| ()));
    let mut noticed = 0;
    for &bug in Bug::ALL {
        let found = (1..=seeds).find(|&seed| {
            let run = move || {
                let mut world = World::new(seed, |config| config.planted = Planted::one(bug));
                world.cluster.is_silent = true;
                for _ in 0..3000 {
                    world.step();
                    world.cluster.events.clear();
                }
                world.heal_and_demand_progress(seed);
            };
            std::panic::catch_unwind(run).is_err()
        });
        noticed += u64::from(found.is_some());
        println!("{bug:?}: {found:?}");
    }
    let _ = std::panic::take_hook();
    assert!(
        noticed >= 15,
        "{noticed} bugs were noticed in {seeds} seeds each"
    );
}
