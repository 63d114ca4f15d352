//! A shard's inbox: events come in from any thread and are taken out all at once.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};

/// Events for one shard.
///
/// Requests are bounded by their number and messages by their bytes. The rest is bounded by what
/// may send it: finished writes by what the shard has submitted, orders by the node's own pace.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    arrived: Condvar,
    limits: Limits,
}

/// Most that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) requests: usize,
    pub(crate) bytes: u64,
}

/// What an event takes of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Nothing: it is bounded elsewhere.
    None,
    /// One request.
    Request,
    /// So many bytes of entries.
    Bytes(u64),
}

/// Why an event was not taken in; it is given back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejected<T> {
    /// There is no shard any more.
    Closed(T),
    /// There is no room.
    Full(T),
}

#[derive(Debug)]
struct Queue<T> {
    events: Vec<T>,
    requests: usize,
    bytes: u64,
    is_closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let queue = Queue {
            events: Vec::new(),
            requests: 0,
            bytes: 0,
            is_closed: false,
        };
        Arc::new(Self {
            queue: Mutex::new(queue),
            arrived: Condvar::new(),
            limits,
        })
    }

    /// Puts an event in.
    pub(crate) fn send(&self, event: T, weight: Weight) -> Result<(), Rejected<T>> {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return Err(Rejected::Closed(event));
        }
        match weight {
            Weight::None => {}
            Weight::Request if queue.requests >= self.limits.requests => {
                return Err(Rejected::Full(event));
            }
            Weight::Request => queue.requests += 1,
            // One message is always taken, however large.
            Weight::Bytes(bytes) if queue.bytes > 0 && queue.bytes + bytes > self.limits.bytes => {
                return Err(Rejected::Full(event));
            }
            Weight::Bytes(bytes) => queue.bytes += bytes,
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

    /// Puts an event in that is bounded elsewhere. Without a shard behind the inbox nobody could
    /// use it, and it is dropped.
    pub(crate) fn tell(&self, event: T) {
        drop(self.send(event, Weight::None));
    }

    /// Whether anything waits.
    pub(crate) fn has_events(&self) -> bool {
        !self.queue.lock().events.is_empty()
    }

    /// Everything that has come, in order. `into` is empty; its memory serves the next events.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        let mut queue = self.queue.lock();
        queue.empty_into(into);
    }

    /// The same, but waits for the first event, not longer than `patience`.
    pub(crate) fn wait(&self, into: &mut Vec<T>, patience: Option<Duration>) {
        let mut queue = self.queue.lock();
        if queue.events.is_empty() {
            match patience {
                Some(patience) => drop(self.arrived.wait_for(&mut queue, patience)),
                None => self.arrived.wait(&mut queue),
            }
        }
        queue.empty_into(into);
    }

    /// Waits for an event and takes only that one, for several takers; none when the inbox is
    /// closed.
    pub(crate) fn wait_one(&self, into: &mut Vec<T>) {
        let mut queue = self.queue.lock();
        while queue.events.is_empty() && !queue.is_closed {
            self.arrived.wait(&mut queue);
        }
        if !queue.events.is_empty() {
            into.push(queue.events.remove(0));
            queue.requests = queue.requests.saturating_sub(1);
        }
        if !queue.events.is_empty() {
            self.arrived.notify_one();
        }
    }

    /// Whether nothing more is taken in.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().is_closed
    }

    /// Takes nothing more in, and gives what has come.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        let events = std::mem::take(&mut queue.events);
        drop(queue);
        self.arrived.notify_all();
        events
    }
}

impl<T> Queue<T> {
    fn empty_into(&mut self, into: &mut Vec<T>) {
        std::mem::swap(&mut self.events, into);
        self.requests = 0;
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        requests: 2,
        bytes: 10,
    };

    #[test]
    fn everything_is_taken_in_the_order_it_came() {
        let inbox = Inbox::new(LIMITS);
        let mut taken = Vec::new();
        inbox.tell(1);
        inbox.tell(2);
        assert!(inbox.has_events());
        inbox.wait(&mut taken, None);
        assert_eq!(taken, [1, 2]);
        taken.clear();
        inbox.wait(&mut taken, Some(Duration::ZERO));
        assert!(taken.is_empty() && !inbox.has_events());
    }

    #[test]
    fn requests_and_bytes_are_bounded_apart_and_taking_makes_room() {
        let inbox = Inbox::new(LIMITS);
        for n in 1..=2 {
            inbox.send(n, Weight::Request).unwrap();
        }
        assert_eq!(inbox.send(3, Weight::Request), Err(Rejected::Full(3)));
        inbox.send(4, Weight::Bytes(99)).unwrap();
        assert_eq!(inbox.send(5, Weight::Bytes(1)), Err(Rejected::Full(5)));
        inbox.send(6, Weight::None).unwrap();
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken, [1, 2, 4, 6]);
        inbox.send(7, Weight::Bytes(1)).unwrap();
        inbox.send(8, Weight::Request).unwrap();
    }

    #[test]
    fn a_closed_inbox_gives_back_what_is_sent() {
        let inbox = Inbox::new(LIMITS);
        inbox.tell(1);
        assert_eq!(inbox.close(), [1]);
        assert_eq!(inbox.send(2, Weight::None), Err(Rejected::Closed(2)));
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let inbox = Inbox::new(LIMITS);
        let sender = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || sender.tell(7));
        let mut taken = Vec::new();
        while taken.is_empty() {
            inbox.wait(&mut taken, None);
        }
        thread.join().unwrap();
        assert_eq!(taken, [7]);
    }
}
