//! Sending a whole group to a replica that is too far behind for the log, or has lost its state.
//!
//! One part is on its way at a time; its acknowledgement brings the next one, no sooner than the
//! rate allows. A part that is not acknowledged is sent again. Entries are read by somebody who
//! may wait for the disk.

use std::time::Duration;

use bytes::Bytes;
use trilith_peer::{NodeMessage, SNAPSHOT_CHUNK_BYTES_MAX, SnapshotAck, SnapshotChunk};
use trilith_raft::{EntryId, SnapshotOp, message::SnapshotOffer};
use trilith_storage::ReadError;
use trilith_types::{EntryMeta, EntryPayload, LogIndex, NodeId, Term};

use super::{
    Cx, Replica,
    chunk::{self, Part, Start},
};
use crate::{event::FetchFor, machine::Machine};

/// Bytes of entries, or of the image, in one part.
const PART_BYTES: u64 = 512 << 10;

/// A part that was not acknowledged for so long is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(1);

/// A snapshot that is offered, or being sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    term: Term,
    last: EntryId,
    start: Start,
    image: Bytes,
    /// All before it is at the receiver.
    position: u64,
    stage: Stage,
    /// Names the reads that are for this one.
    number: u64,
    /// When the rate allows the next part.
    next_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is not known yet whether it is wanted.
    Offered,
    /// The next part may be sent.
    Ready,
    /// Entries are being read.
    Reading,
    /// A part is on its way, up to this position, since then.
    Sent(u64, Duration),
}

impl Outgoing {
    const fn total(&self) -> u64 {
        self.last.index.0 + self.image.len() as u64
    }

    const fn is_under_way(&self) -> bool {
        !matches!(self.stage, Stage::Offered)
    }
}

impl<M: Machine> Replica<M> {
    pub(super) fn snapshot_op(&mut self, cx: &mut Cx<M>, op: SnapshotOp) {
        match op {
            SnapshotOp::Offer { to, term, at_least } => self.offer(cx, to, term, at_least),
            SnapshotOp::Stream {
                to,
                last,
                from_byte,
            } => self.stream(cx, to, last, from_byte),
            SnapshotOp::Abort { to } => self.end_snapshot(cx, to),
            SnapshotOp::Receive { offer, .. } => self.receive_snapshot(cx, &offer),
        }
    }

    fn offer(&mut self, cx: &mut Cx<M>, to: NodeId, term: Term, at_least: LogIndex) {
        self.end_snapshot(cx, to);
        let Some(mut outgoing) = self.prepare(term, at_least) else {
            self.core.snapshot_failed(to);
            return;
        };
        outgoing.number = self.number();
        let members = self.members_at(outgoing.last.index);
        let offer = SnapshotOffer {
            last: outgoing.last,
            configuration: members,
            bytes: self.log.bytes() + outgoing.image.len() as u64,
        };
        if let Some(message) = self.core.offer_snapshot(to, offer) {
            self.outgoing.insert(to, outgoing);
            let entries = Vec::new();
            self.send_message(cx, to, trilith_peer::GroupMessage { message, entries });
        }
    }

    /// A snapshot of what is applied now.
    fn prepare(&self, term: Term, at_least: LogIndex) -> Option<Outgoing> {
        let status = self.core.status();
        let last = self.core.log().id_at(self.applied)?;
        let usable = !status.needs_snapshot
            && self.applied >= at_least
            && self.applied > LogIndex::ZERO
            && self.applied <= status.commit;
        if !usable {
            return None;
        }
        let log_start = Start {
            index: self.log.start_index(),
            offset: self
                .log
                .segments()
                .first()
                .map_or(self.log.end_offset(), |s| s.base),
            earliest: self.log.start_offset(),
            prev_term: self.log.term_at(self.log.start_index().prev())?,
        };
        let start = if self.machine.log_is_data() {
            log_start
        } else {
            // The state is everything: the log begins after it.
            Start {
                index: last.index.next(),
                offset: self.log.visible_upto(),
                earliest: self.log.visible_upto(),
                prev_term: last.term,
            }
        };
        Some(Outgoing {
            term,
            last,
            start,
            image: self.image().encode(),
            position: 0,
            stage: Stage::Offered,
            number: 0,
            next_at: Duration::ZERO,
        })
    }

    /// The members as of an entry.
    fn members_at(&self, index: LogIndex) -> trilith_raft::Configuration {
        let known = self.configurations.iter().rev();
        let mut known = known.filter(|(at, _)| *at <= index);
        known
            .next()
            .map(|(_, members)| members.clone())
            .unwrap_or_default()
    }

    fn stream(&mut self, cx: &mut Cx<M>, to: NodeId, last: EntryId, from: u64) {
        let Some(outgoing) = self.outgoing.get_mut(&to).filter(|o| o.last == last) else {
            return;
        };
        if !outgoing.is_under_way() {
            cx.snapshots += 1;
        }
        outgoing.position = from.min(outgoing.total());
        outgoing.stage = Stage::Ready;
        outgoing.next_at = cx.now.monotonic;
        self.send_part(cx, to);
    }

