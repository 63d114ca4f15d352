//! One node: a core, a disk with writes on their way, and a state machine that lists values.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use trilith_raft::{
    Body, Config, Configuration, Core, EntryId, HardState, LogOp, Message, Moment, Output, Payload,
    ReadDone, Restored, RestoredVote, Role, SendOutcome, SnapshotOp, SplitMix64, UnknownSuffix,
    Write, WriteSeq, message::SnapshotOffer,
};
use trilith_types::{Incarnation, LogIndex, NodeId};

use super::{
    cluster::Packet,
    show::{show_op, show_role},
    store::{Data, Store},
};

/// A write that is not on disk yet.
struct Pending {
    seq: WriteSeq,
    hard: Option<HardState>,
    commit: LogIndex,
    ops: Vec<(LogOp, Vec<Data>)>,
    install: Option<(Vec<String>, Configuration)>,
}

/// What damage a node starts with.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    pub ranges: Vec<(LogIndex, LogIndex)>,
    pub unknown: Option<EntryId>,
    pub lost_vote: bool,
    pub lost_state: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (first, last) in &self.ranges {
            write!(f, ", {first}..{last} damaged")?;
        }
        for (is, words) in [
            (self.unknown.is_some(), "unknown suffix"),
            (self.lost_vote, "vote lost"),
            (self.lost_state, "state lost"),
        ] {
            if is {
                write!(f, ", {words}")?;
            }
        }
        Ok(())
    }
}

pub struct Host {
    pub config: Config,
    pub core: Option<Core>,
    /// What survives a power cut.
    pub disk: Store,
    /// The same with what is on its way to the disk.
    pub view: Store,
    pending: VecDeque<Pending>,
    /// The durable mark of an unknown suffix.
    pub doubt: Option<EntryId>,
    /// Whether writes are on disk at once.
    pub syncs: bool,
    /// Proposed and received payloads that are not in the log yet.
    staging: BTreeMap<EntryId, Data>,
    staged: Option<(EntryId, Vec<String>, Configuration)>,
    /// What came of a snapshot whose stream broke off.
    partial: Option<(EntryId, Vec<String>)>,
    offered: BTreeMap<EntryId, Configuration>,
    pub state: Vec<String>,
    pub reads: Vec<ReadDone>,
    pub seed: u64,
    pub now: Moment,
    /// Most entries in one send, to see windows at work.
    pub entries_per_send: u64,
    pub entries_per_repair: u64,
}

/// What a node did in one turn.
#[derive(Default)]
pub struct Turn {
    pub events: Vec<String>,
    pub packets: Vec<Packet>,
    pub became_leader: bool,
}

impl Host {
    pub fn new(config: Config, store: Store, seed: u64) -> Self {
        let mut host = Self {
            config,
            core: None,
            disk: store.clone(),
            view: store,
            pending: VecDeque::new(),
            doubt: None,
            syncs: true,
            staging: BTreeMap::new(),
            staged: None,
            partial: None,
            offered: BTreeMap::new(),
            state: Vec::new(),
            reads: Vec::new(),
            seed,
            now: Moment(0),
            entries_per_send: 64,
            entries_per_repair: u64::MAX,
        };
        host.start(Damage::default());
        host
    }

    pub fn id(&self) -> NodeId {
        self.config.node
    }

    pub fn core(&self) -> &Core {
        self.core.as_ref().expect("the node is up")
    }

    pub fn core_mut(&mut self) -> &mut Core {
        self.core.as_mut().expect("the node is up")
    }

    /// Loses what is not on disk.
    pub fn crash(&mut self) {
        self.core = None;
        self.pending.clear();
        self.staging.clear();
        self.staged = None;
        self.partial = None;
        self.view = self.disk.clone();
    }

    pub fn restart(&mut self, damage: Damage) {
        self.config.incarnation = Incarnation(self.config.incarnation.get() + 1);
        self.seed += 1000;
        self.start(damage);
    }

