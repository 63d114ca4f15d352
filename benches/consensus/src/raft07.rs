//! The crate `raft` 0.7 with a host. It checks its quorum and asks for pre-votes, as Trilith's
//! core always does, and it puts the proposals of one turn into one message
//! (`batch_append`), which serves it better here than its default.

use std::{collections::VecDeque, hint::black_box};

use raft::{
    Config, GetEntriesContext, RaftState, RawNode, StateRole, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Message, Snapshot},
};
use slog::{Discard, Logger, o};

use crate::{
    meter::{Meter, bytes_of},
    replica::{
        ELECTION_TICKS, HEARTBEAT_TICKS, INFLIGHT_MAX, NODES, Replica, SEND_BYTES_MAX, Setup,
    },
};

/// The log of the host. The crate's own `MemStorage` takes a lock with every call; this does not.
#[derive(Default)]
struct Entries {
    hard_state: HardState,
    entries: VecDeque<Entry>,
    /// The index before the first entry, and its term.
    base: (u64, u64),
}

impl Entries {
    fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        let kept = first.index - self.base.0 - 1;
        self.entries.truncate(kept as usize);
        self.entries.extend(entries);
    }

    fn trim(&mut self, applied: u64, keep: usize) {
        let done = (applied - self.base.0) as usize;
        if done < 2 * keep {
            return;
        }
        if let Some(last) = self.entries.drain(..done - keep).next_back() {
            self.base = (last.index, last.term);
        }
    }

    fn end(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }
}

impl Storage for Entries {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let members: Vec<u64> = (1..=NODES).collect();
        Ok(RaftState::new(
            self.hard_state.clone(),
            ConfState::from((members, vec![])),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        let (from, to) = (low - self.base.0 - 1, high - self.base.0 - 1);
        let max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let wanted = self.entries.range(from as usize..to as usize).enumerate();
        Ok(wanted
            .take_while(|(at, entry)| {
                bytes += entry.data.len() as u64;
                *at == 0 || bytes <= max
            })
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if index < self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        let at = (index - self.base.0 - 1) as usize;
        let entry = self.entries.get(at).ok_or(StorageError::Unavailable)?;
        Ok(entry.term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.end())
    }

    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}

pub struct Raft07 {
    node: Box<RawNode<Entries>>,
    applied: u64,
    keep_entries: usize,
    disk_stopped: bool,
    meter: Meter,
}

impl Raft07 {
    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            black_box(entry.data.first());
        }
        if let Some(last) = entries.last() {
            self.applied = last.index;
        }
    }

    fn turn_once(&mut self, send: &mut impl FnMut(usize, Message)) {
        let node = &mut self.node;
        let mut ready = self.meter.core(|| node.ready());
        for message in ready.take_messages() {
            send(position(&message), message);
        }
        let hard_state = ready.hs().cloned();
        let store = self.node.mut_store();
        store.append(ready.take_entries());
        if let Some(hard_state) = hard_state {
            store.hard_state = hard_state;
        }
        let committed = ready.take_committed_entries();
        self.apply(committed);
        let node = &mut self.node;
        if self.disk_stopped {
            self.meter.core(|| node.advance_append_async(ready));
            return;
        }
        for message in ready.take_persisted_messages() {
            send(position(&message), message);
        }
        let mut light = self.meter.core(|| node.advance(ready));
        if let Some(commit) = light.commit_index() {
            node.mut_store().hard_state.commit = commit;
        }
        for message in light.take_messages() {
            send(position(&message), message);
        }
        let committed = light.take_committed_entries();
        self.apply(committed);
        let node = &mut self.node;
        self.meter.core(|| node.advance_apply());
        node.mut_store().trim(self.applied, self.keep_entries);
    }
}

impl Replica for Raft07 {
    type Message = Message;

    fn new(setup: Setup) -> Self {
        let config = Config {
            id: setup.node,
            election_tick: ELECTION_TICKS as usize,
            heartbeat_tick: HEARTBEAT_TICKS as usize,
            max_size_per_msg: SEND_BYTES_MAX,
            max_inflight_msgs: INFLIGHT_MAX as usize,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            ..Config::default()
        };
        let logger = Logger::root(Discard, o!());
        let node = RawNode::new(&config, Entries::default(), &logger);
        Self {
            node: Box::new(node.expect("the settings are right")),
            applied: 0,
            keep_entries: setup.keep_entries,
            disk_stopped: false,
            meter: Meter::default(),
        }
    }

    fn campaign(&mut self) {
        self.node.campaign().expect("it may");
    }

    fn propose(&mut self, payload: Vec<u8>) {
        let node = &mut self.node;
        let done = self.meter.core(|| node.propose(Vec::new(), payload));
        done.expect("the leader has room");
    }

    fn receive(&mut self, message: Message) {
        let node = &mut self.node;
        let taken = self.meter.core(|| node.step(message));
        taken.expect("the network brings no nonsense");
    }

    fn tick(&mut self) -> bool {
        let node = &mut self.node;
        self.meter.core(|| node.tick())
    }

    fn turn(&mut self, send: &mut impl FnMut(usize, Message)) {
        while self.node.has_ready() {
            self.turn_once(send);
        }
    }

    fn applied(&self) -> u64 {
        self.applied
    }

    fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn stop_disk(&mut self) {
        self.disk_stopped = true;
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn into_core_bytes(mut self) -> u64 {
        *self.node.mut_store() = Entries::default();
        bytes_of(self.node) - size_of::<Entries>() as u64
    }
}

fn position(message: &Message) -> usize {
    message.to as usize - 1
}
