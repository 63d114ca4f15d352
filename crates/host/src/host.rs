//! Putting a host together.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
};

use parking_lot::{Condvar, Mutex, RwLock};
use trilith_env::{Clock, Env};
use trilith_storage::{
    FileCache, SyncRounds,
    journal::{AnsweredBy, Journal, JournalDamage, JournalOpenError, JournalTorn},
    votes::{Votes, VotesOpenError},
};

use crate::{
    ConfigError, HostConfig, HostHandle, Metrics, Observer, Outbound, Shard,
    background::{Background, Job},
    desk::Desk,
    event::Event,
    found::Found,
    handle::Shared,
    inbox::{Inbox, Limits},
    machine::Machine,
    pulse::Pulse,
    replica::{Cx, Now},
    shell,
};

/// Threads that do what may wait for the disk.
const BACKGROUND_THREADS: usize = 2;

/// Why a host does not open.
#[derive(Debug, thiserror::Error)]
pub enum HostOpenError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The journal does not open.
    #[error(transparent)]
    Journal(#[from] JournalOpenError),
    /// The votes do not open.
    #[error(transparent)]
    Votes(#[from] VotesOpenError),
}

/// What was found on disk when a host was opened.
#[derive(Clone, Debug, Default)]
pub struct HostReport {
    /// Groups that the journal knows.
    pub groups: usize,
    /// The process before this one did not stop cleanly.
    pub unclean: bool,
    /// Unfinished writes that were cut off.
    pub torn: Vec<JournalTorn>,
    /// Parts of the journal that cannot be read.
    pub damage: Vec<JournalDamage>,
    /// Votes of which both copies are bad.
    pub lost_votes: u32,
    /// Both files of votes were removed: every vote is lost.
    pub votes_removed: bool,
    /// Copies of votes that were bad and are mended.
    pub repaired_votes: u32,
    /// Whether the journal's writes bypass the page cache.
    pub direct_writes: bool,
}

/// A host that has not been started: a handle, and the shards behind it.
pub struct HostParts<M: Machine> {
    /// For the rest of the node.
    pub handle: HostHandle<M>,
    /// To be driven: by threads, or by whoever owns them.
    pub shards: Vec<Shard<M>>,
    /// What was found on disk.
    pub report: HostReport,
    journal: Journal,
    jobs: Option<Arc<Inbox<Job>>>,
    clock: Arc<dyn Clock>,
}

/// The threads of a host.
pub struct HostThreads {
    shards: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    jobs: Option<Arc<Inbox<Job>>>,
    journal: Journal,
}

/// How work is done that may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// By threads.
    Threads,
    /// At once, by whoever owns the shards: for a world with one thread.
    None,
}

/// Opens the journal and the votes in the host's directory, and makes the shards. No thread is
/// started and no group is hosted yet.
///
/// # Errors
/// See [`HostOpenError`]. Damage is no error: it is part of the report, and each group deals with
/// its own.
pub fn open<M: Machine>(
    env: &Env,
    config: HostConfig,
    workers: Workers,
    outbound: Arc<dyn Outbound>,
    observer: Arc<dyn Observer>,
) -> Result<HostParts<M>, HostOpenError> {
    config.check()?;
    let (votes, found_votes) = Votes::open(env, &config.dir)?;
    let (journal, replayed) = Journal::open(env, &config.dir, config.journal)?;
    let report = HostReport {
        groups: replayed.groups.len(),
        unclean: replayed.unclean,
        torn: replayed.torn.clone(),
        damage: replayed.damage.clone(),
        lost_votes: found_votes.lost_slots,
        votes_removed: found_votes.removed,
        repaired_votes: found_votes.repaired,
        direct_writes: replayed.direct,
    };
    let limits = Limits {
        requests: config.inbox_requests_max,
        bytes: config.inbox_bytes_max,
    };
    let inboxes: Vec<Arc<Inbox<Event<M>>>> =
        (0..config.shards).map(|_| Inbox::new(limits)).collect();
    let shared = Arc::new(Shared {
        inboxes,
        desks: OnceLock::new(),
        groups: RwLock::default(),
        metrics: Arc::<Metrics>::default(),
        journal: journal.clone(),
        pulse: Arc::new(Pulse::new(config.shards)),
        found: Arc::new(Found::new(replayed, found_votes)),
        requests_max: config.inbox_requests_max,
    });
    ask_for_marks(&journal, &shared);
    let (background, jobs) = match workers {
        Workers::None => (Background::AtOnce, None),
        Workers::Threads => {
            let (background, jobs) = Background::threads();
            (background, Some(jobs))
        }
    };
    let files = Arc::new(FileCache::new(config.open_segments_max));
    let syncer = SyncRounds::new(Arc::clone(&env.disk), config.dir.clone());
    let config = Arc::new(config);
    let shards = shared.inboxes.iter().enumerate().map(|(number, inbox)| {
        let cx = Cx {
            env: env.clone(),
            config: Arc::clone(&config),
            journal: journal.clone(),
            votes: votes.clone(),
            files: Arc::clone(&files),
            syncer: Arc::clone(&syncer),
            outbound: Arc::clone(&outbound),
            observer: Arc::clone(&observer),
            metrics: Arc::clone(&shared.metrics),
            inbox: Arc::clone(inbox),
            background: background.clone(),
            now: Now::of(env),
            out: trilith_raft::Output::default(),
            recent_bytes: 0,
            syncs: 0,
            sync_queue: std::collections::VecDeque::new(),
            snapshots: 0,
            submissions: Vec::new(),
            again: Vec::new(),
            suspected: std::collections::BTreeSet::new(),
            leaving: std::collections::BTreeSet::new(),
            is_leaving: false,
            open_logs_max: config.open_logs_max,
            is_short_of_files: false,
            failed: None,
            is_settling: false,
            is_closing: false,
        };
        Shard::new(number, Arc::clone(&shared), cx)
    });
    let shards = shards.collect();
    Ok(HostParts {
        handle: HostHandle { shared },
        shards,
        report,
        journal,
        jobs,
        clock: Arc::clone(&env.clock),
    })
}

