//! The properties that every run must have, one checker a file.
//!
//! A checker sees events and the view they add up to as it was *before* the event. It knows
//! nothing of seeds, faults that were planned, or bugs that were planted.

mod acknowledged;
mod commit;
mod configuration;
mod election_safety;
mod end_offsets;
mod leader_append_only;
mod leader_completeness;
mod lease;
mod linearizable;
mod log_matching;
mod progress;
mod readers_prefix;
mod records_in_order;
mod records_kept;
mod records_once;
mod replicas_equal;
mod retention;
mod stability;
mod state_machine;
#[cfg(test)]
pub(crate) mod testing;
mod topics;
mod votes;

use std::fmt;

pub use lease::LeaseSafety;
pub use linearizable::{LINEARIZABLE, check_history};
pub use progress::{PROGRESS, unconfirmed, unsettled};

use crate::{event::Event, history::History, time::SimTime, view::View};

/// One property.
pub trait Checker: fmt::Debug {
    /// Its name, as failures show it.
    fn name(&self) -> &'static str;

    /// Looks at an event; `before` does not include it yet.
    ///
    /// # Errors
    /// Says how the event breaks the property.
    fn check(&mut self, event: &Event<'_>, before: &View) -> Result<(), String>;

    /// Looks at the whole run once it is over.
    ///
    /// # Errors
    /// Says how the run breaks the property.
    fn finish(&mut self, _view: &View, _history: &History) -> Result<(), String> {
        Ok(())
    }
}

/// A broken property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that saw it.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
    /// When.
    pub at: SimTime,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (at {} s)", self.checker, self.what, self.at)
    }
}

/// All checkers of a run, and the view that they share.
#[derive(Debug)]
pub struct Checkers {
    view: View,
    checkers: Vec<Box<dyn Checker>>,
    violation: Option<Violation>,
}

impl Checkers {
    /// The checkers of Raft's properties, and of what clients of a log are promised, for nodes
    /// `1..=nodes`.
    #[must_use]
    pub fn new(nodes: u64) -> Self {
        let checkers: Vec<Box<dyn Checker>> = vec![
            Box::new(votes::DurableVotes::default()),
            Box::new(election_safety::ElectionSafety::default()),
            Box::new(leader_append_only::LeaderAppendOnly),
            Box::new(log_matching::LogMatching::default()),
            Box::new(leader_completeness::LeaderCompleteness),
            Box::new(acknowledged::Acknowledged::default()),
            Box::new(commit::Commit::default()),
            Box::new(configuration::ConfigurationSafety::default()),
            Box::new(state_machine::StateMachineSafety::default()),
            Box::new(lease::LeaseSafety::default()),
            Box::new(stability::Stability::default()),
            Box::new(records_kept::RecordsKept::default()),
            Box::new(records_once::RecordsOnce::default()),
            Box::new(records_in_order::RecordsInOrder::default()),
            Box::new(readers_prefix::ReadersPrefix::default()),
            Box::new(end_offsets::EndOffsets::default()),
            Box::new(replicas_equal::ReplicasEqual::default()),
            Box::new(retention::Retention::default()),
            Box::new(topics::Topics::default()),
        ];
        Self {
            view: View::new(nodes),
            checkers,
            violation: None,
        }
    }

    /// What the events so far add up to.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Shows an event to every checker. After the first violation nothing is checked any more.
    pub fn observe(&mut self, now: SimTime, event: &Event<'_>) {
        if self.violation.is_some() {
            return;
        }
        for checker in &mut self.checkers {
            if let Err(what) = checker.check(event, &self.view) {
                let checker = checker.name();
                self.violation = Some(Violation {
                    checker,
                    what,
                    at: now,
                });
                return;
            }
        }
        self.view.apply(event);
    }

    /// Looks at the whole run.
    pub fn finish(&mut self, now: SimTime, history: &History) {
        for checker in &mut self.checkers {
            if self.violation.is_some() {
                return;
            }
            if let Err(what) = checker.finish(&self.view, history) {
                let checker = checker.name();
                self.violation = Some(Violation {
                    checker,
                    what,
                    at: now,
                });
            }
        }
    }

    /// Notes a violation that was seen elsewhere, unless there is one already.
    pub fn fail(&mut self, now: SimTime, checker: &'static str, what: String) {
        self.violation.get_or_insert(Violation {
            checker,
            what,
            at: now,
        });
    }

    /// The first violation.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::{NodeId, Term};

    use super::*;

    #[test]
    fn the_first_violation_stays_and_names_its_checker() {
        let mut checkers = Checkers::new(3);
        testing::start_all(&mut checkers, 3);
        let role = crate::event::Role::Leader;
        for node in [1, 2].map(NodeId) {
            checkers.observe(
                SimTime(5),
                &Event::Role {
                    node,
                    term: Term(2),
                    role,
                },
            );
        }
        checkers.fail(SimTime(9), "progress", "none".to_owned());
        let violation = checkers.violation().unwrap();
        assert_eq!(
            (violation.checker, violation.at),
            ("election safety", SimTime(5))
        );
        assert!(violation.to_string().starts_with("election safety: "));
    }
}
