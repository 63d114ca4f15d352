//! What a replay makes of each group's operations, in the order in which they were written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trilith_types::{EntryKind, EntryMeta, GroupId, LogIndex, Term, TimestampMs};

use super::{
    GroupReplay, Mark, PayloadRef, ReplayEntry, ReplayReset, ReplayState,
    descriptor::{Descriptor, What},
    holders::{Holders, Note},
};

/// Where descriptors come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// The frame that they were written in.
    pub(super) frame: u64,
    /// The number of its file's use.
    pub(super) file: u32,
    /// The file, and the frame's first block.
    pub(super) slot: u32,
    pub(super) block: u32,
}

/// Everything that was replayed.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) forgotten: BTreeSet<GroupId>,
    pub(super) holders: Holders,
    /// A frame is lost and nothing says what was in it.
    pub(super) lost: bool,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) mark: Option<FoundMark>,
    reset: Option<(ReplayReset, u64)>,
    truncated: Option<(LogIndex, u64)>,
    entries: VecDeque<FoundEntry>,
    /// Entries after a gap, dense and ascending, until a mark shows that the gap is in segments.
    beyond: VecDeque<Beyond>,
    commit: LogIndex,
    /// A frame is lost that may have had something of it, and nothing since shows what.
    doubt: bool,
    /// An entry came that does not follow the last one.
    broken: Option<LogIndex>,
}

#[derive(Clone, Debug)]
pub(super) struct FoundMark {
    pub(super) mark: Mark,
    pub(super) origin: u64,
    pub(super) state: PayloadRef,
    pub(super) intact: bool,
}

#[derive(Clone, Debug)]
struct FoundEntry {
    entry: ReplayEntry,
    /// None when it was made up from its neighbours.
    frame: Option<u64>,
}

/// An entry that does not follow the last one.
#[derive(Clone, Debug)]
struct Beyond {
    found: FoundEntry,
    prev_term: Term,
}

impl Groups {
    /// A frame of which nothing is known.
    pub(super) fn lose_frame(&mut self) {
        self.lost = true;
        for group in self.groups.values_mut() {
            group.doubt = true;
        }
    }

    /// Takes in one operation; `intact` says whether its payload or state is good.
    pub(super) fn apply(&mut self, descriptor: &Descriptor, intact: bool, source: Source) {
        let Descriptor { group: id, what } = descriptor;
        if matches!(what, What::Forget) {
            self.groups.remove(id);
            self.forgotten.insert(*id);
            self.holders.note(*id, Note::Forget, source.file);
            return;
        }
        let doubt = self.lost;
        let group = self.groups.entry(*id).or_insert_with(|| Group {
            doubt,
            ..Group::default()
        });
        if let Some(note) = group.apply(what, intact, source) {
            self.holders.note(*id, note, source.file);
        }
    }

    /// How many entries that are still needed were lost with each frame.
    pub(super) fn missed(&self) -> BTreeMap<u64, u32> {
        let mut missed = BTreeMap::new();
        let entries = self.groups.values().flat_map(|group| &group.entries);
        for found in entries.filter(|found| found.entry.state == ReplayState::Damaged) {
            if let Some(frame) = found.frame {
                *missed.entry(frame).or_insert(0) += 1;
            }
        }
        for group in self.groups.values() {
            if let Some(mark) = group.mark.as_ref().filter(|mark| !mark.intact) {
                *missed.entry(mark.origin).or_insert(0) += 1;
            }
        }
        missed
    }
}

