//! Entries and snapshots on their way to peers.

use std::rc::Rc;

use trilith_raft::{
    EntryId, HostError, SendEntries, SendOutcome, SendRepair, SnapshotOp, message::SnapshotOffer,
};
use trilith_types::{LogIndex, NodeId};

use super::{
    Cx, StagedSnapshot, Timer,
    entry::{Entry, Image},
    machine::Snapshot,
    packet::{Chunk, Packet},
    replica::{Life, Replica},
};
use crate::{
    event::{Event, Note},
    time::Span,
};

/// Pieces that a snapshot is sent in.
const CHUNKS: u64 = 4;

/// Intact entries from `first` on: at least one, then as many as fit.
fn fetch(log: &Image, first: LogIndex, last_max: LogIndex, bytes_max: u64) -> (Vec<Entry>, u64) {
    let mut entries = Vec::new();
    let (mut index, mut bytes) = (first, 0);
    while index <= last_max {
        let Some(entry) = log.get(index).filter(|e| !e.damaged) else {
            break;
        };
        let size = u64::from(entry.bytes);
        if !entries.is_empty() && bytes + size > bytes_max {
            break;
        }
        bytes += size;
        entries.push(entry.clone());
        index = index.next();
    }
    (entries, bytes)
}

fn outcome(log: &Image, first: LogIndex, entries: &[Entry], bytes: u64) -> SendOutcome {
    match entries.last() {
        Some(entry) => SendOutcome::Ready {
            last: entry.id.index,
            bytes,
        },
        None if first <= log.base().index => SendOutcome::Compacted,
        None => SendOutcome::Failed,
    }
}

impl Replica {
    pub(super) fn fetch_and_send(&mut self, cx: &mut Cx, send: &SendEntries) {
        let Some(life) = &mut self.life else { return };
        // The entries are those of the send only while its term lasts; the core says whether it
        // does.
        let (entries, bytes) = fetch(&life.log, send.first(), send.last_max, send.bytes_max);
        let outcome = outcome(&life.log, send.first(), &entries, bytes);
        match life.core.complete_send(send, outcome) {
            Some(message) => self.send_with(cx, send.to, message, entries),
            None if matches!(outcome, SendOutcome::Ready { .. }) => {
                cx.record(&Event::Note {
                    node: self.id,
                    kind: Note::StaleSend,
                });
            }
            None => {}
        }
    }

    pub(super) fn fetch_and_repair(&mut self, cx: &mut Cx, send: &SendRepair) {
        let Some(life) = &mut self.life else { return };
        let (mut entries, mut pieces) = (Vec::new(), Vec::new());
        let mut left = send.bytes_max;
        for &(first, last_max) in &send.ranges {
            if left == 0 {
                break;
            }
            let (some, bytes) = fetch(&life.log, first.index, last_max, left);
            if let Some(last) = some.last() {
                pieces.push((first.index, last.id.index));
            }
            left = left.saturating_sub(bytes);
            entries.extend(some);
        }
        if let Some(message) = life.core.complete_repair(send, &pieces) {
            self.send_with(cx, send.to, message, entries);
        }
    }

    pub(super) fn snapshot_op(&mut self, cx: &mut Cx, op: SnapshotOp) {
        match op {
            SnapshotOp::Offer { to, at_least, .. } => self.offer(cx, to, at_least),
            SnapshotOp::Stream {
                to,
                last,
                from_byte,
            } => self.stream(cx, to, last, from_byte),
            SnapshotOp::Abort { to } => {
                if let Some(life) = &mut self.life {
                    life.offers.remove(&to);
                    cx.record(&Event::Note {
                        node: self.id,
                        kind: Note::SnapshotAborted,
                    });
                }
            }
            SnapshotOp::Receive { offer, .. } => self.receive_snapshot(cx, &offer),
        }
    }

    fn offer(&mut self, cx: &mut Cx, to: NodeId, at_least: LogIndex) {
        let stored = Rc::clone(&self.disk.snapshot);
        let lost = self.disk.state_lost;
        let Some(life) = &mut self.life else { return };
        if lost {
            life.core.snapshot_failed(to);
            return;
        }
        // The one on disk, or one of the present state: both are in use.
        let usable = stored.last.index >= at_least.max(life.log.base().index);
        let snapshot = match (usable && cx.rng().below(2) == 0, fresh(life)) {
            (false, Some(fresh)) => Rc::new(fresh),
            _ => stored,
        };
        if snapshot.last.index == LogIndex::ZERO {
            life.core.snapshot_failed(to);
            return;
        }
        let offer = SnapshotOffer {
            last: snapshot.last,
            configuration: snapshot.configuration.clone(),
            bytes: snapshot.machine.bytes(),
        };
        life.offers.insert(to, snapshot);
        if let Some(message) = life.core.offer_snapshot(to, offer) {
            self.send_with(cx, to, message, Vec::new());
        }
    }

    fn stream(&mut self, cx: &mut Cx, to: NodeId, last: EntryId, from_byte: u64) {
        let incarnation = self.disk.incarnation;
        let Some(life) = &self.life else { return };
        let Some(snapshot) = life.offers.get(&to).filter(|s| s.last == last) else {
            return;
        };
        let total = snapshot.machine.bytes();
        let to_byte = total.min(from_byte + total.div_ceil(CHUNKS));
        let snapshot = Rc::clone(snapshot);
        self.send(
            cx,
            to,
            Packet::Chunk(Chunk {
                incarnation,
                snapshot,
                from_byte,
                to_byte,
                total,
            }),
        );
    }

