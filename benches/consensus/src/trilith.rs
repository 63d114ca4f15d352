//! Trilith's core with a host.

use std::{cell::RefCell, collections::VecDeque, hint::black_box};

use bytes::Bytes;
use trilith_raft::{
    Body, Config, Configuration, Core, LogOp, Message, Moment, Output, Payload, Restored, Role,
    SendEntries, SendOutcome, SplitMix64,
};
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId};

use crate::{
    meter::{Meter, bytes_of},
    replica::{
        ELECTION_TICKS, HEARTBEAT_TICKS, INFLIGHT_MAX, NODES, Replica, SEND_BYTES_MAX, Setup,
    },
};

/// A message and the payloads that travel beside it.
pub struct Packet {
    message: Message,
    payloads: Vec<Bytes>,
}

thread_local! {
    /// What cores want done; one for all, as its lists keep their memory.
    static OUTPUT: RefCell<Output> = RefCell::default();
}

pub struct Trilith {
    core: Box<Core>,
    /// The payloads of the log, from the index `first` on.
    entries: VecDeque<Bytes>,
    first: u64,
    /// Proposed or received payloads that are not in the log yet, with the index of the first.
    staged: VecDeque<Bytes>,
    staged_first: u64,
    applied: u64,
    keep_entries: usize,
    disk_stopped: bool,
    meter: Meter,
}

impl Trilith {
    fn stage(&mut self, index: u64, payload: Bytes) {
        if self.staged.is_empty() {
            self.staged_first = index;
        }
        self.staged.push_back(payload);
    }

    /// Takes the staged payloads up to `last` into the log.
    fn append(&mut self, first: LogIndex, last: LogIndex, payload: &Payload) {
        match payload {
            Payload::Proposed | Payload::Received => {
                // What the log had already came again.
                let known = first.get() - self.staged_first;
                self.staged.drain(..known as usize);
                let count = last.get() - first.get() + 1;
                self.entries.extend(self.staged.drain(..count as usize));
                self.staged_first = last.get() + 1;
            }
            Payload::Noop => self.entries.push_back(Bytes::new()),
            Payload::Configuration(_) => unreachable!("members stay the same"),
        }
    }

    fn write(&mut self, out: &mut Output) {
        let Some(write) = out.write else { return };
        for op in &out.log {
            match op {
                LogOp::Append {
                    first,
                    last,
                    payload,
                    ..
                } => self.append(*first, *last, payload),
                other => unreachable!("with one leader there is no {other:?}"),
            }
        }
        if !self.disk_stopped {
            let core = &mut self.core;
            let done = self.meter.core(|| core.persisted(write.seq));
            done.expect("it was handed out");
        }
    }

    fn payloads(&self, first: u64, bytes_max: u64) -> impl Iterator<Item = &Bytes> {
        let mut bytes = 0;
        let from = self.entries.range((first - self.first) as usize..);
        from.enumerate()
            .take_while(move |(at, payload)| {
                bytes += payload.len() as u64;
                *at == 0 || bytes <= bytes_max
            })
            .map(|(_, payload)| payload)
    }

    /// Fetches entries, and gives the message that goes with them.
    fn fetch(&mut self, send: &SendEntries) -> Option<Packet> {
        let first = send.first().get();
        let count = (send.last_max.get() - first + 1) as usize;
        let payloads: Vec<Bytes> = self
            .payloads(first, send.bytes_max)
            .take(count)
            .cloned()
            .collect();
        let outcome = SendOutcome::Ready {
            last: LogIndex(first + payloads.len() as u64 - 1),
            bytes: payloads.iter().map(|p| p.len() as u64).sum(),
        };
        let core = &mut self.core;
        let message = self.meter.core(|| core.complete_send(send, outcome))?;
        Some(Packet { message, payloads })
    }