impl Group {
    fn apply(&mut self, what: &What, intact: bool, source: Source) -> Option<Note> {
        match what {
            What::Append {
                meta,
                prev_term,
                payload,
            } => {
                let is_lost = payload.is_lost();
                let payload = place(*payload, source);
                let state = if intact && !is_lost {
                    ReplayState::Intact
                } else {
                    ReplayState::Damaged
                };
                let entry = ReplayEntry {
                    meta: *meta,
                    payload,
                    state,
                };
                self.append(entry, *prev_term, source.frame);
                Some(Note::Append(meta.index))
            }
            What::Truncate { from } => {
                self.truncate(*from, source.frame);
                Some(Note::Truncate(*from))
            }
            What::Mark {
                mark,
                state,
                origin,
                carried,
            } => {
                let found = FoundMark {
                    mark: mark.clone(),
                    origin: *origin,
                    state: place(*state, source),
                    intact,
                };
                self.mark(found, *carried).then_some(Note::Mark(mark.index))
            }
            What::Reset(reset) => {
                *self = Self {
                    reset: Some((*reset, source.frame)),
                    commit: self.commit.max(reset.next_index.prev()),
                    ..Self::default()
                };
                Some(Note::Reset(reset.next_index))
            }
            What::Commit(index) => {
                self.commit = self.commit.max(*index);
                None
            }
            What::Forget => None,
        }
    }

    /// The last entry, and its term where that is known. Before the first entry of all it is 0.
    fn last(&self) -> (LogIndex, Option<Term>) {
        if let Some(found) = self.entries.back() {
            return (found.entry.meta.index, Some(found.entry.meta.term));
        }
        if let Some((from, _)) = self.truncated {
            return (from.prev(), None);
        }
        if let Some((reset, _)) = &self.reset {
            return (reset.next_index.prev(), Some(reset.term));
        }
        match &self.mark {
            Some(found) => (found.mark.index, Some(found.mark.last_term)),
            None => (LogIndex::ZERO, Some(Term::ZERO)),
        }
    }

    fn append(&mut self, entry: ReplayEntry, prev_term: Term, frame: u64) {
        let index = entry.meta.index;
        if index <= self.last().0 {
            self.truncate(index, frame);
        }
        let (last, term) = self.last();
        let follows = index == last.next() && term.is_none_or(|term| term == prev_term);
        // A term has one leader, so its entries follow those of the same term: what is missing
        // between two of one term is of that term too.
        let implied = index > last.next() && term == Some(prev_term) && last > LogIndex::ZERO;
        if !follows && !implied {
            self.broken = self.broken.or(Some(index));
            self.append_beyond(entry, prev_term, frame);
            return;
        }
        self.beyond.clear();
        for missing in last.next().0..index.0 {
            let entry = unknown(LogIndex(missing), prev_term, &entry);
            self.entries.push_back(FoundEntry { entry, frame: None });
        }
        self.doubt = false;
        self.broken = None;
        let frame = Some(frame);
        self.entries.push_back(FoundEntry { entry, frame });
    }

    /// An entry after a gap. The file with those between may have been written again, since a mark
    /// that comes later in the journal covers them: then it is part of the log.
    fn append_beyond(&mut self, entry: ReplayEntry, prev_term: Term, frame: u64) {
        let index = entry.meta.index;
        self.truncate_beyond(index);
        let last = self.beyond.back().map(|beyond| beyond.found.entry.meta);
        // As in the log: what is missing between two entries of one term is of that term.
        let from = match last {
            Some(last) if last.term == prev_term => last.index.next(),
            _ => {
                self.beyond.clear();
                index
            }
        };
        for missing in from.0..index.0 {
            let entry = unknown(LogIndex(missing), prev_term, &entry);
            let found = FoundEntry { entry, frame: None };
            self.beyond.push_back(Beyond { found, prev_term });
        }
        let frame = Some(frame);
        let found = FoundEntry { entry, frame };
        self.beyond.push_back(Beyond { found, prev_term });
    }

    fn truncate_beyond(&mut self, from: LogIndex) {
        while self
            .beyond
            .back()
            .is_some_and(|beyond| beyond.found.entry.meta.index >= from)
        {
            self.beyond.pop_back();
        }
    }

