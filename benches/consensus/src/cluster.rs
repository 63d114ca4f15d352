//! Three replicas and the queue between them.

use std::collections::VecDeque;

use crate::replica::{NODES, Replica, Setup};

/// One group.
pub struct Cluster<R: Replica> {
    replicas: Vec<R>,
    /// Who has had an input since its last turn; a host does not ask the others.
    due: [bool; NODES as usize],
    network: VecDeque<(usize, R::Message)>,
    /// Nodes from this position on hear nothing.
    cut_from: usize,
}

impl<R: Replica> Cluster<R> {
    /// A group whose first node leads.
    pub fn new(group: u64, quiet: bool, keep_entries: usize) -> Self {
        let setup = |node| Setup {
            node,
            group,
            quiet,
            keep_entries,
        };
        let mut cluster = Self {
            replicas: (1..=NODES).map(|node| R::new(setup(node))).collect(),
            due: [true; NODES as usize],
            network: VecDeque::new(),
            cut_from: NODES as usize,
        };
        cluster.leader().campaign();
        cluster.settle();
        assert!(cluster.leader().is_leader(), "nobody else campaigns");
        cluster
    }

    /// The leader, for an input.
    pub fn leader(&mut self) -> &mut R {
        self.due[0] = true;
        &mut self.replicas[0]
    }

    pub fn replicas(&mut self) -> &mut [R] {
        &mut self.replicas
    }

    pub fn cut_from(&mut self, position: usize) {
        self.cut_from = position;
    }

    /// Every node that has had an input carries out what its core wants, then all messages
    /// arrive. Says whether there were any.
    pub fn step(&mut self) -> bool {
        let Self {
            replicas,
            due,
            network,
            cut_from,
        } = self;
        for (replica, due) in replicas.iter_mut().zip(due.iter_mut()) {
            if std::mem::take(due) {
                replica.turn(&mut |to, message| network.push_back((to, message)));
            }
        }
        let any = !network.is_empty();
        for (to, message) in network.drain(..) {
            if to < *cut_from {
                replicas[to].receive(message);
                due[to] = true;
            }
        }
        any
    }

    /// Steps until nothing is left to do.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// Time passes for every node.
    pub fn tick(&mut self) {
        for (replica, due) in self.replicas.iter_mut().zip(&mut self.due) {
            *due |= replica.tick();
        }
        self.settle();
    }

    /// The same through a queue that many groups use in turn.
    pub fn tick_through(&mut self, network: &mut VecDeque<(usize, R::Message)>) {
        std::mem::swap(&mut self.network, network);
        self.tick();
        std::mem::swap(&mut self.network, network);
    }

    /// Proposes and commits, `depth` proposals on their way at any time, until the leader has
    /// applied all of them.
    pub fn commit(&mut self, depth: u64, payloads: Vec<Vec<u8>>) {
        let start = self.replicas[0].applied();
        let count = payloads.len() as u64;
        let mut payloads = payloads.into_iter();
        let (mut proposed, mut done) = (0, 0);
        while done < count {
            while proposed - done < depth
                && let Some(payload) = payloads.next()
            {
                self.leader().propose(payload);
                proposed += 1;
            }
            self.step();
            done = self.replicas[0].applied() - start;
        }
    }

    /// The memory of the leader's core.
    pub fn into_leader_bytes(self) -> u64 {
        // Messages that were not delivered would share payloads.
        drop(self.network);
        let leader = self.replicas.into_iter().next();
        leader.expect("a group has nodes").into_core_bytes()
    }

    /// The memory of the cores of all nodes together.
    pub fn into_bytes(self) -> u64 {
        drop(self.network);
        self.replicas.into_iter().map(R::into_core_bytes).sum()
    }
}
