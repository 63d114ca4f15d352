//! One partition in its shard: what waits to be appended, what waits for its sync.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use trilith_storage::{
    AppendError, Durability, Log, LogConfig, PendingSync, Retired, SyncError, SyncOutcome,
    SyncPolicy,
};
use trilith_topics::{Assigned, Partition, TopicSettings};
use trilith_types::{Offset, Term, TimestampMs};

use crate::{
    Appended, Metrics, Permit, ProduceError,
    chores::Chores,
    event::{Append, Done, PartitionStats},
    partition::PartitionShared,
};

/// The term of a node on its own: it has always been the leader.
const TERM_ALONE: Term = Term(1);

/// A partition and its log.
pub(crate) struct Hosted {
    pub(crate) log: Log,
    pub(crate) shared: Arc<PartitionShared>,
    pub(crate) settings: TopicSettings,
    pub(crate) chores: Chores,
    /// When it was appended to last, as the shard has it noted while files are open for that.
    pub(crate) open_since: Option<Duration>,
    partition: Partition,
    policy: SyncPolicy,
    metrics: Arc<Metrics>,
    /// Waiting to be appended, in the order they came.
    arrived: Vec<Append>,
    /// Appended, and acknowledged once the log is synced past them. Only if the policy says so.
    unsynced: VecDeque<Unsynced>,
    /// A sync is under way; there is never more than one.
    pub(crate) is_syncing: bool,
    /// Bytes appended since the last sync was submitted.
    unsynced_bytes: u64,
    is_poisoned: bool,
    /// The disk had no room for what came last.
    is_full: bool,
}

/// An appended batch whose answer waits for the sync.
struct Unsynced {
    next_offset: Offset,
    answer: Answer,
    appended: Appended,
}

/// What is needed to answer a request.
struct Answer {
    arrived: Duration,
    /// Held until the answer is given: the batch is in flight until then.
    _permit: Permit,
    done: Done,
}

/// Now, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) monotonic: Duration,
    pub(crate) wall: TimestampMs,
}

impl Hosted {
    pub(crate) fn new(
        log: Log,
        shared: Arc<PartitionShared>,
        settings: TopicSettings,
        policy: SyncPolicy,
        metrics: Arc<Metrics>,
    ) -> Self {
        let ends = log
            .segments()
            .into_iter()
            .filter_map(|meta| meta.state.end());
        let append_time = ends
            .map(|end| end.last_append_time)
            .max()
            .unwrap_or(TimestampMs::MIN);
        let term = log.last_term().max(TERM_ALONE);
        let partition = Partition::new(term, log.last_index(), log.end_offset(), append_time);
        metrics.partitions.add(1);
        Self {
            log,
            shared,
            settings,
            chores: Chores::default(),
            open_since: None,
            partition,
            policy,
            metrics,
            arrived: Vec::new(),
            unsynced: VecDeque::new(),
            is_syncing: false,
            unsynced_bytes: 0,
            is_poisoned: false,
            is_full: false,
        }
    }

    /// Takes a batch in; it is appended in this turn. Returns whether it is the turn's first.
    pub(crate) fn arrive(&mut self, append: Append) -> bool {
        self.arrived.push(append);
        self.arrived.len() == 1
    }

    /// Whether the next append opens files.
    pub(crate) fn wants_files(&self) -> bool {
        !self.arrived.is_empty() && !self.log.is_open_for_writing() && !self.is_poisoned
    }

