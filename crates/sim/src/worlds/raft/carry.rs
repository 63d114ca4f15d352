//! Carrying out what the core wants, in the order that its output asks for.

use trilith_raft::{
    Apply, Configuration, LogOp, Output, Payload, ReadDone, Role, RoleChange, Write,
};
use trilith_types::{LogIndex, NodeId, Term};

use super::{
    Cx, Timer,
    disk::{DiskOp, Pending},
    entry::{Command, Entry, seen_configuration},
    packet::{Packet, Payloads},
    replica::{Life, Replica},
    settings::Settings,
};
use crate::{
    event::{self, Event, Note},
    history::{Answer, Outcome},
    time::Span,
};

/// The longest that a sync takes on the slowest of disks.
const SYNC_MAX: Span = Span::secs(1);

/// The size that a configuration's payload is taken to have.
const CONFIGURATION_BYTES: u32 = 100;

fn seen_role(role: Role) -> event::Role {
    match role {
        Role::Follower => event::Role::Follower,
        Role::PreCandidate => event::Role::PreCandidate,
        Role::Candidate => event::Role::Candidate,
        Role::Repairing => event::Role::Repairing,
        Role::Leader => event::Role::Leader,
    }
}

impl Replica {
    /// Carries out one output. The events come in the order that checkers need: a leader's commit
    /// before what it appends because of it, a follower's after what it has appended; a lost
    /// office before the log changes, a new one after.
    pub(super) fn carry_out(&mut self, cx: &mut Cx, settings: &Settings, out: &mut Output) {
        let led = self.leads();
        let role = out.role.take();
        if let Some(change) = role.filter(|c| !seen_role(c.role).is_elected()) {
            self.change_role(cx, change);
        }
        if led && self.leads() {
            self.commit(cx, out.commit.take());
        }
        let ops = self.log_ops(cx, &out.log);
        if let Some((index, configuration)) = &out.configuration {
            self.configured(cx, *index, configuration);
        }
        if let Some(change) = role.filter(|c| seen_role(c.role).is_elected()) {
            self.change_role(cx, change);
        }
        self.commit(cx, out.commit.take());
        if let Some(write) = out.write {
            self.submit(cx, settings, write, ops);
        }
        if self.dies_here(cx, settings) {
            return;
        }
        for message in out.messages.drain(..) {
            self.note_vote(cx, &message);
            let to = message.to;
            self.send(cx, to, Packet::Core(message, Payloads::default()));
        }
        if self.dies_here(cx, settings) {
            return;
        }
        self.carry_out_transfers(cx, settings, out);
        self.apply(cx, settings, out.apply.take());
        if let Some(life) = &mut self.life {
            life.trim = life.trim.max(out.trim.take());
        }
        for read in out.reads.drain(..) {
            self.read_done(cx, settings, read);
        }
    }

    fn carry_out_transfers(&mut self, cx: &mut Cx, settings: &Settings, out: &mut Output) {
        for send in out.sends.drain(..) {
            if cx.rng().chance(settings.slow_sends) {
                let (node, wait) = (self.id, Span(cx.rng().waiting(20_000)));
                let life = self.lives;
                cx.after(wait, Timer::Send { node, life, send });
            } else {
                self.fetch_and_send(cx, &send);
            }
        }
        for repair in out.repairs.drain(..) {
            self.fetch_and_repair(cx, &repair);
        }
        for op in out.snapshots.drain(..) {
            self.snapshot_op(cx, op);
        }
    }

    fn change_role(&mut self, cx: &mut Cx, change: RoleChange) {
        let Some(life) = &mut self.life else { return };
        let before = std::mem::replace(&mut life.role, change.role);
        let role = seen_role(change.role);
        if before == change.role && seen_role(before).is_elected() {
            return;
        }
        let term = change.term;
        if role.is_elected()
            && !seen_role(before).is_elected()
            && life.core.configuration().is_voter(self.id)
        {
            // Whoever is elected has counted its own vote.
            cx.record(&Event::Voted {
                node: self.id,
                term,
                candidate: self.id,
            });
        }
        if before == Role::Leader && change.role == Role::Follower && change.leader.is_none() {
            cx.record(&Event::Note {
                node: self.id,
                kind: Note::SteppedDown,
            });
        }
        cx.record(&Event::Role {
            node: self.id,
            term,
            role,
        });
    }

