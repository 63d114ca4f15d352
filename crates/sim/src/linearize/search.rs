//! The search itself.

use std::collections::HashSet;

use super::model::Step;

/// Most steps that a search may take before it gives up; far above what histories of the
/// simulator need.
const STEPS_MAX: u64 = 20_000_000;

/// One operation as the search sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it does.
    pub step: Step,
    /// When it began.
    pub invoked: u64,
    /// When it ended; `None` when nobody knows whether it took place.
    pub returned: Option<u64>,
}

/// What came out of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Violation {
        /// The call (by its place) that the longest order found could not take in before it ended.
        call: usize,
    },
    /// The search took too long; nothing is known.
    GaveUp,
}

/// A beginning or an end, in a doubly linked list ordered by time.
#[derive(Clone, Copy)]
struct Mark {
    call: usize,
    // Where the end of a beginning stands; `None` in an end.
    end: Option<usize>,
    previous: usize,
    next: usize,
}

struct Marks {
    // Place 0 is the head, which belongs to no call.
    list: Vec<Mark>,
}

impl Marks {
    fn new(calls: &[Call]) -> Self {
        let mut times: Vec<(u64, bool, usize)> = Vec::new();
        for (i, call) in calls.iter().enumerate() {
            // At one moment beginnings come before ends: the two overlap.
            times.push((call.invoked, false, i));
            times.push((call.returned.unwrap_or(u64::MAX), true, i));
        }
        times.sort_unstable();
        let mut ends = vec![0; calls.len()];
        for (place, (_, is_end, call)) in times.iter().enumerate() {
            if let (true, Some(end)) = (*is_end, ends.get_mut(*call)) {
                *end = place + 1;
            }
        }
        let count = times.len();
        let mut list = vec![Mark {
            call: 0,
            end: None,
            previous: 0,
            next: usize::from(count > 0),
        }];
        for (place, (_, is_end, call)) in times.into_iter().enumerate() {
            let end = if is_end {
                None
            } else {
                ends.get(call).copied()
            };
            let next = if place + 1 < count { place + 2 } else { 0 };
            list.push(Mark {
                call,
                end,
                previous: place,
                next,
            });
        }
        Self { list }
    }

    fn get(&self, place: usize) -> Mark {
        self.list
            .get(place)
            .copied()
            .expect("places come from the list itself")
    }

    fn first(&self) -> usize {
        self.get(0).next
    }

    fn unlink(&mut self, place: usize) {
        let mark = self.get(place);
        self.set(mark.previous, |m| m.next = mark.next);
        if mark.next != 0 {
            self.set(mark.next, |m| m.previous = mark.previous);
        }
    }

    fn relink(&mut self, place: usize) {
        let mark = self.get(place);
        self.set(mark.previous, |m| m.next = place);
        if mark.next != 0 {
            self.set(mark.next, |m| m.previous = place);
        }
    }

    fn set(&mut self, place: usize, change: impl FnOnce(&mut Mark)) {
        if let Some(mark) = self.list.get_mut(place) {
            change(mark);
        }
    }

    /// Takes a beginning and its end out.
    fn take(&mut self, begin: usize) {
        self.unlink(begin);
        if let Some(end) = self.get(begin).end {
            self.unlink(end);
        }
    }

    /// Undoes [`Self::take`]; the last one taken comes back first.
    fn put_back(&mut self, begin: usize) {
        if let Some(end) = self.get(begin).end {
            self.relink(end);
        }
        self.relink(begin);
    }
}

/// Which calls are taken, one bit each.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Taken(Vec<u64>);

impl Taken {
    fn flip(&mut self, call: usize) {
        if let Some(word) = self.0.get_mut(call / 64) {
            *word ^= 1 << (call % 64);
        }
    }
}

/// Looks for an order of `calls` that the model allows and that keeps every two of them in order
/// of which one ended before the other began. The state is 0 at first.
#[must_use]
pub fn search(calls: &[Call]) -> Verdict {
    let mut marks = Marks::new(calls);
    let mut taken = Taken(vec![0; calls.len().div_ceil(64)]);
    // Only asked whether it holds something, never walked: its order cannot matter.
    let mut visited: HashSet<(Taken, u64)> = HashSet::new();
    let mut stack: Vec<(usize, u64)> = Vec::new();
    let mut state = 0;
    let mut open = calls.iter().filter(|c| c.returned.is_some()).count();
    let mut furthest = (0, 0);
    let mut place = marks.first();
    for _ in 0..STEPS_MAX {
        if open == 0 {
            return Verdict::Linearizable;
        }
        let mark = marks.get(place);
        let call = calls.get(mark.call).expect("a mark names one of the calls");
        let known = usize::from(call.returned.is_some());
        if mark.end.is_some() {
            if let Some(next) = call.step.apply(state) {
                taken.flip(mark.call);
                if visited.insert((taken.clone(), next)) {
                    stack.push((place, state));
                    (state, open) = (next, open - known);
                    marks.take(place);
                    place = marks.first();
                    continue;
                }
                taken.flip(mark.call);
            }
            place = mark.next;
            continue;
        }
        // An end that no order so far has reached: undo the last choice.
        if stack.len() >= furthest.0 {
            furthest = (stack.len(), mark.call);
        }
        let Some((begin, before)) = stack.pop() else {
            return Verdict::Violation { call: furthest.1 };
        };
        let undone = marks.get(begin);
        state = before;
        taken.flip(undone.call);
        open += usize::from(calls.get(undone.call).is_some_and(|c| c.returned.is_some()));
        marks.put_back(begin);
        place = undone.next;
    }
    Verdict::GaveUp
}
