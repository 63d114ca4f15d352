//! Those who wait for a group's log to grow.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use trilith_types::Offset;

/// Most waiters on one group; the next one is refused.
pub const GROUP_WAITERS_MAX: usize = 64 << 10;

type Callback = Box<dyn FnOnce() + Send>;

/// Called, once each, when the group's visible end passes what they have seen, or when the
/// group goes away.
#[derive(Default)]
pub(crate) struct Waiters {
    inner: Mutex<Inner>,
    /// As in `inner`, for those who only look: reading takes no lock.
    gone: AtomicBool,
}

#[derive(Default)]
struct Inner {
    end: Offset,
    gone: bool,
    next_id: u64,
    waiting: BTreeMap<u64, (Offset, Callback)>,
}

/// A place among the waiters; dropped, the callback is dropped uncalled.
#[must_use = "a wait that is dropped is over"]
pub struct Wait {
    waiters: Weak<Waiters>,
    id: Option<u64>,
}

/// Too many wait on one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{GROUP_WAITERS_MAX} consumers wait for new records of this group already")]
pub struct TooManyWaiters;

impl Waiters {
    pub(crate) fn new(end: Offset) -> Arc<Self> {
        let inner = Inner {
            end,
            ..Inner::default()
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            gone: AtomicBool::new(false),
        })
    }

    /// Calls `callback` once the end is past `seen`: at once when it is already.
    pub(crate) fn wait(
        self: &Arc<Self>,
        seen: Offset,
        callback: Callback,
    ) -> Result<Wait, TooManyWaiters> {
        let mut inner = self.inner.lock();
        if inner.gone || inner.end > seen {
            drop(inner);
            callback();
            return Ok(Wait {
                waiters: Weak::new(),
                id: None,
            });
        }
        if inner.waiting.len() >= GROUP_WAITERS_MAX {
            return Err(TooManyWaiters);
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.waiting.insert(id, (seen, callback));
        Ok(Wait {
            waiters: Arc::downgrade(self),
            id: Some(id),
        })
    }

    /// The end is now `end`; readers see it already.
    pub(crate) fn advance(&self, end: Offset) {
        let mut inner = self.inner.lock();
        inner.end = inner.end.max(end);
        if inner.waiting.is_empty() {
            return;
        }
        let ready = inner.waiting.extract_if(.., |_, (seen, _)| *seen < end);
        let ready: Vec<_> = ready.map(|(_, (_, callback))| callback).collect();
        drop(inner);
        ready.into_iter().for_each(|callback| callback());
    }

    /// Calls everybody: there is something else than records to know.
    pub(crate) fn wake(&self) {
        let waiting = std::mem::take(&mut self.inner.lock().waiting);
        waiting.into_values().for_each(|(_, callback)| callback());
    }

    /// The group is gone.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.gone = true;
        self.gone.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_values().for_each(|(_, callback)| callback());
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(waiters) = self.waiters.upgrade() else {
            return;
        };
        if let Some(id) = self.id {
            let removed = waiters.inner.lock().waiting.remove(&id);
            // The callback may hold anything: it goes after the lock.
            drop(removed);
        }
    }
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wait")
    }
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waiters({})", self.inner.lock().waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn counted() -> (Arc<AtomicUsize>, impl Fn() -> Callback) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let callback = move || {
            let counter = Arc::clone(&counter);
            Box::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
            }) as Callback
        };
        (calls, callback)
    }

    #[test]
    fn a_waiter_is_called_once_when_the_end_passes_what_it_saw() {
        let waiters = Waiters::new(Offset(5));
        let (calls, callback) = counted();
        let _past = waiters.wait(Offset(4), callback()).unwrap();
        assert_eq!(
            calls.load(Ordering::Relaxed),
            1,
            "the end is past it already"
        );
        let _near = waiters.wait(Offset(5), callback()).unwrap();
        let _far = waiters.wait(Offset(9), callback()).unwrap();
        waiters.advance(Offset(6));
        waiters.advance(Offset(7));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        waiters.advance(Offset(10));
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_dropped_wait_is_not_called() {
        let waiters = Waiters::new(Offset(0));
        let (calls, callback) = counted();
        drop(waiters.wait(Offset(0), callback()).unwrap());
        waiters.advance(Offset(1));
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn everyone_is_called_when_the_group_goes() {
        let waiters = Waiters::new(Offset(0));
        let (calls, callback) = counted();
        let _wait = waiters.wait(Offset(100), callback()).unwrap();
        waiters.close();
        let _late = waiters.wait(Offset(100), callback()).unwrap();
        assert_eq!(
            (calls.load(Ordering::Relaxed), waiters.is_gone()),
            (2, true)
        );
    }

    #[test]
    fn waiters_are_bounded() {
        let waiters = Waiters::new(Offset(0));
        let waits: Vec<_> = (0..GROUP_WAITERS_MAX)
            .map(|_| waiters.wait(Offset(0), Box::new(|| ())).unwrap())
            .collect();
        assert_eq!(
            waiters.wait(Offset(0), Box::new(|| ())).unwrap_err(),
            TooManyWaiters
        );
        drop(waits);
        assert!(waiters.wait(Offset(0), Box::new(|| ())).is_ok());
    }
}
