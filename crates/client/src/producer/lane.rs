//! One partition's batches: their order, their sequences, what is known of each.
//!
//! A producer with an identity stamps each batch with its sequence when it is first sent, and from
//! then on sends the same bytes again until it hears what became of them: the leader stores them
//! once. Batches go out in order. When one comes back, nothing more is sent until all those behind
//! it have come back, too, and then they go again from the oldest on.
//!
//! A batch that is surely not stored leaves a gap that no later one may pass under the same
//! identity. Those behind it are then stamped anew, under another identity.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;
use trilith_batch::{BatchBuilder, ProducerStamp, Sequence, restamp};
use trilith_types::ProducerId;

use super::delivery::Completion;
use crate::{Fate, connection::Backoff};

/// Batches of one partition that may be on their way: a leader remembers as many to know them
/// again.
pub(super) const WINDOW: usize = 5;
/// A refused sequence is believed after this long. A leader that was deposed and does not know it
/// yet lacks what its successor has, and refuses wrongly; it knows sooner than that.
const BELIEVED_AFTER: Duration = Duration::from_secs(2);

/// Under which a leader knows a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: u16,
}

/// A batch until its outcome is told.
pub(super) struct Batch {
    /// Counts the producer's batches.
    pub(super) order: u64,
    /// Counts the lane's.
    ordinal: u64,
    pub(super) completion: Arc<Completion>,
    /// The budget it holds.
    pub(super) charge: usize,
    pub(super) records: u32,
    pub(super) sealed_at: Instant,
    body: Body,
    stamp: Option<ProducerStamp>,
    /// An attempt ended without saying that it stored nothing.
    doubtful: bool,
}

// A batch is open for a moment only; a box would be one more allocation for each.
#[allow(clippy::large_enum_variant)]
enum Body {
    Open(BatchBuilder),
    /// Taken out of [`Body::Open`] once the bytes are made.
    Bytes(Bytes),
}

impl Batch {
    pub(super) fn new(
        order: u64,
        completion: Arc<Completion>,
        charge: usize,
        sealed_at: Instant,
        builder: BatchBuilder,
    ) -> Self {
        Self {
            order,
            ordinal: 0,
            completion,
            charge,
            records: builder.records(),
            sealed_at,
            body: Body::Open(builder),
            stamp: None,
            doubtful: false,
        }
    }

    /// What is known of it when it is given up now.
    pub(super) const fn fate(&self) -> Fate {
        if self.doubtful {
            Fate::Unknown
        } else {
            Fate::NotStored
        }
    }

    /// Its bytes, with the stamp that it has now. A builder that is not needed any more is given
    /// back.
    pub(super) fn bytes(&mut self) -> (Bytes, Option<BatchBuilder>) {
        match &mut self.body {
            Body::Bytes(bytes) => (bytes.clone(), None),
            Body::Open(builder) => {
                builder.set_producer(self.stamp);
                // Sealed batches hold records.
                let bytes = builder.build().unwrap_or_default();
                let body = std::mem::replace(&mut self.body, Body::Bytes(bytes.clone()));
                match body {
                    Body::Open(builder) => (bytes, Some(builder)),
                    Body::Bytes(_) => (bytes, None),
                }
            }
        }
    }

    fn stamp(&mut self, stamp: ProducerStamp) {
        self.stamp = Some(stamp);
        if let Body::Bytes(bytes) = &self.body
            && let Ok(stamped) = restamp(bytes, Some(stamp))
        {
            self.body = Body::Bytes(stamped);
        }
    }
}

/// A batch on its way.
struct Sent {
    request: u64,
    at: Instant,
    batch: Batch,
}

/// What a lane does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// [`Lane::take`] gives a batch to send.
    Send,
    /// It needs an identity first.
    Identify,
    /// Nothing, until something happens or time passes.
    Wait,
}

