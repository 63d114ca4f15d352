//! What clients asked for and what they were told.

use std::{fmt, sync::Arc};

use crate::{event::List, time::SimTime};

/// An operation's number in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// A thing that clients work on; each is linearisable by itself, so each is checked by itself
/// (Herlihy and Wing, locality).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// Holds one value; 0 at first.
    Register(u32),
    /// Grows at its end; empty at first.
    List(u32),
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Sets a register, or appends to a list; the value is used once in a run.
    Put(u64),
    /// Reads a register or a whole list.
    Read,
}

/// What a confirmed operation brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A write brings nothing.
    Nothing,
    /// A register's value.
    Value(u64),
    /// A whole list.
    Items(Arc<[u64]>),
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done(Answer),
    /// It was refused and never took place.
    Refused,
    /// Nobody knows: it took place, or will, or never does.
    Unknown,
}

/// One operation from beginning to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number.
    pub id: OpId,
    /// What it works on.
    pub object: Object,
    /// What it does.
    pub action: Action,
    /// When it began.
    pub invoked: SimTime,
    /// When and how it ended; `None` while it runs.
    pub returned: Option<(SimTime, Outcome)>,
}

/// All operations of a run, in the order of their numbers.
#[derive(Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// Notes the beginning of the next operation.
    pub fn invoke(&mut self, now: SimTime, object: Object, action: Action) -> OpId {
        let id = OpId(self.operations.len() as u64);
        self.operations.push(Operation {
            id,
            object,
            action,
            invoked: now,
            returned: None,
        });
        id
    }

    /// Notes the end of an operation. Returns false when it had ended before.
    pub fn ret(&mut self, now: SimTime, id: OpId, outcome: Outcome) -> bool {
        match self.operations.get_mut(id.0 as usize) {
            Some(op) if op.returned.is_none() => {
                op.returned = Some((now, outcome));
                true
            }
            _ => false,
        }
    }

    /// An operation.
    #[must_use]
    pub fn get(&self, id: OpId) -> Option<&Operation> {
        self.operations.get(id.0 as usize)
    }

    /// All operations.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(n) => write!(f, "register {n}"),
            Self::List(n) => write!(f, "list {n}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(value) => write!(f, "put {value}"),
            Self::Read => f.write_str("read"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(Answer::Nothing) => f.write_str("done"),
            Self::Done(Answer::Value(value)) => write!(f, "read {value}"),
            Self::Done(Answer::Items(items)) => write!(f, "read [{}]", List(items)),
            Self::Refused => f.write_str("refused"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_ends_once() {
        let mut history = History::default();
        let op = history.invoke(SimTime(3), Object::Register(1), Action::Put(9));
        assert!(history.ret(SimTime(5), op, Outcome::Unknown));
        assert!(!history.ret(SimTime(6), op, Outcome::Done(Answer::Nothing)));
        assert_eq!(
            history.get(op).unwrap().returned,
            Some((SimTime(5), Outcome::Unknown))
        );
        assert!(!history.ret(SimTime(6), OpId(77), Outcome::Refused));
    }
}
