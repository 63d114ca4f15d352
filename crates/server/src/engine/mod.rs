//! The node as the handlers see it: answers as futures, errors as clients are told them.

mod errors;
mod metrics;
mod reader;
mod topics;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};
use trilith_node::{Durability, Node, Permit, Produce};
use trilith_proto::v1;
use trilith_types::PartitionId;

pub(crate) use self::reader::Reader;
use self::reader::Turns;
use crate::{
    call::within,
    error::{ApiError, Reason},
    metrics::{Metrics, Text},
};

pub(crate) use trilith_node::Appended;

/// The node, with what the server adds to it.
#[derive(Debug)]
pub(crate) struct Engine {
    node: Node,
    turns: Turns,
    /// How long a batch waits for room in the node when its own deadline is later.
    wait_max: Duration,
}

impl Engine {
    pub(crate) fn new(
        node: Node,
        reads_max: usize,
        wait_max: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            node,
            turns: Turns::new(reads_max, metrics),
            wait_max,
        }
    }

    /// How many partitions a topic has.
    pub(crate) fn partitions(&self, topic: &str) -> Result<u32, ApiError> {
        Ok(self.node.partitions(topic)?)
    }

    /// Room in the node for a batch. There is some at once unless the node's own bound is below
    /// the server's; then this waits.
    pub(crate) async fn room(
        &self,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<Permit, ApiError> {
        if let Ok(permit) = self.node.try_reserve(bytes) {
            return Ok(permit);
        }
        let (give, given) = oneshot::channel();
        let reserved = self
            .node
            .reserve(bytes, move |permit| drop(give.send(permit)));
        let too_many = |room: trilith_node::NoRoom| {
            ApiError::new(Reason::TooManyBytesInFlight, room.to_string()).with("limit", room.max)
        };
        reserved.map_err(too_many)?;
        let given = async { given.await.map_err(|_| ApiError::shutting_down()) };
        let patient = async {
            tokio::time::timeout(self.wait_max, given)
                .await
                .unwrap_or_else(|_| {
                    let (in_flight, max) = (
                        self.node.admission().in_flight(),
                        self.node.config().inflight_bytes_max,
                    );
                    Err(too_many(trilith_node::NoRoom { in_flight, max }))
                })
        };
        within(deadline, "waiting for room in the node", patient).await
    }

    /// Appends a batch. `done` is called once, here or on one of the node's threads: it must not
    /// block. Batches of one partition are appended in the order of these calls.
    pub(crate) fn produce(
        &self,
        topic: &str,
        (partition, batch): (PartitionId, Bytes),
        permit: Permit,
        deadline: Option<Instant>,
        done: impl FnOnce(Result<Appended, ApiError>) + Send + 'static,
    ) {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let deadline = left.map(|left| self.node.deadline(left));
        let produce = Produce {
            topic,
            partition,
            batch,
            deadline,
            permit: Some(permit),
        };
        self.node
            .produce(produce, move |result| done(result.map_err(ApiError::from)));
    }

    /// A reader of a partition.
    pub(crate) fn reader(&self, topic: &str, partition: PartitionId) -> Result<Reader, ApiError> {
        Ok(Reader::new(
            self.node.reader(topic, partition)?,
            self.turns.clone(),
        ))
    }

    /// Finishes what is queued and closes every log.
    pub(crate) async fn shutdown(&self) -> Result<(), tokio::task::JoinError> {
        let node = self.node.clone();
        tokio::task::spawn_blocking(move || node.shutdown()).await
    }

    /// Writes the node's metrics.
    pub(crate) fn metrics(&self, text: &mut Text) {
        metrics::render(text, &self.node);
    }
}

/// An acknowledgement on the wire.
pub(crate) fn appended_to_proto(appended: &Appended) -> v1::Appended {
    let durability = match appended.durability {
        Durability::Written => v1::Durability::Written,
        Durability::Synced => v1::Durability::Synced,
    };
    v1::Appended {
        partition: appended.partition.get(),
        first_offset: appended.first_offset.get(),
        records: u64::from(appended.records),
        durability: durability.into(),
        append_time_ms: appended.append_time.get(),
    }
}
