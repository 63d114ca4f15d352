//! Who writes to a connection.
//!
//! Many threads put pieces in, and whoever flushes writes: at most one at a time. What others put
//! in meanwhile, the one that writes takes along, and they go their way. Once the writer is told
//! that nothing more is taken without waiting, or has written for long, it hands over to the
//! connection's own thread, which may wait. The loom model in `tests/loom.rs` runs this very code.

#[cfg(loom)]
use crate::model::{AtomicBool, Condvar, Mutex, Relaxed};
#[cfg(not(loom))]
use parking_lot::{Condvar, Mutex};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Pieces that one flush writes, its own and others', before it hands over.
const PIECES_PER_FLUSH: usize = 4;

/// What is to be written, in order.
pub trait Source {
    /// What is written at a time.
    type Piece: std::fmt::Debug;

    /// Takes the next piece out.
    fn next(&mut self) -> Option<Self::Piece>;

    /// Whether there is none.
    fn is_empty(&self) -> bool;

    /// Forgets everything.
    fn clear(&mut self);
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All of it is written.
    All,
    /// Some of it is, and the rest is still in the piece: to take more, the other side must read.
    Some,
    /// Nothing will ever be written again.
    Failed,
}

/// The right to write, passed from thread to thread.
#[derive(Debug)]
pub struct Baton<S: Source> {
    state: Mutex<State<S>>,
    handed_over: Condvar,
    /// Whether the source has something, so that a flush of nothing takes no lock.
    has_waiting: AtomicBool,
}

#[derive(Debug)]
struct State<S: Source> {
    source: S,
    /// What is left of a piece.
    begun: Option<S::Piece>,
    holder: Holder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Whoever comes next.
    Nobody,
    /// A thread that flushes.
    Flusher,
    /// The connection's own thread.
    Own,
    /// Nothing is written any more.
    Closed,
}

impl<S: Source> Baton<S> {
    /// Nobody writes yet.
    pub fn new(source: S) -> Self {
        Self {
            state: Mutex::new(State {
                source,
                begun: None,
                holder: Holder::Nobody,
            }),
            handed_over: Condvar::new(),
            has_waiting: AtomicBool::new(false),
        }
    }

    /// Puts something in; `None` when it is closed.
    pub fn put<T>(&self, put: impl FnOnce(&mut S) -> T) -> Option<T> {
        let mut state = self.state.lock();
        if state.holder == Holder::Closed {
            return None;
        }
        let done = put(&mut state.source);
        self.has_waiting.store(true, Relaxed);
        Some(done)
    }

    /// Looks at the source, or changes what has nothing to do with pieces.
    pub fn look<T>(&self, look: impl FnOnce(&mut S) -> T) -> T {
        look(&mut self.state.lock().source)
    }

    /// Whether nothing waits and nobody writes.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.holder == Holder::Nobody && state.source.is_empty() && state.begun.is_none()
    }

    /// Has what waits written, by this thread unless another is at it. `write` must not wait.
    /// False when it is closed with that.
    pub fn flush(&self, mut write: impl FnMut(&mut S::Piece) -> Written) -> bool {
        // A thread sees what it has put in itself; others flush for themselves.
        if !self.has_waiting.load(Relaxed) {
            return true;
        }
        let mut state = self.state.lock();
        if state.holder != Holder::Nobody {
            return state.holder != Holder::Closed;
        }
        for _ in 0..PIECES_PER_FLUSH {
            let Some(mut piece) = state.next(&self.has_waiting) else {
                state.holder = Holder::Nobody;
                return true;
            };
            state.holder = Holder::Flusher;
            drop(state);
            let written = write(&mut piece);
            state = self.state.lock();
            if state.holder == Holder::Closed {
                return false;
            }
            match written {
                Written::All => {}
                Written::Some => {
                    state.begun = Some(piece);
                    break;
                }
                Written::Failed => {
                    self.end(&mut state);
                    return false;
                }
            }
        }
        state.holder = Holder::Own;
        self.handed_over.notify_one();
        true
    }

    /// The connection's own thread: writes on where a flush left off, until it is closed. `write`
    /// may wait.
    pub fn run(&self, mut write: impl FnMut(&mut S::Piece) -> Written) {
        let mut state = self.state.lock();
        loop {
            match state.holder {
                Holder::Closed => return,
                Holder::Nobody | Holder::Flusher => {
                    #[cfg(loom)]
                    {
                        state = self.handed_over.wait(state);
                    }
                    #[cfg(not(loom))]
                    self.handed_over.wait(&mut state);
                }
                Holder::Own => {
                    let Some(mut piece) = state.next(&self.has_waiting) else {
                        state.holder = Holder::Nobody;
                        continue;
                    };
                    drop(state);
                    let written = write(&mut piece);
                    state = self.state.lock();
                    match written {
                        _ if state.holder == Holder::Closed => return,
                        Written::All => {}
                        Written::Some => state.begun = Some(piece),
                        Written::Failed => return self.end(&mut state),
                    }
                }
            }
        }
    }

    /// Nothing more is written; what waits is dropped.
    pub fn close(&self) {
        self.end(&mut self.state.lock());
    }

    fn end(&self, state: &mut State<S>) {
        state.holder = Holder::Closed;
        state.source.clear();
        state.begun = None;
        self.handed_over.notify_one();
    }
}

impl<S: Source> State<S> {
    fn next(&mut self, has_waiting: &AtomicBool) -> Option<S::Piece> {
        if let Some(begun) = self.begun.take() {
            return Some(begun);
        }
        let piece = self.source.next();
        has_waiting.store(!self.source.is_empty(), Relaxed);
        piece
    }
}
