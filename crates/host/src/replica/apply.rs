//! Applying: committed entries go to readers, to the machine, and to those who wait for them.

use bytes::Bytes;
use trilith_raft::EntryId;
use trilith_storage::{LogReader, ReadError};
use trilith_types::{EntryKind, EntryMeta, EntryPayload, LogIndex, Offset};

use super::{Cx, Replica};
use crate::{
    Alarm, ChangeRefused,
    machine::{Fate, Machine},
};

/// Most entries of one group that are applied in one turn.
const APPLY_ENTRIES_MAX: usize = 512;

/// Most entries without records that are passed over in search of a damaged one.
const DAMAGE_LOOKS_MAX: usize = 64;

/// Bytes of old entries that are read at a time.
const APPLY_READ_BYTES: u64 = 1 << 20;

impl<M: Machine> Replica<M> {
    /// Applies some of what may be applied.
    pub(super) fn apply_some(&mut self, cx: &mut Cx<M>) {
        let before = self.applied;
        for _ in 0..APPLY_ENTRIES_MAX {
            if self.applied >= self.handed || self.apply_blocked || self.stopped.is_some() {
                break;
            }
            let Some((meta, payload)) = self.next_to_apply(cx) else {
                break;
            };
            self.apply_entry(cx, &meta, payload.head());
        }
        if self.applied > before {
            self.tell_applied(cx, before);
        }
    }

    fn next_to_apply(&mut self, cx: &mut Cx<M>) -> Option<(EntryMeta, EntryPayload)> {
        let next = self.applied.next();
        if next > self.log.last_index() {
            // It is in the journal alone, for want of room; readers could not see it.
            self.apply_blocked = true;
            return None;
        }
        if let Some(found) = self.recent.get(next) {
            return Some(found.clone());
        }
        while let Some((meta, payload)) = self.reading.pop_front() {
            if meta.index == next {
                return Some((meta, payload));
            }
        }
        match self
            .log
            .reader()
            .entries(next, self.handed, APPLY_READ_BYTES)
        {
            Ok(entries) => {
                let entries = entries.into_iter();
                self.reading = entries
                    .map(|entry| (entry.meta, entry.payload.into()))
                    .collect();
                self.reading.pop_front()
            }
            Err(error) => {
                self.apply_blocked = true;
                self.read_failed(cx, &error);
                None
            }
        }
    }

    fn apply_entry(&mut self, cx: &mut Cx<M>, meta: &EntryMeta, payload: &Bytes) {
        // Whoever is told that a record is stored finds it when reading.
        self.log.publish(meta.next_offset());
        let id = EntryId {
            term: meta.term,
            index: meta.index,
        };
        let due = self.pending.apply(id);
        let waiting = due.answered.len() + due.lost.len();
        cx.metrics.pending_requests.sub(waiting as u64);
        for lost in due.lost {
            M::abandon(lost, Fate::NotStored);
        }
        match meta.kind {
            EntryKind::NOOP | EntryKind::CONFIGURATION => self.answer_changes(id),
            _ => {
                let mut answers = due.answered.into_iter();
                match self.machine.apply(meta, payload, &mut answers) {
                    Ok(effects) => {
                        if let Some(to) = effects.trim {
                            self.segments.trim_offset(to);
                        }
                    }
                    Err(unknown) => {
                        for pending in answers {
                            M::abandon(pending, Fate::Unknown);
                        }
                        self.stop(cx, format!("entry {id}: {unknown}"));
                        return;
                    }
                }
                if !self.changes.is_empty() {
                    self.answer_changes(id);
                }
            }
        }
        self.applied = meta.index;
    }

    fn answer_changes(&mut self, id: EntryId) {
        let due = self.changes.apply(id);
        for reply in due.answered {
            reply(Ok(id.index));
        }
        for reply in due.lost {
            reply(Err(ChangeRefused::NotStored));
        }
    }

    fn tell_applied(&mut self, cx: &mut Cx<M>, before: LogIndex) {
        let applied = self.applied;
        let count = applied.since(before).unwrap_or_default();
        cx.metrics.applied_entries.add(count);
        if let Err(error) = self.core.applied(applied) {
            self.stop(cx, error.to_string());
            return;
        }
        if self.leading.is_none() {
            // Only a leader serves others; these hold on to whole messages that they came in.
            let keep = applied.next().min(self.log.last_index().next());
            self.keep_recent(cx, |recent| recent.shrink(0, keep));
        }
        self.shared.set_applied(applied);
        self.shared.advance(self.log.visible_upto());
        self.answer_reads(applied);
    }

