//! A network that takes its time: what is only late is not lost.

use std::collections::{BTreeMap, VecDeque};

use trilith_raft::{Body, ReadId, Role};
use trilith_types::LogIndex;

use crate::support::{Cluster, Packet, n};

/// A cluster whose packets all take the same number of ticks.
struct Delayed {
    cluster: Cluster,
    delay: u32,
    now: u32,
    /// What is on its way, and when it arrives.
    under_way: VecDeque<(u32, Packet)>,
    /// How often each entry has been sent to node 2.
    sent: BTreeMap<LogIndex, u32>,
    /// The next append to node 2 that carries something is lost.
    loses: bool,
}

impl Delayed {
    /// Node 1 leads, and nothing but heartbeats is under way.
    fn led(delay: u32) -> Self {
        let mut delayed = Self {
            cluster: Cluster::of([1, 2, 3]),
            delay,
            now: 0,
            under_way: VecDeque::new(),
            sent: BTreeMap::new(),
            loses: false,
        };
        delayed.cluster.core(1).campaign();
        delayed.cluster.turn(1);
        delayed.run(8 * delay + 8);
        assert_eq!(delayed.cluster.role(1), Role::Leader);
        delayed
    }

    fn run(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now += 1;
            for node in 1..=3 {
                self.cluster.tick(node);
            }
            self.take_up();
            while let Some((_, packet)) = self.under_way.pop_front_if(|(due, _)| *due <= self.now) {
                self.cluster.deliver_packet(packet);
                self.take_up();
            }
        }
    }

    fn take_up(&mut self) {
        for packet in self.cluster.network.drain(..) {
            let mut is_lost = false;
            if let Packet::Message(message, _) = &packet
                && let Body::Append(append) = &message.body
                && message.to == n(2)
                && append.runs.count() > 0
            {
                for index in append.prev.index.get() + 1..=append.last_index().get() {
                    *self.sent.entry(LogIndex(index)).or_default() += 1;
                }
                is_lost = std::mem::take(&mut self.loses);
            }
            if !is_lost {
                self.under_way.push_back((self.now + self.delay, packet));
            }
        }
    }

    fn assert_whole(&mut self) {
        let last = self.cluster.core(1).status().last.index;
        assert_eq!(self.cluster.core(1).peer(n(2)).unwrap().matched, last);
        assert_eq!(self.sent.len() as u64, last.get());
    }
}

/// Answers to heartbeats that were sent before an append were taken for signs of its loss.
#[test]
fn what_is_only_late_is_sent_once() {
    for delay in 0..=4 {
        for pause in [1, 2, 5] {
            let mut delayed = Delayed::led(delay);
            for _ in 0..60 {
                delayed.cluster.propose(1, "a");
                delayed.run(pause);
            }
            delayed.run(4 * delay + 4);
            delayed.assert_whole();
            let twice = delayed.sent.values().filter(|&&times| times > 1).count();
            assert_eq!(twice, 0, "delay {delay}, a proposal every {pause} ticks");
        }
    }
}

/// The two heartbeats after it, a way to the follower and back, show that it is lost.
#[test]
fn a_lost_append_is_sent_again_after_two_heartbeats_and_their_answers() {
    for delay in 0..=4 {
        let mut delayed = Delayed::led(delay);
        // Without it nothing is committed, and no news of that shows the loss earlier.
        delayed.cluster.isolate(3);
        delayed.loses = true;
        let index = delayed.cluster.propose(1, "a");
        delayed.run(1 + 2 * delay);
        assert_eq!(delayed.sent[&index], 1, "delay {delay}");
        delayed.run(1);
        assert_eq!(delayed.sent[&index], 2, "delay {delay}");
        delayed.run(2 * delay + 1);
        delayed.assert_whole();
    }
}

/// Gives node 2 the order to stand and takes it off the network.
fn ordered(cluster: &mut Cluster) -> Packet {
    cluster.core(1).transfer(n(2)).unwrap();
    cluster.turn(1);
    let order = cluster.network.pop_front().unwrap();
    assert_eq!(order.show(), "1->2 t1 timeout now, round 0");
    order
}

/// The round's heartbeats made the order void, and for an election timeout nothing was proposed.
#[test]
fn a_read_that_overtakes_the_order_to_stand_does_not_end_the_transfer() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.run(1);
    let order = ordered(&mut cluster);
    let now = cluster.now(1);
    cluster.core(1).read(now, ReadId(1)).unwrap();
    cluster.settle();
    cluster.deliver_packet(order);
    assert!(cluster.events.last().unwrap().contains("dropped"));
    assert_eq!(cluster.role(1), Role::Leader);
    cluster.run(1);
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn a_lost_order_to_stand_is_given_again_until_the_transfer_is_given_up() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.elect(1);
    cluster.run(1);
    let mut orders = vec![ordered(&mut cluster)];
    for _ in 0..cluster.core(1).config().election_ticks + 2 {
        cluster.tick(1);
        while let Some(packet) = cluster.network.pop_front() {
            if packet.show().contains("timeout now") {
                orders.push(packet);
            } else {
                cluster.deliver_packet(packet);
            }
        }
    }
    assert_eq!(orders.len() as u32, cluster.core(1).config().election_ticks);
    assert_eq!(cluster.core(1).status().transfer, None);
    // All of them are void.
    for order in orders {
        cluster.deliver_packet(order);
    }
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(1)));
    assert_eq!(cluster.core(1).status().term.get(), 1);
}
