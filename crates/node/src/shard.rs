//! A shard: some partitions, owned by one thread.
//!
//! Its decisions are here, driven by events and by the clock that it is given; the thread that
//! runs it (`shell.rs`) decides nothing. One [`Shard::turn`] takes everything that waits, appends
//! it all, and begins one sync for each log that needs one. While that sync is under way the next
//! batches gather and are appended to the page cache, and the end of the sync begins the next one:
//! group commit without a timer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use trilith_env::Env;
use trilith_storage::{Log, Retired};
use trilith_topics::TopicSettings;
use trilith_types::GroupId;

use crate::{
    Metrics, NodeConfig, PartitionError, ProduceError,
    chores::{Chore, Pace},
    event::{Append, Event},
    hosted::{Hosted, Now},
    inbox::Inbox,
    open_segments::OpenSegments,
    partition::PartitionShared,
    sweeper::Sweep,
};

/// Most timers that are served in one turn; the rest are served in the next ones, after what has
/// come in meanwhile. Many partitions may fall quiet at once, and settling each waits for the disk.
const TIMERS_PER_TURN: usize = 8;

/// Partitions and their logs.
pub(crate) struct Shard {
    env: Env,
    config: Arc<NodeConfig>,
    metrics: Arc<Metrics>,
    /// Where the completions of syncs are sent: this shard's own inbox.
    inbox: Arc<Inbox<Event>>,
    /// Who removes files.
    sweeper: Arc<Inbox<Sweep>>,
    hosted: BTreeMap<GroupId, Box<Hosted>>,
    /// Partitions to look at in this turn.
    touched: Vec<GroupId>,
    /// Partitions with files open for writing.
    open: OpenSegments,
    /// Partitions whose appends wait until another one has closed its files.
    held: Vec<GroupId>,
    /// Partitions to look at later.
    timers: BTreeSet<(Duration, GroupId)>,
    is_closing: bool,
}

impl Shard {
    pub(crate) fn new(
        env: &Env,
        config: Arc<NodeConfig>,
        metrics: Arc<Metrics>,
        inbox: Arc<Inbox<Event>>,
        sweeper: Arc<Inbox<Sweep>>,
    ) -> Self {
        let open = OpenSegments::new(config.active_segments_max / config.shards.max(1));
        Self {
            env: env.clone(),
            config,
            metrics,
            inbox,
            sweeper,
            hosted: BTreeMap::new(),
            touched: Vec::new(),
            open,
            held: Vec::new(),
            timers: BTreeSet::new(),
            is_closing: false,
        }
    }

