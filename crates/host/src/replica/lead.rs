//! Leading: the machine is told, and requests become entries.

use std::collections::VecDeque;

use bytes::Bytes;
use trilith_raft::{EntryId, ProposeError, Role, RoleChange};
use trilith_storage::{Entry, LogReader, ReadError, StoredEntry};
use trilith_types::{EntryKind, EntryMeta, EntryPayload, LogIndex, TimestampMs};

use super::{Cx, Replica, shortage::Shortage};
use crate::{
    machine::{Decision, Draft, Leading, Machine, Refusal},
    recent::Recent,
};

/// Bytes of old entries that are read at a time.
const TAIL_READ_BYTES: u64 = 1 << 20;

impl<M: Machine> Replica<M> {
    /// Lets the machine lead if the core has been elected and it does not yet.
    pub(super) fn lead_if_elected(&mut self, cx: &mut Cx<M>) {
        let status = self.core.status();
        let may = status.role == Role::Leader && !status.needs_snapshot;
        if self.leading.is_some() || !may || self.stopped.is_some() || self.write.is_behind() {
            return;
        }
        let mut tail = TailEntries {
            recent: &self.recent,
            reader: self.log.reader(),
            next: self.applied.next(),
            last: self.tail.next_index.prev(),
            read: VecDeque::new(),
            failed: None,
        };
        let led = self.machine.lead(status.term, &mut tail);
        let failed = tail.failed.take();
        if let Some(error) = failed {
            self.machine.unlead();
            self.read_failed(cx, &error);
            return;
        }
        if let Err(unknown) = led {
            self.machine.unlead();
            self.stop(cx, unknown.to_string());
            return;
        }
        self.leading = Some(status.term);
        cx.metrics.leading.add(1);
        let chore = self.machine.chore_every();
        self.chore_at = chore.map(|every| cx.now.monotonic + every);
        self.tell_role(
            cx,
            RoleChange {
                role: status.role,
                term: status.term,
                leader: status.leader,
            },
        );
    }

    /// The machine leads no longer, if it did.
    pub(super) fn step_aside(&mut self, cx: &mut Cx<M>) {
        self.news.clear();
        if self.leading.take().is_some() {
            cx.metrics.leading.sub(1);
            self.chore_at = None;
            self.machine.unlead();
        }
    }

    /// A request to be decided on in this turn.
    pub(crate) fn request(&mut self, request: M::Request) {
        self.requests.push(request);
    }

    pub(super) fn propose_requests(&mut self, cx: &mut Cx<M>) {
        if self.requests.is_empty() || self.is_between_leaders(cx) {
            return;
        }
        if self.leading.is_none() || self.write.is_stalled() || cx.is_closing {
            self.refuse_requests(cx);
            return;
        }
        let mut requests = std::mem::take(&mut self.requests);
        for request in requests.drain(..) {
            let at = self.leading_at(cx);
            match self.machine.decide(request, &at) {
                Decision::Done => {}
                Decision::Attach { to, pending } => self.attach(cx, to, pending),
                Decision::Append { draft, pending } => {
                    self.propose(cx, &at, draft, pending, Room::Free)
                }
            }
        }
        self.requests = requests;
    }

    /// Whether it is about to be known who leads: this node hands leadership over, or has just done
    /// so. Whoever asks now waits, to be told the next leader or to be taken after all, for no longer
    /// than an election timeout each; a group that is between leaders is awake, and its ticks bring
    /// it back here. How many wait is bounded by the node's admission.
    fn is_between_leaders(&mut self, cx: &Cx<M>) -> bool {
        if self.stopped.is_some() || cx.is_closing || self.write.is_stalled() {
            return false;
        }
        let status = self.core.status();
        if status.transfer.is_some() {
            self.handed_over_at = Some(cx.now.monotonic);
            return true;
        }
        let Some(at) = self.handed_over_at else {
            return false;
        };
        let patience = cx.config.tick * cx.config.election_ticks;
        let waits = status.role != Role::Leader
            && status.leader.is_none()
            && cx.now.monotonic < at + patience;
        if !waits {
            self.handed_over_at = None;
        }
        waits
    }

    pub(super) fn refuse_requests(&mut self, cx: &Cx<M>) {
        if self.requests.is_empty() {
            return;
        }
        let refusal = self.refusal(cx);
        for request in self.requests.drain(..) {
            cx.metrics.refused_requests.add(1);
            M::refuse(request, refusal.clone());
        }
    }

    /// Why requests are refused, when they are.
    pub(super) fn refusal(&self, cx: &Cx<M>) -> Refusal {
        if let Some(reason) = &self.stopped {
            let reason = reason.to_string();
            return Refusal::Stopped { reason };
        }
        if let Some(reason) = cx.failed.clone() {
            return Refusal::Stopped { reason };
        }
        let status = self.core.status();
        let me = cx.node();
        if cx.is_closing && status.role == Role::Leader {
            return Refusal::ShuttingDown;
        }
        if self.leading.is_some() && self.write.is_stalled() {
            return self.write.short_of.refusal();
        }
        Refusal::NotLeader {
            leader: status.leader.filter(|&leader| leader != me),
            term: status.term,
        }
    }

    fn leading_at(&self, cx: &Cx<M>) -> Leading {
        Leading {
            term: self.leading.unwrap_or_default(),
            next_index: self.tail.next_index,
            next_offset: self.tail.next_offset,
            time: cx.now.wall.max(self.tail.time),
        }
    }

    /// Whether this node leads and has proposed these entries.
    pub(super) fn is_own(&self, entries: &[(EntryMeta, EntryPayload)]) -> bool {
        let status = self.core.status();
        let leads = status.role == Role::Leader;
        leads
            && entries
                .first()
                .is_some_and(|(meta, _)| meta.term == status.term)
    }