    fn end_snapshot(&mut self, cx: &mut Cx<M>, to: NodeId) {
        if let Some(outgoing) = self.outgoing.remove(&to)
            && outgoing.is_under_way()
        {
            cx.snapshots = cx.snapshots.saturating_sub(1);
        }
    }

    pub(super) fn end_snapshots(&mut self, cx: &mut Cx<M>) {
        let peers: Vec<NodeId> = self.outgoing.keys().copied().collect();
        for to in peers {
            self.end_snapshot(cx, to);
        }
    }

    /// Sends what the rate allows, and again what was lost.
    pub(super) fn pace_snapshots(&mut self, cx: &mut Cx<M>) {
        if self.outgoing.is_empty() {
            return;
        }
        let now = cx.now.monotonic;
        let mut due = Vec::new();
        for (to, outgoing) in &mut self.outgoing {
            if let Stage::Sent(_, at) = outgoing.stage
                && at + RESEND_AFTER <= now
            {
                outgoing.stage = Stage::Ready;
            }
            if outgoing.stage == Stage::Ready {
                due.push(*to);
            }
        }
        for to in due {
            self.send_part(cx, to);
        }
    }

    fn send_part(&mut self, cx: &mut Cx<M>, to: NodeId) {
        let max = cx.config.snapshots_sending_max;
        let Some(outgoing) = self.outgoing.get_mut(&to) else {
            return;
        };
        let waits = outgoing.stage != Stage::Ready
            || outgoing.next_at > cx.now.monotonic
            || cx.snapshots > max && outgoing.position == 0;
        if waits {
            return;
        }
        let last = outgoing.last.index;
        let first = LogIndex(outgoing.position).next().max(outgoing.start.index);
        if first <= last {
            outgoing.stage = Stage::Reading;
            let number = outgoing.number;
            let read = FetchFor::Snapshot { to, number };
            if !self.fetch(cx, (first, last), PART_BYTES, read)
                && let Some(outgoing) = self.outgoing.get_mut(&to)
            {
                outgoing.stage = Stage::Ready;
            }
            return;
        }
        let from = outgoing.position.saturating_sub(last.0);
        let upto = (from + PART_BYTES).min(outgoing.image.len() as u64);
        let bytes = outgoing.image.slice(from as usize..upto as usize);
        let part = Part::Image {
            total: outgoing.image.len() as u64,
            bytes,
        };
        self.send_pieces(cx, to, &part, last.0 + upto);
    }

    /// Entries were read for a snapshot.
    pub(super) fn snapshot_read(
        &mut self,
        cx: &mut Cx<M>,
        to: NodeId,
        number: u64,
        entries: Result<Vec<(EntryMeta, EntryPayload)>, ReadError>,
    ) {
        let is_this = |o: &&mut Outgoing| o.number == number && o.stage == Stage::Reading;
        if self.outgoing.get_mut(&to).filter(is_this).is_none() {
            return;
        }
        let entries = entries.ok().filter(|entries| !entries.is_empty());
        let Some(entries) = entries else {
            // The log's start has moved past it, or it is damaged: another offer will do better.
            self.end_snapshot(cx, to);
            self.core.snapshot_failed(to);
            return;
        };
        let upto = entries.last().map_or(0, |(meta, _)| meta.index.0);
        self.send_pieces(cx, to, &Part::Entries(entries), upto);
    }

    fn send_pieces(&mut self, cx: &Cx<M>, to: NodeId, part: &Part, upto: u64) {
        let group = self.group;
        let Some(outgoing) = self.outgoing.get_mut(&to) else {
            return;
        };
        let bytes = chunk::encode(&outgoing.start, part);
        let now = cx.now.monotonic;
        let micros = bytes.len() as u64 * 1_000_000 / cx.config.snapshot_bytes_per_second;
        outgoing.next_at = now.max(outgoing.next_at) + Duration::from_micros(micros);
        cx.metrics.snapshot_bytes_sent.add(bytes.len() as u64);
        for bytes in chunk::pieces(&bytes, SNAPSHOT_CHUNK_BYTES_MAX) {
            let chunk = SnapshotChunk {
                group,
                term: outgoing.term,
                last: outgoing.last,
                total: outgoing.total(),
                position: outgoing.position,
                bytes,
            };
            cx.outbound.send(to, NodeMessage::SnapshotChunk(chunk));
        }
        outgoing.stage = Stage::Sent(upto, now);
    }

    /// The receiver has come further.
    pub(crate) fn chunk_ack(&mut self, cx: &mut Cx<M>, from: NodeId, ack: SnapshotAck) {
        if self.is_deaf(cx) {
            return;
        }
        let Some(outgoing) = self.outgoing.get_mut(&from).filter(|o| o.last == ack.last) else {
            return;
        };
        if !outgoing.is_under_way() || ack.received > outgoing.total() {
            return;
        }
        self.core.snapshot_progress(from);
        // What is acknowledged goes back when the receiver had to begin anew.
        outgoing.position = ack.received;
        let is_read = outgoing.stage == Stage::Reading;
        if outgoing.position == outgoing.total() {
            cx.metrics.snapshots_sent.add(1);
            self.end_snapshot(cx, from);
        } else if !is_read {
            outgoing.stage = Stage::Ready;
            self.send_part(cx, from);
        }
    }
}