/// The batches of one partition.
#[derive(Default)]
pub(super) struct Lane {
    /// To be sent, in order. Those that were sent before are the first ones.
    waiting: VecDeque<Batch>,
    sent: VecDeque<Sent>,
    next_ordinal: u64,
    identity: Option<Identity>,
    /// The one before, which is not to be taken again: the leader remembers its sequences.
    former: Option<Identity>,
    sequence: Sequence,
    /// A batch came back: the others are awaited first.
    holds: bool,
    /// A batch behind which nothing can be stored under this identity was given up: when all are
    /// back, those from this order on are stamped anew. The ones before keep their stamps: an
    /// attempt may have stored them.
    gap: Option<u64>,
    /// A batch was given up: what was never sent waits for those that were, and goes under a new
    /// identity.
    tainted: bool,
    /// Since when the oldest batch's sequence is refused.
    refused_since: Option<Instant>,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// When a batch was last acknowledged.
    progress: Option<Instant>,
    /// When it was last asked whether the leader is still the leader.
    pub(super) probed: Option<Instant>,
}

impl Lane {
    pub(super) fn push(&mut self, mut batch: Batch) {
        batch.ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.waiting.push_back(batch);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// Whether the lane may begin anew under this identity: from sequence 0, which the leader must
    /// not take for one that it has seen.
    pub(super) fn may_take(&self, identity: Identity) -> bool {
        self.former != Some(identity)
    }

    pub(super) fn identify(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.sequence = Sequence::default();
    }

    /// What to do now; `idempotent` when batches are stamped.
    pub(super) fn next(&mut self, now: Instant, idempotent: bool) -> Next {
        if self.sent.is_empty() {
            self.holds = false;
            if let Some(gap) = self.gap.take() {
                let behind = self.waiting.iter_mut().filter(|batch| batch.order >= gap);
                behind.for_each(|batch| batch.stamp = None);
            }
            if self.tainted && self.waiting.iter().all(|batch| batch.stamp.is_none()) {
                self.tainted = false;
                self.former = self.identity.take().or(self.former);
            }
        }
        let Some(first) = self.waiting.front() else {
            return Next::Wait;
        };
        // Counted from the oldest one without an answer, however many behind it have one: that one
        // may have to be sent again, and must be known again then.
        let oldest = self.sent.front().map(|sent| sent.batch.ordinal);
        let ahead = oldest.map_or(0, |oldest| first.ordinal.saturating_sub(oldest));
        let is_full = ahead >= WINDOW as u64;
        let paused = self.not_before.is_some_and(|at| now < at);
        if self.holds || self.gap.is_some() || paused || (idempotent && is_full) {
            return Next::Wait;
        }
        if idempotent && first.stamp.is_none() {
            if self.tainted {
                return Next::Wait;
            }
            if self.identity.is_none() {
                return Next::Identify;
            }
        }
        Next::Send
    }

    /// The batch to send, stamped. After [`Next::Send`] there is one.
    pub(super) fn take(&mut self, idempotent: bool) -> Option<Batch> {
        let mut batch = self.waiting.pop_front()?;
        if idempotent
            && batch.stamp.is_none()
            && let Some(Identity { id, epoch }) = self.identity
        {
            let sequence = self.sequence;
            self.sequence = sequence.plus(batch.records);
            batch.stamp(ProducerStamp {
                id,
                epoch,
                sequence,
            });
        }
        Some(batch)
    }

    /// Puts back what was taken and could not be sent.
    pub(super) fn untake(&mut self, batch: Batch) {
        self.waiting.push_front(batch);
    }

    pub(super) fn sent(&mut self, request: u64, batch: Batch, now: Instant) {
        self.sent.push_back(Sent {
            request,
            at: now,
            batch,
        });
    }

    /// Takes out the batch that an answer is for; `None` when it is not awaited any more.
    pub(super) fn answered(&mut self, request: u64) -> Option<Batch> {
        let at = self.sent.iter().position(|sent| sent.request == request)?;
        self.sent.remove(at).map(|sent| sent.batch)
    }

    /// An answer said that a batch is stored.
    pub(super) fn stored(&mut self, now: Instant) {
        self.progress = Some(now);
        self.refused_since = None;
        self.backoff = Backoff::default();
    }

    /// An answer refused the batch for now: it is sent again, `at_once` or after a pause.
    /// `sure` when the attempt stored nothing.
    pub(super) fn back(&mut self, mut batch: Batch, now: Instant, sure: bool, at_once: bool) {
        batch.doubtful |= !sure;
        let behind = |other: &Batch| other.order > batch.order;
        let at = self.waiting.iter().position(behind);
        self.waiting.insert(at.unwrap_or(self.waiting.len()), batch);
        self.holds = true;
        if !at_once {
            self.pause(now);
        }
    }

    /// An answer refused the batch's sequence; the one that comes next is `expected`, when the
    /// leader said so. That is no news while one before it is not settled. Of the oldest it is
    /// believed after a while.
    ///
    /// When the leader is past the batch, it was stored, or nobody will ever know: it is given
    /// back. Else it and those behind it are stamped anew, but for those that an earlier attempt
    /// may have stored under the old stamp: they are given back.
    pub(super) fn out_of_sequence(
        &mut self,
        batch: Batch,
        now: Instant,
        expected: Option<Sequence>,
    ) -> Vec<Batch> {
        let has_elder = self.gap.is_some()
            || self.waiting.front().is_some_and(|b| b.order < batch.order)
            || self
                .sent
                .front()
                .is_some_and(|s| s.batch.order < batch.order);
        let is_passed = batch
            .stamp
            .zip(expected)
            .is_some_and(|(stamp, expected)| stamp.sequence.is_before(expected));
        let order = batch.order;
        self.back(batch, now, true, false);
        if has_elder {
            return Vec::new();
        }
        let since = *self.refused_since.get_or_insert(now);
        if now.saturating_duration_since(since) < BELIEVED_AFTER {
            return Vec::new();
        }
        self.refused_since = None;
        if is_passed {
            return self.waiting.pop_front().into_iter().collect();
        }
        self.leave_gap(order);
        let (doubtful, sure): (VecDeque<Batch>, VecDeque<Batch>) =
            std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|batch| batch.doubtful);
        self.waiting = sure;
        doubtful.into()
    }

