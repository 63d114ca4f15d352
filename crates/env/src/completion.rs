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
    pub fn pending() -> (Completer<T>, Self) {
        Self::new(State::Pending(None), None)
    }

    /// A pending operation on a world with one thread: [`Completion::wait`] calls `driver` until
    /// the operation has been answered.
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

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        thread,
    };

    use super::*;

    #[test]
    fn a_ready_operation_is_taken_once() {
        let done = Completion::ready(Ok(7));
        assert_eq!(done.try_take().unwrap().unwrap(), 7);
        assert!(done.try_take().is_none());
    }

    #[test]
    fn waiting_ends_with_the_answer_of_another_thread() {
        let (completer, completion) = Completion::pending();
        assert!(completion.try_take().is_none());
        let answering = thread::spawn(move || completer.complete(Ok(3)));
        assert_eq!(completion.wait().unwrap(), 3);
        answering.join().unwrap();
    }

    #[test]
    fn waiting_on_one_thread_drives_the_world() {
        let waiting = Arc::new(Mutex::new(None::<Completer<usize>>));
        let steps = Arc::new(AtomicUsize::new(0));
        let (world, count) = (Arc::clone(&waiting), Arc::clone(&steps));
        let (completer, completion) = Completion::driven(Arc::new(move || {
            let step = count.fetch_add(1, Ordering::SeqCst);
            if step == 2 {
                world.lock().take().unwrap().complete(Ok(step));
            }
        }));
        *waiting.lock() = Some(completer);
        assert_eq!(completion.wait().unwrap(), 2);
        assert_eq!(steps.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_function_is_called_before_or_after_the_answer() {
        let (tell, told) = mpsc::channel();
        let later = tell.clone();
        let (completer, completion) = Completion::pending();
        completion.then(move |r| later.send(r.unwrap()).unwrap());
        assert!(told.try_recv().is_err());
        completer.complete(Ok(1));
        assert_eq!(told.try_recv(), Ok(1));
        Completion::ready(Ok(2)).then(move |r| tell.send(r.unwrap()).unwrap());
        assert_eq!(told.try_recv(), Ok(2));
    }

    #[test]
    fn a_taken_answer_is_given_to_nobody_else() {
        let (completer, completion) = Completion::pending();
        completer.complete(Ok(1));
        assert!(completion.try_take().is_some());
        completion.then(|_| unreachable!("the answer was taken"));
    }

    #[test]
    fn a_dropped_completer_is_an_error() {
        let (completer, completion) = Completion::<()>::pending();
        assert_eq!(
            format!("{completer:?} {completion:?}"),
            "Completer Completion"
        );
        drop(completer);
        assert_eq!(
            completion.wait().unwrap_err().kind(),
            io::ErrorKind::Interrupted
        );
    }
}