    fn apply(&mut self, out: &Output) {
        let Some(apply) = out.apply else { return };
        let from = (apply.first.get() - self.first) as usize;
        let to = (apply.last.get() - self.first) as usize;
        for payload in self.entries.range(from..=to) {
            black_box(payload.first());
        }
        self.applied = apply.last.get();
        let core = &mut self.core;
        let done = self.meter.core(|| core.applied(apply.last));
        done.expect("it was handed out");
    }

    fn trim(&mut self) {
        let done = (self.applied + 1 - self.first) as usize;
        if done < 2 * self.keep_entries {
            return;
        }
        let gone = done - self.keep_entries;
        self.entries.drain(..gone);
        self.first += gone as u64;
        let (core, upto) = (&mut self.core, LogIndex(self.first - 1));
        let done = self.meter.core(|| core.trimmed(upto));
        done.expect("it is applied");
    }

    fn carry_out(&mut self, out: &mut Output, send: &mut impl FnMut(usize, Packet)) {
        loop {
            let core = &mut self.core;
            self.meter.core(|| core.drain(out));
            if out.is_empty() {
                break;
            }
            self.write(out);
            for message in out.messages.drain(..) {
                let payloads = Vec::new();
                send(position(&message), Packet { message, payloads });
            }
            for sends in &out.sends {
                if let Some(packet) = self.fetch(sends) {
                    send(position(&packet.message), packet);
                }
            }
            self.apply(out);
            self.trim();
            out.clear();
        }
    }
}

impl Replica for Trilith {
    type Message = Packet;

    fn new(setup: Setup) -> Self {
        let quiet_ticks = 2 * ELECTION_TICKS;
        let config = Config {
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            inflight_messages_max: INFLIGHT_MAX,
            send_bytes_max: SEND_BYTES_MAX,
            quiet_after_ticks: setup.quiet.then_some(quiet_ticks),
            ..Config::new(GroupId(setup.group), NodeId(setup.node), Incarnation(1))
        };
        let members = Configuration::of_voters((1..=NODES).map(NodeId));
        let random = Box::new(SplitMix64(setup.node));
        let core = Core::new(config, Restored::first_start(members), random, Moment(0));
        Self {
            core: Box::new(core.expect("the settings are right")),
            entries: VecDeque::new(),
            first: 1,
            staged: VecDeque::new(),
            staged_first: 1,
            applied: 0,
            keep_entries: setup.keep_entries,
            disk_stopped: false,
            meter: Meter::default(),
        }
    }

    fn campaign(&mut self) {
        self.core.campaign();
    }

    fn propose(&mut self, payload: Vec<u8>) {
        let core = &mut self.core;
        let bytes = payload.len() as u64;
        let proposed = self.meter.core(|| core.propose(1, bytes));
        let index = proposed.expect("the leader has room").first.get();
        self.stage(index, Bytes::from(payload));
    }

    fn receive(&mut self, packet: Packet) {
        if let Body::Append(append) = &packet.message.body {
            let first = append.prev.index.next().get();
            for (index, payload) in (first..).zip(packet.payloads) {
                self.stage(index, payload);
            }
        }
        let core = &mut self.core;
        // What is dropped is a vote after the election is won, nothing else.
        let _ = self.meter.core(|| core.step(Moment(0), packet.message));
    }

    fn tick(&mut self) -> bool {
        let core = &mut self.core;
        if core.is_quiet() {
            return false;
        }
        self.meter.core(|| core.tick(Moment(0)));
        true
    }

    fn turn(&mut self, send: &mut impl FnMut(usize, Packet)) {
        OUTPUT.with_borrow_mut(|out| self.carry_out(out, send));
    }

    fn applied(&self) -> u64 {
        self.applied
    }

    fn is_leader(&self) -> bool {
        self.core.status().role == Role::Leader
    }

    fn stop_disk(&mut self) {
        self.disk_stopped = true;
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn into_core_bytes(self) -> u64 {
        bytes_of(self.core)
    }
}

fn position(message: &Message) -> usize {
    message.to.get() as usize - 1
}