    /// The batch of this order was given up as not stored, or cannot be stored behind what is
    /// missing; nor can those behind it.
    pub(super) fn leave_gap(&mut self, order: u64) {
        self.gap = Some(self.gap.map_or(order, |gap| gap.min(order)));
        self.tainted = true;
    }

    /// The stream broke on which everything was sent. Those that can be sent again are; the
    /// others are given back.
    pub(super) fn lost(&mut self, now: Instant, idempotent: bool) -> Vec<Batch> {
        let mut lost: Vec<Batch> = self.sent.drain(..).map(|sent| sent.batch).collect();
        lost.iter_mut().for_each(|batch| batch.doubtful = true);
        if !idempotent {
            return lost;
        }
        for batch in lost.into_iter().rev() {
            let behind = |other: &Batch| other.order > batch.order;
            let at = self.waiting.iter().position(behind);
            self.waiting.insert(at.unwrap_or(self.waiting.len()), batch);
        }
        self.pause(now);
        Vec::new()
    }

    /// Waits before the next attempt, longer each time.
    pub(super) fn pause(&mut self, now: Instant) {
        // Several refusals of one attempt are one reason to wait.
        if self.not_before.is_none_or(|at| at <= now) {
            self.not_before = Some(now + self.backoff.next());
        }
    }

