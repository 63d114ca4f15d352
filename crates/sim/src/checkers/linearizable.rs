//! Reads are linearisable (Herlihy and Wing, 1990), together with the writes: for every object
//! there is one order of its operations that explains every answer and respects real time.

use std::collections::BTreeMap;

use crate::{
    history::{History, Object, Operation},
    linearize::{Verdict, prepare, search},
};

/// The name of this checker, which looks at histories and not at events.
pub const LINEARIZABLE: &str = "linearizable";

/// Checks each object of a history by itself; returns how many objects took too long to check.
///
/// # Errors
/// Names the object and the operation that no order can take in.
pub fn check_history(history: &History) -> Result<usize, String> {
    let mut objects: BTreeMap<Object, Vec<&Operation>> = BTreeMap::new();
    for operation in history.operations() {
        objects.entry(operation.object).or_default().push(operation);
    }
    let mut gave_up = 0;
    for (object, operations) in objects {
        let (calls, sources) = prepare(&operations).map_err(|what| format!("{object}: {what}"))?;
        match search(&calls) {
            Verdict::Linearizable => {}
            Verdict::GaveUp => gave_up += 1,
            Verdict::Violation { call } => {
                let at = sources
                    .get(call)
                    .map_or_else(String::new, |op| describe(op));
                return Err(format!("{object}: no order explains {at}"));
            }
        }
    }
    Ok(gave_up)
}

fn describe(operation: &Operation) -> String {
    let Operation {
        id,
        action,
        invoked,
        returned,
        ..
    } = operation;
    match returned {
        Some((at, outcome)) => format!("op {id} ({action} from {invoked} to {at}: {outcome})"),
        None => format!("op {id} ({action} from {invoked})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Action, Answer, Outcome},
        time::SimTime,
    };

    fn run(object: Object, operations: &[(Action, u64, u64, Answer)]) -> Result<usize, String> {
        let mut history = History::default();
        for (action, invoked, returned, answer) in operations {
            let op = history.invoke(SimTime(*invoked), object, *action);
            history.ret(SimTime(*returned), op, Outcome::Done(answer.clone()));
        }
        check_history(&history)
    }

    #[test]
    fn a_register_and_a_list_that_behave_pass() {
        let register = [
            (Action::Put(5), 0, 9, Answer::Nothing),
            (Action::Read, 3, 4, Answer::Value(0)),
            (Action::Read, 5, 6, Answer::Value(5)),
        ];
        assert_eq!(run(Object::Register(0), &register), Ok(0));
        let list = [
            (Action::Put(1), 0, 9, Answer::Nothing),
            (Action::Put(2), 0, 9, Answer::Nothing),
            (Action::Read, 5, 6, Answer::Items([2].into())),
            (Action::Read, 10, 12, Answer::Items([2, 1].into())),
        ];
        assert_eq!(run(Object::List(0), &list), Ok(0));
    }

    #[test]
    fn a_stale_register_read_is_seen_and_named() {
        let register = [
            (Action::Put(5), 0, 1, Answer::Nothing),
            (Action::Read, 3, 4, Answer::Value(0)),
        ];
        let what = run(Object::Register(3), &register).unwrap_err();
        assert!(
            what.contains("register 3: no order explains op 1 (read"),
            "{what}"
        );
    }

    #[test]
    fn a_list_that_forgets_or_reorders_is_seen() {
        let forgets = [
            (Action::Put(1), 0, 1, Answer::Nothing),
            (Action::Put(2), 2, 3, Answer::Nothing),
            (Action::Read, 4, 5, Answer::Items([2].into())),
        ];
        run(Object::List(0), &forgets).unwrap_err();
        let mut reorders = forgets;
        reorders[2].3 = Answer::Items([2, 1].into());
        run(Object::List(0), &reorders).unwrap_err();
    }
}
