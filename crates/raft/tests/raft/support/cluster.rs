//! Nodes, a network between them that does what it is told, and the safety checks of the paper
//! (Raft figure 3), which hold after every turn of every test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trilith_raft::{Config, Configuration, EntryId, Message, Moment, Role};
use trilith_types::{LogIndex, NodeId, Term};

use super::{
    Host, config,
    host::Damage,
    show::show_body,
    store::{Data, Store},
};

/// What is on its way.
#[derive(Clone, Debug)]
pub enum Packet {
    Message(Message, Vec<(EntryId, Data)>),
    /// A snapshot's bytes.
    Bytes {
        from: NodeId,
        to: NodeId,
        last: EntryId,
        /// How many of the state's lines the receiver has already: a line counts as a byte here.
        from_byte: u64,
        state: Vec<String>,
        configuration: Configuration,
    },
}

impl Packet {
    pub fn from(&self) -> NodeId {
        match self {
            Self::Message(message, _) => message.from,
            Self::Bytes { from, .. } => *from,
        }
    }

    pub fn to(&self) -> NodeId {
        match self {
            Self::Message(message, _) => message.to,
            Self::Bytes { to, .. } => *to,
        }
    }

    pub fn show(&self) -> String {
        let what = match self {
            Self::Message(message, _) => {
                format!("t{} {}", message.term, show_body(&message.body))
            }
            Self::Bytes { last, .. } => format!("snapshot bytes {last}"),
        };
        format!("{}->{} {what}", self.from(), self.to())
    }
}

#[derive(Default)]
pub struct Cluster {
    pub hosts: BTreeMap<NodeId, Host>,
    pub network: VecDeque<Packet>,
    /// One-way links that lose everything.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub events: Vec<String>,
    leaders: BTreeMap<Term, NodeId>,
    committed: BTreeMap<LogIndex, Term>,
    applied: BTreeMap<LogIndex, String>,
    commits: BTreeMap<NodeId, LogIndex>,
    pub elections: u64,
    /// Clocks go on by themselves, not with ticks.
    pub clock_is_apart: bool,
    /// Failures are expected.
    pub is_silent: bool,
    /// What a failure is told with.
    pub label: String,
}

/// Turns of delivery after which a network that does not come to rest is a failure.
const DELIVERIES_MAX: usize = 20_000;

impl Cluster {
    /// Nodes with empty logs, all of them voters.
    pub fn of<const N: usize>(ids: [u64; N]) -> Self {
        let mut cluster = Self::default();
        for id in ids {
            cluster.add(config(id), Configuration::of_voters(ids.map(NodeId)));
        }
        cluster
    }

    pub fn add(&mut self, config: Config, members: Configuration) {
        self.add_with(
            config,
            Store {
                base_configuration: members,
                ..Store::default()
            },
        );
    }

    pub fn add_with(&mut self, config: Config, store: Store) {
        let id = config.node;
        self.hosts.insert(id, Host::new(config, store, id.get()));
    }

    /// Nodes 1 to N, whose logs hold entries of these terms, and whose term is `term`.
    pub fn with_logs<const N: usize>(term: u64, logs: [&[u64]; N]) -> Self {
        let members = Configuration::of_voters((1..=N as u64).map(NodeId));
        Self::with_logs_of(&members, term, logs)
    }

    /// The same, of any members.
    pub fn with_logs_of<const N: usize>(
        members: &Configuration,
        term: u64,
        logs: [&[u64]; N],
    ) -> Self {
        let mut cluster = Self::default();
        for (at, terms) in logs.iter().enumerate() {
            let id = at as u64 + 1;
            let mut store = Store {
                base_configuration: members.clone(),
                ..Store::default()
            };
            store.hard.term = Term(term);
            for (position, &t) in terms.iter().enumerate() {
                let value = format!("t{t}i{}", position + 1);
                store.entries.push((Term(t), Data::Value(value)));
            }
            cluster.add_with(config(id), store);
        }
        cluster
    }

    pub fn host(&mut self, id: u64) -> &mut Host {
        self.hosts.get_mut(&NodeId(id)).expect("a known node")
    }

    pub fn core(&mut self, id: u64) -> &mut trilith_raft::Core {
        self.host(id).core_mut()
    }

    pub fn role(&mut self, id: u64) -> Role {
        self.core(id).status().role
    }

    /// Lets a node carry out what its core wants, and checks what must hold.
    pub fn turn(&mut self, id: u64) {
        let Some(host) = self.hosts.get_mut(&NodeId(id)) else {
            return;
        };
        let turn = host.turn();
        self.events.extend(turn.events);
        self.network.extend(turn.packets);
        self.check(NodeId(id));
        if turn.became_leader {
            self.elections += 1;
        }
    }