    /// Since when nothing has come of what is on its way.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        let first = self.sent.front()?.at;
        Some(self.progress.map_or(first, |progress| progress.max(first)))
    }

    /// Takes out what has been without progress for too long.
    pub(super) fn expired(&mut self, now: Instant, timeout: Duration) -> Vec<Batch> {
        let progress = self.progress;
        let is_over = |batch: &Batch| {
            let since = progress.map_or(batch.sealed_at, |p| p.max(batch.sealed_at));
            now.saturating_duration_since(since) >= timeout
        };
        let mut expired = Vec::new();
        while self.sent.front().is_some_and(|sent| is_over(&sent.batch))
            && let Some(mut sent) = self.sent.pop_front()
        {
            sent.batch.doubtful = true;
            expired.push(sent.batch);
        }
        while self.waiting.front().is_some_and(is_over)
            && let Some(batch) = self.waiting.pop_front()
        {
            expired.push(batch);
        }
        self.tainted |= expired.iter().any(|batch| batch.stamp.is_some());
        expired
    }

    /// Takes out what is not on its way.
    pub(super) fn unsent(&mut self) -> Vec<Batch> {
        self.waiting.drain(..).collect()
    }

    /// Takes out everything.
    pub(super) fn all(&mut self) -> Vec<Batch> {
        let mut all: Vec<Batch> = self.sent.drain(..).map(|sent| sent.batch).collect();
        all.iter_mut().for_each(|batch| batch.doubtful = true);
        all.extend(self.waiting.drain(..));
        all
    }
}

#[cfg(test)]
mod tests {
    use trilith_batch::Compression;
    use trilith_types::TimestampMs;

    use super::*;

    const ID: Identity = Identity {
        id: ProducerId(7),
        epoch: 0,
    };

    /// A lane with this many batches of one record, all to be sent.
    fn lane(batches: u64) -> Lane {
        let mut lane = Lane::default();
        lane.identify(ID);
        for order in 0..batches {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push_parts(None, None, &[], TimestampMs(0)).unwrap();
            let completion = Arc::default();
            lane.push(Batch::new(order, completion, 0, Instant::now(), builder));
        }
        lane
    }

    /// Sends what may be sent; the orders.
    fn send(lane: &mut Lane, now: Instant) -> Vec<u64> {
        let mut sent = Vec::new();
        while lane.next(now, true) == Next::Send {
            let mut batch = lane.take(true).unwrap();
            drop(batch.bytes());
            sent.push(batch.order);
            lane.sent(batch.order, batch, now);
        }
        sent
    }

    fn sequences(lane: &Lane) -> Vec<Option<i32>> {
        let stamps = lane.waiting.iter().map(|batch| batch.stamp);
        stamps
            .map(|stamp| stamp.map(|s| s.sequence.get()))
            .collect()
    }

    #[test]
    fn the_window_counts_from_the_oldest_without_an_answer() {
        let (mut lane, now) = (lane(12), Instant::now());
        assert_eq!(send(&mut lane, now), [0, 1, 2, 3, 4]);
        for answered in [1, 2, 3, 4] {
            lane.answered(answered).unwrap();
            assert_eq!(
                send(&mut lane, now),
                [0_u64; 0],
                "0 may have to be sent again"
            );
        }
        lane.answered(0).unwrap();
        assert_eq!(send(&mut lane, now), [5, 6, 7, 8, 9]);
        lane.answered(5).unwrap();
        assert_eq!(send(&mut lane, now), [10]);
    }

    #[test]
    fn what_comes_back_goes_again_in_order_once_all_are_back() {
        let (mut lane, now) = (lane(3), Instant::now());
        assert_eq!(send(&mut lane, now), [0, 1, 2]);
        for order in [0, 2, 1] {
            let batch = lane.answered(order).unwrap();
            lane.back(batch, now, true, true);
            let goes = if order == 1 {
                vec![0, 1, 2]
            } else {
                Vec::new()
            };
            assert_eq!(send(&mut lane, now), goes);
        }
    }

