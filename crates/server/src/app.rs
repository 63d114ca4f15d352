//! What every handler shares.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use trilith_types::{PartitionId, TimestampMs};

use crate::{
    admission::Admission, config::Limits, engine::Engine, error::ApiError, grpc::Rules,
    guard::Guard, metrics::Metrics, shutdown::Shutdown,
};

/// The server as its handlers see it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) admission: Admission,
    pub(crate) guard: Guard,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: Shutdown,
    /// Where the next request without keys goes.
    pub(crate) sticky: AtomicU32,
}

impl App {
    /// A partition for all keyless records of one request.
    pub(crate) fn next_partition(&self, partitions: u32) -> PartitionId {
        PartitionId(self.sticky.fetch_add(1, Relaxed) % partitions.max(1))
    }

    /// Counts an error that a client is told of.
    pub(crate) fn count<T: Into<ApiError>>(&self, error: T) -> ApiError {
        let error = error.into();
        self.metrics.refused(error.reason());
        tracing::debug!(
            reason = error.reason().as_str(),
            message = error.message(),
            "refused"
        );
        error
    }

    /// What the messages of a request with this deadline are held to.
    pub(crate) fn rules(&self, deadline: Option<tokio::time::Instant>) -> Rules {
        Rules {
            admission: self.admission.clone(),
            message_bytes_max: self.limits.message_bytes_max,
            message_read_timeout: self.limits.message_read_timeout,
            deadline,
        }
    }
}

/// The time of arrival that records without a timestamp are given.
pub(crate) fn now() -> TimestampMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
