//! Looking at the nodes: what they say, what their logs show, and whether they have settled.

use std::sync::Arc;

use trilith_host::Alarm;
use trilith_raft::{Configuration, Role, RoleChange};
use trilith_storage::ReadError;
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, Term};

use super::{
    Cx, FIRST, NodeWorld, Timer, group_of,
    machine::{Applied, Said},
    packet::Packet,
    settings::{ELECTION_TIMEOUT, GROUPS},
};
use crate::{
    event::{self, Down, EntryId, Event, Note},
    history::{Object, OpId, Outcome},
};

/// Most bytes that a consumer reads at a time.
const CONSUMER_BYTES: u64 = 64 << 10;

fn seen_role(role: Role) -> event::Role {
    match role {
        Role::Follower => event::Role::Follower,
        Role::PreCandidate => event::Role::PreCandidate,
        Role::Candidate => event::Role::Candidate,
        Role::Repairing => event::Role::Repairing,
        Role::Leader => event::Role::Leader,
    }
}

fn seen_configuration(configuration: &Configuration) -> event::Configuration {
    event::Configuration {
        voters: configuration.voters.incoming().to_vec(),
        outgoing: configuration.voters.outgoing().to_vec(),
        learners: configuration.learners.clone(),
    }
}

impl NodeWorld {
    /// Records that a node has started, with what its machine came back to.
    fn tell_start(&mut self, cx: &mut Cx, id: NodeId, said: &[Said]) {
        let Some(node) = self.node_mut(id) else {
            return;
        };
        let Some(life) = &mut node.life else { return };
        if std::mem::replace(&mut life.is_told, true) {
            return;
        }
        let restored = said.iter().find_map(|said| match said {
            Said::Restored(FIRST, applied) => Some(applied.count),
            _ => None,
        });
        cx.record(&Event::Started {
            node: id,
            incarnation: Incarnation(node.lives),
            base: (LogIndex::ZERO, Term::ZERO),
            applied: LogIndex(restored.unwrap_or(0)),
            log: &[],
            damaged: &[],
            unknown_suffix: false,
            lost_vote: false,
            vote: (Term::ZERO, None),
        });
        let members = Configuration::of_voters(self.members.iter().copied());
        let configuration = seen_configuration(&members);
        cx.record(&Event::Configured {
            node: id,
            index: LogIndex::ZERO,
            configuration: &configuration,
        });
    }

    /// Carries away what a node has said: letters to the others, answers to clients, and what
    /// checkers want to know.
    pub(super) fn carry_away(&mut self, cx: &mut Cx, id: NodeId) {
        let Some(life) = self.node(id).and_then(|node| node.life.as_ref()) else {
            return;
        };
        let said = std::mem::take(&mut *life.ears.lock());
        let letters = std::mem::take(&mut *life.letters.lock());
        self.tell_start(cx, id, &said);
        for said in said {
            self.hear(cx, id, said);
        }
        for (to, message) in letters {
            match Packet::of(&message) {
                Some(packet) => cx.send(id, to, packet),
                None => cx.fail("peer", format!("node {id} sends what no frame takes")),
            }
        }
    }

