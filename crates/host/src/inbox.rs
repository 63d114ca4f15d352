//! A shard's inbox: events come in from any thread and are taken out all at once, by whoever
//! attends to the shard then.
//!
//! Whoever attends is alone with the shard: its own thread, or a thread that has just brought it
//! something and would only wake the other. The own thread sleeps until there is something that
//! nobody attends to, or until the time that the last turn wanted the next one at. The loom model in
//! `tests/loom.rs` runs this very code.

use std::{sync::Arc, time::Duration};

#[cfg(loom)]
use crate::model::{Condvar, Mutex};
#[cfg(not(loom))]
use parking_lot::{Condvar, Mutex};

/// Bytes of messages that a visitor attends to. With more, its own work and the shard's are better
/// done beside each other.
const VISITOR_BYTES_MAX: u64 = 128 << 10;

/// Events for one shard.
///
/// Requests are bounded by their number and messages by their bytes. The rest is bounded by what
/// may send it: finished writes by what the shard has submitted, orders by the node's own pace.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    arrived: Condvar,
    limits: Limits,
}

/// Most that waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests.
    pub requests: usize,
    /// Bytes of messages.
    pub bytes: u64,
}

/// What an event takes of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing: it is bounded elsewhere.
    None,
    /// One request.
    Request,
    /// So many bytes of entries.
    Bytes(u64),
}

/// Why an event was not taken in; it is given back.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected<T> {
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
    /// Somebody attends: what comes meanwhile, they see before they leave.
    is_attended: bool,
    /// When the shard wants its next turn, however little comes.
    deadline: Duration,
    owner: Owner,
}

/// What the shard's own thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It is awake, or looks before it sleeps.
    Awake,
    /// It sleeps until then.
    Until(Duration),
    /// It sleeps until whoever attends has left.
    Behind,
}

impl<T> Inbox<T> {
    /// An empty one. Its shard wants a turn at once.
    pub fn new(limits: Limits) -> Arc<Self> {
        let queue = Queue {
            events: Vec::new(),
            requests: 0,
            bytes: 0,
            is_closed: false,
            is_attended: false,
            deadline: Duration::ZERO,
            owner: Owner::Awake,
        };
        Arc::new(Self {
            queue: Mutex::new(queue),
            arrived: Condvar::new(),
            limits,
        })
    }

