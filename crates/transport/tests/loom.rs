//! Every interleaving of threads that put pieces in and flush, and the connection's own thread:
//! `RUSTFLAGS="--cfg loom" cargo test -p trilith-transport --release --test loom`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![cfg(loom)]
#![allow(missing_docs)]

use std::collections::VecDeque;

use loom::{
    sync::{Arc, Mutex},
    thread,
};
use trilith_transport::baton::{Baton, Source, Written};

/// Numbers, each a piece; what was written is kept in order.
#[derive(Default)]
struct Numbers(VecDeque<u32>);

impl Source for Numbers {
    type Piece = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

struct Line {
    baton: Baton<Numbers>,
    written: Mutex<Vec<u32>>,
}

impl Line {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            baton: Baton::new(Numbers::default()),
            written: Mutex::new(Vec::new()),
        })
    }

    fn write(&self, number: u32) -> Written {
        // Nobody else writes meanwhile: the lock is free.
        self.written
            .try_lock()
            .expect("one writes at a time")
            .push(number);
        Written::All
    }

    fn say(&self, number: u32) {
        assert!(
            self.baton
                .put(|numbers| numbers.0.push_back(number))
                .is_some()
        );
        self.baton.flush(|piece| self.write(*piece));
    }
}

/// Whatever the order, all of it is written, each once, and each thread's in its order.
#[test]
fn nothing_is_left_behind() {
    loom::model(|| {
        let line = Line::new();
        let other = Arc::clone(&line);
        let thread = thread::spawn(move || {
            other.say(11);
            other.say(12);
        });
        line.say(21);
        thread.join().unwrap();
        assert!(line.baton.is_idle(), "something waits and nobody writes");
        let written = line.written.lock().unwrap();
        assert_eq!(written.len(), 3);
        let of_other: Vec<_> = written.iter().filter(|n| **n < 20).collect();
        assert_eq!(of_other, [&11, &12]);
    });
}

/// A flush that gets stuck hands over, and the connection's own thread finishes.
#[test]
fn what_a_flush_leaves_the_own_thread_writes() {
    loom::model(|| {
        let line = Line::new();
        let own = Arc::clone(&line);
        let own = thread::spawn(move || {
            own.baton.run(|piece| {
                let written = own.write(*piece);
                if *piece == 2 {
                    own.baton.close();
                }
                written
            });
        });
        line.baton.put(|numbers| numbers.0.push_back(1));
        line.baton.flush(|_| Written::Some);
        line.baton.put(|numbers| numbers.0.push_back(2));
        line.baton.flush(|_| Written::Some);
        own.join().unwrap();
        assert_eq!(*line.written.lock().unwrap(), [1, 2]);
    });
}

/// A close from elsewhere ends everybody.
#[test]
fn a_close_ends_all() {
    loom::model(|| {
        let line = Line::new();
        let own = Arc::clone(&line);
        let own = thread::spawn(move || own.baton.run(|piece| own.write(*piece)));
        let closer = Arc::clone(&line);
        let closer = thread::spawn(move || closer.baton.close());
        line.baton.put(|numbers| numbers.0.push_back(1));
        line.baton.flush(|_| Written::Some);
        closer.join().unwrap();
        own.join().unwrap();
        assert_eq!(line.baton.put(|_| ()), None);
        assert!(!line.baton.flush(|_| Written::All) || line.written.lock().unwrap().len() <= 1);
    });
}
