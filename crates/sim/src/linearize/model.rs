//! The two things that clients work on, as steps on a small state.

use std::collections::{BTreeMap, BTreeSet};

use super::search::Call;
use crate::history::{Action, Answer, Operation, Outcome};

/// What a call does to a state: a register's value, or a list's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sets the state.
    Write(u64),
    /// Adds to the end of a list.
    Append(u64),
    /// Sees the state.
    Read(u64),
}

impl Step {
    /// The state after it; `None` when it could not have happened in this state.
    #[must_use]
    pub fn apply(self, state: u64) -> Option<u64> {
        match self {
            Self::Write(value) => Some(value),
            Self::Append(value) => Some(extend(state, value)),
            Self::Read(seen) => (seen == state).then_some(state),
        }
    }
}

/// The digest of a list with one more item; that of the empty list is 0. It stands for the whole
/// list, but for an accident of 1 in 2^64.
fn extend(list: u64, value: u64) -> u64 {
    let mixed =
        (list ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x632b_e59b_d9b4_e019);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ (mixed >> 29)) | 1
}

fn seen_by(operation: &Operation) -> Option<&Answer> {
    match (&operation.action, &operation.returned) {
        (Action::Read, Some((_, Outcome::Done(answer)))) => Some(answer),
        _ => None,
    }
}

/// The calls of one object's operations, with the operation behind each.
///
/// Refused operations never took place, reads of unknown outcome say nothing, and a write of
/// unknown outcome that no read has seen is left out too: were it in some order of the rest, it
/// could be taken out of it again, since every value is written once.
///
/// # Errors
/// A read that saw a value which no operation wrote.
pub fn prepare<'a>(
    operations: &[&'a Operation],
) -> Result<(Vec<Call>, Vec<&'a Operation>), String> {
    let mut seen = BTreeSet::new();
    for answer in operations.iter().filter_map(|op| seen_by(op)) {
        match answer {
            Answer::Nothing => {}
            Answer::Value(value) => {
                seen.insert(*value);
            }
            Answer::Items(items) => seen.extend(items.iter().copied()),
        }
    }
    let mut writers = BTreeMap::new();
    let mut calls = Vec::new();
    let mut sources = Vec::new();
    for operation in operations {
        let Some(call) = call(operation, &seen) else {
            continue;
        };
        if let Action::Put(value) = operation.action {
            writers.insert(value, operation.id);
        }
        calls.push(call);
        sources.push(*operation);
    }
    match seen
        .into_iter()
        .find(|value| *value != 0 && !writers.contains_key(value))
    {
        Some(value) => Err(format!("a read saw {value}, which nobody wrote")),
        None => Ok((calls, sources)),
    }
}

fn call(operation: &Operation, seen: &BTreeSet<u64>) -> Option<Call> {
    let invoked = operation.invoked.0;
    let done = match &operation.returned {
        Some((_, Outcome::Refused)) => return None,
        Some((at, Outcome::Done(answer))) => Some((at.0, answer)),
        Some((_, Outcome::Unknown)) | None => None,
    };
    let step = match (operation.action, operation.object, done) {
        (Action::Put(value), _, None) if !seen.contains(&value) => return None,
        (Action::Put(value), crate::history::Object::Register(_), _) => Step::Write(value),
        (Action::Put(value), crate::history::Object::List(_), _) => Step::Append(value),
        (Action::Read, _, None | Some((_, Answer::Nothing))) => return None,
        (Action::Read, _, Some((_, Answer::Value(value)))) => Step::Read(*value),
        (Action::Read, _, Some((_, Answer::Items(items)))) => {
            Step::Read(items.iter().fold(0, |list, item| extend(list, *item)))
        }
    };
    Some(Call {
        step,
        invoked,
        returned: done.map(|(at, _)| at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{History, Object},
        time::SimTime,
    };

    fn history(operations: &[(Action, Option<Outcome>)], object: Object) -> History {
        let mut history = History::default();
        for (action, outcome) in operations {
            let op = history.invoke(SimTime(1), object, *action);
            if let Some(outcome) = outcome {
                history.ret(SimTime(2), op, outcome.clone());
            }
        }
        history
    }

    #[test]
    fn what_cannot_matter_is_left_out() {
        let done = Outcome::Done(Answer::Nothing);
        let read = Outcome::Done(Answer::Value(3));
        let history = history(
            &[
                (Action::Put(1), Some(Outcome::Unknown)),
                (Action::Put(2), Some(Outcome::Refused)),
                (Action::Put(3), None),
                (Action::Put(4), Some(done)),
                (Action::Read, Some(Outcome::Unknown)),
                (Action::Read, Some(read)),
            ],
            Object::Register(0),
        );
        let operations: Vec<_> = history.operations().iter().collect();
        let (calls, sources) = prepare(&operations).unwrap();
        let ids: Vec<u64> = sources.iter().map(|op| op.id.0).collect();
        assert_eq!(ids, [2, 3, 5]);
        assert_eq!((calls[0].returned, calls[2].step), (None, Step::Read(3)));
    }

    #[test]
    fn a_value_from_nowhere_or_of_a_refused_write_is_an_error() {
        for write in [None, Some(Outcome::Refused)] {
            let mut operations =
                vec![(Action::Read, Some(Outcome::Done(Answer::Items([7].into()))))];
            operations.extend(write.map(|outcome| (Action::Put(7), Some(outcome))));
            let history = history(&operations, Object::List(0));
            let operations: Vec<_> = history.operations().iter().collect();
            assert!(
                prepare(&operations)
                    .unwrap_err()
                    .contains("7, which nobody wrote")
            );
        }
    }
}
