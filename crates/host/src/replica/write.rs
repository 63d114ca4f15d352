//! Writing: the core's log operations are carried out in the log, in the page cache, and then go
//! to the journal, which makes them durable.
//!
//! ```text
//!   core ─▶ todo ─▶ log ─▶ waiting ─▶ journal ─▶ persisted
//!            │               │
//!            │               └ for the term and vote that the write came with
//!            └ for room on the disk
//! ```
//!
//! What the journal has fits the log, since it is in the log first. A leader asks for room before it
//! takes a proposal, and writes what it has taken into the reserve if need be. What another leader
//! sends may take half of the reserve, and what makes room all of it: a log's start moves by an entry.
//! When there is no room even so, the operations wait in `todo`: their entries stay in memory and go
//! to followers, nothing is acknowledged by this node, no proposal and no further entry is taken, and
//! the core steps down when that lasts.

use std::{collections::VecDeque, time::Duration};

use trilith_raft::{HardState, LogOp, Output, Payload, WriteSeq};
use trilith_storage::{
    AppendError, Entry,
    journal::{JournalFailed, JournalOp, Submission},
    votes::{CONFIGURATION_BYTES_MAX, VoteRecord, VotesFailed},
};
use trilith_types::{EntryKind, EntryMeta, EntryPayload, LogIndex, Offset, Term, TimestampMs};

use super::{Cx, Replica, limbo::Limbo, shortage::Shortage, suffix::append_op};
use crate::{
    Alarm, configuration_codec::encode_configuration, decode_configuration, event::Event,
    machine::Machine,
};

/// Most bytes that wait for lost ones before them.
const LIMBO_BYTES_MAX: u64 = 64 << 20;

/// Something to be done in the log, in order.
enum Todo {
    Append(Vec<(EntryMeta, EntryPayload)>),
    Truncate(LogIndex),
    Rewrite(Vec<(EntryMeta, EntryPayload)>),
    Install(trilith_raft::EntryId, bool),
    /// A write of the core ends here.
    Written {
        seq: WriteSeq,
        after_vote: u64,
        commit: LogIndex,
    },
}

/// Operations on their way to the journal.
struct Waiting {
    /// The core's write that ends with them.
    seq: Option<WriteSeq>,
    /// The term and vote that must be durable first.
    after_vote: u64,
    ops: Vec<JournalOp>,
    truncates: usize,
    commit: LogIndex,
}

/// A submission to the journal.
struct Submitted {
    /// The core's last write that is durable with it.
    seq: WriteSeq,
    truncates: usize,
}

/// What is being written.
#[derive(Default)]
pub(super) struct Writing {
    todo: VecDeque<Todo>,
    /// In the journal and not yet in the log.
    limbo: Limbo,
    /// Carried out in the log, and not yet handed on.
    done: Vec<JournalOp>,
    /// Truncations among them.
    truncates: usize,
    waiting: VecDeque<Waiting>,
    /// The core's writes in the journal, oldest first.
    outstanding: VecDeque<Submitted>,
    /// The latest write that is durable in the journal.
    durable: WriteSeq,
    /// What was reported to the core.
    reported: WriteSeq,
    /// Writes that mend the log, and the sync of segments that each of them waits for.
    mending: VecDeque<(WriteSeq, u64)>,
    pub(super) votes_issued: u64,
    votes_stored: u64,
    /// When a vote that found no room is stored again.
    vote_retry: Option<Duration>,
    /// When it is tried again, since there was too little room or files.
    pub(super) stalled: Option<Duration>,
    /// Of what there was too little.
    pub(super) short_of: Shortage,
    /// What a proposal wanted that found no room: an entry, and bytes.
    pub(super) wanted: Option<(EntryMeta, u64)>,
}

