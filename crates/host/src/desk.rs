//! A shard, and who runs it.
//!
//! A shard has a thread of its own. Those that bring it something and have nothing better to do then
//! run it themselves: the threads that read from other nodes, and those that have just written the
//! journal. Waking another thread for it would cost more than what there is to do. The threads of
//! clients never do: a turn writes to files, if only to the page cache, and may be kept waiting there.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use trilith_env::Clock;

use crate::{Shard, event::Event, inbox::Inbox, machine::Machine};

/// Most turns that a visitor takes: it has work of its own.
const TURNS_PER_VISIT: usize = 2;

/// Where a shard is run.
pub(crate) struct Desk<M: Machine> {
    /// Only whoever attends to the inbox locks it, so nobody ever waits for it. It is gone once it
    /// is finished.
    shard: Mutex<Option<Shard<M>>>,
    inbox: Arc<Inbox<Event<M>>>,
    clock: Arc<dyn Clock>,
}

impl<M: Machine> Desk<M> {
    pub(crate) fn new(shard: Shard<M>, inbox: Arc<Inbox<Event<M>>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            shard: Mutex::new(Some(shard)),
            inbox,
            clock,
        }
    }

    /// The shard's own thread: runs it until it was told to close and is finished.
    pub(crate) fn run(&self) {
        loop {
            self.inbox.attend_when_due(|| self.clock.monotonic());
            let Some(deadline) = self.turn() else {
                // Nobody else attends any more: this thread never leaves.
                let shard = self.shard.lock().take();
                shard.iter().for_each(Shard::answer_late);
                return;
            };
            self.inbox.leave(deadline, false);
        }
    }

    /// Runs the shard for what waits there, unless somebody is at it.
    pub(crate) fn visit(&self) {
        if !self.inbox.attend() {
            return;
        }
        for turn in 1.. {
            // Its own thread has to see that it is finished.
            let (deadline, may_stay) = match self.turn() {
                Some(deadline) => (deadline, turn < TURNS_PER_VISIT),
                None => (Duration::ZERO, false),
            };
            if !self.inbox.leave(deadline, may_stay) {
                return;
            }
        }
    }

    /// One turn, by whoever attends. When the shard wants the next one; `None` when it is finished.
    fn turn(&self) -> Option<Duration> {
        let mut shard = self.shard.lock();
        let shard = shard.as_mut()?;
        let deadline = shard.turn();
        (!shard.is_finished()).then_some(deadline)
    }

    /// Whether something waits.
    pub(crate) fn has_work(&self) -> bool {
        self.inbox.has_events()
    }

    /// Leaves what waits to the shard's own thread.
    pub(crate) fn wake(&self) {
        self.inbox.wake();
    }
}
