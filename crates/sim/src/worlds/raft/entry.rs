//! Entries as the replica keeps them: with their bytes, or what stands for them here.

use trilith_raft::{Configuration, EntryId};
use trilith_types::{LogIndex, NodeId, Term};

use crate::{event, history::Object};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Nothing: the beginning of a leader's term.
    Noop,
    /// Sets a register, or appends to a list.
    Put { object: Object, value: u64 },
    /// The members from here on.
    Configuration(Box<Configuration>),
}

/// An entry with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) command: Command,
    /// The size of its payload.
    pub(super) bytes: u32,
    /// Whether the payload was read back wrong. The command is still here so that the world knows
    /// what was lost (a configuration also has its mirror beside the vote); the replica never
    /// sends or applies a damaged entry.
    pub(super) damaged: bool,
}

fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

impl Command {
    /// A digest of what it says.
    pub(super) fn digest(&self) -> u64 {
        match self {
            Self::Noop => mix(1, 1),
            Self::Put { object, value } => {
                let (kind, number) = match object {
                    Object::Register(n) => (2, *n),
                    Object::List(n) => (3, *n),
                };
                mix(mix(kind, u64::from(number)), *value)
            }
            Self::Configuration(c) => {
                let nodes = |hash: u64, nodes: &[NodeId]| {
                    nodes.iter().fold(mix(hash, 77), |h, n| mix(h, n.get()))
                };
                let hash = nodes(nodes(4, c.voters.incoming()), c.voters.outgoing());
                let hash = nodes(nodes(hash, &c.learners), &c.learners_next);
                mix(hash, u64::from(c.auto_leave))
            }
        }
    }
}

impl Entry {
    /// The entry as checkers know it.
    pub(super) fn seen(&self) -> event::EntryId {
        let digest = mix(self.command.digest(), u64::from(self.bytes));
        event::EntryId {
            index: self.id.index,
            term: self.id.term,
            digest,
        }
    }
}

/// A configuration as checkers know it.
pub(super) fn seen_configuration(c: &Configuration) -> event::Configuration {
    event::Configuration {
        voters: c.voters.incoming().to_vec(),
        outgoing: c.voters.outgoing().to_vec(),
        learners: c.learners.clone(),
    }
}

/// Consecutive entries after a base: a log, on disk or in the replica's memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    base: EntryId,
    entries: Vec<Entry>,
}

impl Image {
    /// An empty log that goes on after `base`.
    pub(super) fn starting_after(base: EntryId) -> Self {
        Self {
            base,
            entries: Vec::new(),
        }
    }

    pub(super) fn base(&self) -> EntryId {
        self.base
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn last(&self) -> LogIndex {
        self.base.index.plus(self.entries.len() as u64)
    }

    fn place(&self, index: LogIndex) -> Option<usize> {
        Some(index.since(self.base.index)?.checked_sub(1)? as usize)
    }

    pub(super) fn get(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.get(self.place(index)?)
    }

    pub(super) fn get_mut(&mut self, index: LogIndex) -> Option<&mut Entry> {
        let place = self.place(index)?;
        self.entries.get_mut(place)
    }

    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            Some(self.base.term)
        } else {
            self.get(index).map(|e| e.id.term)
        }
    }

    /// Adds entries at the end; those that do not follow it are left out.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            if entry.id.index == self.last().next() {
                self.entries.push(entry.clone());
            }
        }
    }

    pub(super) fn truncate(&mut self, from: LogIndex) {
        if let Some(place) = self.place(from) {
            self.entries.truncate(place);
        }
    }

    /// Forgets everything up to and including `upto`.
    pub(super) fn compact(&mut self, upto: EntryId) {
        let gone = upto
            .index
            .since(self.base.index)
            .unwrap_or(0)
            .min(self.entries.len() as u64);
        self.entries.drain(..gone as usize);
        self.base = upto;
    }

    /// Puts the bytes of damaged entries back.
    pub(super) fn rewrite(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Some(place) = self.get_mut(entry.id.index)
                && place.id == entry.id
            {
                *place = entry.clone();
            }
        }
    }

    /// The configurations in it, ascending.
    pub(super) fn configurations(
        &self,
    ) -> impl DoubleEndedIterator<Item = (LogIndex, &Configuration)> {
        self.entries.iter().filter_map(|e| match &e.command {
            Command::Configuration(c) => Some((e.id.index, c.as_ref())),
            _ => None,
        })
    }

    /// Ranges of damaged entries, first and last.
    pub(super) fn damaged_ranges(&self) -> Vec<(LogIndex, LogIndex)> {
        let mut ranges: Vec<(LogIndex, LogIndex)> = Vec::new();
        for entry in self.entries.iter().filter(|e| e.damaged) {
            match ranges.last_mut() {
                Some((_, last)) if last.next() == entry.id.index => *last = entry.id.index,
                _ => ranges.push((entry.id.index, entry.id.index)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(term: u64, index: u64) -> Entry {
        Entry {
            id: EntryId::new(term, index),
            command: Command::Noop,
            bytes: 1,
            damaged: false,
        }
    }

    #[test]
    fn an_image_follows_its_operations() {
        let mut image = Image::default();
        image.append(&[entry(1, 1), entry(1, 2), entry(2, 3), entry(2, 5)]);
        assert_eq!(
            (image.last(), image.term_at(LogIndex(3))),
            (LogIndex(3), Some(Term(2)))
        );
        image.truncate(LogIndex(3));
        image.append(&[entry(3, 3)]);
        for index in [1, 3] {
            image.get_mut(LogIndex(index)).unwrap().damaged = true;
        }
        assert_eq!(
            image.damaged_ranges(),
            [1, 3].map(|i| (LogIndex(i), LogIndex(i)))
        );
        image.rewrite(&[entry(1, 1), entry(2, 3)]);
        assert_eq!(image.damaged_ranges(), [(LogIndex(3), LogIndex(3))]);
        image.compact(EntryId::new(1, 2));
        assert_eq!(
            (image.base(), image.entries().len()),
            (EntryId::new(1, 2), 1)
        );
        image.compact(EntryId::new(4, 9));
        assert_eq!((image.last(), image.entries().len()), (LogIndex(9), 0));
    }

    #[test]
    fn digests_tell_commands_apart() {
        let put = |object, value| Command::Put { object, value }.digest();
        let of = |voters: &[u64]| {
            let voters = voters.iter().copied().map(NodeId);
            Command::Configuration(Box::new(Configuration::of_voters(voters))).digest()
        };
        let digests = [
            Command::Noop.digest(),
            put(Object::Register(1), 2),
            put(Object::List(1), 2),
            put(Object::Register(1), 3),
            of(&[1, 2]),
            of(&[1, 3]),
        ];
        for (place, digest) in digests.iter().enumerate() {
            assert!(!digests[..place].contains(digest));
        }
    }
}
