//! A machine that keeps every value that it was ever given, in order.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use trilith_host::{
    Decision, Draft, Effects, Fate, Leading, Machine, Refusal, StateError, UnknownEntry,
};
use trilith_types::{EntryKind, EntryMeta, LogIndex, Offset, Term, TimestampMs};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored(Offset),
    Refused(Refusal),
    NotStored,
    Unknown,
}

/// Where a request's outcome comes to light.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket(Arc<Mutex<Option<Outcome>>>);

impl Ticket {
    fn tell(&self, outcome: Outcome) {
        let before = self.0.lock().replace(outcome);
        assert_eq!(before, None, "a request is answered once");
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.0.lock().clone()
    }

    pub(crate) fn is_stored(&self) -> bool {
        matches!(self.outcome(), Some(Outcome::Stored(_)))
    }
}

/// A value to store, padded to `bytes`; with `once` only if it is not there yet.
pub(crate) struct Put {
    pub(crate) value: u64,
    pub(crate) bytes: usize,
    pub(crate) once: bool,
    pub(crate) ticket: Ticket,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) values: Vec<u64>,
    pub(crate) trimmed: u64,
    /// Values in the log that are not applied, and where they are.
    ahead: Vec<(u64, LogIndex)>,
    leads: bool,
    /// The log goes as soon as the state is durable.
    pub(crate) state_is_all: bool,
}

fn draft(kind: EntryKind, value: u64, bytes: usize) -> Draft {
    let mut payload = BytesMut::new();
    payload.put_u64_le(value);
    payload.resize(bytes.max(8), 7);
    let payload = payload.freeze().into();
    Draft {
        kind,
        records: u32::from(kind == EntryKind::BATCH),
        max_timestamp: TimestampMs(0),
        payload,
    }
}

/// A value that moves the log's start to the offset in its lower half.
pub(crate) const TRIM: u64 = 1 << 63;

impl Machine for List {
    type Request = Put;
    type Pending = Ticket;

    fn decide(&mut self, request: Put, at: &Leading) -> Decision<Ticket> {
        assert!(self.leads, "it decides as a leader alone");
        let (value, pending) = (request.value, request.ticket);
        if request.once {
            if let Some(place) = self.values.iter().position(|&v| v == value) {
                pending.tell(Outcome::Stored(Offset(place as u64)));
                return Decision::Done;
            }
            if let Some(&(_, to)) = self.ahead.iter().find(|(v, _)| *v == value) {
                return Decision::Attach { to, pending };
            }
        }
        let is_command = value & TRIM != 0 || self.state_is_all;
        let kind = if is_command {
            EntryKind::COMMAND
        } else {
            EntryKind::BATCH
        };
        self.ahead.push((value, at.next_index));
        let draft = draft(kind, value, request.bytes);
        Decision::Append { draft, pending }
    }

    fn undecide(&mut self, pending: Ticket, at: LogIndex, why: Refusal) {
        let last = self.ahead.pop();
        assert_eq!(last.map(|(_, index)| index), Some(at));
        pending.tell(Outcome::Refused(why));
    }

    fn refuse(request: Put, why: Refusal) {
        request.ticket.tell(Outcome::Refused(why));
    }

    fn lead(
        &mut self,
        _term: Term,
        tail: &mut dyn Iterator<Item = (EntryMeta, Bytes)>,
    ) -> Result<(), UnknownEntry> {
        assert!(!self.leads && self.ahead.is_empty());
        self.leads = true;
        for (meta, mut payload) in tail {
            if meta.kind == EntryKind::BATCH || meta.kind == EntryKind::COMMAND {
                self.ahead.push((payload.get_u64_le(), meta.index));
            }
        }
        Ok(())
    }

    fn unlead(&mut self) {
        self.leads = false;
        self.ahead.clear();
    }

    fn apply(
        &mut self,
        meta: &EntryMeta,
        payload: &Bytes,
        answers: &mut dyn Iterator<Item = Ticket>,
    ) -> Result<Effects, UnknownEntry> {
        if meta.kind == EntryKind::LOST {
            return Ok(Effects::default());
        }
        let value = payload.clone().get_u64_le();
        if value == u64::MAX >> 1 {
            return Err(UnknownEntry {
                what: "a value from the future".to_owned(),
            });
        }
        self.ahead.retain(|(_, index)| *index > meta.index);
        for ticket in answers {
            ticket.tell(Outcome::Stored(meta.first_offset));
        }
        if value & TRIM != 0 {
            let to = value & !TRIM;
            self.trimmed = to;
            return Ok(Effects {
                trim: Some(Offset(to)),
            });
        }
        self.values.push(value);
        Ok(Effects::default())
    }

    fn abandon(pending: Ticket, fate: Fate) {
        pending.tell(match fate {
            Fate::NotStored => Outcome::NotStored,
            Fate::Unknown => Outcome::Unknown,
        });
    }

    fn state(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.trimmed);
        for value in &self.values {
            out.put_u64_le(*value);
        }
        out.freeze()
    }

    fn restore(&mut self, mut state: &[u8]) -> Result<(), StateError> {
        self.values.clear();
        self.trimmed = 0;
        if !state.len().is_multiple_of(8) {
            let what = format!("{} bytes", state.len());
            return Err(StateError { what });
        }
        if state.has_remaining() {
            self.trimmed = state.get_u64_le();
        }
        while state.has_remaining() {
            self.values.push(state.get_u64_le());
        }
        Ok(())
    }

    fn log_is_data(&self) -> bool {
        !self.state_is_all
    }
}