impl Writing {
    /// Whether no more entries are taken: the disk has no room, or too much waits for bytes that
    /// peers have.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some() || self.limbo.bytes() > LIMBO_BYTES_MAX
    }

    /// Whether it is tried to write what a leader sends, or what the machine itself wants: on a full
    /// disk, too, as long as nothing waits there, since part of what is kept free is for that. It
    /// may be what makes room.
    pub(super) fn takes_more(&self) -> bool {
        let is_tried = self.short_of == Shortage::Disk && self.todo.is_empty();
        !self.is_stalled() || is_tried && self.limbo.is_empty()
    }

    /// Whether the journal has entries that the log has not.
    pub(super) fn is_behind(&self) -> bool {
        !self.limbo.is_empty()
    }

    /// An entry that is not in the log yet because bytes before it are lost.
    pub(super) fn restoring(&self, index: LogIndex) -> Option<(EntryMeta, EntryPayload)> {
        self.limbo.get(index)
    }

    /// What is in the journal and not yet in the log.
    pub(super) const fn waiting(&self) -> &Limbo {
        &self.limbo
    }

    /// Puts bytes back that were lost before they came into the log. Whether the entry waits here.
    pub(super) fn fill(&mut self, meta: &EntryMeta, payload: &EntryPayload) -> bool {
        self.limbo.fill(meta, payload)
    }

    /// The write that is being carried out mends the log: it counts once this sync of segments is
    /// done as well.
    pub(super) fn mends(&mut self, sync: u64) {
        self.mending.push_back((WriteSeq(u64::MAX), sync));
    }

    /// The log is another one: these entries come next in it.
    pub(super) fn keep_waiting(&mut self, entries: Limbo) {
        self.limbo = entries;
    }

    /// Gives the memory of the lists back when nothing is in them.
    pub(super) fn release_memory(&mut self) {
        self.todo.shrink_to_fit();
        self.done.shrink_to_fit();
        self.waiting.shrink_to_fit();
        self.outstanding.shrink_to_fit();
        self.mending.shrink_to_fit();
    }

    /// Nothing more is written: what was done in the log goes to the journal all the same.
    pub(super) fn give_up(&mut self) {
        self.todo.clear();
        self.close(None, 0, LogIndex::ZERO);
    }

    /// The journal is to forget entries that are no part of the log.
    pub(super) fn truncate_journal(&mut self, from: LogIndex) {
        self.done.push(JournalOp::Truncate { from });
        self.close(None, 0, LogIndex::ZERO);
    }

    /// Whether everything is durable.
    pub(super) fn is_idle(&self) -> bool {
        self.todo.is_empty()
            && self.done.is_empty()
            && self.waiting.is_empty()
            && self.outstanding.is_empty()
            && self.mending.is_empty()
            && self.votes_issued == self.votes_stored
    }

    /// Whether the journal knows everything that was done in the log.
    pub(super) fn is_handed_over(&self) -> bool {
        self.done.is_empty() && self.waiting.is_empty()
    }

    pub(super) const fn durable(&self) -> WriteSeq {
        self.durable
    }

    pub(super) fn close(&mut self, seq: Option<WriteSeq>, after_vote: u64, commit: LogIndex) {
        let ops = std::mem::take(&mut self.done);
        let truncates = std::mem::take(&mut self.truncates);
        if seq.is_some() || !ops.is_empty() {
            self.waiting.push_back(Waiting {
                seq,
                after_vote,
                ops,
                truncates,
                commit,
            });
        }
    }
}

/// How far carrying out came.
pub(super) enum Step {
    Done,
    NoRoom(Shortage),
    Stopped,
}

impl<M: Machine> Replica<M> {
    /// Takes what the core wants written.
    pub(super) fn take_log_ops(&mut self, cx: &mut Cx<M>, out: &mut Output) {
        for op in out.log.drain(..) {
            self.take_log_op(cx, op);
        }
        let members = out.configuration.is_some();
        let Some(write) = out.write.take() else {
            if members {
                self.store_vote(cx);
            }
            return;
        };
        if let Some(hard) = write.hard_state {
            self.hard = hard;
        }
        if write.hard_state.is_some() || members {
            self.store_vote(cx);
        }
        self.write.todo.push_back(Todo::Written {
            seq: write.seq,
            after_vote: self.write.votes_issued,
            commit: write.commit,
        });
        if self.write.stalled.is_none_or(|at| at <= cx.now.monotonic) {
            self.carry_out_todo(cx);
        }
    }

    /// Makes term, vote and members durable.
    pub(super) fn store_vote(&mut self, cx: &Cx<M>) {
        self.write.votes_issued += 1;
        let (group, number) = (self.group, self.write.votes_issued);
        let inbox = std::sync::Arc::clone(&cx.inbox);
        let HardState { term, vote } = self.hard;
        let configuration = self.configurations.last().and_then(|(index, members)| {
            let bytes = encode_configuration(members);
            (bytes.len() <= CONFIGURATION_BYTES_MAX).then_some((*index, bytes))
        });
        let record = VoteRecord {
            term,
            voted_for: vote,
            incarnation: cx.config.incarnation,
            configuration,
        };
        let done = move |result| {
            inbox.tell(Event::VoteStored {
                group,
                number,
                result,
            });
        };
        cx.votes.store(group, record, Box::new(done));
    }

