//! Inputs from outside: packets, finished writes, and clients.

use trilith_raft::{ReadId, Role, WriteSeq};
use trilith_types::{Incarnation, NodeId};

use super::{
    Cx, Timer,
    entry::{Command, Entry},
    packet::{Packet, Payloads},
    replica::{Input, Replica},
    settings::Settings,
};
use crate::{
    event::{Down, Event, Note},
    history::{Action, Object, OpId, Outcome},
};

impl Replica {
    pub(super) fn packet(
        &mut self,
        cx: &mut Cx,
        settings: &Settings,
        id: u64,
        from: NodeId,
        packet: Packet,
    ) {
        cx.record(&Event::Received {
            id,
            from,
            to: self.id,
        });
        let incarnation = match &packet {
            Packet::Core(message, _) => message.incarnation,
            Packet::Chunk(chunk) => chunk.incarnation,
            Packet::ChunkAck { incarnation, .. } => *incarnation,
            Packet::Refused { known } => {
                self.meet_own_future(cx, settings, *known);
                return;
            }
        };
        if !self.admits(cx, settings, from, incarnation) {
            return;
        }
        match packet {
            Packet::Core(message, payloads) => self.core_message(cx, settings, message, &payloads),
            Packet::Chunk(chunk) => self.chunk(cx, from, &chunk),
            Packet::ChunkAck { last, have, .. } => self.chunk_ack(cx, from, last, have),
            Packet::Refused { .. } => {}
        }
    }

    /// Whether the sender's number has not been passed. A number that is new is synced before
    /// what came with it is looked at: starts are rare.
    fn admits(
        &mut self,
        cx: &mut Cx,
        settings: &Settings,
        from: NodeId,
        found: Incarnation,
    ) -> bool {
        let known = self.disk.peers.get(&from).copied().unwrap_or_default();
        if found < known {
            if !self.ignores_numbers(settings) {
                cx.record(&Event::Note {
                    node: self.id,
                    kind: Note::MessageRefused,
                });
                self.send(cx, from, Packet::Refused { known });
                return false;
            }
            return true;
        }
        self.disk.peers.insert(from, found);
        true
    }

    /// Somebody knows a later life of this node: its directory is an old one, or was emptied.
    fn meet_own_future(&mut self, cx: &mut Cx, settings: &Settings, known: Incarnation) {
        if known > self.disk.incarnation && !self.ignores_numbers(settings) {
            self.stop(cx, settings, Down::Refused);
        }
    }

    fn core_message(
        &mut self,
        cx: &mut Cx,
        settings: &Settings,
        message: trilith_raft::Message,
        payloads: &Payloads,
    ) {
        if message.to_incarnation > self.disk.incarnation {
            self.meet_own_future(cx, settings, message.to_incarnation);
        }
        let now = self.now(cx);
        let Some(life) = &mut self.life else { return };
        for entry in payloads.0.iter() {
            life.incoming
                .insert((entry.id.index, entry.id.term), entry.clone());
        }
        if life.core.step(now, message).is_err() {
            cx.record(&Event::Note {
                node: self.id,
                kind: Note::MessageRefused,
            });
        }
    }

    /// The device is done with the writes up to `seq`.
    pub(super) fn synced(&mut self, cx: &mut Cx, settings: &Settings, seq: WriteSeq) {
        if std::mem::take(&mut self.sync_fails) && !self.retries_syncs(settings) {
            self.stop(cx, settings, Down::DiskFailed);
            return;
        }
        let synced = self.disk.sync(seq);
        if let Some(hard) = synced.hard_state {
            cx.record(&Event::VoteSaved {
                node: self.id,
                term: hard.term,
                vote: hard.vote,
            });
        }
        // A truncation that is not on disk yet may have overtaken the repair.
        let still = |e: &&Entry| {
            self.life
                .as_ref()
                .is_some_and(|l| l.log.term_at(e.id.index) == Some(e.id.term))
        };
        for entry in synced.repaired.iter().filter(still).map(Entry::seen) {
            cx.record(&Event::Repaired {
                node: self.id,
                entry,
            });
        }
        self.tell_durable(cx);
        if self.dies_here(cx, settings) {
            return;
        }
        self.input(cx, settings, Input::Persisted(seq));
    }