    fn hear(&mut self, cx: &mut Cx, id: NodeId, said: Said) {
        match said {
            Said::Role(group, role, members) => self.role_changed(cx, id, group, role, &members),
            Said::Applied(group, applied) => self.applied(cx, id, group, applied),
            Said::Restored(group, applied) => self.restored(cx, id, group, applied),
            Said::Answer(op, outcome) if self.probing.is_some() => self.probed(cx, op, &outcome),
            Said::Answer(op, outcome) => cx.answer(op, &outcome, None),
            Said::MayRead(op, object) => self.read_here(id, op, object),
            Said::Opened(group, Ok(())) => {
                if let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) {
                    life.applied.entry(group).or_insert(0);
                }
            }
            Said::Opened(group, Err(error)) => self.not_opened(cx, id, group, &error),
            Said::Fatal(reason) => self.fatal(cx, id, &reason),
            Said::Alarm(group, alarm) => self.alarm(cx, id, group, &alarm),
        }
    }

    fn not_opened(&mut self, cx: &mut Cx, id: NodeId, group: GroupId, error: &str) {
        let on = self.node(id).is_some_and(|node| node.disk.is_on());
        if on && !super::is_faulty(error) {
            cx.fail("start", format!("group {group} of node {id}: {error}"));
        } else {
            let why = if on { Down::DiskFailed } else { Down::PowerCut };
            self.stop(cx, id, why);
        }
    }

    fn fatal(&mut self, cx: &mut Cx, id: NodeId, _reason: &str) {
        let on = self.node(id).is_some_and(|node| node.disk.is_on());
        let why = if on { Down::DiskFailed } else { Down::PowerCut };
        self.stop(cx, id, why);
    }

    /// A replica has stopped. When its disk refused something, an operator starts the node again.
    fn stopped(&mut self, cx: &mut Cx, id: NodeId, group: GroupId, reason: &str) {
        let on = self.node(id).is_some_and(|node| node.disk.is_on());
        if on && super::is_faulty(reason) {
            self.stop(cx, id, Down::DiskFailed);
        } else if on {
            let what = format!("group {group} of node {id} stopped: {reason}");
            cx.fail("host", what);
        }
    }

    fn alarm(&mut self, cx: &mut Cx, id: NodeId, group: GroupId, alarm: &Alarm) {
        let kind = match alarm {
            Alarm::Stopped { reason } => {
                self.stopped(cx, id, group, reason);
                return;
            }
            Alarm::DiskFull => Note::Backpressure,
            Alarm::Damaged { .. } => Note::MessageRefused,
            Alarm::DiskHasRoom | Alarm::Repaired { .. } => return,
        };
        cx.record(&Event::Note { node: id, kind });
    }

    fn role_changed(
        &mut self,
        cx: &mut Cx,
        id: NodeId,
        group: GroupId,
        role: RoleChange,
        _: &Configuration,
    ) {
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let before = life.roles.insert(group, (role.role, role.term));
        if group != FIRST || before == Some((role.role, role.term)) {
            return;
        }
        cx.record(&Event::Role {
            node: id,
            term: role.term,
            role: seen_role(role.role),
        });
    }

    fn applied(&mut self, cx: &mut Cx, id: NodeId, group: GroupId, applied: Applied) {
        if self.probing.is_none()
            && let Err(what) = self.ledger.applied(id, group, applied)
        {
            cx.fail("state-machine safety", what);
        }
        if let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) {
            life.applied.insert(group, applied.count);
        }
        if group == FIRST {
            cx.record(&Event::Applied {
                node: id,
                entry: EntryId {
                    index: LogIndex(applied.count),
                    term: applied.term,
                    digest: applied.entry,
                },
                state: applied.state,
            });
        }
    }

    fn restored(&mut self, cx: &mut Cx, id: NodeId, group: GroupId, applied: Applied) {
        if self.probing.is_none()
            && let Err(what) = self.ledger.restored(id, group, applied)
        {
            cx.fail("state-machine safety", what);
        }
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let is_start = !life.applied.contains_key(&group);
        life.applied.insert(group, applied.count);
        if group == FIRST && !is_start {
            cx.record(&Event::Installed {
                node: id,
                last: (LogIndex(applied.count), applied.term),
                state: applied.state,
                kept_log: false,
            });
        }
    }

    /// A confirmed read looks at the state.
    fn read_here(&self, id: NodeId, op: OpId, object: Object) {
        let Some(life) = self.node(id).and_then(|node| node.life.as_ref()) else {
            return;
        };
        let ears = Arc::clone(&life.ears);
        life.handle.instruct(group_of(object), move |machine, _| {
            let outcome = Outcome::Done(machine.read(object));
            ears.lock().push(Said::Answer(op, outcome));
        });
    }

    /// Nodes look at their connections; consumers look at the logs.
    pub(super) fn look_around(&mut self, cx: &mut Cx) {
        cx.after(ELECTION_TIMEOUT, Timer::Detector);
        let ids = self.members.clone();
        for node in ids.iter().copied() {
            for peer in ids.iter().copied().filter(|peer| *peer != node) {
                let reachable = self.node(peer).is_some_and(super::Node::is_awake)
                    && !cx.is_cut(node, peer)
                    && !cx.is_cut(peer, node);
                if let Some(node) = self.node_mut(node) {
                    node.tell_suspicion(peer, !reachable);
                }
            }
        }
        let consumes = self.probing.is_none();
        for node in ids {
            for group in (1..=GROUPS).map(GroupId).filter(|_| consumes) {
                self.consume(cx, node, group);
            }
            self.drive(cx, node);
        }
        self.note_marks();
    }

    fn note_marks(&mut self) {
        for group in (1..=GROUPS).map(GroupId) {
            let counts = self.nodes.iter().filter_map(|node| {
                let life = node.life.as_ref()?;
                life.applied.get(&group).copied()
            });
            self.marks.insert(group, counts.max().unwrap_or(0));
        }
    }

    /// Whether every group has a leader, and every node what was applied at the last look.
    pub(super) fn has_settled(&self) -> bool {
        (1..=GROUPS).map(GroupId).all(|group| {
            let leads = |node: &super::Node| node.role(group) == Some(Role::Leader);
            let mark = self.marks.get(&group).copied().unwrap_or(0);
            let has = |node: &super::Node| {
                let life = node.life.as_ref();
                life.and_then(|life| life.applied.get(&group))
                    .is_some_and(|count| *count >= mark)
            };
            self.nodes.iter().any(leads) && self.nodes.iter().all(has)
        })
    }

    /// A consumer goes on in a node's log: what is committed there is what is committed
    /// everywhere, without a hole.
    fn consume(&mut self, cx: &mut Cx, id: NodeId, group: GroupId) {
        let Some(node) = self.node(id).filter(|node| node.disk.is_on()) else {
            return;
        };
        let Some(life) = node.life.as_ref().filter(|life| !life.paused) else {
            return;
        };
        let Some(shared) = life.handle.group(group) else {
            return;
        };
        let upto = shared.applied().min(shared.commit());
        let key = (id, group);
        let from = self.read_upto.get(&key).copied().unwrap_or_default().next();
        if from > upto {
            return;
        }
        let (next, entries) = match shared.reader().entries(from, upto, CONSUMER_BYTES) {
            Ok(entries) => (from, entries),
            Err(ReadError::EntryGone { earliest, .. }) => (earliest, Vec::new()),
            // Damaged entries are mended in time; a replaced log is asked again.
            Err(_) => return,
        };
        let mut expected = next;
        for entry in &entries {
            if entry.meta.index != expected {
                let what = format!(
                    "node {id} shows {} of group {group} where {expected} belongs",
                    entry.meta.index
                );
                cx.fail("log matching", what);
            }
            if let Err(what) = self.ledger.holds(id, group, entry) {
                cx.fail("log matching", what);
            }
            expected = expected.next();
        }
        self.read_upto.insert(key, expected.prev());
    }
}
