//! Appending a batch, here or at its leader.

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};
use trilith_node::{Appended, Durability, Permit, Produce, ProduceError};
use trilith_proto::v1;
use trilith_types::{Offset, PartitionId, TimestampMs};

use super::{
    Engine,
    leaders::{Seek, Step},
};
use crate::{
    error::{ApiError, Reason},
    forward,
};

/// A batch on its way.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) topic: String,
    pub(crate) partition: PartitionId,
    pub(crate) batch: Bytes,
    pub(crate) deadline: Option<Instant>,
    /// Answered here or not at all.
    pub(crate) is_forwarded: bool,
}

impl Engine {
    /// Appends a batch. `done` is called once, here or on another thread: it must not block.
    /// Batches of one partition are appended in the order of these calls, except after an
    /// election, when those of one client are in flight at the same time.
    pub(crate) fn produce(
        &self,
        append: Append,
        permit: Permit,
        done: impl FnOnce(Result<Appended, ApiError>) + Send + 'static,
    ) {
        let engine = self.clone();
        let again = append.clone();
        self.produce_here(&append, Some(permit), move |result| match result {
            Ok(appended) => done(Ok(appended)),
            Err(error) => {
                let error = ApiError::from(error);
                if !may_succeed_elsewhere(&error, again.is_forwarded) {
                    return done(Err(error));
                }
                let runtime = engine.runtime.clone();
                runtime.spawn(async move { done(engine.produce_elsewhere(again, error).await) });
            }
        });
    }

    fn produce_here(
        &self,
        append: &Append,
        permit: Option<Permit>,
        done: impl FnOnce(Result<Appended, ProduceError>) + Send + 'static,
    ) {
        let left = append
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()));
        let produce = Produce {
            topic: &append.topic,
            partition: append.partition,
            batch: append.batch.clone(),
            deadline: left.map(|left| self.node().deadline(left)),
            permit,
        };
        self.node().produce(produce, done);
    }

    /// Nothing was stored so far, so asking again is safe until somebody has taken the batch.
    async fn produce_elsewhere(
        &self,
        append: Append,
        first: ApiError,
    ) -> Result<Appended, ApiError> {
        let mut seek = Seek::by(append.deadline, append.is_forwarded);
        let mut refusal = first;
        loop {
            if let Step::To(address) = seek.after(self, refusal).await? {
                match self.pass_on(&append, &address).await {
                    Ok(appended) => return Ok(appended),
                    Err(error) => seek.refused(error).await?,
                }
            }
            match self.try_here(&append).await {
                Ok(appended) => return Ok(appended),
                Err(error) => refusal = error,
            }
        }
    }

    async fn try_here(&self, append: &Append) -> Result<Appended, ApiError> {
        let permit = self.room(append.batch.len(), append.deadline).await?;
        let (tell, told) = oneshot::channel();
        self.produce_here(append, Some(permit), move |result| drop(tell.send(result)));
        let result = told.await.map_err(|_| ApiError::shutting_down())?;
        Ok(result?)
    }

    async fn pass_on(&self, append: &Append, address: &str) -> Result<Appended, ApiError> {
        let request = v1::ProduceRequest {
            topic: append.topic.clone(),
            partition: Some(append.partition.get()),
            records: Vec::new(),
            batch: append.batch.clone(),
        };
        let mut log = self.forward.log(address)?;
        let request = forward::passed_on(request, append.deadline);
        let answer = tokio::select! {
            biased;
            answer = log.produce(request) => answer,
            // It may be paused after it took the batch.
            gone = self.led_elsewhere(&append.topic, append.partition, address) => {
                return Err(forward::unanswered(gone.message()));
            }
        };
        let answer = answer.map_err(|status| forward::of_write(&status))?;
        let answer = answer.into_inner();
        let Some(appended) = answer.appended.first() else {
            let message = "the leader acknowledged a batch without a position";
            return Err(ApiError::new(Reason::Internal, message));
        };
        Ok(from_proto(append.partition, appended))
    }
}

fn may_succeed_elsewhere(error: &ApiError, is_forwarded: bool) -> bool {
    match error.reason() {
        Reason::NotLeader => !is_forwarded,
        Reason::UnknownTopic | Reason::UnknownPartition => true,
        _ => false,
    }
}

fn from_proto(partition: PartitionId, appended: &v1::Appended) -> Appended {
    let durability = match appended.durability() {
        v1::Durability::Synced => Durability::Synced,
        v1::Durability::Written | v1::Durability::Unspecified => Durability::Written,
    };
    Appended {
        partition,
        first_offset: Offset(appended.first_offset),
        records: u32::try_from(appended.records).unwrap_or(u32::MAX),
        durability,
        append_time: TimestampMs(appended.append_time_ms),
    }
}