    fn check(&mut self, id: NodeId) {
        let host = &self.hosts[&id];
        let Some(core) = host.core.as_ref() else {
            return;
        };
        let status = core.status();
        if matches!(status.role, Role::Leader | Role::Repairing) {
            let known = *self.leaders.entry(status.term).or_insert(id);
            assert_eq!(
                known, id,
                "election safety: two leaders in term {}",
                status.term
            );
        }
        let before = self.commits.insert(id, status.commit).unwrap_or_default();
        assert!(
            before <= status.commit,
            "the commit index of {id} went back"
        );
        for index in before.get() + 1..=status.commit.get().min(status.last.index.get()) {
            let Some(term) = core.log().term_at(LogIndex(index)) else {
                continue;
            };
            let known = *self.committed.entry(LogIndex(index)).or_insert(term);
            assert_eq!(known, term, "node {id} committed another entry at {index}");
        }
        if status.role == Role::Leader {
            // Leader Completeness: every entry committed before its term is in its log.
            for (&index, &term) in &self.committed {
                if term < status.term && index > status.base.index {
                    assert_eq!(
                        core.log().term_at(index),
                        Some(term),
                        "leader {id} lacks {index}"
                    );
                }
            }
        }
        for (at, line) in host.state.iter().enumerate() {
            let index = LogIndex(at as u64 + 1);
            let known = self.applied.entry(index).or_insert_with(|| line.clone());
            assert_eq!(known, line, "state machine safety at {index} on {id}");
        }
    }

    /// A node's commit index may be told again after a start.
    pub fn crash(&mut self, id: u64) {
        self.host(id).crash();
        self.commits.remove(&NodeId(id));
    }

    pub fn restart(&mut self, id: u64, damage: Damage) {
        self.events.push(format!("{id}: starts{damage}"));
        self.host(id).restart(damage);
        self.turn(id);
    }

    pub fn power_cut(&mut self) {
        let ids: Vec<_> = self.hosts.keys().map(|id| id.get()).collect();
        for id in ids {
            if self.host(id).core.is_some() {
                self.crash(id);
            }
        }
        self.network.clear();
    }

    pub fn deliver_packet(&mut self, packet: Packet) {
        let (from, to) = (packet.from(), packet.to());
        let up = self.hosts.get(&to).is_some_and(|host| host.core.is_some());
        if self.cut.contains(&(from, to)) || !up {
            self.events.push(format!("lost {}", packet.show()));
            return;
        }
        let line = packet.show();
        let result = self.host(to.get()).receive(packet);
        match result {
            Ok(()) => self.events.push(line),
            Err(why) => self.events.push(format!("{line}: dropped, {why}")),
        }
        self.turn(to.get());
    }

    /// Delivers everything until nothing is on its way.
    pub fn settle(&mut self) {
        let ids: Vec<_> = self.hosts.keys().map(|id| id.get()).collect();
        for id in ids {
            self.turn(id);
        }
        for _ in 0..DELIVERIES_MAX {
            let Some(packet) = self.network.pop_front() else {
                return;
            };
            self.deliver_packet(packet);
        }
        panic!("the network does not come to rest");
    }

    pub fn tick(&mut self, id: u64) {
        let tick = if self.clock_is_apart { 0 } else { 1000 };
        let host = self.host(id);
        host.now = host.now.plus(tick);
        let now = host.now;
        if let Some(core) = host.core.as_mut() {
            core.tick(now);
        }
        self.turn(id);
    }

    /// Ticks every node and settles, so many times.
    pub fn run(&mut self, ticks: u32) {
        let ids: Vec<_> = self.hosts.keys().map(|id| id.get()).collect();
        for _ in 0..ticks {
            for &id in &ids {
                self.tick(id);
            }
            self.settle();
        }
    }

    pub fn campaign(&mut self, id: u64) {
        self.core(id).campaign();
        self.settle();
    }

    /// Makes `id` leader of a fresh group.
    pub fn elect(&mut self, id: u64) {
        self.campaign(id);
        assert_eq!(
            self.role(id),
            Role::Leader,
            "events:\n{}",
            self.events.join("\n")
        );
    }

    pub fn propose(&mut self, id: u64, value: &str) -> LogIndex {
        let index = self.host(id).propose(value, value.len() as u64).unwrap();
        self.turn(id);
        index
    }

    /// The highest index that anybody has committed: what a read that begins now must see.
    pub fn highest_committed(&self) -> LogIndex {
        let last = self.committed.keys().next_back();
        last.copied().unwrap_or_default()
    }

    pub fn isolate(&mut self, id: u64) {
        for &other in self.hosts.keys() {
            if other != NodeId(id) {
                self.cut.insert((NodeId(id), other));
                self.cut.insert((other, NodeId(id)));
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn leader(&self) -> Option<NodeId> {
        let leads = |host: &&Host| {
            host.core
                .as_ref()
                .is_some_and(|core| core.status().role == Role::Leader)
        };
        let all = self.hosts.values().filter(leads);
        all.max_by_key(|host| host.core().status().term)
            .map(Host::id)
    }

    pub fn now(&mut self, id: u64) -> Moment {
        self.host(id).now
    }
}

impl Drop for Cluster {
    /// A failed test shows what led to it.
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_silent {
            let from = self.events.len().saturating_sub(100);
            eprintln!("{}\n{}", self.label, self.events[from..].join("\n"));
        }
    }
}
