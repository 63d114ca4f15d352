//! What the events so far add up to: each node's log, role and votes as seen from outside, and
//! the sequence of entries that some node has called committed.

use std::collections::BTreeSet;

use trilith_types::{Incarnation, LogIndex, NodeId, Term};

use crate::event::{Configuration, EntryId, Event, Role};

/// A node as seen from outside.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Whether it runs; a paused node does.
    pub running: bool,
    /// Whether it stands still.
    pub paused: bool,
    /// Its latest start.
    pub incarnation: Incarnation,
    /// Its term.
    pub term: Term,
    /// Its role.
    pub role: Role,
    /// Its durable term and vote.
    pub saved: (Term, Option<NodeId>),
    /// Index and term its log begins after.
    pub base: (LogIndex, Term),
    /// Its log.
    pub log: Vec<EntryId>,
    /// Its entries that are damaged.
    pub damaged: BTreeSet<LogIndex>,
    /// The end of what is durable.
    pub durable: LogIndex,
    /// The end of what it knows as committed since it started.
    pub committed: LogIndex,
    /// The last entry it has applied since it started, or that its snapshot covers.
    pub applied: LogIndex,
    /// The configuration it goes by, and the entry that brought it.
    pub configuration: (LogIndex, Configuration),
    /// By index, the term of the entry that was durable here last, even if it was damaged since.
    once_durable: Vec<Term>,
}

impl NodeView {
    fn new() -> Self {
        Self {
            running: false,
            paused: false,
            incarnation: Incarnation(0),
            term: Term::ZERO,
            role: Role::Follower,
            saved: (Term::ZERO, None),
            base: (LogIndex::ZERO, Term::ZERO),
            log: Vec::new(),
            damaged: BTreeSet::new(),
            durable: LogIndex::ZERO,
            committed: LogIndex::ZERO,
            applied: LogIndex::ZERO,
            configuration: (LogIndex::ZERO, Configuration::default()),
            once_durable: Vec::new(),
        }
    }

    /// The end of its log.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        self.base.0.plus(self.log.len() as u64)
    }

    /// Its entry at `index`, unless its log does not reach there or begins behind it.
    #[must_use]
    pub fn entry(&self, index: LogIndex) -> Option<EntryId> {
        let place = index.since(self.base.0)?.checked_sub(1)?;
        self.log.get(place as usize).copied()
    }

    /// The term of its entry at `index`, the base of its log included.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.0 {
            Some(self.base.1)
        } else {
            self.entry(index).map(|e| e.term)
        }
    }

    /// Whether the entry was ever durable here, by itself or in a snapshot.
    #[must_use]
    pub fn once_had_durable(&self, index: LogIndex, term: Term) -> bool {
        index <= self.base.0 || self.once_durable.get(index.get() as usize) == Some(&term)
    }

    fn save_durable(&mut self, upto: LogIndex) {
        self.durable = upto.min(self.last());
        let need = self.durable.get() as usize + 1;
        if self.once_durable.len() < need {
            self.once_durable.resize(need, Term::ZERO);
        }
        // Walked from the end: what is equal from there on down was durable before.
        for entry in self.log.iter().rev().skip_while(|e| e.index > upto) {
            match self.once_durable.get_mut(entry.index.get() as usize) {
                Some(term) if *term != entry.term => *term = entry.term,
                _ => break,
            }
        }
    }

    fn truncate(&mut self, from: LogIndex) {
        let keep = from.prev().since(self.base.0).unwrap_or(0);
        self.log.truncate(keep as usize);
        self.once_durable.truncate(from.get() as usize);
        self.durable = self.durable.min(from.prev());
        self.damaged.split_off(&from);
    }

    fn compact(&mut self, upto: LogIndex, term: Term) {
        let gone = upto
            .since(self.base.0)
            .unwrap_or(0)
            .min(self.log.len() as u64);
        self.log.drain(..gone as usize);
        self.base = (upto, term);
        self.durable = self.durable.max(upto);
        self.damaged = self.damaged.split_off(&upto.next());
    }
}

/// An entry that was called committed.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// The entry.
    pub entry: EntryId,
    /// The term of the node that said so first.
    pub in_term: Term,
}

