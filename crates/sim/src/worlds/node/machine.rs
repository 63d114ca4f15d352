//! The state machine of the groups: lists that grow, and registers.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use trilith_host::{
    Alarm, Decision, Draft, Effects, Fate, Leading, Machine, Refusal, StateError, UnknownEntry,
};
use trilith_raft::{Configuration, RoleChange};
use trilith_types::{EntryKind, EntryMeta, GroupId, LogIndex, Offset, Term};

use super::plant::NodeBug;
use crate::history::{Answer, Object, OpId, Outcome};

/// The log is trimmed after every so many entries, all but the last [`KEPT`] of them.
const TRIM_EVERY: u64 = 64;

/// How many entries a trim leaves.
const KEPT: u64 = 40;

/// Longest padding of an entry, in bytes.
const PADDING_MAX: u64 = 3_000;

/// Something that a node says while it is driven.
#[derive(Debug)]
pub(super) enum Said {
    /// A group's role, term, leader or members.
    Role(GroupId, RoleChange, Configuration),
    /// An entry was applied.
    Applied(GroupId, Applied),
    /// A state took the place of the one that was there.
    Restored(GroupId, Applied),
    /// An operation has ended.
    Answer(OpId, Outcome),
    /// A read may look at the state here now.
    MayRead(OpId, Object),
    /// A group was opened, or why not.
    Opened(GroupId, Result<(), String>),
    /// The host stops.
    Fatal(String),
    /// An operator should know.
    Alarm(GroupId, Alarm),
}

/// What a node has said and nobody has looked at yet.
pub(super) type Ears = Arc<Mutex<Vec<Said>>>;

/// A place in the sequence of applied entries. The host's own entries are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// How many entries there were with this one.
    pub(super) count: u64,
    /// The entry's term.
    pub(super) term: Term,
    /// The entry's index in the log.
    pub(super) index: LogIndex,
    /// A digest of the entry.
    pub(super) entry: u64,
    /// A digest of the state after it.
    pub(super) state: u64,
}

/// A write.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) op: OpId,
    pub(super) object: Object,
    pub(super) value: u64,
    pub(super) ears: Ears,
}

/// Somebody who waits for a write to be applied.
#[derive(Debug)]
pub(super) struct Waiting {
    op: OpId,
    ears: Ears,
    bug: Option<NodeBug>,
}

impl Waiting {
    fn tell(self, outcome: Outcome) {
        self.ears.lock().push(Said::Answer(self.op, outcome));
    }
}

/// Registers and lists of one group, and a digest of all that ever happened to them.
#[derive(Debug)]
pub(super) struct Lists {
    group: GroupId,
    ears: Ears,
    bug: Option<NodeBug>,
    /// With a bug: the next entry is applied twice.
    repeats: bool,
    registers: BTreeMap<u32, u64>,
    lists: BTreeMap<u32, Vec<u64>>,
    last: Applied,
}

