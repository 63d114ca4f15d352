//! A partition's replica: batches become entries, entries become answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_batch::BatchHeader;
use trilith_env::Clock;
use trilith_host::{Decision, Draft, Effects, Fate, Leading, Refusal, StateError, UnknownEntry};
use trilith_raft::RoleChange;
use trilith_storage::{Durability, Log};
use trilith_topics::partition::{
    Decision as Judgement, PartitionCommand, PartitionMachine, stored_batch,
};
use trilith_types::{
    EntryKind, EntryMeta, LogIndex, Offset, TimestampMs,
    planted::{self, Bug},
};

use super::{
    ProduceError,
    machine::{GroupPending, unknown_entry},
    partition::PartitionShared,
};
use crate::{Appended, Metrics, Permit};

/// Called once with the answer to a produce.
pub(crate) type Done = Box<dyn FnOnce(Result<Appended, ProduceError>) + Send>;

/// A checked batch on its way into a log.
pub(crate) struct Append {
    pub(crate) header: BatchHeader,
    pub(crate) batch: Bytes,
    /// On the monotonic clock.
    pub(crate) deadline: Option<Duration>,
    pub(crate) appending: Appending,
}

/// What is left of it once it was appended: somebody who waits.
pub(crate) struct Appending {
    pub(crate) partition: Arc<PartitionShared>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What an acknowledgement stands for.
    pub(crate) durability: Durability,
    /// When it came, on the monotonic clock.
    pub(crate) arrived: Duration,
    pub(crate) bytes: usize,
    /// Room among the bytes in flight, until the answer.
    pub(crate) permit: Permit,
    pub(crate) done: Done,
}

impl Append {
    pub(crate) fn refuse(self, why: Refusal) {
        self.appending.refuse(why);
    }
}

impl Appending {
    /// Nothing was stored.
    pub(crate) fn refuse(self, why: Refusal) {
        let error = refused(&self.partition, why);
        self.fail(error);
    }

    pub(crate) fn abandon(self, fate: Fate) {
        let error = match fate {
            Fate::NotStored => {
                let leader = self.partition.known_leader();
                self.partition.not_leader(leader).into()
            }
            Fate::Unknown if planted::is_on(Bug::UnknownAsRefused) => {
                self.partition.not_leader(None).into()
            }
            Fate::Unknown => ProduceError::OutcomeUnknown,
        };
        self.fail(error);
    }

    pub(crate) fn fail(self, error: ProduceError) {
        self.metrics.failed_batches.add(1);
        if error == ProduceError::DeadlineExceeded {
            self.metrics.expired_batches.add(1);
        }
        (self.done)(Err(error));
    }

    /// It is stored.
    fn succeed(self, first_offset: Offset, records: u32, append_time: TimestampMs) {
        let took = self.clock.monotonic().saturating_sub(self.arrived);
        self.metrics.commit_micros.record(took.as_micros() as u64);
        let appended = Appended {
            partition: self.partition.partition,
            first_offset,
            records,
            durability: self.durability,
            append_time,
        };
        // The room is free before the answer: who hears it may send the next batch at once.
        drop(self.permit);
        (self.done)(Ok(appended));
    }
}

fn refused(partition: &PartitionShared, why: Refusal) -> ProduceError {
    let reason = why.to_string();
    match why {
        Refusal::NotLeader { leader, .. } => partition.not_leader(partition.address(leader)).into(),
        Refusal::Transferring { to } => partition.not_leader(partition.address(Some(to))).into(),
        Refusal::UnknownGroup => match partition.still_there().and(partition.in_service()) {
            Err(error) => error.into(),
            // It is about to be opened here, or has no replica here.
            Ok(()) => partition.not_leader(partition.known_leader()).into(),
        },
        Refusal::TooMuchUncommitted { uncommitted, limit } => ProduceError::TooMuchUncommitted {
            waiting: uncommitted,
            max: limit,
        },
        Refusal::TooManyRequests { limit } => ProduceError::TooManyRequests { max: limit },
        Refusal::DiskFull => ProduceError::DiskFull { reason },
        Refusal::OutOfFiles => ProduceError::OutOfFiles { reason },
        Refusal::TooLarge { bytes, max } => ProduceError::BatchTooLarge {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            max: u32::try_from(max).unwrap_or(u32::MAX),
        },
        Refusal::ShuttingDown => ProduceError::ShuttingDown,
        Refusal::Stopped { reason } => partition.unavailable(reason).into(),
    }
}

/// The entry of a checked batch.
fn draft_of(header: &BatchHeader, batch: &Bytes, at: &Leading) -> Draft {
    Draft {
        kind: EntryKind::BATCH,
        records: u32::try_from(header.record_count)
            .expect("a checked batch has a positive record count"),
        max_timestamp: header.max_timestamp,
        payload: stored_batch(header, batch, at.next_offset, at.term),
    }
}

/// The machine, with what it needs of its surroundings.
pub(crate) struct PartitionReplica {
    partition: Arc<PartitionShared>,
    machine: PartitionMachine,
    metrics: Arc<Metrics>,
    retention_interval: Duration,
    /// The command that moves the log's start and was not applied yet.
    moving_start: Option<LogIndex>,
}