/// The journal asks for marks of groups; their shards are told.
fn ask_for_marks<M: Machine>(journal: &Journal, shared: &Arc<Shared<M>>) {
    let shared = Arc::downgrade(shared);
    journal.need_marks(Arc::new(move |groups| {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        for group in groups {
            if let Some(inbox) = shared.inbox(group) {
                inbox.tell(Event::NeedMark { group });
            }
        }
    }));
}

/// The journal has given answers, which were put into shards' inboxes: a thread of the disk has
/// nothing better to do than to go on from there.
fn attend_when_answered<M: Machine>(journal: &Journal, shared: &Arc<Shared<M>>) {
    let shared = Arc::downgrade(shared);
    journal.on_answers(Arc::new(move |by| {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match by {
            AnsweredBy::Disk => shell::or_abort("trilith-io", || shared.visit()),
            AnsweredBy::Caller => shared.wake(),
        }
    }));
}

impl<M: Machine> HostParts<M> {
    /// The journal, for its numbers and for closing it once all shards are finished.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Starts a thread for each shard, and a few for what waits for the disk.
    ///
    /// # Errors
    /// When no thread can be made; those that were made end with the process.
    pub fn start(self) -> io::Result<(HostHandle<M>, HostThreads)> {
        let shared = &self.handle.shared;
        let both = self.shards.into_iter().zip(&shared.inboxes);
        let desks: Vec<Arc<Desk<M>>> = both
            .map(|(shard, inbox)| Desk::new(shard, Arc::clone(inbox), Arc::clone(&self.clock)))
            .map(Arc::new)
            .collect();
        // They are taken out of `self`, so nobody has set them before.
        drop(shared.desks.set(desks.clone()));
        attend_when_answered(&self.journal, shared);
        let mut shards = Vec::new();
        for (number, desk) in desks.into_iter().enumerate() {
            let name = format!("shard-{number}");
            shards.push(shell::spawn(name, move || desk.run())?);
        }
        let mut workers = Vec::new();
        if let Some(jobs) = &self.jobs {
            for number in 0..BACKGROUND_THREADS {
                let jobs = Arc::clone(jobs);
                let name = format!("worker-{number}");
                workers.push(shell::spawn(name, move || shell::run_jobs(&jobs))?);
            }
        }
        let threads = HostThreads {
            shards,
            workers,
            jobs: self.jobs,
            journal: self.journal,
        };
        Ok((self.handle, threads))
    }
}

impl<M: Machine> fmt::Debug for HostParts<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostParts({} shards)", self.shards.len())
    }
}

impl fmt::Debug for HostThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostThreads({} shards)", self.shards.len())
    }
}

impl HostThreads {
    /// The journal, for its numbers.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Waits until the shards have stopped, after [`HostHandle::shutdown`], then closes the
    /// journal. Blocks.
    pub fn join(self) {
        for shard in self.shards {
            drop(shard.join());
        }
        if let Some(jobs) = &self.jobs {
            for job in jobs.close() {
                job();
            }
        }
        for worker in self.workers {
            drop(worker.join());
        }
        let closed = Arc::new((Mutex::new(None), Condvar::new()));
        let tell = Arc::clone(&closed);
        self.journal.close(Box::new(move |result| {
            *tell.0.lock() = Some(result);
            tell.1.notify_all();
        }));
        let mut result = closed.0.lock();
        while result.is_none() {
            closed.1.wait(&mut result);
        }
        if let Some(Err(error)) = &*result {
            tracing::error!(%error, "the journal was not closed cleanly");
        }
    }
}
