//! Clients that produce, in a closed or in an open loop.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use trilith_client::{
    Client, Compression, Delivered, Delivery, DeliveryError, Producer, ProducerConfig, Record,
    SendError,
};

use super::{
    measure::{Measure, Times},
    payload::Payload,
};
use crate::failure::Failure;

/// A request is a batch of exactly so many records, so nothing is sent for its age.
const LINGER: Duration = Duration::from_secs(3600);
/// Bytes that an open loop may have on their way, a client. At the limit requests go late; their
/// latency still counts from when they were due.
const OPEN_BYTES_MAX: usize = 64 << 20;
/// How long answers are waited for after the end.
const ANSWERS_WAIT: Duration = Duration::from_secs(10);

/// What every request is like.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) records: u32,
    pub(super) size: usize,
    pub(super) compression: Compression,
    /// Values begin with when they were due, for a consumer to tell the latency.
    pub(super) stamped: bool,
}

/// One producing client.
pub(super) struct Load {
    producer: Producer,
    request: Request,
    payload: Payload,
    times: Times,
    measure: Measure,
    open: FuturesUnordered<Answer>,
}

type Answer = futures::future::Map<
    Delivery,
    Box<
        dyn FnOnce(Result<Delivered, DeliveryError>) -> (Instant, Result<(), DeliveryError>) + Send,
    >,
>;

impl Load {
    pub(super) async fn open(
        client: &Client,
        topic: &str,
        request: Request,
        payload: Payload,
        times: Times,
        window: usize,
    ) -> Result<Self, Failure> {
        let bytes = request.records as usize * (request.size + 64);
        let config = ProducerConfig {
            batch_bytes: usize::MAX,
            batch_records: request.records,
            linger: LINGER,
            compression: request.compression,
            in_flight_bytes_max: OPEN_BYTES_MAX.max((window + 1) * bytes),
            in_flight_requests_max: window,
            ..ProducerConfig::default()
        };
        let producer = client.producer(topic, config).await?;
        let measure = Measure::new(times)?;
        let open = FuturesUnordered::new();
        Ok(Self {
            producer,
            request,
            payload,
            times,
            measure,
            open,
        })
    }

    /// Keeps `window` requests open until the end.
    pub(super) async fn closed(mut self, window: usize) -> Result<Measure, Failure> {
        while Instant::now() < self.times.end && self.measure.failures == 0 {
            while self.open.len() >= window {
                self.answer().await;
            }
            self.send(Instant::now()).await;
        }
        self.finish().await
    }

    /// Sends a request whenever one is due.
    pub(super) async fn paced(
        mut self,
        mut due: mpsc::UnboundedReceiver<Instant>,
    ) -> Result<Measure, Failure> {
        loop {
            tokio::select! {
                due = due.recv() => match due {
                    Some(due) => self.send(due).await,
                    None => break,
                },
                () = Self::next(&mut self.open, &mut self.measure, &self.request),
                    if !self.open.is_empty() => {}
            }
        }
        self.finish().await
    }

    async fn send(&mut self, due: Instant) {
        match self.send_records(due).await {
            Ok(Some(last)) => {
                let answer = Box::new(move |result: Result<_, _>| (due, result.map(|_| ())));
                self.open.push(futures::FutureExt::map(last, answer));
            }
            Ok(None) => {}
            Err(error) => self.measure.failed(error),
        }
    }

    /// Hands over the records of one request; they are one batch, so the last one's delivery is
    /// that of all.
    async fn send_records(&mut self, due: Instant) -> Result<Option<Delivery>, SendError> {
        let mut last = None;
        for _ in 0..self.request.records {
            let mut value = self.payload.next();
            if self.request.stamped {
                value = super::consume::stamp(&value, due - self.times.start);
            }
            last = Some(self.producer.send(Record::new(value)).await?);
        }
        Ok(last)
    }

    async fn answer(&mut self) {
        Self::next(&mut self.open, &mut self.measure, &self.request).await;
    }

    async fn next(open: &mut FuturesUnordered<Answer>, measure: &mut Measure, request: &Request) {
        match open.next().await {
            Some((due, Ok(()))) => {
                let records = u64::from(request.records);
                measure.arrived(records, records * request.size as u64);
                measure.answered(due);
            }
            Some((_, Err(error))) => measure.failed(error),
            None => {}
        }
    }

    async fn finish(mut self) -> Result<Measure, Failure> {
        let wait = tokio::time::sleep(ANSWERS_WAIT);
        tokio::pin!(wait);
        while !self.open.is_empty() {
            tokio::select! {
                () = &mut wait => {
                    self.measure.failed(format!("no answer within {ANSWERS_WAIT:?} of the end"));
                    break;
                }
                () = Self::next(&mut self.open, &mut self.measure, &self.request) => {}
            }
        }
        Ok(self.measure)
    }
}
