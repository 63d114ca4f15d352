//! Group commit for a log on its own: many writers, one thread that appends, and one sync for
//! all that wait.

use std::{
    mem,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use trilith_env::Env;
use trilith_types::{Offset, TimestampMs};

use crate::{
    entry::{Entry, EntryKind},
    error::{PartialAppend, SyncError},
    gather::{Gathering, Wanted},
    log::Log,
    round::{Place, Round},
    sync_policy::{Durability, SyncPolicy},
};

/// Most bytes of payload that wait to be appended; writers wait when there are more.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Most entries that wait to be appended, and so most that go into one round; writers wait when
/// there are more.
const ROUND_ENTRIES_MAX: usize = 4096;

/// How long a log is idle before its mark is written.
const IDLE_BEFORE_MARK: Duration = Duration::from_millis(2);

/// A new entry, as a writer gives it; index, term, offset and time are the log's to give.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What it is.
    pub kind: EntryKind,
    /// How many offsets it takes.
    pub records: u32,
    /// The largest timestamp of its records.
    pub max_timestamp: TimestampMs,
    /// The payload.
    pub payload: Bytes,
}

/// An entry that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The first offset it got.
    pub first_offset: Offset,
    /// What was reached.
    pub durability: Durability,
}

/// Why an entry was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// It is not in the log.
    #[error("not appended: {reason}")]
    Append {
        /// Why.
        reason: String,
    },
    /// Whether it is in the log is not known; the log takes no more writes.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The committer was closed before.
    #[error("the log was closed")]
    Closed,
}

/// A log with a thread that appends and syncs for many writers. Clones of the handle are not
/// needed: share it by reference or `Arc`.
#[derive(Debug)]
pub struct Committer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<Log>>>,
}

/// An entry that was handed over.
#[derive(Debug)]
#[must_use = "whether the entry was appended is not known before its answer"]
pub struct Submitted(Result<Place<Answer>, CommitError>);

impl Submitted {
    /// Blocks until the entry is as durable as the policy promises.
    ///
    /// # Errors
    /// Why it was not acknowledged.
    pub fn wait(self) -> Result<Committed, CommitError> {
        self.0?.wait().unwrap_or(Err(CommitError::Closed))
    }
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// There is something to do.
    filled: Condvar,
    /// There is room again.
    drained: Condvar,
}

#[derive(Debug)]
struct State {
    /// The round that the waiting entries will be.
    round: Round<Answer>,
    waiting: Vec<NewEntry>,
    /// The thread is woken when so many wait.
    wanted: usize,
    bytes: usize,
    closed: bool,
}

impl State {
    fn new() -> Self {
        Self {
            round: Round::default(),
            waiting: Vec::new(),
            wanted: 1,
            bytes: 0,
            closed: false,
        }
    }

    fn has_room(&self) -> bool {
        self.bytes < QUEUED_BYTES_MAX && self.waiting.len() < ROUND_ENTRIES_MAX
    }
}

type Answer = Result<Committed, CommitError>;

impl Committer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(log: Log, policy: SyncPolicy) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            state: Mutex::new(State::new()),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let mut worker = Worker {
            env: log.env.clone(),
            log,
            policy,
            queue: Arc::clone(&queue),
            unsynced_bytes: 0,
            synced_at: Duration::ZERO,
            unmarked: false,
            gathering: Gathering::default(),
        };
        let closing = Closing(Arc::clone(&queue));
        let thread = thread::Builder::new()
            .name("trilith-commit".to_owned())
            .spawn(move || {
                worker.run();
                drop(closing);
                worker.log
            })?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands an entry over. Waits while too much is queued.
    pub fn submit(&self, entry: NewEntry) -> Submitted {
        let mut state = self.queue.state.lock();
        while !state.has_room() && !state.closed {
            self.queue.drained.wait(&mut state);
        }
        if state.closed {
            return Submitted(Err(CommitError::Closed));
        }
        let place = state.round.place(state.waiting.len());
        state.bytes += entry.payload.len();
        state.waiting.push(entry);
        let is_enough = state.waiting.len() == state.wanted;
        drop(state);
        if is_enough {
            self.queue.filled.notify_one();
        }
        Submitted(Ok(place))
    }

    /// Appends an entry and waits for the acknowledgement.
    ///
    /// # Errors
    /// Why it was not acknowledged.
    pub fn append(&self, entry: NewEntry) -> Result<Committed, CommitError> {
        self.submit(entry).wait()
    }

    /// Finishes what is queued and gives the log back.
    ///
    /// # Errors
    /// It was closed before.
    pub fn stop(&self) -> Result<Log, CommitError> {
        self.queue.close();
        let thread = self.thread.lock().take();
        thread
            .and_then(|thread| thread.join().ok())
            .ok_or(CommitError::Closed)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Closes the queue when the thread ends, in whatever way: nobody waits for it afterwards.
struct Closing(Arc<Queue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
        // Whoever still waits is told that it was closed.
        drop(mem::take(&mut self.0.state.lock().round));
    }
}

/// What waited together.
struct Taken {
    round: Round<Answer>,
    entries: Vec<NewEntry>,
}

