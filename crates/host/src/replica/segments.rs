//! Making the log durable apart from the journal, so that the journal's files can be used again:
//! syncs of segments in the background, and marks that say how far they have come.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_raft::WriteSeq;
use trilith_storage::{
    SyncOutcome,
    journal::{JournalFailed, JournalOp, Mark, Submission},
};
use trilith_types::{LogIndex, Offset, Term};

use super::{Cx, Replica};
use crate::{event::Event, image::Image, machine::Machine};

/// Most terms that are kept beside a mark: the newest.
const TERMS_MAX: usize = 1024;

/// What is to be done about segments.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Bytes that are in the journal alone.
    unsynced: u64,
    /// The number of the last sync that was begun.
    begun: u64,
    is_syncing: bool,
    /// When the sync that is under way, or was last, was ordered.
    ordered: Duration,
    is_queued: bool,
    wants_sync: bool,
    wants_mark: bool,
    /// The applied index of each mark on its way to the journal.
    marking: VecDeque<LogIndex>,
    /// What the last mark covered: entries, and what is applied.
    marked: (LogIndex, LogIndex),
    /// Truncations that are in the log and not yet durable in the journal: nothing may make them
    /// durable before it does.
    held: usize,
    trim_offset: Option<Offset>,
    trim_index: Option<LogIndex>,
    /// Directories that go once a write is durable.
    retired: Vec<(WriteSeq, PathBuf)>,
}

impl Segments {
    pub(super) const fn appended(&mut self, bytes: u64) {
        self.unsynced += bytes;
    }

    pub(super) const fn mark_soon(&mut self) {
        self.wants_mark = true;
    }

    pub(super) const fn sync_soon(&mut self) {
        self.wants_sync = true;
    }

    /// The log is to begin at `to`, once a durable state covers what goes.
    pub(super) fn trim_offset(&mut self, to: Offset) {
        self.trim_offset = self.trim_offset.max(Some(to));
        self.wants_mark = true;
    }

    /// The log is to be trimmed up to an entry.
    pub(super) fn trim_index(&mut self, upto: LogIndex) {
        self.trim_index = self.trim_index.max(Some(upto));
        self.wants_mark = true;
    }

    /// The number of the sync that will cover what was written just now.
    pub(super) const fn sync_for_mending(&mut self) -> u64 {
        self.wants_sync = true;
        self.begun + 1
    }

    pub(super) const fn hold(&mut self) {
        self.held += 1;
        self.wants_sync = true;
    }

    pub(super) const fn release(&mut self, count: usize) {
        self.held = self.held.saturating_sub(count);
    }

    /// A directory goes once the write that is being carried out is durable.
    pub(super) fn retire(&mut self, dir: PathBuf) {
        self.retired.push((WriteSeq(u64::MAX), dir));
    }

    /// The write that was being carried out is this one.
    pub(super) fn retire_after(&mut self, seq: WriteSeq) {
        for (after, _) in &mut self.retired {
            *after = (*after).min(seq);
        }
    }

    /// The log is another one.
    pub(super) const fn replaced(&mut self) {
        self.unsynced = 0;
        self.wants_sync = true;
    }

    pub(super) fn is_idle(&self) -> bool {
        let wants = self.wants_sync || self.wants_mark;
        !wants && !self.is_syncing && self.marking.is_empty()
    }
}

impl<M: Machine> Replica<M> {
    /// The journal wants to be past this group.
    pub(crate) fn need_mark(&mut self) {
        if self.log.needs_sync() {
            self.segments.wants_sync = true;
        } else {
            self.segments.wants_mark = true;
        }
    }

    /// Begins a sync if one is wanted, and closes the files of a log that has gone quiet.
    pub(super) fn attend_segments(&mut self, cx: &mut Cx<M>) {
        if self.segments.unsynced >= cx.config.sync_bytes {
            self.segments.wants_sync = true;
        }
        let may_sync = !self.segments.is_syncing && self.segments.held == 0;
        if self.segments.wants_sync
            && may_sync
            && self.files_retry.is_none()
            && self.log.poisoned().is_none()
        {
            // Others wait for one to end; those that wait for the disk at the same time are made
            // together.
            if cx.syncs < cx.config.open_logs_max {
                self.begin_sync(cx);
            } else if !self.segments.is_queued {
                self.segments.is_queued = true;
                cx.sync_queue.push_back(self.group);
            }
        }
        if self.park_at(cx) <= cx.now.monotonic && self.park() {
            self.recent_cleared(cx);
        }
    }