    fn receive_snapshot(&mut self, cx: &mut Cx, offer: &SnapshotOffer) {
        let Some(life) = &mut self.life else { return };
        let have = match life.receiving {
            Some((last, have)) if last == offer.last => have,
            _ => 0,
        };
        // What is there already but for its last piece, so that a resumed stream always has
        // something left to bring the answer that it is whole.
        let have = have.min(offer.bytes.saturating_sub(1));
        life.receiving = Some((offer.last, have));
        if let Err(error) = life.core.accept_snapshot(offer.last, have) {
            cx.fail("host", format!("node {}: {error}", self.id));
        }
    }

    pub(super) fn chunk(&mut self, cx: &mut Cx, from: NodeId, chunk: &Chunk) {
        let incarnation = self.disk.incarnation;
        let Some(life) = &mut self.life else { return };
        let Some((last, have)) = &mut life.receiving else {
            return;
        };
        if *last != chunk.snapshot.last || chunk.from_byte > *have {
            return;
        }
        *have = (*have).max(chunk.to_byte);
        let (last, have) = (*last, *have);
        life.core.snapshot_arriving(last);
        self.send(
            cx,
            from,
            Packet::ChunkAck {
                incarnation,
                last,
                have,
            },
        );
        if have >= chunk.total {
            let (node, life) = (self.id, self.lives);
            let wait = Span(cx.rng().waiting(5_000));
            let snapshot = StagedSnapshot(Rc::clone(&chunk.snapshot));
            cx.after(
                wait,
                Timer::Staged {
                    node,
                    life,
                    snapshot,
                },
            );
        }
    }

    pub(super) fn chunk_ack(&mut self, cx: &mut Cx, from: NodeId, last: EntryId, have: u64) {
        let Some(life) = &mut self.life else { return };
        let Some(snapshot) = life.offers.get(&from).filter(|s| s.last == last) else {
            return;
        };
        let total = snapshot.machine.bytes();
        life.core.snapshot_progress(from);
        if have < total {
            self.stream(cx, from, last, have);
        }
    }

    pub(super) fn staged(&mut self, snapshot: Rc<Snapshot>) {
        let Some(life) = &mut self.life else { return };
        if life
            .receiving
            .is_some_and(|(last, _)| last == snapshot.last)
        {
            life.receiving = None;
        }
        let last = snapshot.last;
        life.staged = Some(snapshot);
        if life.core.snapshot_staged(last).is_err() {
            // Not wanted any more.
            life.staged = None;
        }
    }

    pub(super) fn install(
        &mut self,
        cx: &mut Cx,
        last: EntryId,
        keep_suffix: bool,
    ) -> Option<super::disk::DiskOp> {
        let life = self.life.as_mut()?;
        let Some(snapshot) = life.staged.take().filter(|s| s.last == last) else {
            cx.fail(
                "host",
                format!("node {} is to install {last}, which is not staged", self.id),
            );
            return None;
        };
        life.machine = snapshot.machine.as_ref().clone();
        life.applied = last.index;
        life.applied_configuration = snapshot.configuration.clone();
        if keep_suffix {
            life.log.compact(last);
        } else {
            life.log = Image::starting_after(last);
        }
        cx.record(&Event::Installed {
            node: self.id,
            last: (last.index, last.term),
            state: snapshot.machine.digest(),
            kept_log: keep_suffix,
        });
        self.answer_readers(cx, last.index);
        Some(super::disk::DiskOp::Install {
            snapshot,
            keep_suffix,
        })
    }

    /// Forgets what is damaged and nobody has any more but in a snapshot, as the core wants it, and
    /// most of a log that has grown long.
    pub(super) fn compact_if_due(&mut self, cx: &mut Cx, settings: &super::Settings) {
        let Some(life) = &mut self.life else { return };
        life.trim = life.trim.filter(|upto| *upto > life.log.base().index);
        if let Some(upto) = life.trim {
            self.compact_to(cx, settings, upto);
        } else if life.log.entries().len() >= settings.compact_at {
            self.compact(cx, settings);
        }
    }

    /// Takes a snapshot of the state and forgets most of the log behind it. Returns whether there
    /// was anything to forget.
    pub(super) fn compact(&mut self, cx: &mut Cx, settings: &super::Settings) -> bool {
        let Some(life) = &self.life else {
            return false;
        };
        let kept = cx.rng().below(20);
        let upto = LogIndex(life.applied.get().saturating_sub(kept));
        self.compact_to(cx, settings, upto)
    }

    fn compact_to(&mut self, cx: &mut Cx, settings: &super::Settings, upto: LogIndex) -> bool {
        // A snapshot that is still on its way to the disk would undo what overtakes it there.
        if self.disk.state_lost || self.disk.is_installing() {
            return false;
        }
        let Some(life) = &mut self.life else {
            return false;
        };
        let Some(snapshot) = fresh(life) else {
            return false;
        };
        let known = self.disk.log.get(upto).map(|e| e.id);
        let Some(id) = known.filter(|id| life.log.term_at(upto) == Some(id.term)) else {
            return false;
        };
        match life.core.trimmed(upto) {
            Ok(()) => life.log.compact(id),
            Err(HostError::NoConfiguration { .. }) => return false,
            Err(error) => cx.fail("host", format!("node {}: {error}", self.id)),
        }
        self.disk.compact(snapshot, id);
        cx.record(&Event::Compacted {
            node: self.id,
            upto,
        });
        self.turn(cx, settings);
        true
    }
}

/// A snapshot of the present state; `None` before anything is applied.
fn fresh(life: &Life) -> Option<Snapshot> {
    let index = life.applied;
    let term = life.log.term_at(index)?;
    // Who has joined and applied no configuration yet could give nobody a snapshot.
    let known = !life.applied_configuration.is_empty();
    (known && index > LogIndex::ZERO).then(|| Snapshot {
        last: EntryId { term, index },
        configuration: life.applied_configuration.clone(),
        machine: Rc::new(life.machine.clone()),
    })
}