/// A digest of some bytes after some others.
pub(super) fn digest(seed: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

fn encode(object: Object, value: u64) -> Bytes {
    let (kind, id) = match object {
        Object::Register(id) => (0_u8, id),
        Object::List(id) => (1, id),
    };
    let mut bytes = vec![kind];
    bytes.extend(id.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    let padding = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) % PADDING_MAX;
    bytes.resize(bytes.len() + padding as usize, value as u8);
    Bytes::from(bytes)
}

fn decode(payload: &[u8]) -> Option<(Object, u64)> {
    let (kind, rest) = payload.split_first()?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    let (value, _) = rest.split_first_chunk::<8>()?;
    let id = u32::from_le_bytes(*id);
    let object = match kind {
        0 => Object::Register(id),
        1 => Object::List(id),
        _ => return None,
    };
    Some((object, u64::from_le_bytes(*value)))
}

impl Lists {
    pub(super) fn new(group: GroupId, ears: Ears, bug: Option<NodeBug>) -> Self {
        Self {
            group,
            ears,
            bug,
            repeats: false,
            registers: BTreeMap::new(),
            lists: BTreeMap::new(),
            last: Applied::default(),
        }
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

    fn put(&mut self, object: Object, value: u64) {
        match object {
            Object::Register(n) => {
                self.registers.insert(n, value);
            }
            Object::List(n) => self.lists.entry(n).or_default().push(value),
        }
    }

    fn take_state(&mut self, state: &[u8]) -> Option<()> {
        let mut words = state.chunks_exact(8).map(|word| {
            let word = word.try_into().unwrap_or([0; 8]);
            u64::from_le_bytes(word)
        });
        let mut next = || words.next();
        let last = Applied {
            count: next()?,
            term: Term(next()?),
            index: LogIndex(next()?),
            entry: next()?,
            state: next()?,
        };
        let mut registers = BTreeMap::new();
        for _ in 0..next()? {
            registers.insert(next()? as u32, next()?);
        }
        let mut lists = BTreeMap::new();
        for _ in 0..next()? {
            let (id, length) = (next()? as u32, next()?);
            let items = (0..length).map(|_| next()).collect::<Option<Vec<u64>>>()?;
            lists.insert(id, items);
        }
        (self.registers, self.lists, self.last) = (registers, lists, last);
        Some(())
    }
}

impl Machine for Lists {
    type Request = Ask;
    type Pending = Waiting;

    fn decide(&mut self, request: Ask, at: &Leading) -> Decision<Waiting> {
        if self.bug == Some(NodeBug::ConfirmedEarly) {
            let said = Said::Answer(request.op, Outcome::Done(Answer::Nothing));
            request.ears.lock().push(said);
        }
        let draft = Draft {
            kind: EntryKind::BATCH,
            records: 1,
            max_timestamp: at.time,
            payload: encode(request.object, request.value).into(),
        };
        let pending = Waiting {
            op: request.op,
            ears: request.ears,
            bug: self.bug,
        };
        Decision::Append { draft, pending }
    }

    fn undecide(&mut self, pending: Waiting, _: LogIndex, _: Refusal) {
        pending.tell(Outcome::Refused);
    }

    fn refuse(request: Ask, _: Refusal) {
        let said = Said::Answer(request.op, Outcome::Refused);
        request.ears.lock().push(said);
    }

    fn lead(
        &mut self,
        _: Term,
        _: &mut dyn Iterator<Item = (EntryMeta, Bytes)>,
    ) -> Result<(), UnknownEntry> {
        Ok(())
    }

    fn unlead(&mut self) {}

    fn apply(
        &mut self,
        meta: &EntryMeta,
        payload: &Bytes,
        answers: &mut dyn Iterator<Item = Waiting>,
    ) -> Result<Effects, UnknownEntry> {
        let Some((object, value)) = decode(payload) else {
            let what = format!("an entry of {} bytes at {}", payload.len(), meta.index);
            return Err(UnknownEntry { what });
        };
        self.put(object, value);
        if std::mem::take(&mut self.repeats) {
            self.put(object, value);
        }
        let entry = digest(meta.index.get(), payload);
        self.last = Applied {
            count: self.last.count + 1,
            term: meta.term,
            index: meta.index,
            entry,
            state: digest(self.last.state, &entry.to_le_bytes()),
        };
        self.ears.lock().push(Said::Applied(self.group, self.last));
        for waiting in answers {
            waiting.tell(Outcome::Done(Answer::Nothing));
        }
        let trims = self.last.count.is_multiple_of(TRIM_EVERY);
        let trim = trims.then(|| Offset(meta.first_offset.0.saturating_sub(KEPT)));
        Ok(Effects { trim })
    }

    fn abandon(pending: Waiting, fate: Fate) {
        let lies = pending.bug == Some(NodeBug::UnknownAsRefused);
        pending.tell(match fate {
            Fate::NotStored => Outcome::Refused,
            Fate::Unknown if lies => Outcome::Refused,
            Fate::Unknown => Outcome::Unknown,
        });
    }

    fn state(&self) -> Bytes {
        let last = &self.last;
        let mut words = vec![
            last.count,
            last.term.0,
            last.index.0,
            last.entry,
            last.state,
            self.registers.len() as u64,
        ];
        let forgets = self.bug == Some(NodeBug::StateForgets);
        for (id, value) in &self.registers {
            let value = if forgets { &0 } else { value };
            words.extend([u64::from(*id), *value]);
        }
        words.push(self.lists.len() as u64);
        for (id, items) in &self.lists {
            words.extend([u64::from(*id), items.len() as u64]);
            words.extend(items);
        }
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        if state.is_empty() {
            (self.registers, self.lists) = (BTreeMap::new(), BTreeMap::new());
            self.last = Applied::default();
        } else if self.take_state(state).is_none() {
            let what = format!("{} bytes", state.len());
            return Err(StateError { what });
        }
        self.repeats = self.bug == Some(NodeBug::AppliedTwice) && self.last.count > 0;
        let said = Said::Restored(self.group, self.last);
        self.ears.lock().push(said);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::TimestampMs;

    use super::*;

    fn meta(index: u64) -> EntryMeta {
        EntryMeta {
            index: LogIndex(index),
            term: Term(1),
            kind: EntryKind::BATCH,
            first_offset: Offset(index - 1),
            records: 1,
            append_time: TimestampMs(0),
            max_timestamp: TimestampMs(0),
        }
    }

    #[test]
    fn a_restored_state_goes_on_like_the_one_it_was_taken_from() {
        let mut first = Lists::new(GroupId(1), Ears::default(), None);
        for index in 1..=5 {
            let object = [Object::Register(1), Object::List(2)][index as usize % 2];
            let payload = encode(object, index);
            first
                .apply(&meta(index), &payload, &mut std::iter::empty())
                .unwrap();
        }
        let mut second = Lists::new(GroupId(1), Ears::default(), None);
        second.restore(&first.state()).unwrap();
        assert_eq!((second.state(), second.last), (first.state(), first.last));
        assert_eq!(
            second.read(Object::List(2)),
            Answer::Items(Arc::from([1, 3, 5]))
        );
        assert_eq!(second.read(Object::Register(1)), Answer::Value(4));
        assert!(second.restore(&[1, 2, 3]).is_err());
    }
}
