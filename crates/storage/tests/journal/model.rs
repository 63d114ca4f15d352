//! What a replay must give, by a model that knows nothing of files and frames.

use std::collections::{BTreeMap, BTreeSet};

use trilith_storage::journal::{GroupReplay, Journal, JournalOp, Mark, ReplayReset, Replayed};
use trilith_types::{EntryMeta, GroupId, LogIndex};

/// One group's log as the journal should know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub mark: Option<Mark>,
    pub reset: Option<ReplayReset>,
    pub truncated: Option<LogIndex>,
    pub entries: Vec<(EntryMeta, Vec<u8>)>,
}

impl Group {
    /// Index and term of the last entry.
    pub fn last(&self) -> (u64, u64) {
        if let Some((meta, _)) = self.entries.last() {
            return (meta.index.0, meta.term.0);
        }
        let marked = self
            .mark
            .as_ref()
            .map_or((0, 0), |m| (m.index.0, m.last_term.0));
        let base = self
            .reset
            .map_or(marked, |r| (r.next_index.0 - 1, r.term.0));
        // The model's entries below a mark have the mark's term at most: the workload gives all
        // entries below a cut the term 1.
        self.truncated
            .map_or(base, |from| (from.0 - 1, u64::from(from.0 > 1)))
    }

    fn apply(&mut self, op: &JournalOp) {
        match op {
            JournalOp::Append { meta, payload, .. } => {
                assert_eq!(
                    meta.index.0,
                    self.last().0 + 1,
                    "the workload keeps to the rules"
                );
                self.entries.push((*meta, payload.parts().concat()));
            }
            JournalOp::Truncate { from } => {
                self.entries.retain(|(meta, _)| meta.index < *from);
                if self.entries.is_empty() && from.0 <= self.last().0 {
                    self.truncated = Some(*from);
                }
            }
            JournalOp::Mark(mark) => {
                self.entries.retain(|(meta, _)| meta.index > mark.index);
                self.mark = Some(mark.clone());
                (self.reset, self.truncated) = (None, None);
            }
            JournalOp::Reset {
                next_index,
                next_offset,
                term,
            } => {
                let (next_index, next_offset, term) = (*next_index, *next_offset, *term);
                let reset = Some(ReplayReset {
                    next_index,
                    next_offset,
                    term,
                });
                *self = Self {
                    reset,
                    ..Self::default()
                };
            }
            JournalOp::Lost { .. } => unreachable!("the workload loses nothing by itself"),
            JournalOp::Forget => {}
        }
    }

    fn is(&self, found: &GroupReplay, journal: &Journal) -> bool {
        let same_mark = match (&self.mark, &found.mark) {
            // Commit indices ride along when they can.
            (Some(a), Some(b)) => {
                Mark {
                    commit: b.commit,
                    ..a.clone()
                } == *b
            }
            (None, None) => true,
            _ => false,
        };
        let entries = found.entries.iter();
        let read = |e: &trilith_storage::journal::ReplayEntry| {
            (e.meta, journal.payload(&e.payload).unwrap().to_vec())
        };
        same_mark
            && (self.reset, self.truncated) == (found.reset, found.truncated)
            && self.entries.len() == found.entries.len()
            && self
                .entries
                .iter()
                .map(|e| e.0)
                .eq(found.entries.iter().map(|e| e.meta))
            && self.entries.iter().cloned().eq(entries.map(read))
    }
}

/// All groups.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub groups: BTreeMap<GroupId, Group>,
    pub forgotten: BTreeSet<GroupId>,
}

impl Model {
    pub fn apply(&mut self, group: GroupId, op: &JournalOp) {
        if *op == JournalOp::Forget {
            self.groups.remove(&group);
            self.forgotten.insert(group);
        } else {
            self.groups.entry(group).or_default().apply(op);
        }
    }

    /// What a replay gives that this is not, in words.
    pub fn differs(&self, replayed: &Replayed) -> String {
        let mut out = String::new();
        for id in self.groups.keys().chain(replayed.groups.keys()) {
            let model = self.groups.get(id).map(|g| {
                let entries: Vec<_> = g
                    .entries
                    .iter()
                    .map(|e| (e.0.index.0, e.0.term.0))
                    .collect();
                (
                    g.mark.as_ref().map(|m| m.index.0),
                    g.reset,
                    g.truncated,
                    entries,
                )
            });
            let found = replayed.groups.get(id).map(|g| {
                let entries = g
                    .entries
                    .iter()
                    .map(|e| (e.meta.index.0, e.meta.term.0))
                    .collect();
                (
                    g.mark.as_ref().map(|m| m.index.0),
                    g.reset,
                    g.truncated,
                    entries,
                )
            });
            if model != found {
                out += &format!("group {id}: expected {model:?}, found {found:?}\n");
            }
        }
        out
    }

    /// Whether a replay gave this. What was deleted may be forgotten altogether.
    pub fn is(&self, replayed: &Replayed, journal: &Journal) -> bool {
        let (none, nothing) = (Group::default(), GroupReplay::default());
        // A group of which nothing is left may be there or not.
        let mut all = self.groups.keys().chain(replayed.groups.keys());
        replayed.forgotten.is_subset(&self.forgotten)
            && all.all(|id| {
                let found = replayed.groups.get(id).unwrap_or(&nothing);
                self.groups.get(id).unwrap_or(&none).is(found, journal)
            })
    }
}