    /// Tells how far what the process has in memory is durable: where a truncation is not on disk
    /// yet, the disk holds other entries.
    fn tell_durable(&self, cx: &mut Cx) {
        let Some(life) = &self.life else { return };
        let mut upto = self.disk.log.last().min(life.log.last());
        while upto > life.log.base().index && self.disk.log.term_at(upto) != life.log.term_at(upto)
        {
            upto = upto.prev();
        }
        cx.record(&Event::Durable {
            node: self.id,
            upto,
        });
    }

    pub(super) fn persisted(&mut self, cx: &mut Cx, seq: WriteSeq) {
        let Some(life) = &mut self.life else { return };
        if let Err(error) = life.core.persisted(seq) {
            cx.fail("host", format!("node {}: {error}", self.id));
        }
        if !life.core.status().unknown_suffix {
            self.disk.unknown = None;
        }
    }

    pub(super) fn client(
        &mut self,
        cx: &mut Cx,
        settings: &Settings,
        op: OpId,
        object: Object,
        action: Action,
    ) {
        match action {
            Action::Put(value) => self.propose(cx, settings, op, Command::Put { object, value }),
            Action::Read => self.read(cx, op, object),
        }
    }

    fn propose(&mut self, cx: &mut Cx, settings: &Settings, op: OpId, command: Command) {
        let bytes = cx.rng().between(1, 3_000) as u32;
        let Some(life) = &mut self.life else { return };
        match life.core.propose(1, u64::from(bytes)) {
            Ok(proposed) => {
                let id = trilith_raft::EntryId {
                    term: proposed.term,
                    index: proposed.first,
                };
                let entry = Entry {
                    id,
                    command: command.clone(),
                    bytes,
                    damaged: false,
                };
                life.incoming.insert((id.index, id.term), entry);
                life.writers.insert(id.index, (id.term, op));
                self.plant_after_propose(cx, settings, op, command);
            }
            Err(error) => {
                if matches!(error, trilith_raft::ProposeError::TooMuchUncommitted { .. }) {
                    cx.record(&Event::Note {
                        node: self.id,
                        kind: Note::Backpressure,
                    });
                }
                cx.answer(op, &Outcome::Refused, None);
            }
        }
    }

    fn read(&mut self, cx: &mut Cx, op: OpId, object: Object) {
        let now = self.now(cx);
        let Some(life) = &mut self.life else { return };
        let name = life.next_read;
        life.next_read += 1;
        match life.core.read(now, ReadId(name)) {
            Ok(()) => {
                life.reads.insert(name, (op, object));
                life.asking = Some(name);
                if life.role != Role::Leader {
                    cx.record(&Event::Note {
                        node: self.id,
                        kind: Note::FollowerRead,
                    });
                }
            }
            Err(_) => cx.answer(op, &Outcome::Refused, None),
        }
    }

    /// A timer of this life fires.
    pub(super) fn own_timer(&mut self, cx: &mut Cx, settings: &Settings, timer: Timer) {
        match timer {
            Timer::Tick { .. } => self.tick_timer(cx, settings),
            Timer::Synced { seq, .. } => self.synced(cx, settings, seq),
            Timer::Send { send, .. } => self.input(cx, settings, Input::Send(send)),
            Timer::Staged { snapshot, .. } => self.input(cx, settings, Input::Staged(snapshot.0)),
            Timer::Resume { .. } => self.resume(cx, settings),
            Timer::Restart { .. } | Timer::Comeback | Timer::Detector | Timer::Operator => {}
        }
    }
}
