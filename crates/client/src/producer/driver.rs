//! The task that sends sealed batches and hears what became of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use trilith_proto::v1::{self, produce_stream_response::Result as Answer};
use trilith_types::{Offset, PartitionId, TimestampMs};

use super::{
    delivery::{Completion, Delivered, Durability},
    link::{Ended, Link},
    open::{Item, Sealed, Shared},
};
use crate::{DeliveryError, Error, connection::Connection};

/// Wait between two attempts to connect: doubled each time, up to the second figure.
const RECONNECT_WAIT_MIN: Duration = Duration::from_millis(20);
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Owned by one task. When that ends, by the producer's drop or the runtime's, everything that
/// is not settled is settled then.
pub(super) struct Driver {
    shared: Arc<Shared>,
    connection: Connection,
    queue: mpsc::UnboundedReceiver<Item>,
    link: Option<Link>,
    /// Sent and not answered, by sequence: the first is the oldest.
    in_flight: BTreeMap<u64, Sent>,
    /// The next request's sequence; never used twice, over all streams.
    next: u64,
    /// Flushes, each with the sequence behind what it waits for.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
}

struct Sent {
    partition: PartitionId,
    completion: Arc<Completion>,
    charge: usize,
    records: u32,
    sent_at: Instant,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Connection,
        queue: mpsc::UnboundedReceiver<Item>,
    ) -> Self {
        let (in_flight, flushes) = (BTreeMap::new(), Vec::new());
        Self {
            shared,
            connection,
            queue,
            link: None,
            in_flight,
            next: 0,
            flushes,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let config = &self.shared.config;
            let room = self.in_flight.len() < config.in_flight_requests_max;
            let idle = self.in_flight.is_empty() && self.queue.is_empty();
            let oldest = self
                .in_flight
                .first_key_value()
                .map(|(_, sent)| sent.sent_at);
            let give_up = oldest.map(|sent_at| sent_at + config.delivery_timeout);
            tokio::select! {
                answer = answer(&mut self.link, &self.connection) => match answer {
                    Ok(answer) => self.answered(answer),
                    Err(Ended(error)) => self.lose(&error),
                },
                item = self.queue.recv(), if room => match item {
                    Some(Item::Batch(batch)) => self.send(batch).await,
                    Some(Item::Flush(done)) => self.flushes.push((self.next, done)),
                    None => return,
                },
                () = self.shared.until_due(idle), if room => self.shared.seal_due(idle),
                () = at(give_up) => {
                    let why = format!("no answer within {:?}", self.shared.config.delivery_timeout);
                    self.lose(&Error::Interrupted { why });
                }
            }
            self.settle_flushes();
        }
    }

    async fn send(&mut self, mut batch: Box<Sealed>) {
        if let Some(error) = self.shared.halted() {
            return self.shared.fail(batch, &unsent(error));
        }
        let records = batch.builder.records();
        let Some(bytes) = batch.builder.build() else {
            return;
        };
        let mut request = Some(self.request(batch.partition, bytes));
        while let Some(unsent) = request.take() {
            if let Err(error) = self.connect(batch.sealed_at).await {
                let error = DeliveryError::not_stored(error);
                let outcome = Err(error.clone());
                self.shared
                    .settle(&batch.completion, batch.charge, records, outcome);
                return self.failed(&error);
            }
            if let Some(link) = &self.link
                && let Err(unsent) = link.send(unsent).await
            {
                request = Some(unsent);
                self.hear_out().await;
                if let Some(error) = self.shared.halted() {
                    let outcome = Err(self::unsent(error));
                    return self
                        .shared
                        .settle(&batch.completion, batch.charge, records, outcome);
                }
            }
        }
        let Sealed {
            partition,
            completion,
            charge,
            builder,
            ..
        } = *batch;
        self.shared.recycle(builder);
        let sent = Sent {
            partition,
            completion,
            charge,
            records,
            sent_at: Instant::now(),
        };
        self.in_flight.insert(self.next, sent);
        self.next += 1;
    }

    fn request(&self, partition: PartitionId, batch: Bytes) -> v1::ProduceStreamRequest {
        let request = v1::ProduceRequest {
            topic: self.shared.topic.clone(),
            partition: Some(partition.get()),
            records: Vec::new(),
            batch,
        };
        v1::ProduceStreamRequest {
            sequence: self.next,
            request: Some(request),
        }
    }

    /// Opens the stream when there is none. Nothing is sent meanwhile, so it is tried again until
    /// the batch that needs it has waited too long.
    async fn connect(&mut self, since: Instant) -> Result<(), Error> {
        let give_up = since + self.shared.config.delivery_timeout;
        let mut wait = RECONNECT_WAIT_MIN;
        while self.link.is_none() {
            let open = Link::open(&self.connection, self.shared.config.in_flight_requests_max);
            let error = match timeout_at(give_up, open).await {
                Ok(Ok(link)) => {
                    self.link = Some(link);
                    return Ok(());
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(Error::Interrupted {
                        why: "no stream was opened".into(),
                    });
                }
            };
            let passing = matches!(error, Error::Unreachable { .. } | Error::Interrupted { .. })
                || error.reason() == Some("SHUTTING_DOWN");
            if !passing || Instant::now() + wait >= give_up {
                return Err(error);
            }
            sleep(wait).await;
            wait = (wait * 2).min(RECONNECT_WAIT_MAX);
        }
        Ok(())
    }

    /// The stream takes no more requests: hears the answers that are still to come, then gives
    /// it up.
    async fn hear_out(&mut self) {
        let give_up = Instant::now() + self.shared.config.delivery_timeout;
        loop {
            let next = timeout_at(give_up, answer(&mut self.link, &self.connection)).await;
            match next {
                Ok(Ok(answer)) => self.answered(answer),
                Ok(Err(Ended(error))) => return self.lose(&error),
                Err(_) => {
                    return self.lose(&Error::Interrupted {
                        why: "the stream hangs".into(),
                    });
                }
            }
        }
    }

    fn answered(&mut self, answer: v1::ProduceStreamResponse) {
        let Some(sent) = self.in_flight.remove(&answer.sequence) else {
            let what = format!("it answers request {}, which is not open", answer.sequence);
            return self.lose(&Error::Protocol { what });
        };
        let outcome = match answer.result {
            Some(Answer::Response(response)) => delivered(sent.partition, &response),
            Some(Answer::Error(error)) => Err(DeliveryError::answered(Error::from_proto(error))),
            None => Err(invalid("it holds neither a response nor an error")),
        };
        let failure = outcome.clone().err();
        self.shared
            .settle(&sent.completion, sent.charge, sent.records, outcome);
        if let Some(error) = failure {
            self.failed(&error);
        }
    }

    /// Gives the stream up. What was sent on it and not answered may be stored or not.
    fn lose(&mut self, cause: &Error) {
        self.link = None;
        let error = DeliveryError::unknown(cause.clone());
        let unanswered = std::mem::take(&mut self.in_flight);
        if unanswered.is_empty() {
            return;
        }
        for sent in unanswered.into_values() {
            let outcome = Err(error.clone());
            self.shared
                .settle(&sent.completion, sent.charge, sent.records, outcome);
        }
        self.failed(&error);
    }

    fn failed(&self, error: &DeliveryError) {
        if self.shared.config.halt_on_failure {
            self.shared.halt(error.clone());
        }
    }

    /// Answers the flushes before which nothing is open any more.
    fn settle_flushes(&mut self) {
        let open = self
            .in_flight
            .first_key_value()
            .map_or(self.next, |(&sequence, _)| sequence);
        for (_, done) in self.flushes.extract_if(.., |(behind, _)| *behind <= open) {
            // Whoever flushed may have gone.
            let _ = done.send(());
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let why = "the producer was dropped before an answer came";
        self.lose(&Error::Interrupted { why: why.into() });
        let why = "the producer was dropped before it was sent";
        let error = DeliveryError::not_stored(Error::Interrupted { why: why.into() });
        self.shared.halt(error);
        self.queue.close();
        while let Ok(item) = self.queue.try_recv() {
            if let (Item::Batch(batch), Some(error)) = (item, self.shared.halted()) {
                self.shared.fail(batch, &unsent(error));
            }
        }
    }
}

/// The answer to come; never ready without a stream.
async fn answer(
    link: &mut Option<Link>,
    connection: &Connection,
) -> Result<v1::ProduceStreamResponse, Ended> {
    match link {
        Some(link) => link.answer(connection).await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The reason of a halt, for what was not sent because of it.
fn unsent(halt: &DeliveryError) -> DeliveryError {
    DeliveryError::not_stored(halt.cause.clone())
}

fn invalid(what: &str) -> DeliveryError {
    DeliveryError::unknown(Error::Protocol {
        what: what.to_owned(),
    })
}

fn delivered(
    partition: PartitionId,
    response: &v1::ProduceResponse,
) -> Result<Delivered, DeliveryError> {
    let [appended] = response.appended.as_slice() else {
        return Err(invalid("it does not hold one position for one batch"));
    };
    let durability = match appended.durability() {
        v1::Durability::Synced => Durability::Synced,
        v1::Durability::Written => Durability::Written,
        v1::Durability::Unspecified => return Err(invalid("it does not say how durable it is")),
    };
    Ok(Delivered {
        partition,
        offset: Offset(appended.first_offset),
        durability,
        append_time: TimestampMs(appended.append_time_ms),
    })
}