    /// Puts an event in, and sees to it that somebody attends to it.
    ///
    /// # Errors
    /// It was not taken in, and is given back.
    pub fn send(&self, event: T, weight: Weight) -> Result<(), Rejected<T>> {
        let is_first = self.put(event, weight)?;
        // The taker takes everything, so only the first event has somebody to wake.
        if is_first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Puts an event in and wakes nobody: the caller attends to it, or calls [`Inbox::wake`], once
    /// it has put in everything that it brings. Whether nobody does so yet.
    ///
    /// # Errors
    /// It was not taken in, and is given back.
    pub fn put(&self, event: T, weight: Weight) -> Result<bool, Rejected<T>> {
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
        Ok(queue.events.len() == 1 && !queue.is_attended)
    }

    /// [`Inbox::tell`] that wakes nobody, as [`Inbox::put`].
    pub(crate) fn lay(&self, event: T) {
        drop(self.put(event, Weight::None));
    }

    /// Wakes the shard's own thread if something waits that nobody attends to.
    pub fn wake(&self) {
        let queue = self.queue.lock();
        let wanted = !queue.events.is_empty() && !queue.is_attended;
        drop(queue);
        if wanted {
            self.arrived.notify_one();
        }
    }

    /// A visitor attends to what waits, if something does and nobody else is at it: it has the
    /// shard to itself until it leaves. What takes long is left to the shard's own thread.
    pub fn attend(&self) -> bool {
        let mut queue = self.queue.lock();
        if queue.is_attended || queue.is_closed || queue.events.is_empty() {
            return false;
        }
        if queue.bytes > VISITOR_BYTES_MAX {
            drop(queue);
            self.arrived.notify_one();
            return false;
        }
        queue.is_attended = true;
        true
    }

    /// The shard's own thread: waits until there is something to do that nobody attends to, and
    /// attends to it. `now` is the monotonic clock's time.
    pub fn attend_when_due(&self, now: impl Fn() -> Duration) {
        let mut queue = self.queue.lock();
        loop {
            if queue.is_attended {
                queue.owner = Owner::Behind;
                #[cfg(loom)]
                {
                    queue = self.arrived.wait(queue);
                }
                #[cfg(not(loom))]
                self.arrived.wait(&mut queue);
            } else {
                let patience = queue.deadline.saturating_sub(now());
                if !queue.events.is_empty() || patience.is_zero() {
                    break;
                }
                queue.owner = Owner::Until(queue.deadline);
                #[cfg(loom)]
                {
                    queue = self.arrived.wait(queue);
                }
                #[cfg(not(loom))]
                self.arrived.wait_for(&mut queue, patience);
            }
            queue.owner = Owner::Awake;
        }
        queue.is_attended = true;
    }

    /// Ends a turn after which the shard wants the next one at `deadline`. When more has come and
    /// the caller may stay, it goes on to attend, and this is true. Else it leaves, and the shard's
    /// own thread is woken if there is something for it to do.
    pub fn leave(&self, deadline: Duration, may_stay: bool) -> bool {
        let mut queue = self.queue.lock();
        queue.deadline = deadline;
        let has_more = !queue.events.is_empty();
        if has_more && may_stay {
            return true;
        }
        queue.is_attended = false;
        let wanted = match queue.owner {
            Owner::Awake => false,
            Owner::Behind => true,
            Owner::Until(until) => has_more || deadline < until,
        };
        drop(queue);
        if wanted {
            self.arrived.notify_one();
        }
        false
    }

    /// Puts an event in that is bounded elsewhere. Without a shard behind the inbox nobody could
    /// use it, and it is dropped.
    pub fn tell(&self, event: T) {
        drop(self.send(event, Weight::None));
    }

    /// Whether anything waits.
    pub(crate) fn has_events(&self) -> bool {
        !self.queue.lock().events.is_empty()
    }

    /// Everything that has come, in order. `into` is empty; its memory serves the next events.
    pub fn take(&self, into: &mut Vec<T>) {
        let mut queue = self.queue.lock();
        queue.empty_into(into);
    }

    /// Waits for an event and takes only that one, for several takers; none when the inbox is
    /// closed.
    pub(crate) fn wait_one(&self, into: &mut Vec<T>) {
        let mut queue = self.queue.lock();
        while queue.events.is_empty() && !queue.is_closed {
            #[cfg(loom)]
            {
                queue = self.arrived.wait(queue);
            }
            #[cfg(not(loom))]
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
    pub fn close(&self) -> Vec<T> {
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
        inbox.take(&mut taken);
        assert_eq!(taken, [1, 2]);
        assert!(!inbox.has_events());
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

    const LATER: Duration = Duration::from_secs(3600);

    #[test]
    fn one_attends_at_a_time_and_only_to_something() {
        let inbox = Inbox::new(LIMITS);
        assert!(!inbox.attend(), "there is nothing");
        inbox.tell(1);
        assert!(inbox.attend());
        assert!(!inbox.attend(), "somebody is at it");
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert!(!inbox.leave(LATER, true), "nothing has come");
        inbox.tell(2);
        assert!(inbox.attend());
        assert!(inbox.leave(LATER, true), "it stays for what has come");
        assert!(!inbox.leave(LATER, false));
        inbox.close();
        assert!(!inbox.attend(), "the shard is gone");
    }

    #[test]
    fn a_visitor_leaves_much_to_the_own_thread() {
        let inbox = Inbox::new(LIMITS);
        inbox.put(1, Weight::Bytes(VISITOR_BYTES_MAX + 1)).unwrap();
        assert!(!inbox.attend());
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        inbox.tell(2);
        assert!(inbox.attend());
    }

    #[test]
    fn only_the_first_of_what_nobody_attends_to_is_to_be_told_of() {
        let inbox = Inbox::new(LIMITS);
        assert_eq!(inbox.put(1, Weight::None), Ok(true));
        assert_eq!(inbox.put(2, Weight::None), Ok(false));
        assert!(inbox.attend());
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(inbox.put(3, Weight::None), Ok(false));
    }

    /// The own thread of a shard that has had its first turn.
    fn sleeper(inbox: &Arc<Inbox<u32>>) -> std::thread::JoinHandle<Vec<u32>> {
        inbox.attend_when_due(|| Duration::ZERO);
        inbox.leave(LATER, false);
        let inbox = Arc::clone(inbox);
        std::thread::spawn(move || {
            inbox.attend_when_due(|| Duration::ZERO);
            let mut taken = Vec::new();
            inbox.take(&mut taken);
            taken
        })
    }

    #[test]
    fn the_own_thread_wakes_for_what_was_put_in_and_what_a_visitor_left() {
        let inbox = Inbox::new(LIMITS);
        let thread = sleeper(&inbox);
        inbox.tell(7);
        assert_eq!(thread.join().unwrap(), [7]);

        let inbox = Inbox::new(LIMITS);
        let thread = sleeper(&inbox);
        inbox.put(8, Weight::None).unwrap();
        if inbox.attend() {
            inbox.leave(LATER, false);
        }
        assert_eq!(thread.join().unwrap(), [8]);
    }

    #[test]
    fn the_own_thread_wakes_when_a_visitor_wants_a_turn_sooner() {
        let inbox = Inbox::new(LIMITS);
        let thread = sleeper(&inbox);
        inbox.put(9, Weight::None).unwrap();
        if inbox.attend() {
            let mut taken = Vec::new();
            inbox.take(&mut taken);
            inbox.leave(Duration::ZERO, false);
            assert_eq!(taken, [9]);
            assert!(thread.join().unwrap().is_empty());
        }
    }
}
