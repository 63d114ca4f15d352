//! The state machine that the replicas keep equal: registers and lists.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use trilith_raft::{Configuration, EntryId};

use super::entry::{Command, Entry};
use crate::history::{Answer, Object};

/// Registers and lists, and a digest of all that ever happened to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    registers: BTreeMap<u32, u64>,
    lists: BTreeMap<u32, Vec<u64>>,
    digest: u64,
}

impl Machine {
    /// Applies an entry.
    pub(super) fn apply(&mut self, entry: &Entry) {
        if let Command::Put { object, value } = entry.command {
            match object {
                Object::Register(n) => {
                    self.registers.insert(n, value);
                }
                Object::List(n) => self.lists.entry(n).or_default().push(value),
            }
        }
        let mixed = self.digest.rotate_left(7) ^ entry.command.digest();
        self.digest = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ entry.id.index.get();
    }

    /// A digest of every entry that was applied, in their order.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// What a read sees.
    pub(super) fn read(&self, object: Object) -> Answer {
        match object {
            Object::Register(n) => Answer::Value(self.registers.get(&n).copied().unwrap_or(0)),
            Object::List(n) => {
                let items = self.lists.get(&n).map_or(&[][..], Vec::as_slice);
                Answer::Items(Arc::from(items))
            }
        }
    }

    /// How many bytes a snapshot of it has, for the sake of its transfer.
    pub(super) fn bytes(&self) -> u64 {
        let lists: usize = self.lists.values().map(Vec::len).sum();
        1_000 + 16 * (self.registers.len() + lists) as u64
    }
}

/// The state machine as of an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// The last entry in it.
    pub(super) last: EntryId,
    /// The members as of that entry.
    pub(super) configuration: Configuration,
    /// The state.
    pub(super) machine: Rc<Machine>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(index: u64, object: Object, value: u64) -> Entry {
        let command = Command::Put { object, value };
        Entry {
            id: EntryId::new(1, index),
            command,
            bytes: 8,
            damaged: false,
        }
    }

    #[test]
    fn reads_see_what_was_applied() {
        let mut machine = Machine::default();
        assert_eq!(machine.read(Object::Register(1)), Answer::Value(0));
        assert_eq!(machine.read(Object::List(1)), Answer::Items(Arc::from([])));
        machine.apply(&put(1, Object::Register(1), 5));
        machine.apply(&put(2, Object::List(1), 6));
        machine.apply(&put(3, Object::List(1), 7));
        assert_eq!(machine.read(Object::Register(1)), Answer::Value(5));
        assert_eq!(
            machine.read(Object::List(1)),
            Answer::Items(Arc::from([6, 7]))
        );
        assert_eq!(machine.bytes(), 1_048);
    }

    #[test]
    fn the_digest_depends_on_order_and_repetition() {
        let run = |entries: &[Entry]| {
            let mut machine = Machine::default();
            entries.iter().for_each(|e| machine.apply(e));
            machine.digest()
        };
        let (a, b) = (
            put(1, Object::Register(1), 5),
            put(2, Object::Register(2), 5),
        );
        assert_ne!(run(&[a.clone(), b.clone()]), run(&[b.clone(), a.clone()]));
        assert_ne!(run(std::slice::from_ref(&a)), run(&[a.clone(), a.clone()]));
    }
}