    /// Appends everything that waits, with as few writes as possible. Returns whether anything did.
    pub(crate) fn append_arrived(&mut self, now: Now) -> bool {
        if self.arrived.is_empty() {
            return false;
        }
        let mut waiting = std::mem::take(&mut self.arrived);
        self.metrics.queued_batches.sub(waiting.len() as u64);
        let is_late = |append: &mut Append| {
            append
                .deadline
                .is_some_and(|deadline| deadline < now.monotonic)
        };
        for late in waiting.extract_if(.., is_late) {
            self.metrics.expired_batches.add(1);
            self.refuse(late.done, ProduceError::DeadlineExceeded);
        }
        while !waiting.is_empty() {
            let assigned: Vec<Assigned> = waiting
                .iter()
                .map(|append| {
                    self.partition
                        .assign(&append.header, append.batch.clone(), now.wall)
                })
                .collect();
            let failed = self.write(&assigned).err();
            let appended = failed.as_ref().map_or(assigned.len(), |failed| failed.0);
            if appended > 0 {
                self.report_room();
            }
            for (append, place) in waiting.drain(..appended).zip(&assigned) {
                self.appended(append, place);
            }
            let (Some((_, error)), Some(place)) = (failed, assigned.get(appended)) else {
                break;
            };
            self.partition.take_back(place);
            self.refuse_front(&mut waiting, &error);
        }
        self.arrived = waiting;
        if self.is_poisoned && !self.is_syncing {
            // No sync will come that could answer what is appended and unsynced.
            self.fail_unsynced("an append failed and closed the log to writes");
        }
        if self.policy != SyncPolicy::Always {
            self.publish(self.log.end_offset());
        }
        self.chores.appended(now.monotonic);
        true
    }

    /// Writes entries; when that fails, how many are in the log, and why the next one is not.
    fn write(&mut self, assigned: &[Assigned]) -> Result<(), (usize, AppendError)> {
        let payloads: Vec<[&[u8]; 2]> = assigned.iter().map(Assigned::payload).collect();
        let entries: Vec<_> = assigned
            .iter()
            .zip(&payloads)
            .map(|(place, payload)| place.entry(payload))
            .collect();
        self.log
            .append_all(&entries)
            .map_err(|partial| (partial.appended, partial.source))
    }

    fn appended(&mut self, append: Append, place: &Assigned) {
        let bytes = place.bytes() as u64;
        self.unsynced_bytes += bytes;
        self.metrics.appended_batches.add(1);
        self.metrics.appended_records.add(u64::from(place.records));
        self.metrics.appended_bytes.add(bytes);
        let appended = Appended {
            partition: self.shared.partition,
            first_offset: place.first_offset,
            records: place.records,
            durability: self.policy.promises(),
            append_time: place.append_time,
        };
        let answer = Answer {
            arrived: append.arrived,
            _permit: append.permit,
            done: append.done,
        };
        self.metrics.unsynced_batches.add(1);
        self.unsynced.push_back(Unsynced {
            next_offset: place.next_offset(),
            answer,
            appended,
        });
    }

    /// Refuses the first waiting batch; all of them when the next one would meet the same.
    fn refuse_front(&mut self, waiting: &mut Vec<Append>, error: &AppendError) {
        self.is_poisoned = self.log.poisoned().is_some();
        if self.is_poisoned {
            self.report_poison(&error.to_string());
        }
        let is_full = matches!(error, AppendError::DiskFull { .. });
        if is_full {
            self.report_full(error);
        }
        let meets_the_same = self.is_poisoned || is_full;
        let refused = if meets_the_same { waiting.len() } else { 1 };
        for append in waiting.drain(..refused) {
            self.refuse(
                append.done,
                ProduceError::from_append(error, self.is_poisoned),
            );
        }
    }

    fn refuse(&self, done: Done, error: ProduceError) {
        self.metrics.failed_batches.add(1);
        done(Err(error));
    }

    /// Acknowledges what does not wait for a sync.
    pub(crate) fn acknowledge_written(&mut self, now: Duration) {
        if self.policy != SyncPolicy::Always {
            self.acknowledge(self.log.end_offset(), now);
        }
    }