/// All nodes as seen from outside.
#[derive(Debug, Default)]
pub struct View {
    nodes: Vec<NodeView>,
    committed: Vec<Committed>,
    healed: bool,
}

impl View {
    /// A view of nodes `1..=nodes`.
    #[must_use]
    pub fn new(nodes: u64) -> Self {
        let nodes = (0..nodes).map(|_| NodeView::new()).collect();
        Self {
            nodes,
            committed: Vec::new(),
            healed: false,
        }
    }

    /// A node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeView> {
        self.nodes.get(node.get().checked_sub(1)? as usize)
    }

    fn node_mut(&mut self, node: NodeId) -> Option<&mut NodeView> {
        self.nodes.get_mut(node.get().checked_sub(1)? as usize)
    }

    /// All nodes with their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeView)> {
        (1..).map(NodeId).zip(&self.nodes)
    }

    /// What was called committed at `index`.
    #[must_use]
    pub fn committed(&self, index: LogIndex) -> Option<&Committed> {
        self.committed.get(index.get().checked_sub(1)? as usize)
    }

    /// The end of what was called committed.
    #[must_use]
    pub fn committed_last(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64)
    }

    /// The last entry that was committed by a leader of a term below `term`.
    #[must_use]
    pub fn committed_before(&self, term: Term) -> Option<&Committed> {
        // The terms of those who commit never fall from one index to the next.
        let count = self.committed.partition_point(|c| c.in_term < term);
        self.committed.get(count.checked_sub(1)?)
    }

    /// The running leader of the highest term.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, &NodeView)> {
        self.nodes()
            .filter(|(_, n)| n.running && n.role == Role::Leader)
            .max_by_key(|(_, n)| n.term)
    }

    /// Whether nothing new goes wrong any more.
    #[must_use]
    pub fn is_healed(&self) -> bool {
        self.healed
    }

    /// Takes an event in.
    pub fn apply(&mut self, event: &Event<'_>) {
        match *event {
            Event::Started { .. } => self.start(event),
            Event::Healed => self.healed = true,
            Event::Committed { node, index } => self.commit(node, index),
            Event::Compacted { node, upto } => {
                let Some(n) = self.node_mut(node) else { return };
                if let Some(term) = n.term_at(upto) {
                    n.compact(upto, term);
                }
            }
            _ => {
                if let Some(node) = subject(event)
                    && let Some(n) = self.node_mut(node)
                {
                    apply_to(n, event);
                }
            }
        }
    }

    fn start(&mut self, event: &Event<'_>) {
        let Event::Started {
            node,
            incarnation,
            base,
            applied,
            log,
            damaged,
            vote,
            ..
        } = *event
        else {
            return;
        };
        let Some(n) = self.node_mut(node) else { return };
        n.running = true;
        n.paused = false;
        n.incarnation = incarnation;
        (n.role, n.term, n.saved) = (Role::Follower, vote.0, vote);
        n.base = base;
        n.log.clear();
        n.log.extend_from_slice(log);
        n.damaged = damaged.iter().copied().collect();
        (n.committed, n.applied) = (base.0, applied);
        n.durable = base.0;
        n.save_durable(n.last());
    }

    fn commit(&mut self, node: NodeId, index: LogIndex) {
        let known = self.committed_last();
        let Some(n) = self.node_mut(node) else { return };
        n.committed = n.committed.max(index);
        if index <= known {
            return;
        }
        let (term, first) = (n.term, known.next());
        let skip = first.since(n.base.0.next()).unwrap_or(u64::MAX);
        let new = n
            .log
            .iter()
            .skip(skip as usize)
            .take_while(|e| e.index <= index);
        let new: Vec<Committed> = new
            .map(|e| Committed {
                entry: *e,
                in_term: term,
            })
            .collect();
        self.committed.extend(new);
    }
}