    pub(crate) fn vote_stored(
        &mut self,
        cx: &mut Cx<M>,
        number: u64,
        result: Result<(), VotesFailed>,
    ) {
        match result {
            Ok(()) => self.write.votes_stored = self.write.votes_stored.max(number),
            Err(error @ VotesFailed::Write { .. }) => cx.fail(error.to_string()),
            Err(VotesFailed::NoSpace { .. }) => {
                // Whatever waits for the vote waits for room.
                self.write.vote_retry = Some(cx.now.monotonic + cx.config.disk_retry);
            }
            Err(error) => self.stop(cx, error.to_string()),
        }
    }

    fn take_log_op(&mut self, cx: &mut Cx<M>, op: LogOp) {
        match op {
            LogOp::Append {
                term,
                first,
                last,
                payload,
            } => {
                let Some(entries) = self.entries_of(cx, term, (first, last), &payload) else {
                    let what = format!("the payloads of {first} to {last} in term {term} are gone");
                    self.stop(cx, what);
                    return;
                };
                self.note_appended(cx, &entries);
                self.write.todo.push_back(Todo::Append(entries));
            }
            LogOp::Truncate { from } => self.truncated(cx, from),
            LogOp::Rewrite { first, last } => {
                // What came is in order, and may be much more than this.
                let from = self.received.partition_point(|e| e.0.index < first.index);
                let entries = self.received.iter().skip(from);
                let entries = entries.take_while(|(meta, _)| meta.index <= last);
                let mut entries: Vec<_> = entries.cloned().collect();
                // Ranges that came together are put back together.
                match self.write.todo.back_mut() {
                    Some(Todo::Rewrite(before)) => before.append(&mut entries),
                    _ => self.write.todo.push_back(Todo::Rewrite(entries)),
                }
            }
            LogOp::Install { last, keep_suffix } => {
                if !keep_suffix {
                    // What waits for room is of the log that goes.
                    self.write
                        .todo
                        .retain(|todo| matches!(todo, Todo::Written { .. }));
                    self.write.stalled = self.write.stalled.map(|_| Duration::ZERO);
                }
                self.write.todo.push_back(Todo::Install(last, keep_suffix));
            }
        }
    }

    fn entries_of(
        &mut self,
        cx: &Cx<M>,
        term: Term,
        (first, last): (LogIndex, LogIndex),
        payload: &Payload,
    ) -> Option<Vec<(EntryMeta, EntryPayload)>> {
        let count = usize::try_from(last.next().since(first)?).ok()?;
        match payload {
            Payload::Proposed => {
                let fits = self.proposed.front()?.0.index == first && count <= self.proposed.len();
                fits.then(|| self.proposed.drain(..count).collect())
            }
            Payload::Received => {
                let start = self.received.first()?.0.index;
                let place = usize::try_from(first.since(start)?).ok()?;
                let entries = self.received.get(place..place.checked_add(count)?)?;
                let of_term = entries.iter().all(|(meta, _)| meta.term == term);
                of_term.then(|| entries.to_vec())
            }
            Payload::Noop => Some(vec![self.own_entry(
                cx,
                term,
                first,
                EntryKind::NOOP,
                EntryPayload::default(),
            )]),
            Payload::Configuration(members) => {
                let bytes = encode_configuration(members);
                Some(vec![self.own_entry(
                    cx,
                    term,
                    first,
                    EntryKind::CONFIGURATION,
                    bytes.into(),
                )])
            }
        }
    }

    /// An entry of the core's own.
    fn own_entry(
        &self,
        cx: &Cx<M>,
        term: Term,
        index: LogIndex,
        kind: EntryKind,
        payload: EntryPayload,
    ) -> (EntryMeta, EntryPayload) {
        let meta = EntryMeta {
            index,
            term,
            kind,
            first_offset: self.tail.next_offset,
            records: 0,
            append_time: cx.now.wall.max(self.tail.time),
            max_timestamp: TimestampMs::MIN,
        };
        (meta, payload)
    }

