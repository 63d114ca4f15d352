//! What has been handed out to be written, and what waits for it to be on disk.

use std::collections::VecDeque;

use trilith_types::{LogIndex, Term};

use crate::{damage::Damage, message::Message, output::WriteSeq};

/// Most writes that are told apart while they are pending. Past it, the newest two count as one:
/// what waits for the first then waits for the second.
pub(crate) const WRITES_PENDING_MAX: usize = 1024;

/// Most ranges that are being written again at a time; others are asked for when these are on disk.
pub(crate) const REWRITES_MAX: usize = 1024;

/// Something that may only happen once a write is on disk.
#[derive(Clone, Debug)]
pub(crate) enum Gated {
    /// A message that makes a promise.
    Message(Message),
    /// A candidate's vote for itself.
    OwnVote(Term),
}

/// A write on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct Pending {
    seq: WriteSeq,
    /// Where the log ends on disk once it is done; lowered when a truncation overtakes it.
    stored: LogIndex,
    since_tick: u64,
}

/// Rewritten entries on their way to the disk.
#[derive(Clone, Copy, Debug)]
struct Rewrite {
    seq: WriteSeq,
    first: LogIndex,
    last: LogIndex,
}

/// The writes of one core.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    issued: WriteSeq,
    persisted: WriteSeq,
    /// The write that carries the latest term and vote.
    hard_state: WriteSeq,
    pending: VecDeque<Pending>,
    rewrites: Vec<Rewrite>,
    /// The same as a set.
    rewriting: Damage,
    gated: VecDeque<(WriteSeq, Gated)>,
}

impl Writes {
    pub(crate) fn issued(&self) -> WriteSeq {
        self.issued
    }

    /// The number that the next write will have.
    pub(crate) fn next(&self) -> WriteSeq {
        WriteSeq(self.issued.0.saturating_add(1))
    }

    /// Hands out a write that leaves the log ending at `stored`.
    pub(crate) fn issue(&mut self, stored: LogIndex, tick: u64) -> WriteSeq {
        self.issued = self.next();
        let pending = Pending {
            seq: self.issued,
            stored,
            since_tick: tick,
        };
        let is_full = self.pending.len() >= WRITES_PENDING_MAX;
        match self.pending.back_mut() {
            Some(last) if is_full => {
                let since_tick = last.since_tick;
                *last = Pending {
                    since_tick,
                    ..pending
                };
            }
            _ => self.pending.push_back(pending),
        }
        self.issued
    }

    /// Notes that the next write carries the term and the vote.
    pub(crate) fn hard_state_changes(&mut self) {
        self.hard_state = self.next();
    }

    /// Whether the latest term and vote are on disk.
    pub(crate) fn hard_state_is_safe(&self) -> bool {
        self.hard_state <= self.persisted
    }

    /// Notes that the next write rewrites `first..=last`.
    pub(crate) fn rewrites(&mut self, first: LogIndex, last: LogIndex) {
        self.rewrites.push(Rewrite {
            seq: self.next(),
            first,
            last,
        });
        self.rewriting.insert(first, last);
    }

    /// What is being rewritten among `first..=last` is not mended by it.
    pub(crate) fn rewrites_nothing(&mut self, first: LogIndex, last: LogIndex) {
        if self.rewrites.is_empty() {
            return;
        }
        let outside = |rewrite: Rewrite| {
            let before = Rewrite {
                last: rewrite.last.min(first.prev()),
                ..rewrite
            };
            let after = Rewrite {
                first: rewrite.first.max(last.next()),
                ..rewrite
            };
            [before, after].into_iter().filter(|r| r.first <= r.last)
        };
        let touched = |r: &mut Rewrite| r.first <= last && first <= r.last;
        let cut: Vec<Rewrite> = self
            .rewrites
            .extract_if(.., touched)
            .flat_map(outside)
            .collect();
        self.rewrites.extend(cut);
        self.rewriting.remove(first, last);
    }

    /// What is being rewritten.
    pub(crate) const fn rewriting(&self) -> &Damage {
        &self.rewriting
    }

    /// Whether nothing more may be rewritten for now.
    pub(crate) fn rewrites_are_full(&self) -> bool {
        self.rewrites.len() >= REWRITES_MAX
    }

