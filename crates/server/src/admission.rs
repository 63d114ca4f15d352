//! The bound on request bytes that are being received, checked or written at a time.
//!
//! A request takes its bytes before they are read from its connection, so a full server leaves
//! them in the sender's hands: backpressure first. Only when the wait is too long it refuses.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::error::{ApiError, Reason};

/// Bytes one permit stands for: a semaphore counts to 2³², and nobody needs single bytes.
const BYTES_PER_PERMIT: usize = 64;

/// A share of the bytes in flight; given back when dropped.
pub(crate) type Admitted = OwnedSemaphorePermit;

/// Hands out the bytes in flight, first come first served.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    total: usize,
    wait_max: Duration,
}

impl Admission {
    pub(crate) fn new(bytes_max: usize, wait_max: Duration) -> Self {
        let total = bytes_max
            .div_ceil(BYTES_PER_PERMIT)
            .clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(total)),
            total,
            wait_max,
        }
    }

    /// Takes `bytes` at once, or not at all. A request larger than the whole takes all there is.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Admitted> {
        Arc::clone(&self.permits)
            .try_acquire_many_owned(self.share(bytes))
            .ok()
    }

    /// Takes `bytes`, waiting until `deadline` or for the named limit, whichever comes first.
    /// Dropping the future gives the place in the queue up.
    pub(crate) async fn take(
        &self,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<Admitted, ApiError> {
        let limit = Instant::now() + self.wait_max;
        let until = deadline.map_or(limit, |d| d.min(limit));
        let waiting = Arc::clone(&self.permits).acquire_many_owned(self.share(bytes));
        match tokio::time::timeout_at(until, waiting).await {
            Ok(Ok(admitted)) => Ok(admitted),
            Ok(Err(_closed)) => Err(ApiError::shutting_down()),
            Err(_) if until < limit => Err(ApiError::deadline("waiting for bytes in flight")),
            Err(_) => Err(self.exhausted(bytes)),
        }
    }

    /// Bytes taken now, rounded up to permits.
    pub(crate) fn in_flight(&self) -> usize {
        self.total.saturating_sub(self.permits.available_permits()) * BYTES_PER_PERMIT
    }

    fn share(&self, bytes: usize) -> u32 {
        let permits = bytes.div_ceil(BYTES_PER_PERMIT).clamp(1, self.total);
        u32::try_from(permits).unwrap_or(u32::MAX)
    }

    fn exhausted(&self, bytes: usize) -> ApiError {
        ApiError::new(
            Reason::TooManyBytesInFlight,
            format!(
                "no room for {bytes} bytes within {:?}: {} of {} bytes are in flight; \
                 send again after a pause",
                self.wait_max,
                self.in_flight(),
                self.total * BYTES_PER_PERMIT,
            ),
        )
        .with("limit", self.total * BYTES_PER_PERMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_first_and_refuses_only_after_the_limit() {
        let admission = Admission::new(1024, Duration::from_secs(5));
        let held = admission.try_take(1024).unwrap();
        assert_eq!(admission.in_flight(), 1024);
        let before = Instant::now();
        let refused = admission.take(64, None).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::TooManyBytesInFlight);
        assert_eq!(before.elapsed(), Duration::from_secs(5));
        drop(held);
        assert!(admission.take(64, None).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_is_told_as_such() {
        let admission = Admission::new(64, Duration::from_secs(5));
        let _held = admission.try_take(1).unwrap();
        let deadline = Some(Instant::now() + Duration::from_secs(1));
        let refused = admission.take(1, deadline).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::DeadlineExceeded);
    }

    #[tokio::test]
    async fn giving_up_the_wait_frees_the_place_in_the_queue() {
        let admission = Admission::new(128, Duration::from_secs(60));
        let held = admission.try_take(64).unwrap();
        let mut large = Box::pin(admission.take(128, None));
        assert!(futures::poll!(&mut large).is_pending());
        assert!(
            admission.try_take(64).is_none(),
            "the large one is first in the queue"
        );
        drop(large);
        assert!(admission.try_take(64).is_some());
        drop(held);
        assert_eq!(admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_whole_takes_the_whole() {
        let admission = Admission::new(128, Duration::from_secs(60));
        let all = admission.take(1 << 40, None).await.unwrap();
        assert!(admission.try_take(1).is_none());
        drop(all);
    }
}