    /// The log's end has moved, in memory.
    fn note_appended(&mut self, cx: &mut Cx<M>, entries: &[(EntryMeta, EntryPayload)]) {
        let is_received = !self.received.is_empty();
        let mut bytes = 0;
        for (meta, payload) in entries {
            self.tail.follow(meta);
            bytes += payload.len() as u64;
            if meta.kind == EntryKind::CONFIGURATION {
                match decode_configuration(payload.head()) {
                    Ok(members) => self.configurations.push((meta.index, members)),
                    Err(error) => self.stop(cx, error.to_string()),
                }
            }
        }
        if is_received {
            cx.metrics.received_entries.add(entries.len() as u64);
            cx.metrics.received_bytes.add(bytes);
        }
        let in_log = self.log.last_index().next();
        let max = if cx.recent_bytes > cx.config.shard_recent_bytes_max {
            0
        } else {
            cx.config.recent_bytes_max
        };
        let keep = in_log.min(self.applied.next());
        self.keep_recent(cx, |recent| {
            for (meta, payload) in entries {
                recent.push(*meta, payload.clone());
            }
            recent.shrink(max, keep);
            // What is not applied yet can be read again, what is not in the log cannot.
            recent.shrink(2 * max, in_log);
        });
        self.last_append = cx.now.monotonic;
    }

    /// Entries that the journal has, and that wait behind one whose bytes are lost.
    pub(super) fn take_limbo(&mut self, cx: &mut Cx<M>, limbo: Limbo) {
        let is_full = limbo.is_ready();
        self.write.limbo = limbo;
        if is_full {
            // There was no room for them.
            self.no_room(cx, Shortage::Disk);
        }
    }

    fn truncated(&mut self, cx: &mut Cx<M>, from: LogIndex) {
        self.write.todo.retain_mut(|todo| match todo {
            Todo::Append(entries) => {
                entries.retain(|(meta, _)| meta.index < from);
                !entries.is_empty()
            }
            _ => true,
        });
        cx.metrics.truncations.add(1);
        self.keep_recent(cx, |recent| recent.truncate(from));
        self.pending.truncate(from);
        self.changes.truncate(from);
        self.configurations.retain(|(index, _)| *index < from);
        self.handed = self.handed.min(from.prev());
        self.reading.clear();
        self.apply_blocked = false;
        self.proposed.clear();
        self.write.todo.push_back(Todo::Truncate(from));
        self.tail.next_index = from;
        self.tail.next_offset = self.offset_before(from);
    }

    /// The offset behind the entry before `from`: what is appended at `from` takes it.
    fn offset_before(&mut self, from: LogIndex) -> Offset {
        let before = from.prev();
        if let Some((meta, _)) = self.recent.get(before) {
            return meta.next_offset();
        }
        let mut waiting = self.write.limbo.iter();
        if let Some((meta, _)) = waiting.find(|(meta, _)| meta.index == before) {
            return meta.next_offset();
        }
        if let Some(offset) = self.offset_behind(before) {
            return offset;
        }
        // Its bytes may be lost without anybody having met that yet.
        if self.log.note_damage(before).is_ok()
            && let Some(offset) = self.offset_behind(before)
        {
            return offset;
        }
        let segments = self.log.segments();
        let first = segments.first().filter(|first| before < first.first_index);
        first.map_or_else(|| self.log.end_offset(), |first| first.base)
    }

    /// Tries again when the disk had no room.
    pub(super) fn retry_disk(&mut self, cx: &mut Cx<M>) {
        if self
            .write
            .vote_retry
            .is_some_and(|at| at <= cx.now.monotonic)
        {
            self.write.vote_retry = None;
            self.store_vote(cx);
        }
        if self.write.stalled.is_some_and(|at| at <= cx.now.monotonic) {
            self.carry_out_todo(cx);
        }
    }

    /// When it is tried again.
    pub(super) fn disk_deadline(&self) -> Option<Duration> {
        let tries = [self.write.stalled, self.write.vote_retry];
        tries.into_iter().flatten().min()
    }

    fn carry_out_todo(&mut self, cx: &mut Cx<M>) {
        if let Step::NoRoom(of) = self.restore(cx) {
            self.no_room(cx, of);
            return;
        }
        while let Some(mut todo) = self.write.todo.pop_front() {
            let step = match &mut todo {
                Todo::Append(entries) => self.append(cx, entries),
                Todo::Truncate(from) => self.truncate_log(cx, *from),
                Todo::Rewrite(entries) => self.rewrite(cx, entries),
                Todo::Install(last, keep_suffix) => self.install(cx, *last, *keep_suffix),
                Todo::Written {
                    seq,
                    after_vote,
                    commit,
                } => {
                    self.written(cx, *seq, *after_vote, *commit);
                    Step::Done
                }
            };
            match step {
                Step::Done => {}
                Step::NoRoom(of) => {
                    self.write.todo.push_front(todo);
                    self.no_room(cx, of);
                    return;
                }
                Step::Stopped => return,
            }
        }
        if let Step::NoRoom(of) = self.restore(cx) {
            self.no_room(cx, of);
            return;
        }
        if self.write.stalled.is_some()
            && let Some(of) = self.still_lacks()
        {
            self.no_room(cx, of);
            return;
        }
        self.write.wanted = None;
        if self.write.stalled.take().is_some() {
            cx.metrics.full.sub(1);
            self.core.set_priority(self.priority);
            cx.observer.alarm(self.group, &Alarm::DiskHasRoom);
        }
    }

