//! Many threads that wait for one event, each with an answer of its own.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// The end that answers. Dropped unanswered, nobody waits any longer.
#[derive(Debug)]
pub(crate) struct Round<A>(Arc<Shared<A>>);

/// One who waits.
#[derive(Debug)]
pub(crate) struct Place<A> {
    shared: Arc<Shared<A>>,
    /// Which answer is theirs.
    at: usize,
}

#[derive(Debug)]
struct Shared<A> {
    answers: OnceLock<Vec<A>>,
    /// Waited for by its address: a condition variable would have each thread that wakes take its
    /// lock, one after another.
    phase: AtomicU32,
}

/// Nobody has been told anything.
const RUNNING: u32 = 0;

/// It is over, and one of those who wait was woken.
const OVER: u32 = 1;

/// All were.
const TOLD: u32 = 2;

impl<A> Default for Round<A> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            answers: OnceLock::new(),
            phase: AtomicU32::new(RUNNING),
        }))
    }
}

impl<A> Round<A> {
    /// A place for whoever gets this answer.
    pub(crate) fn place(&self, at: usize) -> Place<A> {
        let shared = Arc::clone(&self.0);
        Place { shared, at }
    }

    /// Gives the answers, in the order of the places.
    pub(crate) fn answer(self, answers: Vec<A>) {
        // Only this end sets them, and only once.
        let _ = self.0.answers.set(answers);
    }
}

impl<A> Drop for Round<A> {
    fn drop(&mut self) {
        self.0.phase.store(OVER, Ordering::Release);
        // Waking a thread takes about as long as a hundredth of a sync. The first one wakes the
        // others, so that whoever answers can go on.
        atomic_wait::wake_one(&self.0.phase);
    }
}

impl<A: Clone> Place<A> {
    /// Blocks until the round is over; `None` when it was dropped unanswered.
    pub(crate) fn wait(self) -> Option<A> {
        let phase = &self.shared.phase;
        while phase.load(Ordering::Acquire) == RUNNING {
            atomic_wait::wait(phase, RUNNING);
        }
        if phase.load(Ordering::Relaxed) == OVER && phase.swap(TOLD, Ordering::Relaxed) == OVER {
            atomic_wait::wake_all(phase);
        }
        self.shared.answers.get()?.get(self.at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_gets_the_answer_of_their_place() {
        let round = Round::default();
        let places: Vec<_> = (0..20).map(|at| round.place(at)).collect();
        let got = thread::scope(|scope| {
            let waiting: Vec<_> = places
                .into_iter()
                .map(|place| scope.spawn(|| place.wait()))
                .collect();
            round.answer((100..119).collect());
            waiting
                .into_iter()
                .map(|w| w.join().unwrap())
                .collect::<Vec<_>>()
        });
        let answers = (100..119).map(Some).chain([None]);
        assert!(got.into_iter().eq(answers), "the last one has no answer");
    }

    #[test]
    fn a_round_that_is_dropped_lets_everybody_go() {
        let round = Round::<u32>::default();
        let (early, late) = (round.place(0), round.place(1));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| early.wait());
            drop(round);
            assert_eq!(waiting.join().unwrap(), None);
        });
        assert_eq!(late.wait(), None);
    }
}
