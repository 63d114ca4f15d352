//! Short words for the checkers' tests.

use trilith_types::{Incarnation, LogIndex, NodeId, Offset, PartitionId, Term, TopicId};

use super::{Checker, Checkers};
use crate::{
    event::{Configuration, EntryId, Event, Role},
    log_event::{LogEvent, Partition, RecordId},
    time::SimTime,
    view::View,
};

/// Entries from `first` on with these terms; equal places and terms have equal digests.
pub(crate) fn entries(first: u64, terms: &[u64]) -> Vec<EntryId> {
    let entry = |(index, term): (u64, &u64)| EntryId {
        index: LogIndex(index),
        term: Term(*term),
        digest: (index << 32) | term,
    };
    (first..).zip(terms).map(entry).collect()
}

pub(crate) fn starting(node: NodeId, log: &[EntryId]) -> Event<'_> {
    Event::Started {
        node,
        incarnation: Incarnation(1),
        base: (LogIndex::ZERO, Term::ZERO),
        applied: LogIndex::ZERO,
        log,
        damaged: &[],
        unknown_suffix: false,
        lost_vote: false,
        vote: (Term::ZERO, None),
    }
}

pub(crate) fn start(view: &mut View, node: NodeId) {
    view.apply(&starting(node, &[]));
}

pub(crate) fn start_all(checkers: &mut Checkers, nodes: u64) {
    for node in (1..=nodes).map(NodeId) {
        checkers.observe(SimTime::ZERO, &starting(node, &[]));
    }
}

/// The partition of the tests.
pub(crate) const PARTITION: Partition = Partition {
    topic: TopicId(1),
    number: PartitionId(2),
};

/// Records are acknowledged at the moment 10.
pub(crate) fn acknowledged(first: u64, records: &[RecordId]) -> Event<'_> {
    Event::Log(LogEvent::Acknowledged {
        partition: PARTITION,
        at: SimTime(10),
        first: Offset(first),
        records,
    })
}

/// Reader 1 is shown records.
pub(crate) fn fetched(from: u64, next: u64, records: &[(Offset, RecordId)]) -> Event<'_> {
    Event::Log(LogEvent::Fetched {
        reader: 1,
        partition: PARTITION,
        at: SimTime(10),
        from: Offset(from),
        next: Offset(next),
        records,
    })
}

/// One checker, and the view that it looks at.
pub(crate) struct Bench<C> {
    pub(crate) checker: C,
    pub(crate) view: View,
}

impl<C: Checker> Bench<C> {
    /// A bench on which nodes `1..=nodes` have started and go by a configuration of them all.
    pub(crate) fn new(checker: C, nodes: u64) -> Self {
        let mut bench = Self {
            checker,
            view: View::new(nodes),
        };
        let voters = (1..=nodes).map(NodeId).collect();
        let configuration = Configuration {
            voters,
            ..Configuration::default()
        };
        for node in (1..=nodes).map(NodeId) {
            bench.good(&starting(node, &[]));
            let index = LogIndex::ZERO;
            bench.good(&Event::Configured {
                node,
                index,
                configuration: &configuration,
            });
        }
        bench
    }

    /// An event that breaks nothing.
    pub(crate) fn good(&mut self, event: &Event<'_>) {
        self.checker.check(event, &self.view).unwrap();
        self.view.apply(event);
    }

    /// An event that breaks the property; what the checker says of it.
    pub(crate) fn bad(&mut self, event: &Event<'_>) -> String {
        self.checker.check(event, &self.view).unwrap_err()
    }

    pub(crate) fn role(&mut self, node: u64, term: u64, role: Role) {
        self.good(&Event::Role {
            node: NodeId(node),
            term: Term(term),
            role,
        });
    }

    /// Appends entries and makes them durable.
    pub(crate) fn append(&mut self, node: u64, first: u64, terms: &[u64]) {
        let node = NodeId(node);
        let entries = entries(first, terms);
        self.good(&Event::Appended {
            node,
            entries: &entries,
        });
        let upto = LogIndex(first + terms.len() as u64 - 1);
        self.good(&Event::Durable { node, upto });
    }
}
