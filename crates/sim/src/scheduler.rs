//! The queue of what happens next.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::time::{SimTime, Span};

/// Events in the order of their time; those of one moment in the order in which they were
/// scheduled, so that nothing depends on how the heap is laid out.
#[derive(Debug)]
pub struct Scheduler<E> {
    now: SimTime,
    scheduled: u64,
    heap: BinaryHeap<Reverse<(SimTime, u64, usize)>>,
    // The events themselves stay put while the heap moves its small keys.
    slots: Vec<Option<E>>,
    free: Vec<usize>,
}

impl<E> Default for Scheduler<E> {
    fn default() -> Self {
        let now = SimTime::ZERO;
        Self {
            now,
            scheduled: 0,
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<E> Scheduler<E> {
    /// The present moment.
    #[must_use]
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// Schedules `event`; a moment in the past means now.
    pub fn at(&mut self, time: SimTime, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(event);
        }
        self.heap
            .push(Reverse((time.max(self.now), self.scheduled, slot)));
        self.scheduled += 1;
    }

    /// Schedules `event` in `span` from now.
    pub fn after(&mut self, span: Span, event: E) {
        self.at(self.now.plus(span), event);
    }

    /// Moves on to the next event and returns it; `None` when there is none up to `until`, and
    /// then that is the present moment.
    pub fn next_until(&mut self, until: SimTime) -> Option<E> {
        let Some(&Reverse((time, _, slot))) = self.heap.peek() else {
            self.now = self.now.max(until);
            return None;
        };
        if time > until {
            self.now = self.now.max(until);
            return None;
        }
        self.heap.pop();
        self.now = time;
        self.free.push(slot);
        self.slots.get_mut(slot).and_then(Option::take)
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_time_order_and_first_scheduled_first() {
        let mut queue = Scheduler::default();
        queue.after(Span(20), 'c');
        queue.after(Span(10), 'a');
        queue.after(Span(10), 'b');
        queue.after(Span(30), 'd');
        let drawn: Vec<char> = std::iter::from_fn(|| queue.next_until(SimTime(20))).collect();
        assert_eq!(drawn, ['a', 'b', 'c']);
        assert_eq!((queue.now(), queue.len()), (SimTime(20), 1));
    }

    #[test]
    fn the_past_is_now_and_the_end_moves_the_clock() {
        let mut queue = Scheduler::default();
        assert_eq!(queue.next_until(SimTime(50)), None);
        queue.at(SimTime(10), 'x');
        assert_eq!(queue.next_until(SimTime(60)), Some('x'));
        assert_eq!(queue.now(), SimTime(50));
        assert!(queue.is_empty());
    }

    #[test]
    fn slots_are_used_again() {
        let mut queue = Scheduler::default();
        for n in 0..1000 {
            queue.after(Span(1), n);
            assert_eq!(queue.next_until(SimTime::MAX), Some(n));
        }
        assert_eq!(queue.slots.len(), 1);
    }
}