    /// A mark may have closed the gap before some entries.
    fn join_beyond(&mut self, marked: LogIndex, last_term: Term) {
        while self
            .beyond
            .front()
            .is_some_and(|beyond| beyond.found.entry.meta.index <= marked)
        {
            self.beyond.pop_front();
        }
        let joins = self.beyond.front().is_some_and(|first| {
            first.found.entry.meta.index == marked.next() && first.prev_term == last_term
        });
        let is_cut = self.truncated.is_some() || self.reset.is_some();
        if joins && self.entries.is_empty() && !is_cut {
            self.broken = None;
            let joined = self.beyond.drain(..).map(|beyond| beyond.found);
            self.entries.extend(joined);
        }
    }

    fn truncate(&mut self, from: LogIndex, frame: u64) {
        self.truncate_beyond(from);
        while self
            .entries
            .back()
            .is_some_and(|e| e.entry.meta.index >= from)
        {
            self.entries.pop_back();
        }
        if self.broken.is_some_and(|broken| broken >= from) {
            self.broken = None;
        }
        let below = self.entries.is_empty() && from <= self.last().0;
        if below {
            self.truncated = Some((from, frame));
        }
    }

    /// False when a mark is an older one that was only carried on.
    fn mark(&mut self, found: FoundMark, carried: bool) -> bool {
        if carried
            && let Some(known) = &self.mark
            && (known.origin > found.origin
                || (known.origin == found.origin && (known.intact || !found.intact)))
        {
            return false;
        }
        let (index, origin) = (found.mark.index, found.origin);
        let last_term = found.mark.last_term;
        while self
            .entries
            .front()
            .is_some_and(|e| e.entry.meta.index <= index)
        {
            self.entries.pop_front();
        }
        self.truncated = self
            .truncated
            .filter(|(_, frame)| carried && *frame > origin);
        self.reset = self.reset.filter(|(_, frame)| carried && *frame > origin);
        self.broken = self.broken.filter(|broken| *broken > index);
        self.join_beyond(index, last_term);
        if let Some(first) = self.beyond.front() {
            self.broken = self.broken.or(Some(first.found.entry.meta.index));
        }
        self.commit = self.commit.max(found.mark.commit);
        self.mark = Some(found);
        if let Some(front) = self.entries.front()
            && front.entry.meta.index > index.next()
            && self.truncated.is_none()
            && self.reset.is_none()
        {
            // Entries between the two are nowhere: nothing behind them can be used.
            self.broken = Some(front.entry.meta.index);
            self.entries.clear();
        }
        true
    }

    /// What is given to the host; the mark's state is read by the caller.
    pub(super) fn finish(self) -> GroupReplay {
        let marked = self.mark.as_ref().map(|found| found.mark.index);
        let truncated = self.truncated.map(|(from, _)| from);
        GroupReplay {
            state_lost: self.mark.as_ref().is_some_and(|found| !found.intact),
            mark: self.mark.map(|found| found.mark),
            reset: self.reset.map(|(reset, _)| reset),
            truncated: truncated.filter(|from| self.reset.is_some() || Some(*from) <= marked),
            entries: self.entries.into_iter().map(|found| found.entry).collect(),
            commit: self.commit,
            unknown_suffix: self.doubt || self.broken.is_some(),
        }
    }
}

/// An entry of which only the identity is known.
const fn unknown(index: LogIndex, term: Term, next: &ReplayEntry) -> ReplayEntry {
    ReplayEntry {
        meta: EntryMeta {
            index,
            term,
            kind: EntryKind::NOOP,
            first_offset: next.meta.first_offset,
            records: 0,
            append_time: next.meta.append_time,
            max_timestamp: TimestampMs::MIN,
        },
        payload: PayloadRef {
            len: 0,
            crc: 0,
            ..next.payload
        },
        state: ReplayState::Damaged,
    }
}

const fn place(body: super::descriptor::Body, source: Source) -> PayloadRef {
    PayloadRef {
        slot: source.slot,
        block: source.block,
        position: body.position,
        len: body.len,
        crc: body.crc,
    }
}