    /// A truncation removes what pending writes have appended from `from` on.
    pub(crate) fn truncated_from(&mut self, from: LogIndex) {
        for pending in &mut self.pending {
            pending.stored = pending.stored.min(from.prev());
        }
        for rewrite in &mut self.rewrites {
            rewrite.last = rewrite.last.min(from.prev());
        }
        self.rewrites.retain(|r| r.first <= r.last);
        self.rewriting.truncate_from(from);
    }

    /// Notes that every write up to `seq` is on disk; gives where the log ends on disk now, when
    /// a pending write has said so.
    pub(crate) fn persist(&mut self, seq: WriteSeq) -> Option<LogIndex> {
        self.persisted = self.persisted.max(seq);
        let mut stored = None;
        while let Some(pending) = self.pending.front() {
            if pending.seq > seq {
                break;
            }
            stored = Some(pending.stored);
            self.pending.pop_front();
        }
        stored
    }

    /// The next range whose rewriting is on disk.
    pub(crate) fn take_rewritten(&mut self) -> Option<(LogIndex, LogIndex)> {
        let at = self.rewrites.iter().position(|r| r.seq <= self.persisted)?;
        let done = self.rewrites.swap_remove(at);
        self.rewriting.remove(done.first, done.last);
        Some((done.first, done.last))
    }

    /// Lets `what` wait until `seq` is on disk.
    pub(crate) fn gate(&mut self, seq: WriteSeq, what: Gated) {
        self.gated.push_back((seq, what));
    }

    /// The next thing that need not wait any more.
    pub(crate) fn take_open(&mut self) -> Option<Gated> {
        if self.gated.front()?.0 > self.persisted {
            return None;
        }
        self.gated.pop_front().map(|(_, what)| what)
    }

    pub(crate) fn is_safe(&self, seq: WriteSeq) -> bool {
        seq <= self.persisted
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.gated.is_empty() && self.rewrites.is_empty()
    }

    /// The tick at which the oldest pending write was handed out.
    pub(crate) fn oldest_tick(&self) -> Option<u64> {
        self.pending.front().map(|pending| pending.since_tick)
    }

    /// Gives the memory back; for groups that go quiet.
    pub(crate) fn release_memory(&mut self) {
        if self.is_idle() {
            self.pending = VecDeque::new();
            self.gated = VecDeque::new();
            self.rewrites = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_about_truncated_entries_says_nothing_of_their_successors() {
        let mut writes = Writes::default();
        let first = writes.issue(LogIndex(7), 0);
        writes.truncated_from(LogIndex(5));
        let second = writes.issue(LogIndex(7), 0);
        assert_eq!(writes.persist(first), Some(LogIndex(4)));
        assert_eq!(writes.persist(second), Some(LogIndex(7)));
        assert_eq!(writes.persist(second), None);
    }

    #[test]
    fn past_the_limit_the_newest_writes_count_as_one() {
        let mut writes = Writes::default();
        for index in 1..=2000 {
            writes.issue(LogIndex(index), index);
        }
        assert_eq!(writes.pending.len(), WRITES_PENDING_MAX);
        assert_eq!(writes.persist(WriteSeq(1500)), Some(LogIndex(1023)));
        assert_eq!(writes.oldest_tick(), Some(1024));
        assert_eq!(writes.persist(WriteSeq(2000)), Some(LogIndex(2000)));
        assert!(writes.is_idle());
    }

    #[test]
    fn rewrites_are_done_when_their_write_is() {
        let mut writes = Writes::default();
        writes.rewrites(LogIndex(3), LogIndex(6));
        let rewriting = |writes: &Writes, index| writes.rewriting().contains(LogIndex(index));
        assert!(rewriting(&writes, 6) && !rewriting(&writes, 7));
        writes.truncated_from(LogIndex(5));
        assert!(rewriting(&writes, 4) && !rewriting(&writes, 5));
        assert_eq!(writes.take_rewritten(), None);
        let seq = writes.issue(LogIndex(4), 0);
        writes.persist(seq);
        assert_eq!(writes.take_rewritten(), Some((LogIndex(3), LogIndex(4))));
        assert!(writes.rewriting().is_empty());
        writes.release_memory();
    }
}