    /// Closes the files that are open for writing, unless something is under way with them. Returns
    /// whether it has closed any.
    pub(crate) fn park(&mut self) -> bool {
        let may = self.may_park();
        if may {
            self.log.park();
        }
        may
    }

    /// Whether files are open for writing, and nothing is under way with them.
    pub(crate) fn may_park(&self) -> bool {
        let is_in_use = self.segments.is_syncing || self.segments.held > 0;
        !is_in_use && self.log.is_open_for_writing()
    }

    fn park_at(&self, cx: &Cx<M>) -> Duration {
        self.last_append + cx.config.park_after
    }

    /// When there is something to do that no input and no tick brings.
    pub(crate) fn deadline(&self, cx: &Cx<M>) -> Option<Duration> {
        if self.stopped.is_some() {
            return None;
        }
        let park = self.log.is_open_for_writing() && !self.segments.is_syncing;
        let park = park.then(|| self.park_at(cx));
        let timers = [
            park,
            self.chore_at,
            self.files_retry,
            self.disk_deadline(),
            self.slow_tick,
        ];
        timers.into_iter().flatten().min()
    }

    fn begin_sync(&mut self, cx: &mut Cx<M>) {
        self.segments.wants_sync = false;
        self.segments.is_queued = false;
        self.segments.begun += 1;
        self.segments.unsynced = 0;
        match self.log.prepare_sync() {
            Ok(Some(pending)) => {
                self.segments.is_syncing = true;
                self.segments.ordered = cx.now.monotonic;
                cx.syncs += 1;
                cx.metrics.segment_syncs.add(1);
                let (group, number) = (self.group, self.segments.begun);
                let inbox = Arc::clone(&cx.inbox);
                let done = move |outcome| {
                    inbox.tell(Event::Synced {
                        group,
                        number,
                        outcome,
                    });
                };
                cx.syncer.submit(pending, Box::new(done));
            }
            Ok(None) => {
                self.mended(self.segments.begun);
                self.segments.wants_mark = self.log.mark().is_some();
                cx.again.push(self.group);
            }
            // It could not be begun; nothing was lost.
            Err(_) if self.log.poisoned().is_none() => {
                self.segments.wants_sync = true;
                self.files_wanted(cx);
            }
            Err(error) => cx.fail(error.to_string()),
        }
    }

    /// A sync has ended.
    pub(crate) fn synced(&mut self, cx: &mut Cx<M>, number: u64, outcome: SyncOutcome) {
        self.segments.is_syncing = false;
        let took = cx.now.monotonic.saturating_sub(self.segments.ordered);
        cx.metrics.segment_sync_micros.record_micros(took);
        match self.log.finish_sync(outcome) {
            Ok(_) => {
                self.mended(number);
                self.segments.wants_mark = true;
            }
            Err(error) => cx.fail(error.to_string()),
        }
    }

    /// Says to the journal how far the log is durable, when that is wanted and everything that was
    /// done in the log has been handed to the journal before.
    pub(super) fn submit_mark_if_due(&mut self, cx: &mut Cx<M>) {
        if !self.segments.wants_mark || !self.write.is_handed_over() {
            return;
        }
        let Some(mark) = self.mark() else {
            self.segments.wants_sync = true;
            return;
        };
        self.segments.wants_mark = false;
        self.segments.marking.push_back(self.applied);
        self.segments.marked = (mark.index, mark.applied);
        cx.metrics.marks.add(1);
        let group = self.group;
        let inbox = Arc::clone(&cx.inbox);
        let done = Box::new(move |result| inbox.lay(Event::Marked { group, result }));
        let ops = vec![JournalOp::Mark(mark)];
        cx.submissions.push(Submission { group, ops, done });
    }

    fn mark(&self) -> Option<Mark> {
        let part = self.log.mark()?;
        Some(Mark {
            segment: part.segment,
            position: part.position,
            index: part.index,
            next_offset: part.next_offset,
            last_term: part.last_term,
            applied: self.applied,
            commit: self.shared.commit().max(self.applied),
            state: self.image().encode(),
        })
    }

    /// What goes beside a mark.
    pub(super) fn image(&self) -> Image {
        let is_lost = self.core.status().needs_snapshot && !self.is_installing;
        Image {
            generation: self.generation,
            visible: self.log.visible_upto(),
            doubt: self.doubt,
            is_lost,
            configurations: self.configurations.clone(),
            terms: self.terms(),
            machine: if is_lost {
                Bytes::new()
            } else {
                self.machine.state()
            },
        }
    }

