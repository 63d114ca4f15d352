//! Every interleaving of a shard's own thread, visitors that bring it something, and senders that
//! only put something in:
//! `RUSTFLAGS="--cfg loom" cargo test -p trilith-host --release --test loom`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![cfg(loom)]
#![allow(missing_docs)]

use std::time::Duration;

use loom::{
    sync::{Arc, Mutex},
    thread,
};
use trilith_host::inbox::{Inbox, Limits, Weight};

const LIMITS: Limits = Limits {
    requests: 8,
    bytes: 1 << 20,
};

/// Time never passes in the model: only events and visitors wake the own thread.
const NEVER: Duration = Duration::MAX;

/// The event after which the shard wants another turn at once, which is its last one.
const LAST_BUT_ONE: u32 = 7;

/// The event that ends the shard.
const END: u32 = 99;

struct Desk {
    inbox: std::sync::Arc<Inbox<u32>>,
    /// What the shard has taken, in order.
    taken: Mutex<Vec<u32>>,
}

impl Desk {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::new(LIMITS),
            taken: Mutex::new(Vec::new()),
        })
    }

    /// One turn, by whoever attends: nobody else holds the shard.
    fn turn(&self) -> Duration {
        let mut taken = self.taken.try_lock().expect("one attends at a time");
        let is_last = taken.contains(&LAST_BUT_ONE);
        let mut events = Vec::new();
        self.inbox.take(&mut events);
        taken.extend(&events);
        if is_last {
            taken.push(END);
        }
        if taken.contains(&LAST_BUT_ONE) || taken.contains(&END) {
            Duration::ZERO
        } else {
            NEVER
        }
    }

    fn has_ended(&self) -> bool {
        self.taken.try_lock().unwrap().contains(&END)
    }

    /// The own thread.
    fn run(&self) {
        loop {
            self.inbox.attend_when_due(|| Duration::ZERO);
            let deadline = self.turn();
            if self.has_ended() {
                return;
            }
            self.inbox.leave(deadline, false);
        }
    }

    /// A visitor that brings something and attends to it.
    fn bring(&self, event: u32) {
        self.inbox.put(event, Weight::None).unwrap();
        if self.inbox.attend() {
            let deadline = self.turn();
            self.inbox.leave(deadline, false);
        }
    }
}

/// Runs the own thread until the shard has ended, and others beside it. An event that is left
/// behind, or a turn, is a deadlock, which loom reports.
fn run(others: &[fn(&Desk)], end: bool, all: &[u32]) {
    let (others, all) = (others.to_vec(), all.to_vec());
    loom::model(move || {
        let desk = Desk::new();
        let own = Arc::clone(&desk);
        let own = thread::spawn(move || own.run());
        let begin = |&work: &fn(&Desk)| {
            let desk = Arc::clone(&desk);
            thread::spawn(move || work(&desk))
        };
        let threads: Vec<_> = others.iter().map(begin).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        if end {
            desk.inbox.tell(END);
        }
        own.join().unwrap();
        let mut taken = desk.taken.lock().unwrap().clone();
        taken.sort_unstable();
        assert_eq!(taken, all);
    });
}

#[test]
fn what_a_visitor_and_a_sender_bring_is_attended_to() {
    run(
        &[|desk| desk.bring(1), |desk| desk.inbox.tell(2)],
        true,
        &[1, 2, END],
    );
}

#[test]
fn a_turn_that_a_visitor_leaves_wanted_is_taken_by_the_own_thread() {
    let bring: fn(&Desk) = |desk| desk.bring(LAST_BUT_ONE);
    run(&[bring], false, &[LAST_BUT_ONE, END]);
}

#[test]
fn what_is_put_in_quietly_is_attended_to_once_somebody_is_woken() {
    run(
        &[
            |desk| {
                desk.inbox.put(1, Weight::None).unwrap();
                desk.inbox.wake();
            },
            |desk| desk.bring(2),
        ],
        true,
        &[1, 2, END],
    );
}