    /// Refuses the batch again after the time in which nothing is believed.
    fn refuse_twice(lane: &mut Lane, order: u64, expected: i32) -> Vec<u64> {
        let mut now = Instant::now();
        for _ in 0..2 {
            let batch = lane.answered(order).unwrap();
            let given_back = lane.out_of_sequence(batch, now, Sequence::new(expected));
            if !given_back.is_empty() || lane.gap.is_some() {
                return given_back.iter().map(|batch| batch.order).collect();
            }
            now += BELIEVED_AFTER;
            assert_eq!(send(lane, now).first(), Some(&order));
        }
        Vec::new()
    }

    #[test]
    fn a_batch_that_the_leader_is_past_is_given_back_and_the_others_go_on() {
        let mut lane = lane(1);
        send(&mut lane, Instant::now());
        assert_eq!(refuse_twice(&mut lane, 0, 6), [0]);
        assert!(lane.is_empty() && lane.gap.is_none() && !lane.tainted);
    }

    #[test]
    fn behind_a_gap_only_what_was_surely_not_stored_is_stamped_anew() {
        let mut lane = lane(4);
        lane.sequence = Sequence::default().plus(10);
        let now = Instant::now();
        send(&mut lane, now);
        // The connection breaks, and is made again; then nothing that was sent is sure.
        assert!(lane.lost(now, true).is_empty());
        assert_eq!(sequences(&lane), [Some(10), Some(11), Some(12), Some(13)]);
        let later = now + Duration::from_secs(60);
        let first = lane.take(true).unwrap();
        lane.sent(0, first, later);
        lane.waiting
            .iter_mut()
            .skip(1)
            .for_each(|batch| batch.doubtful = false);
        assert_eq!(refuse_first(&mut lane, later), [0, 1]);
        assert_eq!(lane.next(later + BELIEVED_AFTER * 2, true), Next::Identify);
        assert!(!lane.may_take(ID), "its sequence 0 is another batch");
        assert!(lane.may_take(Identity {
            id: ProducerId(8),
            ..ID
        }));
        assert_eq!(sequences(&lane), [None, None]);
    }

    /// Refuses batch 0, the only one on its way, until it is believed.
    fn refuse_first(lane: &mut Lane, now: Instant) -> Vec<u64> {
        lane.refused_since = Some(now);
        let batch = lane.answered(0).unwrap();
        let given_back = lane.out_of_sequence(batch, now + BELIEVED_AFTER, Sequence::new(5));
        given_back.iter().map(|batch| batch.order).collect()
    }

    #[test]
    fn what_is_before_a_gap_may_be_stored_and_keeps_its_stamp() {
        let (mut lane, now) = (lane(3), Instant::now());
        send(&mut lane, now);
        // The leader's disk is full when the second one comes, and it goes down with the first.
        let refused = lane.answered(1).unwrap();
        lane.leave_gap(refused.order);
        assert!(lane.lost(now, true).is_empty());
        let later = now + Duration::from_secs(60);
        assert_eq!(send(&mut lane, later), [0], "under its own stamp");
        assert_eq!(
            lane.sent
                .front()
                .unwrap()
                .batch
                .stamp
                .unwrap()
                .sequence
                .get(),
            0
        );
        assert_eq!(sequences(&lane), [None]);
        assert_eq!(
            lane.next(later, true),
            Next::Wait,
            "the first is not settled"
        );
        lane.answered(0).unwrap();
        assert_eq!(lane.next(later, true), Next::Identify);
    }

    #[test]
    fn a_refusal_is_no_news_while_an_elder_is_open() {
        let (mut lane, now) = (lane(2), Instant::now());
        send(&mut lane, now);
        let batch = lane.answered(1).unwrap();
        assert!(
            lane.out_of_sequence(batch, now, Sequence::new(0))
                .is_empty()
        );
        assert_eq!(lane.refused_since, None);
        assert_eq!(sequences(&lane), [Some(1)]);
    }
}