    fn attach(&mut self, cx: &Cx<M>, to: LogIndex, pending: M::Pending) {
        let id = self.core.log().id_at(to);
        // What was proposed in this turn is not in the core's log before it is drained.
        let term = id.map_or(self.core.status().term, |id| id.term);
        cx.metrics.pending_requests.add(1);
        self.pending.push(EntryId { term, index: to }, pending);
    }

    fn propose(
        &mut self,
        cx: &mut Cx<M>,
        at: &Leading,
        draft: Draft,
        pending: M::Pending,
        room: Room,
    ) {
        match self.append_draft(cx, at, draft, room) {
            Ok(id) => {
                cx.metrics.pending_requests.add(1);
                self.pending.push(id, pending);
            }
            Err(why) => {
                cx.metrics.refused_requests.add(1);
                self.machine.undecide(pending, at.next_index, why);
            }
        }
    }

    /// Sees to it that the log takes what is proposed: nothing is promised that the disk cannot
    /// take.
    fn find_room(
        &mut self,
        cx: &mut Cx<M>,
        at: &Leading,
        meta: &EntryMeta,
        bytes: u64,
    ) -> Result<(), Refusal> {
        if self.proposed.is_empty() {
            self.proposed_bytes = 0;
        }
        let wanted = self.proposed_bytes + frame_bytes(bytes);
        let room = self.log.make_room(&Entry::new(meta, &[]), wanted);
        // Whatever else is wrong shows when it is appended.
        let Some(of) = room.err().and_then(|error| Shortage::of(&error)) else {
            return Ok(());
        };
        let meta = EntryMeta {
            index: at.next_index,
            ..*meta
        };
        self.no_room_for(cx, of, (meta, wanted));
        Err(of.refusal())
    }

    fn append_draft(
        &mut self,
        cx: &mut Cx<M>,
        at: &Leading,
        draft: Draft,
        room: Room,
    ) -> Result<EntryId, Refusal> {
        let payload = draft.payload;
        // What the journal cannot take would stop the replica when it gets there.
        let (bytes, max) = (payload.len() as u64, self.log_config.payload_bytes_max);
        let max = u64::from(max).min(cx.config.journal.payload_bytes_max());
        if bytes > max {
            return Err(Refusal::TooLarge { bytes, max });
        }
        if room == Room::Free {
            self.find_room(cx, at, &draft_meta(at, draft.kind), bytes)?;
        }
        let proposed = self.core.propose(1, bytes).map_err(|e| refused(&e, at))?;
        let meta = EntryMeta {
            index: proposed.first,
            term: proposed.term,
            kind: draft.kind,
            first_offset: at.next_offset,
            records: draft.records,
            append_time: at.time,
            max_timestamp: draft.max_timestamp,
        };
        self.tail.follow(&meta);
        self.proposed.push_back((meta, payload));
        self.proposed_bytes += frame_bytes(bytes);
        cx.metrics.proposed_entries.add(1);
        cx.metrics.proposed_bytes.add(bytes);
        Ok(EntryId {
            term: proposed.term,
            index: proposed.first,
        })
    }

    /// Lets the machine propose what it wants itself, when it is time.
    pub(super) fn chore_if_due(&mut self, cx: &mut Cx<M>) {
        let due = self.chore_at.is_some_and(|at| at <= cx.now.monotonic);
        if !due || self.leading.is_none() || !self.write.takes_more() || cx.is_closing {
            return;
        }
        let every = self.machine.chore_every();
        self.chore_at = every.map(|every| cx.now.monotonic + every);
        let at = self.leading_at(cx);
        if let Some((draft, pending)) = self.machine.chore(&at, &self.log) {
            self.propose(cx, &at, draft, pending, Room::Kept);
        }
    }
}

/// Where a draft's entry may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Where there is room beside what is kept free.
    Free,
    /// Into what is kept free, too.
    Kept,
}

/// Bytes of a frame with such a payload, or a few more.
const fn frame_bytes(payload: u64) -> u64 {
    payload + 128
}

/// What a draft's entry will be, as far as it matters for its room.
fn draft_meta(at: &Leading, kind: EntryKind) -> EntryMeta {
    EntryMeta {
        index: at.next_index,
        term: at.term,
        kind,
        first_offset: at.next_offset,
        records: 0,
        append_time: at.time,
        max_timestamp: TimestampMs::MIN,
    }
}

fn refused(error: &ProposeError, at: &Leading) -> Refusal {
    match *error {
        ProposeError::Transferring { to } => Refusal::Transferring { to },
        ProposeError::TooMuchUncommitted { uncommitted, limit } => {
            Refusal::TooMuchUncommitted { uncommitted, limit }
        }
        ProposeError::NotLeader { leader } => Refusal::NotLeader {
            leader,
            term: at.term,
        },
        _ => Refusal::NotLeader {
            leader: None,
            term: at.term,
        },
    }
}

/// The entries that are not applied yet, from memory as far as they are there.
struct TailEntries<'a> {
    recent: &'a Recent,
    reader: LogReader,
    next: LogIndex,
    last: LogIndex,
    read: VecDeque<StoredEntry>,
    failed: Option<ReadError>,
}

impl Iterator for TailEntries<'_> {
    type Item = (EntryMeta, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last || self.failed.is_some() {
            return None;
        }
        if let Some(found) = self.recent.get(self.next) {
            self.next = self.next.next();
            return Some((found.0, found.1.head().clone()));
        }
        if self.read.is_empty() {
            match self.reader.entries(self.next, self.last, TAIL_READ_BYTES) {
                Ok(entries) => self.read = entries.into(),
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            }
        }
        let entry = self.read.pop_front()?;
        self.next = self.next.next();
        Some((entry.meta, entry.payload))
    }
}
