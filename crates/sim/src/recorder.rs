//! Where every event of a run goes: the trace, the checkers, the sums and the picture.

use crate::{
    checkers::{Checkers, LINEARIZABLE, check_history},
    event::{EntryId, Event},
    history::{Action, History, Object, OpId, Outcome},
    picture::Picture,
    stats::Stats,
    time::SimTime,
    trace::Trace,
};

/// Takes events in.
#[derive(Debug)]
pub struct Recorder {
    now: SimTime,
    checkers: Checkers,
    history: History,
    stats: Stats,
    trace: Trace,
    picture: Option<Picture>,
    /// Nothing is taken in.
    is_deaf: bool,
}

impl Recorder {
    /// A recorder that takes nothing in, for worlds that keep their own account.
    #[must_use]
    pub fn deaf(nodes: u64) -> Self {
        Self {
            is_deaf: true,
            ..Self::new(nodes, Trace::new(None), None)
        }
    }

    /// A recorder of a run with nodes `1..=nodes`.
    #[must_use]
    pub fn new(nodes: u64, trace: Trace, picture: Option<Picture>) -> Self {
        Self {
            now: SimTime::ZERO,
            checkers: Checkers::new(nodes),
            history: History::default(),
            stats: Stats::default(),
            trace,
            picture,
            is_deaf: false,
        }
    }

    /// Moves the clock.
    pub fn set_now(&mut self, now: SimTime) {
        self.now = now;
    }

    /// Takes an event in.
    pub fn record(&mut self, event: &Event<'_>) {
        if self.is_deaf {
            return;
        }
        self.trace.add(self.now, event);
        self.stats.observe(event);
        if let Some(picture) = &mut self.picture {
            picture.observe(self.now, event);
        }
        // Messages say nothing to the checkers.
        if !matches!(
            event,
            Event::Sent { .. } | Event::Received { .. } | Event::Dropped { .. }
        ) {
            self.checkers.observe(self.now, event);
        }
    }

    /// A client begins an operation.
    pub fn invoke(&mut self, node: trilith_types::NodeId, object: Object, action: Action) -> OpId {
        let op = self.history.invoke(self.now, object, action);
        self.record(&Event::Invoked {
            op,
            node,
            object,
            action,
        });
        op
    }

    /// A client's operation ends, unless it has ended before; returns whether it ended now.
    pub fn ret(&mut self, op: OpId, outcome: &Outcome, entry: Option<EntryId>) -> bool {
        let ends = self.history.ret(self.now, op, outcome.clone());
        if ends {
            self.record(&Event::Returned { op, outcome, entry });
        }
        ends
    }

    /// The checkers and the view they share.
    #[must_use]
    pub fn checkers(&self) -> &Checkers {
        &self.checkers
    }

    /// Notes a violation that no event shows.
    pub fn fail(&mut self, checker: &'static str, what: String) {
        self.checkers.fail(self.now, checker, what);
    }

    /// What clients did.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Ends the run: the checkers look at the whole of it.
    pub fn finish(mut self) -> Finished {
        self.checkers.finish(self.now, &self.history);
        match check_history(&self.history) {
            Ok(unchecked) => self.stats.unchecked = unchecked as u64,
            Err(what) => self.checkers.fail(self.now, LINEARIZABLE, what),
        }
        self.stats.end(self.now);
        let trace_error = self.trace.finish().err();
        Finished {
            violation: self.checkers.violation().cloned(),
            stats: self.stats,
            hash: self.trace.hash(),
            picture: self.picture,
            trace_error,
        }
    }
}

/// What is left of a run.
#[derive(Debug)]
pub struct Finished {
    /// The first broken property.
    pub violation: Option<crate::checkers::Violation>,
    /// Its sums.
    pub stats: Stats,
    /// The hash of its trace.
    pub hash: u64,
    /// Its picture, when one was asked for.
    pub picture: Option<Picture>,
    /// Why the trace could not be printed.
    pub trace_error: Option<std::io::Error>,
}