impl PartitionReplica {
    pub(crate) fn new(
        partition: Arc<PartitionShared>,
        metrics: Arc<Metrics>,
        retention_interval: Duration,
    ) -> Self {
        Self {
            partition,
            machine: PartitionMachine::default(),
            metrics,
            retention_interval,
            moving_start: None,
        }
    }

    pub(crate) fn decide(&mut self, append: Append, at: &Leading) -> Decision<GroupPending> {
        let Append {
            header,
            batch,
            deadline,
            appending,
        } = append;
        if deadline.is_some_and(|deadline| deadline <= appending.clock.monotonic()) {
            appending.fail(ProduceError::DeadlineExceeded);
            return Decision::Done;
        }
        if let Err(gone) = appending.partition.still_there() {
            appending.fail(gone.into());
            return Decision::Done;
        }
        match self.machine.decide(&header, at.next_index) {
            Ok(Judgement::Append) if planted::is_on(Bug::AnsweredEarly) => {
                let draft = draft_of(&header, &batch, at);
                appending.succeed(at.next_offset, draft.records, at.time);
                let pending = GroupPending::Nobody;
                Decision::Append { draft, pending }
            }
            Ok(Judgement::AttachTo { .. }) if planted::is_on(Bug::DuplicateBeforeCommit) => {
                let records = u32::try_from(header.record_count).unwrap_or(1);
                let first = at.next_offset.0.saturating_sub(u64::from(records));
                appending.succeed(Offset(first), records, at.time);
                Decision::Done
            }
            Ok(Judgement::Append) => Decision::Append {
                draft: draft_of(&header, &batch, at),
                pending: GroupPending::Partition(appending),
            },
            Ok(Judgement::AttachTo { index }) => Decision::Attach {
                to: index,
                pending: GroupPending::Partition(appending),
            },
            Ok(Judgement::Duplicate(original)) => {
                appending.succeed(
                    original.first_offset,
                    original.records,
                    original.append_time,
                );
                Decision::Done
            }
            Err(refusal) => {
                appending.fail(ProduceError::Producer(refusal));
                Decision::Done
            }
        }
    }

    pub(crate) fn undecide(&mut self, at: LogIndex) {
        self.machine.undecide(at);
        self.moving_start = self.moving_start.filter(|&index| index < at);
    }

    pub(crate) fn lead(
        &mut self,
        tail: &mut dyn Iterator<Item = (EntryMeta, Bytes)>,
    ) -> Result<(), UnknownEntry> {
        self.machine.lead(tail).map_err(unknown_entry)
    }

    pub(crate) fn unlead(&mut self) {
        self.machine.unlead();
        self.moving_start = None;
    }

    pub(crate) fn apply(
        &mut self,
        meta: &EntryMeta,
        payload: &Bytes,
        answers: &mut dyn Iterator<Item = GroupPending>,
    ) -> Result<Effects, UnknownEntry> {
        let effects = self.machine.apply(meta, payload).map_err(unknown_entry)?;
        if effects.trim.is_some() {
            self.partition.set_log_start(self.machine.log_start());
        }
        self.moving_start = self.moving_start.filter(|&index| index > meta.index);
        let mut is_first = true;
        for answer in answers {
            if let GroupPending::Partition(appending) = answer {
                if std::mem::take(&mut is_first) {
                    self.metrics.appended_batches.add(1);
                    self.metrics.appended_records.add(meta.records.into());
                    self.metrics.appended_bytes.add(appending.bytes as u64);
                }
                appending.succeed(meta.first_offset, meta.records, meta.append_time);
            }
        }
        Ok(Effects { trim: effects.trim })
    }

    pub(crate) fn state(&self) -> Bytes {
        self.machine.state()
    }

    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        let what = |error: trilith_topics::StateError| StateError {
            what: error.to_string(),
        };
        self.machine = PartitionMachine::restore(state).map_err(what)?;
        self.partition.set_log_start(self.machine.log_start());
        Ok(())
    }

    pub(crate) fn on_role(&self, role: &RoleChange) {
        self.partition.set_role(role.role, role.term, role.leader);
    }

    /// Settings change while the partition is hosted, so it always looks.
    pub(crate) const fn chore_every(&self) -> Option<Duration> {
        Some(self.retention_interval)
    }

    /// What is kept no longer goes on all replicas at one entry, so that "earliest" is the same
    /// everywhere and never goes back.
    pub(crate) fn chore(&mut self, at: &Leading, log: &Log) -> Option<Draft> {
        if self.moving_start.is_some() {
            return None;
        }
        let mut policy = self.partition.settings().retention();
        if planted::is_on(Bug::RetentionTakesMore) {
            policy.bytes = Some(0);
        }
        let (_, offset) = log.retention_target(at.time, &policy)?;
        self.moving_start = Some(at.next_index);
        Some(Draft {
            kind: EntryKind::COMMAND,
            records: 0,
            max_timestamp: TimestampMs::MIN,
            payload: PartitionCommand::LogStart { offset }.encode().into(),
        })
    }
}