impl Queue {
    fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// What waits, which is nothing when `patience` ran out; `None` when it is closed and empty.
    /// Without `patience` waits for ever; for what is `wanted` as long as that says.
    fn take(&self, wanted: Option<Wanted>, patience: Option<Duration>) -> Option<Taken> {
        let mut state = self.state.lock();
        if let Some(Wanted { entries, patience }) = wanted {
            state.wanted = entries.min(ROUND_ENTRIES_MAX);
            while state.waiting.len() < state.wanted && !state.closed {
                if self.filled.wait_for(&mut state, patience).timed_out() {
                    break;
                }
            }
            state.wanted = 1;
        }
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            match patience {
                None => self.filled.wait(&mut state),
                Some(patience) => {
                    if self.filled.wait_for(&mut state, patience).timed_out() {
                        break;
                    }
                }
            }
        }
        let entries = mem::take(&mut state.waiting);
        let round = mem::take(&mut state.round);
        state.bytes = 0;
        drop(state);
        self.drained.notify_all();
        Some(Taken { round, entries })
    }
}

struct Worker {
    env: Env,
    log: Log,
    policy: SyncPolicy,
    queue: Arc<Queue>,
    unsynced_bytes: u64,
    synced_at: Duration,
    /// The last entries are synced, and nothing on the disk says so yet.
    unmarked: bool,
    gathering: Gathering,
}

impl Worker {
    fn run(&mut self) {
        while let Some(Taken { round, entries }) = self.next_round() {
            if entries.is_empty() {
                self.idle();
                continue;
            }
            let began = self.env.clock.monotonic();
            let answers = self.commit(&entries);
            let took = self.env.clock.monotonic().saturating_sub(began);
            let waiting = self.queue.state.lock().waiting.len();
            self.gathering.note(entries.len(), waiting, took);
            round.answer(answers);
        }
        // A failure here was already told to whoever had to know, or is met at the next opening.
        let _ = self.log.sync();
    }

    fn next_round(&mut self) -> Option<Taken> {
        // Without a sync there is nothing to be saved.
        let wanted = match self.policy {
            SyncPolicy::Always => self.gathering.next(),
            _ => None,
        };
        self.queue.take(wanted, self.patience())
    }

    /// How long the thread may sleep before it has something to do of its own.
    fn patience(&self) -> Option<Duration> {
        match self.policy {
            SyncPolicy::Always if self.unmarked => Some(IDLE_BEFORE_MARK),
            SyncPolicy::Every(every) if self.unsynced_bytes > 0 => {
                Some((self.synced_at + every).saturating_sub(self.env.clock.monotonic()))
            }
            _ => None,
        }
    }

    /// Nothing came for a while: syncs what is due, or writes the mark.
    fn idle(&mut self) {
        // Failures are met again by the next append, which is told.
        if self.unmarked {
            self.unmarked = false;
            if matches!(self.log.mark_if_idle(), Ok(true)) {
                let _ = self.log.sync();
            }
        } else {
            let _ = self.sync_if_due();
        }
    }

    /// Appends a round, syncs if that is due, and says what became of each entry.
    fn commit(&mut self, round: &[NewEntry]) -> Vec<Answer> {
        let mut appended = Vec::with_capacity(round.len());
        while let Some(rest) = round.get(appended.len()..).filter(|rest| !rest.is_empty()) {
            let first = self.log.end_offset();
            let (count, refused) = match self.append(rest) {
                Ok(()) => (rest.len(), None),
                Err(partial) => (partial.appended, Some(partial.source.to_string())),
            };
            let mut offset = first;
            for entry in rest.iter().take(count) {
                appended.push(Ok(offset));
                offset = offset.plus(entry.records.into());
            }
            // One that is refused does not stop those behind it.
            appended.extend(refused.map(|reason| Err(CommitError::Append { reason })));
        }
        let reached = self.sync_if_due();
        let answer = |offset: Result<Offset, CommitError>| {
            let first_offset = offset?;
            let durability = reached.clone()?;
            Ok(Committed {
                first_offset,
                durability,
            })
        };
        appended.into_iter().map(answer).collect()
    }

    /// Appends as many entries of a round as can be.
    fn append(&mut self, round: &[NewEntry]) -> Result<(), PartialAppend> {
        let (term, append_time) = (self.log.last_term(), self.env.clock.wall());
        let (mut index, mut offset) = (self.log.last_index(), self.log.end_offset());
        let payloads: Vec<[&[u8]; 1]> = round.iter().map(|new| [&new.payload[..]]).collect();
        let entry = |(new, payload): (&NewEntry, _)| {
            let first_offset = offset;
            index = index.next();
            offset = offset.plus(new.records.into());
            let (kind, records, max_timestamp) = (new.kind, new.records, new.max_timestamp);
            Entry {
                index,
                term,
                kind,
                first_offset,
                records,
                append_time,
                max_timestamp,
                payload,
            }
        };
        let payloads = payloads.iter().map(|payload| &payload[..]);
        let entries: Vec<Entry<'_>> = round.iter().zip(payloads).map(entry).collect();
        self.unsynced_bytes += entries.iter().map(Entry::payload_bytes).sum::<u64>();
        self.log.append_all(&entries)
    }

    /// Syncs when the policy asks for it, and publishes what may be seen.
    fn sync_if_due(&mut self) -> Result<Durability, SyncError> {
        let now = self.env.clock.monotonic();
        let due = match self.policy {
            SyncPolicy::Always => true,
            SyncPolicy::EveryBytes(n) => self.unsynced_bytes >= n,
            SyncPolicy::Every(every) => now.saturating_sub(self.synced_at) >= every,
            SyncPolicy::Os => false,
        };
        if due {
            self.log.sync()?;
            (self.unsynced_bytes, self.synced_at) = (0, now);
            self.unmarked = true;
        }
        self.log.publish(self.log.end_offset());
        Ok(if due {
            Durability::Synced
        } else {
            Durability::Written
        })
    }
}
