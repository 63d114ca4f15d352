//! The clients: each does one thing at a time, to a leader it believes in or to any node.
//!
//! Objects are replaced by fresh ones after a while, so that each one's history stays small
//! enough to be checked.

use std::collections::BTreeMap;

use trilith_types::NodeId;

use crate::{
    event::Role,
    history::{Action, Object, OpId},
    rng::Rng,
    time::Span,
    view::View,
};

/// Clients of a run.
const CLIENTS: usize = 6;

/// Operations on one object before a fresh one takes its place.
const OPERATIONS_PER_OBJECT: u32 = 60;

/// How a run's clients behave; drawn once a run.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// The mean time between an answer and the next question.
    pause_mean: Span,
    /// How long a client waits for an answer.
    patience: Span,
    /// Reads, in a million operations.
    reads: u32,
    /// Questions to a node that holds itself for the leader, in a million.
    to_leaders: u32,
}

/// The clients of a run.
#[derive(Debug)]
pub struct Clients {
    rng: Rng,
    habits: Habits,
    // Operations in flight and whose they are.
    running: BTreeMap<OpId, usize>,
    objects: [Slot; 3],
    next_object: u32,
    next_value: u64,
    silent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    object: Object,
    left: u32,
}

impl Clients {
    /// Clients with habits drawn from `rng`.
    #[must_use]
    pub fn new(mut rng: Rng, election_timeout: Span) -> Self {
        let habits = Habits {
            pause_mean: Span(rng.between(election_timeout.0 / 20, election_timeout.0)),
            patience: election_timeout.times(rng.between(2, 10)),
            reads: rng.between(200_000, 800_000) as u32,
            to_leaders: rng.between(300_000, 1_000_000) as u32,
        };
        let slot = |object| Slot {
            object,
            left: OPERATIONS_PER_OBJECT,
        };
        let objects = [
            slot(Object::Register(0)),
            slot(Object::Register(1)),
            slot(Object::List(2)),
        ];
        Self {
            rng,
            habits,
            running: BTreeMap::new(),
            objects,
            next_object: 3,
            next_value: 1,
            silent: false,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        CLIENTS
    }

    /// They ask for nothing more.
    pub fn fall_silent(&mut self) {
        self.silent = true;
    }

    /// Whether they have fallen silent.
    #[must_use]
    pub fn are_silent(&self) -> bool {
        self.silent
    }

    /// A pause between two operations.
    pub fn pause(&mut self) -> Span {
        Span(self.rng.waiting(self.habits.pause_mean.0))
    }

    /// How long a client waits for an answer.
    #[must_use]
    pub fn patience(&self) -> Span {
        self.habits.patience
    }

    /// Notes whose operation this is.
    pub fn began(&mut self, op: OpId, client: usize) {
        self.running.insert(op, client);
    }

    /// The client whose operation has ended, and when it goes on.
    pub fn next_turn(&mut self, op: OpId) -> Option<(usize, Span)> {
        let client = self.running.remove(&op)?;
        Some((client, self.pause()))
    }

    /// What a client does next, and whom it asks; `None` when no node runs.
    pub fn choose(&mut self, client: usize, view: &View) -> Option<(NodeId, Object, Action)> {
        let node = self.whom(view)?;
        let place = self.rng.below(self.objects.len() as u64) as usize;
        let object = self.object(place)?;
        let action = if self.rng.chance(self.habits.reads) {
            Action::Read
        } else {
            self.next_value += 1;
            // The client's number in it helps whoever reads a trace.
            Action::Put(self.next_value * 10 + client as u64)
        };
        Some((node, object, action))
    }

    fn object(&mut self, place: usize) -> Option<Object> {
        let next = self.next_object;
        let slot = self.objects.get_mut(place)?;
        if slot.left == 0 {
            slot.left = OPERATIONS_PER_OBJECT;
            slot.object = match slot.object {
                Object::Register(_) => Object::Register(next),
                Object::List(_) => Object::List(next),
            };
            self.next_object += 1;
        }
        slot.left -= 1;
        Some(slot.object)
    }

    fn whom(&mut self, view: &View) -> Option<NodeId> {
        let running = |leaders: bool| -> Vec<NodeId> {
            view.nodes()
                .filter(|(_, n)| n.running && (!leaders || n.role == Role::Leader))
                .map(|(id, _)| id)
                .collect()
        };
        if self.rng.chance(self.habits.to_leaders)
            && let Some(leader) = self.rng.pick(&running(true))
        {
            return Some(*leader);
        }
        self.rng.pick(&running(false)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::start;

    fn clients() -> Clients {
        Clients::new(Rng::new(1, 1), Span::millis(100))
    }

    #[test]
    fn nobody_is_asked_when_nobody_runs() {
        assert_eq!(clients().choose(0, &View::new(3)), None);
    }

    #[test]
    fn values_are_used_once_and_objects_are_replaced() {
        let mut view = View::new(3);
        start(&mut view, NodeId(2));
        let mut clients = clients();
        let mut values = std::collections::BTreeSet::new();
        let mut uses = BTreeMap::<Object, u32>::new();
        for _ in 0..2000 {
            let (node, object, action) = clients.choose(3, &view).unwrap();
            assert_eq!(node, NodeId(2));
            *uses.entry(object).or_default() += 1;
            if let Action::Put(value) = action {
                assert!(values.insert(value));
            }
        }
        assert!(uses.values().all(|n| *n <= OPERATIONS_PER_OBJECT));
        assert!(uses.len() > 20 && uses.keys().any(|o| matches!(o, Object::List(_))));
    }

    #[test]
    fn a_client_goes_on_once() {
        let mut clients = clients();
        clients.began(OpId(4), 2);
        assert_eq!(clients.next_turn(OpId(4)).unwrap().0, 2);
        assert!(clients.next_turn(OpId(4)).is_none());
    }
}