    /// The terms of the log's entries: as the core knows them, and before its base as the log does.
    fn terms(&self) -> Vec<(Term, LogIndex)> {
        let known = self.core.log();
        let base = known.base().index;
        let before = self.log.term_runs().into_iter();
        let before = before.filter(|run| run.first <= base);
        let mut terms: Vec<_> = before.map(|run| (run.term, run.first)).collect();
        let mut first = base.next();
        for run in known.slice(first, known.last_index()).iter() {
            if terms.last().is_none_or(|(term, _)| *term != run.term) {
                terms.push((run.term, first));
            }
            first = first.plus(run.count);
        }
        let kept = terms.len().saturating_sub(TERMS_MAX);
        terms.drain(..kept);
        terms
    }

    /// A mark is durable: what it covers need not be kept.
    pub(crate) fn marked(&mut self, cx: &mut Cx<M>, result: Result<(), JournalFailed>) {
        let Some(applied) = self.segments.marking.pop_front() else {
            return;
        };
        match result {
            Ok(()) => {}
            Err(error @ JournalFailed::Write { .. }) => return cx.fail(error.to_string()),
            Err(error) => {
                tracing::error!(group = %self.group, %error, "a mark was not taken");
                return;
            }
        }
        self.doubt_unsaved = false;
        self.cut_journal_now(cx);
        if let Err(error) = self.trim(applied) {
            cx.fail(error.to_string());
        }
    }

    fn trim(&mut self, applied: LogIndex) -> Result<(), trilith_storage::SyncError> {
        if let Some(to) = self.segments.trim_offset.take() {
            self.log.trim(to, applied)?;
        }
        let upto = self.segments.trim_index.take();
        if !self.machine.log_is_data() {
            self.log.trim(self.log.end_offset(), applied)?;
        } else if let Some(to) = upto.and_then(|upto| self.offset_behind(upto.min(applied))) {
            self.log.trim(to, applied)?;
        }
        let status = self.core.status();
        let base = self.log.start_index().prev();
        // A member that knows of no configuration yet keeps its log's beginning; it is asked again
        // with the next mark.
        if base > status.base.index && base <= status.applied && self.core.trimmed(base).is_ok() {
            forget_configurations(&mut self.configurations, base);
        }
        if self.log.needs_sync() {
            self.segments.wants_sync = true;
        }
        Ok(())
    }

    /// The offset behind an entry, damaged or not.
    pub(super) fn offset_behind(&self, index: LogIndex) -> Option<Offset> {
        let mut damage = self.log.damage().iter();
        let lost = damage.find(|d| d.first_index <= index && index < d.next_index);
        if let Some(lost) = lost {
            return Some(lost.next_offset);
        }
        let entries = self.log.reader().entries(index, index, 1).ok()?;
        entries.first().map(|entry| entry.meta.next_offset())
    }

    /// Removes what was waiting for a write to be durable.
    pub(super) fn remove_retired(&mut self, cx: &Cx<M>) {
        let durable = self.write.durable();
        let gone = self
            .segments
            .retired
            .extract_if(.., |(after, _)| *after <= durable);
        for (_, dir) in gone {
            cx.background.remove_dir(&cx.env.disk, dir);
        }
    }

    /// The node stops cleanly: the log is synced and marked once more, if that is of use.
    pub(crate) fn finish(&mut self) {
        let part = self.log.mark();
        let is_marked = part.is_some_and(|p| (p.index, self.applied) == self.segments.marked);
        if self.log.needs_sync() {
            self.segments.wants_sync = true;
        } else if !is_marked {
            self.segments.wants_mark = true;
        }
    }

    /// Whether nothing is left to be synced or marked, or cannot be.
    pub(crate) fn is_finished(&self) -> bool {
        self.segments.is_idle() || self.log.poisoned().is_some()
    }
}

/// Keeps of the configurations up to `base` only the last one.
pub(super) fn forget_configurations<T>(configurations: &mut Vec<(LogIndex, T)>, base: LogIndex) {
    let after = configurations.partition_point(|(index, _)| *index <= base);
    configurations.drain(..after.saturating_sub(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_the_base_is_kept() {
        let all = || vec![(LogIndex(0), 'a'), (LogIndex(5), 'b'), (LogIndex(9), 'c')];
        let kept = |base| {
            let mut configurations = all();
            forget_configurations(&mut configurations, LogIndex(base));
            configurations
                .iter()
                .map(|(_, name)| *name)
                .collect::<String>()
        };
        assert_eq!(kept(0), "abc");
        assert_eq!(kept(4), "abc");
        assert_eq!(kept(5), "bc");
        assert_eq!(kept(99), "c");
    }
}