    /// Acknowledges what lies below `upto`.
    fn acknowledge(&mut self, upto: Offset, now: Duration) {
        while let Some(next) = self.unsynced.pop_front_if(|next| next.next_offset <= upto) {
            self.metrics.unsynced_batches.sub(1);
            self.metrics
                .commit_micros
                .record_micros(now.saturating_sub(next.answer.arrived));
            (next.answer.done)(Ok(next.appended));
        }
    }

    /// Shows readers what lies below `upto`, and wakes those who wait for it.
    pub(crate) fn publish(&self, upto: Offset) {
        self.log.publish(upto);
        self.shared.waiters.advance(upto);
    }

    /// Whether the policy wants a sync now, and none is under way.
    pub(crate) fn wants_sync(&self, now: Duration) -> bool {
        if self.is_syncing || self.unsynced_bytes == 0 || self.is_poisoned {
            return false;
        }
        match self.policy {
            SyncPolicy::Always => true,
            SyncPolicy::EveryBytes(bytes) => self.unsynced_bytes >= bytes,
            SyncPolicy::Every(_) => self.chores.is_sync_due(now),
            SyncPolicy::Os => false,
        }
    }

    /// When the policy wants a sync of what was appended, if it goes by the clock.
    pub(crate) const fn sync_within(&self) -> Option<Duration> {
        match self.policy {
            SyncPolicy::Every(within) if self.unsynced_bytes > 0 => Some(within),
            _ => None,
        }
    }

    /// Submits a sync of everything appended so far.
    pub(crate) fn begin_sync(&mut self, now: Duration) -> Option<PendingSync> {
        match self.log.begin_sync() {
            Ok(Some(pending)) => {
                self.is_syncing = true;
                self.unsynced_bytes = 0;
                self.chores.sync_begun();
                if !self.unsynced.is_empty() {
                    self.metrics
                        .batches_per_sync
                        .record(self.unsynced.len() as u64);
                }
                Some(pending)
            }
            Ok(None) => {
                self.synced(now);
                None
            }
            Err(error) => {
                self.fail_unsynced(&error.to_string());
                None
            }
        }
    }

    /// Takes note of how a sync ended.
    pub(crate) fn finish_sync(&mut self, outcome: SyncOutcome, now: Duration) {
        self.is_syncing = false;
        match self.log.finish_sync(outcome) {
            Ok(_) => {
                self.metrics.syncs.add(1);
                self.synced(now);
            }
            Err(error) => {
                self.metrics.failed_syncs.add(1);
                self.fail_unsynced(&error.to_string());
            }
        }
    }

    /// Shows and acknowledges what is synced, in this order: who was told that a record is stored
    /// finds it when reading.
    fn synced(&mut self, now: Duration) {
        if self.policy.promises() == Durability::Synced {
            let upto = self.log.synced().next_offset;
            self.publish(upto);
            self.acknowledge(upto, now);
        }
    }

    fn fail_unsynced(&mut self, reason: &str) {
        self.report_poison(reason);
        for failed in std::mem::take(&mut self.unsynced) {
            self.metrics.unsynced_batches.sub(1);
            self.refuse(
                failed.answer.done,
                ProduceError::Poisoned {
                    reason: reason.to_owned(),
                },
            );
        }
    }

    /// Syncs the log and closes its files, which the next append opens again.
    pub(crate) fn settle(&mut self) -> Result<(), SyncError> {
        self.log.settle()?;
        self.unsynced_bytes = 0;
        self.chores.settled();
        Ok(())
    }

    /// Removes what the topic's settings keep no longer. On a full disk the active segment cannot
    /// be ended, however old it is; those before it go all the same, which makes room.
    pub(crate) fn retain(&mut self, now: TimestampMs) -> Result<Retired, String> {
        if let Err(error) = self.log.rotate_if_old(now) {
            self.append_chore_failed(&error);
        }
        let policy = self.settings.retention();
        self.log
            .enforce_retention(now, &policy)
            .map_err(|error| error.to_string())
    }