    /// Takes an event in. What it asks of a log is done by the next [`Shard::turn`].
    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Append(append) => self.arrive(append),
            Event::Synced {
                group,
                submitted,
                outcome,
            } => {
                let now = self.env.clock.monotonic();
                self.metrics
                    .sync_micros
                    .record_micros(now.saturating_sub(submitted));
                if let Some(hosted) = self.hosted.get_mut(&group) {
                    hosted.finish_sync(outcome, now);
                    self.touched.push(group);
                }
            }
            Event::Host {
                log,
                shared,
                settings,
            } => self.host(*log, shared, settings),
            Event::Configure { group, settings } => self.configure(group, settings),
            Event::Describe { group, reply } => {
                reply(
                    self.hosted
                        .get(&group)
                        .map(|hosted| hosted.stats())
                        .unwrap_or_default(),
                );
            }
            Event::Forget { group, reply } => {
                self.forget(group);
                reply();
            }
            Event::Close => self.is_closing = true,
        }
    }

    /// Does everything that is due: appends, syncs, timers. Returns when the next timer is due, on
    /// the monotonic clock, if there is one.
    pub(crate) fn turn(&mut self) -> Option<Duration> {
        let now = Now {
            monotonic: self.env.clock.monotonic(),
            wall: self.env.clock.wall(),
        };
        let timed = self.take_timers(now.monotonic);
        let mut touched = std::mem::take(&mut self.touched);
        touched.extend(&timed);
        touched.append(&mut self.held);
        touched.sort_unstable();
        touched.dedup();
        for group in &touched {
            if let Some(mut hosted) = self.hosted.remove(group) {
                self.attend(&mut hosted, now, timed.contains(group));
                self.hosted.insert(*group, hosted);
            }
        }
        touched.clear();
        // Its memory serves the next turn.
        if self.touched.is_empty() {
            self.touched = touched;
        }
        self.timers.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(crate) fn open_for_writing(&self) -> usize {
        let all = self.hosted.values();
        all.filter(|hosted| hosted.log.is_open_for_writing())
            .count()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether the shard was told to close and owes nobody anything.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_closing
            && self.touched.is_empty()
            && self.held.is_empty()
            && self.hosted.values().all(|hosted| hosted.is_quiet())
    }

    /// Closes every log. A log that cannot be closed is recovered at the next start.
    pub(crate) fn close(self) {
        for hosted in self.hosted.into_values() {
            hosted.close();
        }
    }

    fn arrive(&mut self, append: Append) {
        let group = append.partition.group();
        match self.hosted.get_mut(&group) {
            Some(hosted) => {
                if hosted.arrive(append) {
                    self.touched.push(group);
                }
            }
            None => {
                // Its topic was deleted between the look into the directory and here.
                self.metrics.queued_batches.sub(1);
                self.metrics.failed_batches.add(1);
                let topic = append.partition.topic.to_string();
                (append.done)(Err(PartitionError::UnknownTopic { topic }.into()));
            }
        }
    }

    fn attend(&mut self, hosted: &mut Hosted, now: Now, is_timed: bool) {
        let began = self.env.clock.monotonic();
        if hosted.wants_files() && !self.make_room() {
            // Every log with open files waits for a sync, the end of which is the next occasion.
            self.held.push(hosted.shared.group());
        } else if hosted.append_arrived(now) {
            let appended = self.env.clock.monotonic();
            self.metrics
                .append_micros
                .record_micros(appended.saturating_sub(began));
            hosted.acknowledge_written(appended);
        }
        if is_timed {
            self.do_chore(hosted, now);
        }
        if hosted.wants_sync(now.monotonic) {
            self.begin_sync(hosted);
        }
        self.note_open(hosted);
        self.arm(hosted, now.monotonic);
    }

    fn note_open(&mut self, hosted: &mut Hosted) {
        let is_open = hosted.log.is_open_for_writing();
        let last_append = is_open.then(|| hosted.chores.last_append());
        let group = hosted.shared.group();
        self.open.note(group, &mut hosted.open_since, last_append);
    }

    /// Sees to it that one more log may open files: settles the quiet one that has gone without an
    /// append for longest. False when none of those with open files is quiet.
    fn make_room(&mut self) -> bool {
        while self.open.is_full() {
            let is_quiet = |group: &GroupId| self.hosted.get(group).is_some_and(|h| h.is_quiet());
            let Some(group) = self.open.oldest_first().find(is_quiet) else {
                return false;
            };
            let Some(mut hosted) = self.hosted.remove(&group) else {
                return false;
            };
            if let Err(error) = hosted.settle() {
                hosted.chore_failed(&error.to_string());
                // It takes no more appends, and its files are not counted any more.
                self.open.note(group, &mut hosted.open_since, None);
            } else {
                self.note_open(&mut hosted);
            }
            self.hosted.insert(group, hosted);
        }
        true
    }

    fn begin_sync(&self, hosted: &mut Hosted) {
        let submitted = self.env.clock.monotonic();
        if let Some(pending) = hosted.begin_sync(submitted) {
            let inbox = Arc::clone(&self.inbox);
            let group = hosted.shared.group();
            pending.then(move |outcome| {
                // A closed inbox has no shard behind it that could use the outcome.
                drop(inbox.send(Event::Synced {
                    group,
                    submitted,
                    outcome,
                }));
            });
        }
    }

    /// Does one chore at most: some wait for the disk, and appends wait for them.
    fn do_chore(&mut self, hosted: &mut Hosted, now: Now) {
        let pace = self.pace(hosted);
        let is_quiet = hosted.is_quiet();
        let done = match hosted.chores.take_due(now.monotonic, &pace, is_quiet) {
            None => Ok(()),
            Some(Chore::Mark) => match hosted.log.mark_if_idle() {
                Ok(true) => {
                    self.begin_sync(hosted);
                    Ok(())
                }
                Ok(false) => Ok(()),
                Err(error) => {
                    hosted.append_chore_failed(&error);
                    Ok(())
                }
            },
            Some(Chore::Settle) => hosted.settle().map_err(|error| error.to_string()),
            Some(Chore::Retain) => match hosted.retain(now.wall) {
                Ok(retired) => {
                    self.retired(hosted, retired);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = done {
            hosted.chore_failed(&error);
        }
    }

    fn retired(&self, hosted: &Hosted, retired: Retired) {
        if retired.segments() == 0 {
            return;
        }
        self.metrics.retired_segments.add(retired.segments() as u64);
        self.metrics.retired_bytes.add(retired.bytes());
        tracing::info!(
            topic = %hosted.shared.topic,
            partition = %hosted.shared.partition,
            segments = retired.segments(),
            bytes = retired.bytes(),
            start_offset = %hosted.log.start_offset(),
            "retention removes segments"
        );
        drop(self.sweeper.send(Sweep::Files(retired)));
    }

    fn host(&mut self, log: Log, shared: Arc<PartitionShared>, settings: TopicSettings) {
        let group = shared.group();
        let policy = self.config.sync;
        let hosted = Hosted::new(log, shared, settings, policy, Arc::clone(&self.metrics));
        self.hosted.insert(group, Box::new(hosted));
        self.touched.push(group);
    }

    fn configure(&mut self, group: GroupId, settings: TopicSettings) {
        if let Some(hosted) = self.hosted.get_mut(&group) {
            hosted.configure(settings, &self.config.log);
            self.touched.push(group);
        }
    }

    fn forget(&mut self, group: GroupId) {
        if let Some(mut hosted) = self.hosted.remove(&group) {
            if let Some(at) = hosted.chores.armed.take() {
                self.timers.remove(&(at, group));
            }
            self.open.note(group, &mut hosted.open_since, None);
            let topic = hosted.shared.topic.to_string();
            hosted.forget(|| {
                ProduceError::from(PartitionError::UnknownTopic {
                    topic: topic.clone(),
                })
            });
        }
    }

    fn take_timers(&mut self, now: Duration) -> Vec<GroupId> {
        let mut due = Vec::new();
        while due.len() < TIMERS_PER_TURN
            && let Some(&(at, group)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            due.push(group);
            if let Some(hosted) = self.hosted.get_mut(&group) {
                hosted.chores.armed = None;
            }
        }
        due
    }

    /// Sets the timer for what the partition has to do next. An earlier timer stays: it will find
    /// nothing due and set the next.
    fn arm(&mut self, hosted: &mut Hosted, now: Duration) {
        let pace = self.pace(hosted);
        let is_quiet = hosted.is_quiet();
        let Some(next) = hosted.chores.plan(now, &pace, is_quiet) else {
            return;
        };
        if hosted.chores.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        let group = hosted.shared.group();
        if let Some(later) = hosted.chores.armed.replace(next) {
            self.timers.remove(&(later, group));
        }
        self.timers.insert((next, group));
    }

    fn pace(&self, hosted: &Hosted) -> Pace {
        let retention = hosted.settings.retention();
        let retains = retention.bytes.is_some() || retention.age.is_some();
        Pace {
            mark_after: self.config.mark_after,
            settle_after: self.config.settle_after,
            retention_interval: retains.then_some(self.config.retention_interval),
            sync_within: hosted.sync_within(),
        }
    }
}