fn subject(event: &Event<'_>) -> Option<NodeId> {
    match *event {
        Event::Stopped { node, .. }
        | Event::Paused { node, .. }
        | Event::Role { node, .. }
        | Event::VoteSaved { node, .. }
        | Event::Appended { node, .. }
        | Event::Truncated { node, .. }
        | Event::Durable { node, .. }
        | Event::Repaired { node, .. }
        | Event::Installed { node, .. }
        | Event::Configured { node, .. }
        | Event::Applied { node, .. } => Some(node),
        _ => None,
    }
}

fn apply_to(n: &mut NodeView, event: &Event<'_>) {
    match *event {
        Event::Stopped { .. } => n.running = false,
        Event::Paused { still, .. } => n.paused = still,
        Event::Role { term, role, .. } => (n.term, n.role) = (term, role),
        Event::VoteSaved { term, vote, .. } => n.saved = (term, vote),
        Event::Appended { entries, .. } => n.log.extend_from_slice(entries),
        Event::Truncated { from, .. } => n.truncate(from),
        Event::Durable { upto, .. } => n.save_durable(upto),
        Event::Repaired { entry, .. } => {
            n.damaged.remove(&entry.index);
        }
        Event::Installed { last, kept_log, .. } => {
            if kept_log {
                n.compact(last.0, last.1);
            } else {
                n.log.clear();
                n.damaged.clear();
                n.base = last;
                n.durable = last.0;
            }
            n.applied = n.applied.max(last.0);
            n.committed = n.committed.max(last.0);
        }
        Event::Configured {
            index,
            configuration,
            ..
        } => {
            n.configuration = (index, configuration.clone());
        }
        Event::Applied { entry, .. } => n.applied = entry.index,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{entries, start};

    #[test]
    fn the_view_follows_a_log_through_append_truncation_and_compaction() {
        let node = NodeId(1);
        let mut view = View::new(1);
        start(&mut view, node);
        view.apply(&Event::Appended {
            node,
            entries: &entries(1, &[1, 1, 2]),
        });
        view.apply(&Event::Durable {
            node,
            upto: LogIndex(3),
        });
        view.apply(&Event::Committed {
            node,
            index: LogIndex(2),
        });
        assert_eq!(view.committed_last(), LogIndex(2));
        view.apply(&Event::Truncated {
            node,
            from: LogIndex(3),
        });
        view.apply(&Event::Appended {
            node,
            entries: &entries(3, &[4]),
        });
        let n = view.node(node).unwrap();
        assert!(n.once_had_durable(LogIndex(2), Term(1)));
        assert!(!n.once_had_durable(LogIndex(3), Term(2)));
        assert_eq!(
            (n.last(), n.durable, n.term_at(LogIndex(3))),
            (LogIndex(3), LogIndex(2), Some(Term(4)))
        );
        view.apply(&Event::Compacted {
            node,
            upto: LogIndex(2),
        });
        let n = view.node(node).unwrap();
        assert_eq!(
            (n.base, n.log.len(), n.entry(LogIndex(2))),
            ((LogIndex(2), Term(1)), 1, None)
        );
    }

    #[test]
    fn a_log_that_comes_back_shorter_was_durable_once() {
        let node = NodeId(1);
        let mut view = View::new(1);
        start(&mut view, node);
        view.apply(&Event::Appended {
            node,
            entries: &entries(1, &[1, 1]),
        });
        view.apply(&Event::Durable {
            node,
            upto: LogIndex(2),
        });
        start(&mut view, node);
        let n = view.node(node).unwrap();
        assert_eq!(n.last(), LogIndex::ZERO);
        assert!(n.once_had_durable(LogIndex(2), Term(1)));
    }

    #[test]
    fn what_was_committed_in_earlier_terms_is_found() {
        let node = NodeId(1);
        let mut view = View::new(1);
        start(&mut view, node);
        for term in 1..=3 {
            view.apply(&Event::Role {
                node,
                term: Term(term),
                role: Role::Leader,
            });
            view.apply(&Event::Appended {
                node,
                entries: &entries(term, &[term]),
            });
            view.apply(&Event::Committed {
                node,
                index: LogIndex(term),
            });
        }
        assert_eq!(
            view.committed_before(Term(3)).unwrap().entry.index,
            LogIndex(2)
        );
        assert!(view.committed_before(Term(1)).is_none());
    }
}
