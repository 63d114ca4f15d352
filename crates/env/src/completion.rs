//! An operation that was submitted and completes later.

use std::{fmt, io, sync::Arc};

use parking_lot::{Condvar, Mutex};

/// The submitter's end of an operation that completes later: wait for it, look at it, or hand it
/// a function to call.
///
/// Dropping it forgets the answer, not the operation.
#[must_use = "a submitted operation that nobody waits for may have failed unseen"]
pub struct Completion<T> {
    slot: Arc<Slot<T>>,
}

/// The implementation's end. Dropped unanswered, the operation fails with `Interrupted`.
pub struct Completer<T> {
    slot: Option<Arc<Slot<T>>>,
}

type Callback<T> = Box<dyn FnOnce(io::Result<T>) + Send>;
type Driver = Arc<dyn Fn() + Send + Sync>;

struct Slot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// Makes the operation happen when somebody waits for it on the only thread there is.
    driver: Option<Driver>,
}

enum State<T> {
    Pending(Option<Callback<T>>),
    Done(io::Result<T>),
    Taken,
}

impl<T> Completion<T> {
    /// A pending operation and the end that answers it.
    #[must_use]
    pub fn pending() -> (Completer<T>, Self) {
        Self::new(State::Pending(None), None)
    }

    /// A pending operation on a world with one thread: [`Completion::wait`] calls `driver` until
    /// the operation has been answered.
    #[must_use]
    pub fn driven(driver: Arc<dyn Fn() + Send + Sync>) -> (Completer<T>, Self) {
        Self::new(State::Pending(None), Some(driver))
    }

    /// An operation that is already over.
    pub fn ready(result: io::Result<T>) -> Self {
        let slot = Slot {
            state: Mutex::new(State::Done(result)),
            changed: Condvar::new(),
            driver: None,
        };
        Self {
            slot: Arc::new(slot),
        }
    }

    fn new(state: State<T>, driver: Option<Driver>) -> (Completer<T>, Self) {
        let slot = Arc::new(Slot {
            state: Mutex::new(state),
            changed: Condvar::new(),
            driver,
        });
        (
            Completer {
                slot: Some(Arc::clone(&slot)),
            },
            Self { slot },
        )
    }

    /// The answer, if it has come; a second call after it was taken gives `None` for ever.
    pub fn try_take(&self) -> Option<io::Result<T>> {
        let mut state = self.slot.state.lock();
        if !matches!(*state, State::Done(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => Some(result),
            State::Pending(_) | State::Taken => None,
        }
    }

    /// Blocks until the operation is over.
    ///
    /// # Errors
    /// The operation's own.
    pub fn wait(self) -> io::Result<T> {
        loop {
            if let Some(result) = self.try_take() {
                return result;
            }
            match &self.slot.driver {
                Some(drive) => drive(),
                None => {
                    let mut state = self.slot.state.lock();
                    if matches!(*state, State::Pending(_)) {
                        self.slot.changed.wait(&mut state);
                    }
                }
            }
        }
    }

    /// Calls `f` with the answer: at once when it is there, else on the thread that gives it.
    pub fn then(self, f: impl FnOnce(io::Result<T>) + Send + 'static) {
        let mut state = self.slot.state.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Pending(_) => *state = State::Pending(Some(Box::new(f))),
            State::Done(result) => {
                drop(state);
                f(result);
            }
            State::Taken => {}
        }
    }
}

impl<T> Completer<T> {
    /// Answers the operation.
    pub fn complete(mut self, result: io::Result<T>) {
        if let Some(slot) = self.slot.take() {
            slot.answer(result);
        }
    }
}

impl<T> Slot<T> {
    fn answer(&self, result: io::Result<T>) {
        let mut state = self.state.lock();
        if let State::Pending(Some(callback)) = &mut *state {
            let callback = std::mem::replace(callback, Box::new(|_| ()));
            *state = State::Taken;
            drop(state);
            callback(result);
        } else {
            *state = State::Done(result);
            self.changed.notify_all();
        }
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let gone = io::Error::new(
                io::ErrorKind::Interrupted,
                "the operation was dropped unanswered",
            );
            slot.answer(Err(gone));
        }
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

impl<T> fmt::Debug for Completer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completer")
    }
}