    fn start(&mut self, damage: Damage) {
        self.view = self.disk.clone();
        self.doubt = damage.unknown.or(self.doubt);
        let store = &self.disk;
        let vote = if damage.lost_vote {
            RestoredVote::Lost
        } else {
            RestoredVote::Known(store.hard)
        };
        let restored = Restored {
            vote,
            log: store.runs(),
            base_configuration: store.base_configuration.clone(),
            configurations: store.configurations(),
            commit: store.commit,
            applied: store.base.index,
            damaged: damage.ranges,
            unknown_suffix: self
                .doubt
                .map(|last_possible| UnknownSuffix { last_possible }),
            state_machine_lost: damage.lost_state,
        };
        self.state = store.base_state.clone();
        let random = Box::new(SplitMix64(self.seed));
        self.core = Some(Core::new(self.config.clone(), restored, random, self.now).unwrap());
    }

    pub fn propose(&mut self, value: &str, bytes: u64) -> Result<LogIndex, String> {
        let proposed = self
            .core_mut()
            .propose(1, bytes)
            .map_err(|e| e.to_string())?;
        let id = EntryId {
            term: proposed.term,
            index: proposed.first,
        };
        self.staging.insert(id, Data::Value(value.to_owned()));
        Ok(proposed.first)
    }

