//! Group commit for a log on its own: many writers, one thread that appends, and one sync for
//! all that wait.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use trilith_env::{Completer, Completion, Env};
use trilith_types::{Offset, TimestampMs};

use crate::{
    entry::{Entry, EntryKind},
    error::{PartialAppend, SyncError},
    log::Log,
    sync_policy::{Durability, SyncPolicy},
};

/// Most bytes of payload that wait to be appended; writers wait when there are more.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Most entries that go into one round.
const ROUND_ENTRIES_MAX: usize = 4096;

/// Rounds of more writers than this are answered by a thread of their own. Waking a writer costs
/// about as much as a hundredth of a sync; many of them would keep the next sync waiting.
const ANSWERED_AT_ONCE_MAX: usize = 4;

/// Most rounds that wait to be answered; the committing thread waits when there are more.
const UNANSWERED_ROUNDS_MAX: usize = 4;

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

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// There is something to do.
    filled: Condvar,
    /// There is room again.
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

type Answer = Result<Committed, CommitError>;

#[derive(Debug)]
struct Waiting {
    entry: NewEntry,
    done: Completer<Answer>,
}

impl Committer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(log: Log, policy: SyncPolicy) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
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
        };
        let (answers, waiting) = mpsc::sync_channel(UNANSWERED_ROUNDS_MAX);
        let answering = thread::Builder::new()
            .name("trilith-answer".to_owned())
            .spawn(move || waiting.into_iter().for_each(answer_all))?;
        let thread = thread::Builder::new()
            .name("trilith-commit".to_owned())
            .spawn(move || {
                worker.run(&answers);
                drop(answers);
                // Nobody waits for an answer once the log is given back.
                let _ = answering.join();
                worker.log
            })?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands an entry over; the answer comes when it is as durable as the policy promises. Waits
    /// while too much is queued.
    pub fn submit(&self, entry: NewEntry) -> Completion<Answer> {
        let (done, completion) = Completion::pending();
        let mut state = self.queue.state.lock();
        while state.bytes >= QUEUED_BYTES_MAX && !state.closed {
            self.queue.drained.wait(&mut state);
        }
        if state.closed {
            drop(state);
            done.complete(Ok(Err(CommitError::Closed)));
            return completion;
        }
        state.bytes += entry.payload.len();
        let was_empty = state.waiting.is_empty();
        state.waiting.push_back(Waiting { entry, done });
        drop(state);
        if was_empty {
            self.queue.filled.notify_one();
        }
        completion
    }

    /// Appends an entry and waits for the acknowledgement.
    ///
    /// # Errors
    /// Why it was not acknowledged.
    pub fn append(&self, entry: NewEntry) -> Answer {
        self.submit(entry)
            .wait()
            .unwrap_or(Err(CommitError::Closed))
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

impl Queue {
    fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// The next round; `None` when it is closed and empty. Without `patience` waits for ever.
    fn take(&self, patience: Option<Duration>) -> Option<Vec<Waiting>> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            match patience {
                None => self.filled.wait(&mut state),
                Some(patience) => {
                    if self.filled.wait_for(&mut state, patience).timed_out() {
                        return Some(Vec::new());
                    }
                }
            }
        }
        let count = state.waiting.len().min(ROUND_ENTRIES_MAX);
        let round: Vec<_> = state.waiting.drain(..count).collect();
        state.bytes -= round
            .iter()
            .map(|waiting| waiting.entry.payload.len())
            .sum::<usize>();
        drop(state);
        self.drained.notify_all();
        Some(round)
    }
}

/// Writers and what each is told.
type Answered = Vec<(Completer<Answer>, Answer)>;

fn answer_all(answered: Answered) {
    for (done, answer) in answered {
        done.complete(Ok(answer));
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
}

impl Worker {
    fn run(&mut self, answering: &mpsc::SyncSender<Answered>) {
        while let Some(round) = self.queue.take(self.patience()) {
            let answers = if round.is_empty() {
                self.idle()
            } else {
                self.commit(&round)
            };
            let answered: Answered = round
                .into_iter()
                .zip(answers)
                .map(|(waiting, answer)| (waiting.done, answer))
                .collect();
            if answered.len() <= ANSWERED_AT_ONCE_MAX {
                answer_all(answered);
            } else if let Err(mpsc::SendError(answered)) = answering.send(answered) {
                answer_all(answered);
            }
        }
        // A failure here was already told to whoever had to know, or is met at the next opening.
        let _ = self.log.sync();
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
    fn idle(&mut self) -> Vec<Answer> {
        // Failures are met again by the next append, which is told.
        if self.unmarked {
            self.unmarked = false;
            if matches!(self.log.mark_if_idle(), Ok(true)) {
                let _ = self.log.sync();
            }
        } else {
            let _ = self.sync_if_due();
        }
        Vec::new()
    }

    /// Appends a round, syncs if that is due, and says what became of each entry.
    fn commit(&mut self, round: &[Waiting]) -> Vec<Answer> {
        let mut appended = Vec::with_capacity(round.len());
        while let Some(rest) = round.get(appended.len()..).filter(|rest| !rest.is_empty()) {
            let first = self.log.end_offset();
            let (count, refused) = match self.append(rest) {
                Ok(()) => (rest.len(), None),
                Err(partial) => (partial.appended, Some(partial.source.to_string())),
            };
            let mut offset = first;
            for waiting in rest.iter().take(count) {
                appended.push(Ok(offset));
                offset = offset.plus(waiting.entry.records.into());
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
    fn append(&mut self, round: &[Waiting]) -> Result<(), PartialAppend> {
        let (term, append_time) = (self.log.last_term(), self.env.clock.wall());
        let (mut index, mut offset) = (self.log.last_index(), self.log.end_offset());
        let payloads: Vec<[&[u8]; 1]> = round.iter().map(|w| [&w.entry.payload[..]]).collect();
        let entry = |(waiting, payload): (&Waiting, _)| {
            let new = &waiting.entry;
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
