//! What becomes of a record, told once for each batch.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use trilith_types::{Offset, PartitionId, TimestampMs};

use crate::DeliveryError;

/// What an acknowledgement stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Written to the operating system: survives the end of the server's process, not a power
    /// cut.
    Written,
    /// On disk: fsynced.
    Synced,
}

/// Where an acknowledged record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The partition it was placed in.
    pub partition: PartitionId,
    /// Its number there.
    pub offset: Offset,
    /// What the acknowledgement stands for.
    pub durability: Durability,
    /// The server's time of the append.
    pub append_time: TimestampMs,
}

/// A future that is ready when the record's fate is known: where it is, or why it was not
/// acknowledged and what that says of it. It may be dropped: the record is sent all the same, and
/// [`crate::Producer::flush`] tells of a failure.
#[derive(Debug)]
pub struct Delivery {
    batch: Arc<Completion>,
    /// The record's place in its batch.
    index: u32,
    /// Its place among the wakers, once it waits.
    slot: Option<usize>,
}

impl Delivery {
    pub(super) fn new(batch: Arc<Completion>, index: u32) -> Self {
        Self {
            batch,
            index,
            slot: None,
        }
    }

    /// The result, when it is there already.
    #[must_use]
    pub fn now(&self) -> Option<Result<Delivered, DeliveryError>> {
        self.batch.outcome.get().map(|outcome| match outcome {
            Ok(first) => Ok(Delivered {
                offset: first.offset.plus(self.index.into()),
                ..*first
            }),
            Err(error) => Err(error.clone()),
        })
    }
}

impl Future for Delivery {
    type Output = Result<Delivered, DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let delivery = &mut *self;
        if delivery.batch.outcome.get().is_none() {
            let mut waiting = delivery.batch.waiting.lock();
            // The outcome is set under this lock, so none can come between the look and the wait.
            if delivery.batch.outcome.get().is_none() {
                match delivery.slot.and_then(|slot| waiting.get_mut(slot)) {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => {
                        delivery.slot = Some(waiting.len());
                        waiting.push(cx.waker().clone());
                    }
                }
                return Poll::Pending;
            }
        }
        delivery.now().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The outcome of a batch, shared by the deliveries of all its records: one allocation for a
/// batch, not for a record.
#[derive(Debug, Default)]
pub(super) struct Completion {
    /// On success where the first record is.
    outcome: OnceLock<Result<Delivered, DeliveryError>>,
    waiting: Mutex<Vec<Waker>>,
}

impl Completion {
    /// Tells everyone who waits. Later calls change nothing.
    pub(super) fn complete(&self, outcome: Result<Delivered, DeliveryError>) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            // A second outcome is never right: the first was told.
            let _ = self.outcome.set(outcome);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::{Error, Fate};

    fn delivered(offset: u64) -> Delivered {
        Delivered {
            partition: PartitionId(2),
            offset: Offset(offset),
            durability: Durability::Synced,
            append_time: TimestampMs(9),
        }
    }

    #[tokio::test]
    async fn every_record_of_a_batch_learns_its_own_offset() {
        let batch = Arc::new(Completion::default());
        let mut waiting = Delivery::new(Arc::clone(&batch), 0);
        assert!((&mut waiting).now_or_never().is_none());
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(batch.waiting.lock().len(), 1, "polled twice, it waits once");
        let waiter = tokio::spawn(waiting);
        let late = Delivery::new(Arc::clone(&batch), 7);
        assert_eq!(late.now(), None);
        batch.complete(Ok(delivered(100)));
        assert_eq!(waiter.await.unwrap(), Ok(delivered(100)));
        assert_eq!(late.await, Ok(delivered(107)));
    }

    #[tokio::test]
    async fn the_first_outcome_stands() {
        let batch = Arc::new(Completion::default());
        let cause = Error::Interrupted { why: "gone".into() };
        batch.complete(Err(DeliveryError::unknown(cause)));
        batch.complete(Ok(delivered(1)));
        let error = Delivery::new(batch, 0).await.unwrap_err();
        assert_eq!(error.fate, Fate::Unknown);
    }
}