    pub fn receive(&mut self, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Message(message, payloads) => {
                self.staging.extend(payloads);
                let now = self.now;
                self.core_mut()
                    .step(now, message)
                    .map_err(|e| e.to_string())
            }
            Packet::Bytes {
                last,
                from_byte,
                state,
                configuration,
                ..
            } => {
                let mut whole = self.part_of(last);
                assert_eq!(whole.len() as u64, from_byte, "it is sent what it lacks");
                whole.extend(state);
                self.staged = Some((last, whole, configuration));
                self.core_mut()
                    .snapshot_staged(last)
                    .map_err(|e| e.to_string())
            }
        }
    }

    /// Takes the first half of a snapshot, whose stream then breaks off.
    pub fn receive_half(&mut self, last: EntryId, mut state: Vec<String>) {
        state.truncate(state.len() / 2);
        let mut part = self.part_of(last);
        part.extend(state);
        self.partial = Some((last, part));
        self.core_mut().refuse_snapshot(last);
    }

    /// What has come of exactly this snapshot.
    fn part_of(&self, last: EntryId) -> Vec<String> {
        let part = self.partial.as_ref().filter(|part| part.0 == last);
        part.map(|part| part.1.clone()).unwrap_or_default()
    }

    /// Puts the oldest write on disk; says whether there was one.
    pub fn sync_one(&mut self) -> bool {
        let Some(write) = self.pending.pop_front() else {
            return false;
        };
        if let Some(hard) = write.hard {
            self.disk.hard = hard;
        }
        for (op, data) in &write.ops {
            self.disk.apply(op, data, write.install.as_ref());
        }
        self.disk.commit = self.disk.commit.max(write.commit);
        if let Some(core) = self.core.as_mut() {
            core.persisted(write.seq).unwrap();
        }
        true
    }

    /// Carries out everything that the core wants.
    pub fn turn(&mut self) -> Turn {
        let mut turn = Turn::default();
        let mut out = Output::default();
        loop {
            let Some(core) = self.core.as_mut() else {
                return turn;
            };
            core.drain(&mut out);
            if out.is_empty() {
                return turn;
            }
            self.carry_out(&mut out, &mut turn);
            out.clear();
            if self.syncs {
                while self.sync_one() {}
            }
        }
    }

    fn carry_out(&mut self, out: &mut Output, turn: &mut Turn) {
        let me = self.id();
        let mut say = |text: String| turn.events.push(format!("{me}: {text}"));
        if let Some(role) = out.role {
            say(show_role(&role));
            turn.became_leader |= role.role == Role::Leader || role.role == Role::Repairing;
        }
        if let Some((index, members)) = &out.configuration {
            say(format!(
                "members at {index}: {}",
                super::show_configuration(members)
            ));
        }
        if out.unknown_settled {
            say("the suffix is settled".to_owned());
            self.doubt = None;
        }
        if let Some(index) = out.trim {
            say(format!("should trim to {index}"));
        }
        if let Some(write) = out.write {
            if let Some(hard) = write.hard_state {
                let vote = hard.vote.map_or("none".to_owned(), |v| v.to_string());
                say(format!("write term {} vote {vote}", hard.term));
            }
            for op in &out.log {
                say(format!("write {}", show_op(op)));
            }
            self.submit(write, std::mem::take(&mut out.log));
        }
        assert!(out.log.is_empty(), "operations come with a write");
        if let Some(commit) = out.commit {
            turn.events.push(format!("{me}: commit {commit}"));
            if self.pending.is_empty() {
                self.disk.commit = self.disk.commit.max(commit);
            }
        }
        self.send(out, turn);
        self.apply(out, turn);
        for read in out.reads.drain(..) {
            let result = read
                .result
                .map_or_else(|e| e.to_string(), |index| format!("at {index}"));
            turn.events
                .push(format!("{me}: read {} {result}", read.id.0));
            self.reads.push(read);
        }
    }

    fn submit(&mut self, write: Write, ops: Vec<LogOp>) {
        let mut install = None;
        let mut with_data = Vec::new();
        for op in ops {
            let data = self.payloads(&op);
            if let LogOp::Install { last, .. } = &op {
                let (staged, state, members) = self.staged.take().unwrap();
                assert_eq!(staged, *last);
                self.state = state.clone();
                install = Some((state, members));
            }
            self.view.apply(&op, &data, install.as_ref());
            with_data.push((op, data));
        }
        self.pending.push_back(Pending {
            seq: write.seq,
            hard: write.hard_state,
            commit: write.commit,
            ops: with_data,
            install,
        });
    }

    fn payloads(&mut self, op: &LogOp) -> Vec<Data> {
        match op {
            LogOp::Append {
                payload: Payload::Noop,
                ..
            } => vec![Data::Noop],
            LogOp::Append {
                payload: Payload::Configuration(c),
                ..
            } => {
                vec![Data::Members(c.clone())]
            }
            LogOp::Append {
                term, first, last, ..
            } => (first.get()..=last.get())
                .map(|index| self.staging[&EntryId::new(term.get(), index)].clone())
                .collect(),
            LogOp::Rewrite { first, last } => (first.index.get()..=last.get())
                .map(|index| {
                    let term = self.view.get(LogIndex(index)).unwrap().0;
                    self.staging[&EntryId::new(term.get(), index)].clone()
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn with_payloads(&self, message: Message) -> Packet {
        let pieces = match &message.body {
            Body::Append(append) => vec![(append.prev.index.next(), append.runs.clone())],
            Body::Repair(repair) => {
                let pieces = repair.pieces.iter();
                pieces.map(|p| (p.first, p.runs.clone())).collect()
            }
            _ => return Packet::Message(message, Vec::new()),
        };
        let mut payloads = Vec::new();
        for (first, runs) in pieces {
            let mut index = first;
            for run in runs.iter() {
                for _ in 0..run.count {
                    let (term, data) = self.view.get(index).unwrap().clone();
                    assert_eq!(term, run.term);
                    payloads.push((EntryId { term, index }, data));
                    index = index.next();
                }
            }
        }
        Packet::Message(message, payloads)
    }

    fn send(&mut self, out: &mut Output, turn: &mut Turn) {
        for message in out.messages.drain(..) {
            turn.packets.push(self.with_payloads(message));
        }
        let per_send = self.entries_per_send;
        for send in out.sends.drain(..) {
            let last = send.last_max.min(send.prev.index.plus(per_send));
            let bytes = last.get() - send.prev.index.get();
            let outcome = SendOutcome::Ready { last, bytes };
            if let Some(message) = self.core_mut().complete_send(&send, outcome) {
                turn.packets.push(self.with_payloads(message));
            }
        }
        for repair in out.repairs.drain(..) {
            // The budget is in entries here.
            let mut left = self.entries_per_repair;
            let mut pieces = Vec::new();
            for &(first, last_max) in &repair.ranges {
                if left > 0 {
                    let last = last_max.min(first.index.plus(left - 1));
                    left -= last.get() + 1 - first.index.get();
                    pieces.push((first.index, last));
                }
            }
            if let Some(message) = self.core_mut().complete_repair(&repair, &pieces) {
                turn.packets.push(self.with_payloads(message));
            }
        }
        for op in out.snapshots.drain(..) {
            self.snapshot_op(op, turn);
        }
    }

    fn snapshot_op(&mut self, op: SnapshotOp, turn: &mut Turn) {
        let me = self.id();
        let applied = self.core().status().applied;
        match op {
            SnapshotOp::Offer { to, .. } => {
                let term = self.core().log().term_at(applied).unwrap();
                let last = EntryId {
                    term,
                    index: applied,
                };
                let configuration = self.view.configuration_at(applied);
                self.offered.insert(last, configuration.clone());
                let offer = SnapshotOffer {
                    last,
                    configuration,
                    bytes: 1,
                };
                if let Some(message) = self.core_mut().offer_snapshot(to, offer) {
                    turn.packets.push(Packet::Message(message, Vec::new()));
                }
            }
            SnapshotOp::Stream {
                to,
                last,
                from_byte,
            } => {
                turn.events.push(format!(
                    "{me}: stream snapshot {last} to {to} from byte {from_byte}"
                ));
                // A state machine that has gone on hands out the same prefix of its list.
                let count = last.index.get() as usize;
                let lines = self.state.iter().take(count);
                let state = lines.skip(from_byte as usize).cloned().collect();
                let configuration = self.offered[&last].clone();
                turn.packets.push(Packet::Bytes {
                    from: me,
                    to,
                    last,
                    from_byte,
                    state,
                    configuration,
                });
            }
            SnapshotOp::Abort { to } => {
                turn.events.push(format!("{me}: abort snapshot to {to}"));
            }
            SnapshotOp::Receive { offer, .. } => {
                turn.events
                    .push(format!("{me}: receive snapshot {}", offer.last));
                let have = self.part_of(offer.last).len() as u64;
                self.core_mut().accept_snapshot(offer.last, have).unwrap();
            }
        }
    }

    /// The state has one line for every entry, so that positions can be compared.
    fn apply(&mut self, out: &mut Output, turn: &mut Turn) {
        let Some(apply) = out.apply.take() else {
            return;
        };
        let mut values = Vec::new();
        for index in apply.first.get()..=apply.last.get() {
            assert_eq!(
                self.state.len() as u64 + 1,
                index,
                "entries are applied in order"
            );
            let (_, data) = self
                .disk
                .get(LogIndex(index))
                .expect("what is applied is on disk");
            let line = match data {
                Data::Noop => "-".to_owned(),
                Data::Value(value) => value.clone(),
                Data::Members(members) => super::show_configuration(members),
            };
            values.push(line.clone());
            self.state.push(line);
        }
        let me = self.id();
        turn.events.push(format!(
            "{me}: apply {}..{} {}",
            apply.first,
            apply.last,
            values.join(" ")
        ));
        self.core_mut().applied(apply.last).unwrap();
    }

    /// Forgets the log up to `index`.
    pub fn trim(&mut self, index: LogIndex) -> Result<(), String> {
        if !self.pending.is_empty() {
            return Err("trimming waits for the writes before it".to_owned());
        }
        self.core_mut().trimmed(index).map_err(|e| e.to_string())?;
        let state: Vec<_> = self
            .state
            .iter()
            .take(index.get() as usize)
            .cloned()
            .collect();
        self.view.trim(index, state.clone());
        self.disk.trim(index, state);
        Ok(())
    }
}
