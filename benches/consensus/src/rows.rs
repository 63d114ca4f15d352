//! What is measured. Every function is the same code for both cores.

use std::{collections::VecDeque, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::{cluster::Cluster, replica::Replica};

/// How long one timing goes on, at least.
const TIME: Duration = Duration::from_millis(200);
/// Applied entries that the hosts hold where nobody is behind.
const KEEP_ENTRIES: usize = 512;
/// Requests that are made before each stretch of time.
const BATCH: u64 = 640;
/// A backlog.
const BACKLOG: u64 = 1_000_000;
/// Groups of one node.
const GROUPS: u64 = 10_000;
/// Ticks after which a group is idle in every sense.
const SETTLE_TICKS: u64 = 40;

/// The processor time of this thread: everything happens on it, and nothing of it waits. So
/// what else runs on the machine matters less.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it starts at zero")
}

/// Calls `work`, which does `batch` operations, until the time is up; gives operations per second.
fn rate(batch: u64, mut work: impl FnMut()) -> f64 {
    rate_with(batch, || (), |()| work())
}

/// The same for work that takes something that is made while the clock stands still.
fn rate_with<T>(batch: u64, mut make: impl FnMut() -> T, mut work: impl FnMut(T)) -> f64 {
    let (mut spent, mut done) = (Duration::ZERO, 0);
    // The counting of allocations is off while time is measured.
    allocation_counter::opt_out(|| {
        while spent < TIME {
            let made = make();
            let start = now();
            work(made);
            spent += now() - start;
            done += batch;
        }
    });
    done as f64 / spent.as_secs_f64()
}

fn requests(count: u64, bytes: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| vec![7; bytes]).collect()
}

/// Proposals per second that a group of three commits and its leader applies. The requests are
/// made beforehand, and nothing copies their bytes.
pub fn proposals<R: Replica>(depth: u64, bytes: usize) -> f64 {
    let mut cluster = Cluster::<R>::new(1, false, KEEP_ENTRIES);
    cluster.commit(depth, requests(2 * KEEP_ENTRIES as u64, bytes));
    let make = || requests(BATCH, bytes);
    rate_with(BATCH, make, |batch| cluster.commit(depth, batch))
}

/// Nanoseconds for one tick of an idle group that stays awake: three nodes, heartbeats and
/// their answers.
pub fn idle_tick<R: Replica>() -> f64 {
    let mut cluster = Cluster::<R>::new(1, false, KEEP_ENTRIES);
    1e9 / rate(100, || (0..100).for_each(|_| cluster.tick()))
}

/// Many groups in one process; they share a queue.
struct Groups<R: Replica> {
    groups: Vec<Cluster<R>>,
    network: VecDeque<(usize, R::Message)>,
}

impl<R: Replica> Groups<R> {
    /// Groups that have been idle for long.
    fn idle(quiet: bool) -> Self {
        let group = |number| Cluster::new(number, quiet, KEEP_ENTRIES);
        let mut groups = Self {
            groups: (1..=GROUPS).map(group).collect(),
            network: VecDeque::new(),
        };
        (0..SETTLE_TICKS).for_each(|_| groups.tick());
        groups
    }

    fn tick(&mut self) {
        for group in &mut self.groups {
            group.tick_through(&mut self.network);
        }
    }
}

/// Nanoseconds for one tick of one of many idle groups; a quiet core is asked whether it is quiet.
pub fn idle_groups_tick<R: Replica>(quiet: bool) -> f64 {
    let mut ticks_per_second = 0.0;
    allocation_counter::opt_out(|| {
        let mut groups = Groups::<R>::idle(quiet);
        ticks_per_second = rate(GROUPS, || groups.tick());
    });
    1e9 / ticks_per_second
}

/// Bytes of one core, on average, of many idle groups.
pub fn idle_group_bytes<R: Replica>() -> f64 {
    let groups = Groups::<R>::idle(true).groups;
    let bytes: u64 = groups.into_iter().map(Cluster::into_bytes).sum();
    bytes as f64 / GROUPS as f64 / 3.0
}

/// Bytes of the leader's core when one follower lacks a backlog that the others have committed.
pub fn backlog_of_follower_bytes<R: Replica>() -> f64 {
    let mut cluster = Cluster::<R>::new(1, false, BACKLOG as usize);
    cluster.cut_from(2);
    cluster.commit(64, requests(BACKLOG, 0));
    cluster.into_leader_bytes() as f64
}

/// Bytes of the leader's core when a backlog waits for its disk and for both followers.
pub fn backlog_uncommitted_bytes<R: Replica>() -> f64 {
    let mut cluster = Cluster::<R>::new(1, false, BACKLOG as usize);
    cluster.cut_from(1);
    cluster.leader().stop_disk();
    for _ in 0..BACKLOG / 64 {
        (0..64).for_each(|_| cluster.leader().propose(Vec::new()));
        cluster.step();
    }
    cluster.into_leader_bytes() as f64
}

/// Allocations inside the three cores for each proposal, from the proposal to the answers of
/// the followers.
pub fn allocations<R: Replica>(depth: u64) -> f64 {
    const PROPOSALS: u64 = 6400;
    let mut cluster = Cluster::<R>::new(1, false, KEEP_ENTRIES);
    cluster.commit(depth, requests(PROPOSALS, 256));
    cluster.settle();
    let replicas = cluster.replicas().iter_mut();
    replicas.for_each(|replica| replica.meter().on = true);
    cluster.commit(depth, requests(PROPOSALS, 256));
    cluster.settle();
    let replicas = cluster.replicas().iter_mut();
    let sum: u64 = replicas.map(|replica| replica.meter().allocations).sum();
    sum as f64 / PROPOSALS as f64
}
