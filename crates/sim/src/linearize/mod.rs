//! Whether a concurrent history could have happened one operation at a time.
//!
//! The search of Wing and Gong (1993) with the memory of Lowe (2017): take any operation that
//! began before every other open one ended, try it on the model, and never look twice at one set
//! of taken operations in one state. An operation of unknown outcome may be taken at any moment
//! after it began, or never.

mod model;
mod search;

pub use model::{Step, prepare};
pub use search::{Call, Verdict, search};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tries every order of every choice of unknown operations.
    fn brute_force(calls: &[Call], state: u64, taken: u32) -> bool {
        let open = |i: usize| taken & (1 << i) == 0;
        if calls
            .iter()
            .enumerate()
            .all(|(i, c)| !open(i) || c.returned.is_none())
        {
            return true;
        }
        (0..calls.len()).filter(|i| open(*i)).any(|i| {
            let call = &calls[i];
            let overtaken = calls
                .iter()
                .enumerate()
                .any(|(j, other)| open(j) && other.returned.is_some_and(|r| r < call.invoked));
            !overtaken
                && call
                    .step
                    .apply(state)
                    .is_some_and(|next| brute_force(calls, next, taken | 1 << i))
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..4_u64).prop_map(Step::Write),
            (0..4_u64).prop_map(Step::Read),
            (1..4_u64).prop_map(Step::Append),
        ]
    }

    fn calls() -> impl Strategy<Value = Vec<Call>> {
        let call = (step(), 0..12_u64, 1..8_u64, prop::bool::weighted(0.8));
        prop::collection::vec(call, 0..7).prop_map(|calls| {
            calls
                .into_iter()
                .map(|(step, invoked, length, known)| Call {
                    step,
                    invoked,
                    returned: known.then_some(invoked + length),
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn the_search_agrees_with_brute_force(calls in calls()) {
            let expected = brute_force(&calls, 0, 0);
            let found = search(&calls);
            prop_assert_eq!(found == Verdict::Linearizable, expected, "{:?}", found);
            prop_assert!(found != Verdict::GaveUp);
        }
    }

    fn call(step: Step, invoked: u64, returned: u64) -> Call {
        Call {
            step,
            invoked,
            returned: (returned > 0).then_some(returned),
        }
    }

    #[test]
    fn a_stale_read_is_no_linearization() {
        let history = [
            call(Step::Write(1), 0, 10),
            call(Step::Write(2), 11, 20),
            call(Step::Read(1), 21, 30),
        ];
        assert_eq!(search(&history), Verdict::Violation { call: 2 });
        let overlapping = [history[0], history[1], call(Step::Read(1), 15, 30)];
        assert_eq!(search(&overlapping), Verdict::Linearizable);
    }

    #[test]
    fn an_unknown_write_may_take_place_late_or_never() {
        let unknown = call(Step::Write(1), 0, 0);
        let none = call(Step::Read(0), 20, 30);
        let one = call(Step::Read(1), 40, 50);
        assert_eq!(search(&[unknown, none]), Verdict::Linearizable);
        assert_eq!(search(&[unknown, none, one]), Verdict::Linearizable);
        let back = call(Step::Read(0), 60, 70);
        assert_eq!(
            search(&[unknown, one, back]),
            Verdict::Violation { call: 2 }
        );
    }

    #[test]
    fn many_concurrent_operations_do_not_explode() {
        let mut history: Vec<Call> = (1..=14).map(|n| call(Step::Write(n), 0, 100)).collect();
        history.extend((1..=200).map(|n| call(Step::Read(7), 100 + n, 200 + n)));
        assert_eq!(search(&history), Verdict::Linearizable);
    }
}