    /// Answers those who wait for this much to be applied.
    pub(super) fn answer_reads(&mut self, applied: LogIndex) {
        while let Some(entry) = self.reads_waiting.first_entry()
            && *entry.key() <= applied
        {
            let (index, replies) = entry.remove_entry();
            for reply in replies {
                reply(Ok(index));
            }
        }
    }

    /// The log could not be read where the core counts on it.
    pub(super) fn read_failed(&mut self, cx: &mut Cx<M>, error: &ReadError) {
        match *error {
            ReadError::EntryDamaged { index, next, .. } => {
                self.met_damage(cx, index, next.prev());
            }
            ReadError::Io { ref source, .. } if trilith_env::is_out_of_files(source) => {
                self.files_wanted(cx);
            }
            _ => self.stop(cx, error.to_string()),
        }
    }

    /// A reader met damage that ends before the offset `next`. Between the damaged entry and that
    /// one there may be some without records.
    pub(crate) fn reader_met_damage(&mut self, cx: &mut Cx<M>, next: Offset) {
        if self.is_deaf(cx) {
            return;
        }
        let reader = self.log.reader();
        let mut index = index_from(&reader, next).map_or(self.applied, LogIndex::prev);
        for _ in 0..DAMAGE_LOOKS_MAX {
            match reader.entries(index, index, 1) {
                Ok(entries) if entries.iter().all(|entry| entry.meta.records == 0) => {
                    index = index.prev();
                }
                Err(ReadError::EntryDamaged { .. }) => {
                    self.met_damage(cx, index, index);
                    return;
                }
                // Somebody has mended it meanwhile.
                _ => return,
            }
        }
    }

    /// An entry was found damaged by somebody who needs it.
    pub(super) fn met_damage(&mut self, cx: &mut Cx<M>, first: LogIndex, last: LogIndex) {
        self.found_damaged(cx, &[(first, last)]);
        self.check_neighbours(cx, last);
    }

    /// Entries were found damaged, these ranges of them: peers have them.
    pub(super) fn found_damaged(&mut self, cx: &mut Cx<M>, found: &[(LogIndex, LogIndex)]) {
        let mut new: Vec<(LogIndex, LogIndex)> = Vec::new();
        for &(first, last) in found {
            // What is being fetched is met again by whoever reads on.
            if self.core.is_damaged(first, last) {
                continue;
            }
            let (first, last) = self.extent_of(first, last);
            if first <= last && new.last().is_none_or(|(_, before)| *before < first) {
                self.tell_damaged(cx, first, last);
                new.push((first, last));
            }
        }
        if let Err(error) = self.core.damaged(&new) {
            self.stop(cx, error.to_string());
        }
    }

    /// How far damage goes that was found, as far as it is the core's business.
    fn extent_of(&mut self, first: LogIndex, last: LogIndex) -> (LogIndex, LogIndex) {
        let (first, last) = match self.log.note_damage(first) {
            // The log knows how far it goes.
            Ok(Some(known)) if !known.is_harmless() => (
                first.min(known.first_index),
                last.max(known.next_index.prev()),
            ),
            Ok(_) => (first, last),
            Err(error) => {
                tracing::warn!(group = %self.group, %error, "damage cannot be looked at");
                (first, last)
            }
        };
        let runs = self.core.log();
        (
            first.max(runs.base().index.next()),
            last.min(runs.last().index),
        )
    }

    fn tell_damaged(&self, cx: &Cx<M>, first: LogIndex, last: LogIndex) {
        let count = last.since(first).unwrap_or_default() + 1;
        cx.metrics.damaged_entries.add(count);
        tracing::warn!(group = %self.group, %first, %last, "entries are damaged; peers are asked for them");
        cx.observer
            .alarm(self.group, &Alarm::Damaged { first, last });
    }
}

/// The first entry with records at or after an offset that can be read: what comes right after
/// damage may be damaged as well.
fn index_from(reader: &LogReader, mut offset: Offset) -> Option<LogIndex> {
    for _ in 0..DAMAGE_LOOKS_MAX {
        match reader.read(offset, 1) {
            Ok(chunk) => return chunk.frames.first().map(|frame| frame.index),
            Err(ReadError::Damaged { next, .. }) if next > offset => offset = next,
            Err(_) => return None,
        }
    }
    None
}