    fn append(&mut self, cx: &mut Cx<M>, entries: &mut Vec<(EntryMeta, EntryPayload)>) -> Step {
        if !self.write.limbo.is_empty() {
            // The log has no place for them yet; the journal has.
            for (meta, payload) in entries.drain(..) {
                let prev_term = self.write.limbo.last_term().unwrap_or_default();
                self.write.limbo.push(meta, Some(payload.clone()));
                self.write.done.push(append_op(meta, prev_term, payload));
            }
            return self.restore(cx);
        }
        let mut prev_term = self.log.last_term();
        let (appended, step) = self.append_to_log(cx, entries);
        for (meta, payload) in entries.drain(..appended) {
            self.write.done.push(append_op(meta, prev_term, payload));
            prev_term = meta.term;
        }
        step
    }

    /// Appends to the log what waits for bytes that are there now.
    pub(super) fn restore(&mut self, cx: &mut Cx<M>) -> Step {
        let ready = self.write.limbo.take_ready();
        if ready.is_empty() {
            return Step::Done;
        }
        let (appended, step) = self.append_to_log(cx, &ready);
        self.apply_blocked &= appended == 0;
        let left = ready.into_iter().skip(appended);
        self.write.limbo.give_back(left);
        step
    }

    /// Appends entries to the log alone, and says how many are there.
    fn append_to_log(
        &mut self,
        cx: &mut Cx<M>,
        entries: &[(EntryMeta, EntryPayload)],
    ) -> (usize, Step) {
        let parts: Vec<[&[u8]; 2]> = entries.iter().map(|(_, payload)| payload.parts()).collect();
        let list = entries.iter().zip(&parts);
        let list: Vec<Entry<'_>> = list
            .map(|((meta, _), parts)| Entry::new(meta, parts))
            .collect();
        let checksums: Vec<u32> = entries.iter().map(|(_, p)| p.checksum()).collect();
        // A leader found room for its entries before it took them, and its first of a term nobody
        // could refuse. Left unwritten they would cost it its leadership, and a node alone could
        // not even be read. A follower's disk may be a little fuller than its leader's, and what
        // makes room on all of them comes as an entry behind others: these may take half of what is
        // kept free, and what has no records all of it.
        let has_records = entries.iter().any(|(meta, _)| meta.records > 0);
        let kept = if has_records && !self.is_own(entries) {
            self.log_config.reserve_bytes / 2
        } else {
            0
        };
        let result = self.log.append_promised(&list, &checksums, kept);
        let appended = result
            .as_ref()
            .map_or_else(|e| e.appended, |()| entries.len());
        let done = entries.iter().take(appended);
        let bytes = done.map(|(_, payload)| payload.len() as u64).sum();
        self.segments.appended(bytes);
        let step = self.appended(cx, result.map_err(|partial| partial.source));
        (appended, step)
    }

    fn appended(&mut self, cx: &mut Cx<M>, result: Result<(), AppendError>) -> Step {
        let Err(error) = result else {
            return Step::Done;
        };
        if self.log.poisoned().is_some() {
            cx.fail(error.to_string());
            return Step::Stopped;
        }
        if let Some(of) = Shortage::of(&error) {
            return Step::NoRoom(of);
        }
        self.stop(cx, error.to_string());
        Step::Stopped
    }

    fn truncate_log(&mut self, cx: &mut Cx<M>, from: LogIndex) -> Step {
        self.write.limbo.truncate(from);
        match self.log.truncate(from) {
            Ok(()) => {
                self.write.done.push(JournalOp::Truncate { from });
                self.write.truncates += 1;
                self.segments.hold();
                Step::Done
            }
            Err(error) => match Shortage::of_truncation(&error) {
                Some(of) if self.log.poisoned().is_none() => Step::NoRoom(of),
                _ => {
                    self.stop(cx, error.to_string());
                    Step::Stopped
                }
            },
        }
    }

