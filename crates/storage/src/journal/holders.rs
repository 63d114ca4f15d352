//! Which group keeps which file from being written again.
//!
//! A group holds the file with the oldest thing that a replay would need: an entry after its
//! mark, or a cut or a reset that no mark has taken in yet. Files are written again in the order
//! in which they were begun, so only the oldest one of a group counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trilith_types::{GroupId, LogIndex};

use super::op::JournalOp;

/// What an operation means for the files, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Append(LogIndex),
    Truncate(LogIndex),
    Mark(LogIndex),
    Reset(LogIndex),
    Forget,
}

impl Note {
    pub(super) const fn of(op: &JournalOp) -> Self {
        match op {
            JournalOp::Append { meta, .. } | JournalOp::Lost { meta, .. } => {
                Self::Append(meta.index)
            }
            JournalOp::Truncate { from } => Self::Truncate(*from),
            JournalOp::Mark(mark) => Self::Mark(mark.index),
            JournalOp::Reset { next_index, .. } => Self::Reset(*next_index),
            JournalOp::Forget => Self::Forget,
        }
    }
}

/// Entries of one group that lie in one file.
#[derive(Clone, Copy, Debug)]
struct Run {
    file: u32,
    first: LogIndex,
    last: LogIndex,
}

#[derive(Debug, Default)]
struct Holder {
    runs: VecDeque<Run>,
    /// Entries up to here are said to be in segments.
    marked: LogIndex,
    /// The file of the oldest cut or reset since the mark.
    cut: Option<u32>,
}

impl Holder {
    fn oldest(&self) -> Option<u32> {
        let run = self.runs.front().map(|run| run.file);
        [run, self.cut].into_iter().flatten().min()
    }

    fn note(&mut self, note: Note, file: u32) {
        match note {
            Note::Append(index) => {
                self.truncate(index);
                match self.runs.back_mut() {
                    Some(run) if run.file == file => run.last = index,
                    _ => self.runs.push_back(Run {
                        file,
                        first: index,
                        last: index,
                    }),
                }
            }
            Note::Truncate(from) => {
                self.truncate(from);
                if from <= self.marked {
                    self.cut = self.cut.or(Some(file));
                }
            }
            Note::Mark(index) => {
                while self.runs.front().is_some_and(|run| run.last <= index) {
                    self.runs.pop_front();
                }
                self.marked = index;
                self.cut = None;
            }
            Note::Reset(next) => {
                self.runs.clear();
                self.marked = next.prev();
                self.cut = Some(file);
            }
            Note::Forget => {}
        }
    }

    fn truncate(&mut self, from: LogIndex) {
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut() {
            run.last = run.last.min(from.prev());
        }
    }
}

/// All groups that hold something, by group and by file.
#[derive(Debug, Default)]
pub(super) struct Holders {
    groups: BTreeMap<GroupId, Holder>,
    files: BTreeMap<u32, BTreeSet<GroupId>>,
}

impl Holders {
    /// Takes in one operation that is durable in the file of this use.
    pub(super) fn note(&mut self, group: GroupId, note: Note, file: u32) {
        let holder = self.groups.entry(group).or_default();
        let before = holder.oldest();
        let after = if note == Note::Forget {
            self.groups.remove(&group);
            None
        } else {
            holder.note(note, file);
            holder.oldest()
        };
        if before == after {
            return;
        }
        if let Some(old) = before
            && let Some(groups) = self.files.get_mut(&old)
        {
            groups.remove(&group);
            if groups.is_empty() {
                self.files.remove(&old);
            }
        }
        if let Some(new) = after {
            self.files.entry(new).or_default().insert(group);
        }
    }

    /// The oldest file that anybody needs.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.files.keys().next().copied()
    }

    /// Who needs this file or an older one.
    pub(super) fn of_file(&self, file: u32) -> Vec<GroupId> {
        let older = self.files.range(..=file);
        older
            .flat_map(|(_, groups)| groups.iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GroupId = GroupId(1);
    const B: GroupId = GroupId(2);

    fn holders(notes: &[(GroupId, Note, u32)]) -> Holders {
        let mut holders = Holders::default();
        for &(group, note, file) in notes {
            holders.note(group, note, file);
        }
        holders
    }

    fn append(n: u64) -> Note {
        Note::Append(LogIndex(n))
    }

    fn mark(n: u64) -> Note {
        Note::Mark(LogIndex(n))
    }

    #[test]
    fn entries_after_the_mark_hold_their_file() {
        let mut found = holders(&[(A, append(1), 1), (A, append(2), 1), (B, append(1), 2)]);
        found.note(A, append(3), 3);
        assert_eq!((found.oldest(), found.of_file(1)), (Some(1), vec![A]));
        found.note(A, mark(1), 3);
        assert_eq!(found.oldest(), Some(1), "entry 2 is still needed");
        found.note(A, mark(2), 3);
        assert_eq!((found.oldest(), found.of_file(2)), (Some(2), vec![B]));
        assert_eq!(found.of_file(3), vec![B, A]);
        found.note(B, Note::Forget, 4);
        assert_eq!(found.oldest(), Some(3));
        found.note(A, mark(3), 4);
        assert_eq!(found.oldest(), None);
    }

    #[test]
    fn entries_that_were_cut_hold_nothing() {
        let found = holders(&[
            (A, append(1), 1),
            (A, append(2), 2),
            (A, append(3), 2),
            (A, Note::Truncate(LogIndex(2)), 3),
            (A, mark(1), 3),
        ]);
        assert_eq!(found.oldest(), None);
    }

    #[test]
    fn a_cut_below_the_mark_is_needed_until_the_next_mark() {
        let cut = (A, Note::Truncate(LogIndex(2)), 2);
        let mut found = holders(&[(A, append(1), 1), (A, append(2), 1), (A, mark(2), 1), cut]);
        assert_eq!(found.oldest(), Some(2));
        found.note(A, append(2), 3);
        found.note(A, Note::Truncate(LogIndex(2)), 4);
        assert_eq!(found.oldest(), Some(2), "the first of two cuts counts");
        found.note(A, mark(1), 5);
        assert_eq!(found.oldest(), None);
    }

    #[test]
    fn a_reset_is_needed_until_the_next_mark() {
        let reset = (A, Note::Reset(LogIndex(10)), 2);
        let mut found = holders(&[(A, append(1), 1), reset, (A, append(10), 3)]);
        assert_eq!(found.oldest(), Some(2));
        found.note(A, mark(9), 3);
        assert_eq!(found.oldest(), Some(3));
    }

    #[test]
    fn an_append_over_entries_replaces_them() {
        let found = holders(&[
            (A, append(5), 1),
            (A, append(6), 1),
            (A, append(5), 2),
            (A, mark(4), 2),
        ]);
        assert_eq!(found.oldest(), Some(2));
    }
}