    fn configured(&self, cx: &mut Cx, index: LogIndex, configuration: &Configuration) {
        let configuration = seen_configuration(configuration);
        cx.record(&Event::Configured {
            node: self.id,
            index,
            configuration: &configuration,
        });
    }

    fn commit(&self, cx: &mut Cx, commit: Option<LogIndex>) {
        if let Some(index) = commit {
            cx.record(&Event::Committed {
                node: self.id,
                index,
            });
        }
    }

    fn note_vote(&self, cx: &mut Cx, message: &trilith_raft::Message) {
        use trilith_raft::{Body, message::VoteAnswer};
        if let Body::VoteReply(reply) = &message.body
            && reply.answer != VoteAnswer::Denied
        {
            let (node, candidate) = (self.id, message.to);
            cx.record(&Event::Voted {
                node,
                term: reply.campaign,
                candidate,
            });
        }
    }

    fn log_ops(&mut self, cx: &mut Cx, ops: &[LogOp]) -> Vec<DiskOp> {
        let mut written = Vec::with_capacity(ops.len());
        for op in ops {
            let op = match op {
                LogOp::Truncate { from } => Some(self.truncate(cx, *from)),
                LogOp::Append {
                    term,
                    first,
                    last,
                    payload,
                } => self.append(cx, *term, (*first, *last), payload),
                LogOp::Rewrite { first, last } => self.rewrite(cx, first.index, *last),
                LogOp::Install { last, keep_suffix } => self.install(cx, *last, *keep_suffix),
            };
            written.extend(op);
        }
        written
    }

    fn truncate(&mut self, cx: &mut Cx, from: LogIndex) -> DiskOp {
        cx.record(&Event::Truncated {
            node: self.id,
            from,
        });
        if let Some(life) = &mut self.life {
            if life.role == Role::Repairing {
                cx.record(&Event::Note {
                    node: self.id,
                    kind: Note::Discarded,
                });
            }
            life.log.truncate(from);
        }
        DiskOp::Truncate(from)
    }

    fn append(
        &mut self,
        cx: &mut Cx,
        term: Term,
        (first, last): (LogIndex, LogIndex),
        payload: &Payload,
    ) -> Option<DiskOp> {
        let life = self.life.as_mut()?;
        let mut entries = Vec::new();
        let mut index = first;
        while index <= last {
            let Some(entry) = payload_of(life, term, index, payload) else {
                let node = self.id;
                cx.fail(
                    "host",
                    format!("node {node} never had the payload of {index}@{term}"),
                );
                return None;
            };
            entries.push(entry);
            index = index.next();
        }
        life.log.append(&entries);
        let seen: Vec<_> = entries.iter().map(Entry::seen).collect();
        cx.record(&Event::Appended {
            node: self.id,
            entries: &seen,
        });
        Some(DiskOp::Append(entries))
    }

    fn rewrite(&mut self, cx: &mut Cx, first: LogIndex, last: LogIndex) -> Option<DiskOp> {
        let life = self.life.as_mut()?;
        let mut entries = Vec::new();
        let mut index = first;
        while index <= last {
            let id = life.log.get(index).map(|e| e.id);
            match id.and_then(|id| life.incoming.get(&(id.index, id.term))) {
                Some(entry) => entries.push(entry.clone()),
                None => {
                    let node = self.id;
                    cx.fail(
                        "host",
                        format!("node {node} never had the payload to mend {index}"),
                    );
                    return None;
                }
            }
            index = index.next();
        }
        life.log.rewrite(&entries);
        Some(DiskOp::Rewrite(entries))
    }

    fn submit(&mut self, cx: &mut Cx, settings: &Settings, write: Write, ops: Vec<DiskOp>) {
        let (node, life, seq) = (self.id, self.lives, write.seq);
        self.disk.pending.push_back(Pending {
            seq,
            hard_state: write.hard_state,
            commit: write.commit,
            ops,
        });
        let now = cx.now();
        let mean = if now < self.slow_until {
            settings.sync_mean.times(40)
        } else {
            settings.sync_mean
        };
        let takes = Span(cx.rng().waiting(mean.0)).min(SYNC_MAX);
        let done = self.disk.submit(now, takes);
        cx.after(done.since(now), Timer::Synced { node, life, seq });
        self.plant_at_submit(cx, settings, seq);
    }

