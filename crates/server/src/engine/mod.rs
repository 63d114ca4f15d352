//! The node as the handlers see it: answers as futures, errors as clients are told them, and what
//! another node leads passed on to it.

mod append;
mod cluster;
mod errors;
mod leaders;
mod metrics;
mod reader;
mod topics;

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout_at},
};
use trilith_node::{Durability, Node, Permit};
use trilith_proto::v1;

use self::reader::Turns;
pub(crate) use self::{
    append::Append,
    reader::{Place, Reader},
};
use crate::{
    call::within,
    error::{ApiError, Reason},
    forward::Forward,
    member::Member,
    metrics::{Metrics, Text},
};

pub(crate) use trilith_node::Appended;

/// The node, with what the server adds to it. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    member: Member,
    turns: Turns,
    forward: Forward,
    /// How long a batch waits for room in the node when its own deadline is later.
    wait_max: Duration,
    /// The node's threads answer through it.
    runtime: Handle,
}

impl Engine {
    /// To be called on the runtime that serves.
    pub(crate) fn new(
        member: Member,
        reads_max: usize,
        wait_max: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            member,
            turns: Turns::new(reads_max, metrics),
            forward: Forward::default(),
            wait_max,
            runtime: Handle::current(),
        }
    }

    fn node(&self) -> &Node {
        &self.member.node
    }

    /// How many partitions a topic has, as this node knows it.
    pub(crate) fn partitions(&self, topic: &str) -> Result<u32, ApiError> {
        Ok(self.node().partitions(topic)?)
    }

    /// Room in the node for a batch. There is some at once unless the node's own bound is below
    /// the server's; then this waits.
    pub(crate) async fn room(
        &self,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<Permit, ApiError> {
        if let Ok(permit) = self.node().try_reserve(bytes) {
            return Ok(permit);
        }
        let (give, given) = oneshot::channel();
        let reserved = self
            .node()
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
                        self.node().admission().in_flight(),
                        self.node().config().inflight_bytes_max,
                    );
                    Err(too_many(trilith_node::NoRoom { in_flight, max }))
                })
        };
        within(deadline, "waiting for room in the node", patient).await
    }

    /// Has the node hand its leadership to others, for as long as that may take.
    pub(crate) async fn hand_over(&self) {
        let (tell, told) = oneshot::channel();
        let tell = parking_lot::Mutex::new(Some(tell));
        self.node().hand_over(move || {
            // Whoever asked may have gone.
            let _ = tell.lock().take().map(|tell| tell.send(()));
        });
        // Dropped uncalled when the node is gone: then there is nothing to hand over.
        drop(told.await);
    }

    /// Hands leadership over, finishes what is queued and closes every log.
    pub(crate) async fn shutdown(&self) -> Result<(), tokio::task::JoinError> {
        let member = self.member.clone();
        tokio::task::spawn_blocking(move || member.shutdown()).await
    }

    /// Writes the node's metrics.
    pub(crate) fn metrics(&self, text: &mut Text) {
        metrics::render(text, self.node(), self.member.peers.as_ref());
    }
}

/// The node's answer to a question that it answers on a thread of its own.
async fn told<T: Send + 'static>(
    ask: impl FnOnce(Box<dyn FnOnce(T) + Send>),
    until: Instant,
) -> Result<T, ApiError> {
    let (tell, told) = oneshot::channel();
    ask(Box::new(move |answer| drop(tell.send(answer))));
    match timeout_at(until, told).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(ApiError::shutting_down()),
        Err(_) => Err(ApiError::deadline("the node was being asked")),
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