    fn install(&mut self, cx: &mut Cx<M>, last: trilith_raft::EntryId, keep_suffix: bool) -> Step {
        match self.install_staged(cx, last, keep_suffix) {
            Ok(ops) => {
                self.write.done.extend(ops);
                match self.restore(cx) {
                    // The journal has them: they wait for room, and nothing waits for them.
                    Step::NoRoom(_) => Step::Done,
                    other => other,
                }
            }
            Err(reason) => {
                self.stop(cx, reason);
                Step::Stopped
            }
        }
    }

    fn written(&mut self, cx: &Cx<M>, seq: WriteSeq, after_vote: u64, commit: LogIndex) {
        // A mending since the last write is part of this one.
        for (of, _) in self.write.mending.iter_mut().rev() {
            if *of != WriteSeq(u64::MAX) {
                break;
            }
            *of = seq;
        }
        self.segments.retire_after(seq);
        let entries = self.write.done.len();
        if entries > 0 {
            cx.metrics.entries_per_submission.record(entries as u64);
        }
        self.write.close(Some(seq), after_vote, commit);
    }

    /// Hands to the journal what may go there, and reports to the core what is durable. Whether
    /// anything was reported.
    pub(super) fn flush_writes(&mut self, cx: &mut Cx<M>) -> bool {
        self.flush_only(cx);
        self.submit_mark_if_due(cx);
        self.report_persisted(cx)
    }

    /// Hands to the journal what may go there.
    pub(super) fn flush_only(&mut self, cx: &mut Cx<M>) {
        if self.write.waiting.is_empty() {
            return;
        }
        let mut ops = Vec::new();
        let (mut upto, mut commit, mut truncates) = (None, LogIndex::ZERO, 0);
        while let Some(mut next) = self
            .write
            .waiting
            .pop_front_if(|next| next.after_vote <= self.write.votes_stored)
        {
            if ops.is_empty() {
                ops = next.ops;
            } else {
                ops.append(&mut next.ops);
            }
            upto = next.seq.or(upto);
            commit = commit.max(next.commit);
            truncates += next.truncates;
        }
        if !ops.is_empty() {
            let before = self.write.outstanding.back().map(|last| last.seq);
            let seq = upto.or(before).unwrap_or(self.write.durable);
            self.write
                .outstanding
                .push_back(Submitted { seq, truncates });
            self.submit(cx, ops);
        } else if let Some(seq) = upto {
            match self.write.outstanding.back_mut() {
                Some(last) => last.seq = seq,
                None => self.write.durable = seq,
            }
        }
        if commit > LogIndex::ZERO {
            cx.journal.note_commit(self.group, commit);
        }
    }

    fn submit(&self, cx: &mut Cx<M>, ops: Vec<JournalOp>) {
        let (group, submitted) = (self.group, cx.now.monotonic);
        let inbox = std::sync::Arc::clone(&cx.inbox);
        let done = move |result| {
            // Whoever answers tells the shards once all answers are given.
            inbox.lay(Event::Persisted {
                group,
                submitted,
                result,
            });
        };
        let done = Box::new(done);
        cx.submissions.push(Submission { group, ops, done });
    }

    /// The oldest submission is durable.
    pub(crate) fn persisted(&mut self, cx: &mut Cx<M>, result: Result<(), JournalFailed>) {
        let submitted = self.write.outstanding.pop_front();
        match (result, submitted) {
            (Ok(()), Some(submitted)) => {
                self.write.durable = self.write.durable.max(submitted.seq);
                self.segments.release(submitted.truncates);
                self.remove_retired(cx);
            }
            (Ok(()), None) => {}
            (Err(error @ JournalFailed::Write { .. }), _) => cx.fail(error.to_string()),
            (Err(error), _) => self.stop(cx, error.to_string()),
        }
    }

    /// A sync of segments has ended: what waited for it to mend the log is durable.
    pub(super) fn mended(&mut self, number: u64) {
        while self
            .write
            .mending
            .pop_front_if(|(_, sync)| *sync <= number)
            .is_some()
        {}
    }

    fn report_persisted(&mut self, cx: &mut Cx<M>) -> bool {
        let mut upto = self.write.durable;
        if let Some((seq, _)) = self.write.mending.front() {
            upto = upto.min(WriteSeq(seq.0.saturating_sub(1)));
        }
        if upto <= self.write.reported || self.stopped.is_some() || cx.failed.is_some() {
            return false;
        }
        self.write.reported = upto;
        if let Err(error) = self.core.persisted(upto) {
            self.stop(cx, error.to_string());
        }
        true
    }
}
