//! The keeper's inbox: notes come in from any thread and are taken out all at once.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};

/// With so many notes waiting, calls of other nodes are dropped: they are made again.
pub(crate) const CALLS_WAITING_MAX: usize = 4096;

/// Notes for the keeper. It is bounded by what may send: answers by the requests that the
/// controller's group takes, roles by a few for each group, and calls of other nodes by
/// [`CALLS_WAITING_MAX`].
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    events: Vec<T>,
    is_closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Arc<Self> {
        let queue = Queue {
            events: Vec::new(),
            is_closed: false,
        };
        Arc::new(Self {
            queue: Mutex::new(queue),
            arrived: Condvar::new(),
        })
    }

    /// Puts an event in, or gives it back when the inbox is closed.
    pub(crate) fn send(&self, event: T) -> Result<(), T> {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return Err(event);
        }
        queue.events.push(event);
        let is_first = queue.events.len() == 1;
        drop(queue);
        // The taker takes everything, so only the first event has somebody to wake.
        if is_first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Everything that has come, in order. Waits for the first event, but not longer than
    /// `patience`. `into` is empty; its memory serves the next events.
    pub(crate) fn wait(&self, into: &mut Vec<T>, patience: Option<Duration>) {
        let mut queue = self.queue.lock();
        if queue.events.is_empty() {
            match patience {
                Some(patience) => drop(self.arrived.wait_for(&mut queue, patience)),
                None => self.arrived.wait(&mut queue),
            }
        }
        std::mem::swap(&mut queue.events, into);
    }

    /// How much has come.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().events.len()
    }

    /// Takes nothing more in, and gives what has come.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        std::mem::take(&mut queue.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_taken_in_the_order_it_came() {
        let inbox = Inbox::new();
        let mut taken = Vec::new();
        inbox.send(1).unwrap();
        inbox.send(2).unwrap();
        inbox.wait(&mut taken, None);
        assert_eq!(taken, [1, 2]);
        taken.clear();
        inbox.wait(&mut taken, Some(Duration::ZERO));
        assert!(taken.is_empty());
    }

    #[test]
    fn a_closed_inbox_gives_back_what_is_sent() {
        let inbox = Inbox::new();
        inbox.send(1).unwrap();
        assert_eq!(inbox.close(), [1]);
        assert_eq!(inbox.send(2), Err(2));
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let inbox = Inbox::new();
        let sender = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || sender.send(7).unwrap());
        let mut taken = Vec::new();
        while taken.is_empty() {
            inbox.wait(&mut taken, None);
        }
        thread.join().unwrap();
        assert_eq!(taken, [7]);
    }
}