    /// A chore that appends failed.
    pub(crate) fn append_chore_failed(&mut self, error: &AppendError) {
        match error {
            AppendError::DiskFull { .. } => self.report_full(error),
            _ => self.chore_failed(&error.to_string()),
        }
    }

    /// A chore failed: appends may go on, unless it closed the log to writes.
    pub(crate) fn chore_failed(&mut self, reason: &str) {
        if self.log.poisoned().is_some() {
            self.report_poison(reason);
        } else {
            let (topic, partition) = (&self.shared.topic, self.shared.partition);
            tracing::warn!(%topic, %partition, reason, "housekeeping of a partition was put off");
        }
    }

    /// Takes other settings; they hold from the next append on.
    pub(crate) fn configure(&mut self, settings: TopicSettings, base: &LogConfig) {
        self.settings = settings;
        // What is kept no longer may be wanted gone now, for example on a full disk.
        self.chores.retain_soon();
        if let Err(error) = self.log.set_config(settings.log_config(base)) {
            self.chore_failed(&error.to_string());
        }
    }

    /// Syncs and closes the log. A log that cannot be closed is recovered at the next start.
    pub(crate) fn close(self) {
        if self.is_poisoned {
            return;
        }
        if let Err(error) = self.log.close() {
            let (topic, partition) = (&self.shared.topic, self.shared.partition);
            tracing::error!(%topic, %partition, %error, "a partition was not closed cleanly");
        }
    }

    /// Tells the operator, once, that the partition takes no more writes.
    pub(crate) fn report_poison(&mut self, reason: &str) {
        if !self.chores.stop() {
            return;
        }
        self.is_poisoned = true;
        self.metrics.poisoned_partitions.add(1);
        tracing::error!(
            topic = %self.shared.topic,
            partition = %self.shared.partition,
            reason,
            "a partition takes no more writes until the node is restarted"
        );
    }

    /// Tells the operator, once until it changes, that there is no room.
    fn report_full(&mut self, error: &AppendError) {
        if std::mem::replace(&mut self.is_full, true) {
            return;
        }
        self.metrics.full_partitions.add(1);
        tracing::warn!(
            topic = %self.shared.topic,
            partition = %self.shared.partition,
            %error,
            "a partition takes no more records until there is room"
        );
    }

    /// The disk took something.
    fn report_room(&mut self) {
        if !std::mem::replace(&mut self.is_full, false) {
            return;
        }
        self.metrics.full_partitions.sub(1);
        tracing::info!(
            topic = %self.shared.topic,
            partition = %self.shared.partition,
            "there is room again: the partition takes records"
        );
    }

    /// Whether nothing is under way and no answer is owed.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_syncing && self.unsynced.is_empty() && self.arrived.is_empty()
    }

    pub(crate) fn stats(&self) -> PartitionStats {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let damage = self.log.damage();
        let is_known = |first| damage.iter().any(|range| range.first_offset == first);
        let damaged = damage.len() + self.shared.damage_met.beside(is_known);
        PartitionStats {
            start_offset: self.log.start_offset(),
            end_offset: self.log.visible_upto(),
            bytes: self.log.bytes(),
            segments: count(self.log.segments().len()),
            damaged_ranges: count(damaged),
        }
    }

    /// Refuses everything that still waits: the partition goes away.
    pub(crate) fn forget(mut self, error: impl Fn() -> ProduceError) {
        let arrived = std::mem::take(&mut self.arrived);
        self.metrics.queued_batches.sub(arrived.len() as u64);
        for append in arrived {
            self.refuse(append.done, error());
        }
        for unsynced in std::mem::take(&mut self.unsynced) {
            self.metrics.unsynced_batches.sub(1);
            self.refuse(unsynced.answer.done, error());
        }
        self.metrics.partitions.sub(1);
        if self.is_poisoned {
            self.metrics.poisoned_partitions.sub(1);
        }
        if self.is_full {
            self.metrics.full_partitions.sub(1);
        }
        self.shared.waiters.close();
    }
}