    fn apply(&mut self, cx: &mut Cx, settings: &Settings, apply: Option<Apply>) {
        let Some(Apply { first, last }) = apply else {
            return;
        };
        let mut index = first;
        while index <= last {
            let Some(life) = &mut self.life else { return };
            let Some(entry) = life.log.get(index).filter(|e| !e.damaged).cloned() else {
                cx.fail(
                    "host",
                    format!(
                        "node {} is to apply {index}, which it does not have",
                        self.id
                    ),
                );
                return;
            };
            life.machine.apply(&entry);
            life.applied = index;
            if let Command::Configuration(c) = &entry.command {
                life.applied_configuration = c.as_ref().clone();
            }
            let state = life.machine.digest();
            let seen = entry.seen();
            cx.record(&Event::Applied {
                node: self.id,
                entry: seen,
                state,
            });
            self.answer_writer(cx, &entry);
            self.answer_readers(cx, index);
            index = index.next();
        }
        let Some(life) = &mut self.life else { return };
        if let Err(error) = life.core.applied(last) {
            cx.fail("host", format!("node {}: {error}", self.id));
        }
        // A process that dies here has applied what it has not yet told anybody.
        self.dies_here(cx, settings);
    }

    fn answer_writer(&mut self, cx: &mut Cx, entry: &Entry) {
        let Some(life) = &mut self.life else { return };
        let Some((term, op)) = life.writers.remove(&entry.id.index) else {
            return;
        };
        if term == entry.id.term {
            cx.answer(op, &Outcome::Done(Answer::Nothing), Some(entry.seen()));
        } else {
            // Another entry was committed in its place: it never will be.
            cx.answer(op, &Outcome::Refused, None);
        }
    }

    pub(super) fn answer_readers(&mut self, cx: &mut Cx, applied: LogIndex) {
        let Some(life) = &mut self.life else { return };
        let later = life.reads_waiting.split_off(&applied.next());
        for (op, object) in std::mem::replace(&mut life.reads_waiting, later)
            .into_values()
            .flatten()
        {
            cx.answer(op, &Outcome::Done(life.machine.read(object)), None);
        }
    }

    fn read_done(&mut self, cx: &mut Cx, settings: &Settings, read: ReadDone) {
        let early = self.reads_early(settings);
        let Some(life) = &mut self.life else { return };
        let Some((op, object)) = life.reads.remove(&read.id.0) else {
            return;
        };
        let by_lease =
            settings.leases() && life.asking == Some(read.id.0) && life.role == Role::Leader;
        match read.result {
            Err(_) => cx.answer(op, &Outcome::Refused, None),
            Ok(index) => {
                if by_lease {
                    let term = life.core.status().term;
                    cx.record(&Event::LeaseRead {
                        node: self.id,
                        term,
                    });
                }
                if index <= life.applied || early {
                    cx.answer(op, &Outcome::Done(life.machine.read(object)), None);
                } else {
                    life.reads_waiting
                        .entry(index)
                        .or_default()
                        .push((op, object));
                }
            }
        }
    }

    /// Sends a core's message that goes with payloads.
    pub(super) fn send_with(
        &self,
        cx: &mut Cx,
        to: NodeId,
        message: trilith_raft::Message,
        entries: Vec<Entry>,
    ) {
        self.send(cx, to, Packet::Core(message, Payloads(entries.into())));
    }
}

fn payload_of(life: &Life, term: Term, index: LogIndex, payload: &Payload) -> Option<Entry> {
    let id = trilith_raft::EntryId { term, index };
    let entry = |command, bytes| Entry {
        id,
        command,
        bytes,
        damaged: false,
    };
    match payload {
        Payload::Proposed | Payload::Received => life.incoming.get(&(index, term)).cloned(),
        Payload::Noop => Some(entry(Command::Noop, 0)),
        Payload::Configuration(c) => Some(entry(
            Command::Configuration(Box::new(c.clone())),
            CONFIGURATION_BYTES,
        )),
    }
}
