//! `Log.ProduceStream`: many requests in flight on one stream.
//!
//! A task reads requests and submits them; the acknowledgements come from the node's threads
//! through a queue. A request counts against the stream's bounds until its answer was taken by
//! the connection, so a client that does not read its answers is not read further either.

use std::sync::Arc;

use futures::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};
use tonic::{Status, Streaming};
use trilith_proto::v1::{
    ProduceStreamRequest, ProduceStreamResponse, produce_stream_response::Result as Outcome,
};

use super::{Shares, decode_error};
use crate::{
    app::App,
    auth::{Action, Resource},
    call::Call,
    error::ApiError,
    metrics::Present,
    produce,
};

/// Bytes that one permit of a stream's byte bound stands for.
const BYTES_PER_PERMIT: usize = 64;

/// An answer on its way to the connection. It gives its place free when it is taken.
struct Answer {
    result: Result<ProduceStreamResponse, Status>,
    _place: Option<Place>,
}

/// A request's share of the stream's bounds.
struct Place {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Serves the stream: the answers, in the order in which appends are acknowledged.
pub(crate) fn run(
    app: &Arc<App>,
    call: Call,
    requests: Streaming<ProduceStreamRequest>,
    shares: Shares,
) -> impl Stream<Item = Result<ProduceStreamResponse, Status>> + Send + use<> {
    // As long as the bound on requests, which every message but the last one holds a place of.
    let (answers, taken) = mpsc::unbounded_channel();
    let intake = Intake::new(Arc::clone(app), call, shares, answers);
    let state = Outlet {
        taken,
        _task: Task(tokio::spawn(intake.run(requests))),
    };
    stream::unfold(state, |mut state| async move {
        let answer = state.taken.recv().await?;
        Some((answer.result, state))
    })
}

/// The answering half. Dropping it, as the connection does when the client is gone, ends the
/// reading half.
struct Outlet {
    taken: mpsc::UnboundedReceiver<Answer>,
    _task: Task,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The reading half.
struct Intake {
    app: Arc<App>,
    call: Call,
    shares: Shares,
    answers: mpsc::UnboundedSender<Answer>,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// All of `requests` and of `bytes`.
    limits: (u32, u32),
    _present: Present,
}

impl Intake {
    fn new(
        app: Arc<App>,
        call: Call,
        shares: Shares,
        answers: mpsc::UnboundedSender<Answer>,
    ) -> Self {
        let permits = |n: usize| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
        let requests = permits(app.limits.stream_requests_max);
        let bytes = permits(app.limits.stream_bytes_max.div_ceil(BYTES_PER_PERMIT));
        Self {
            call,
            shares,
            answers,
            requests: Arc::new(Semaphore::new(requests as usize)),
            bytes: Arc::new(Semaphore::new(bytes as usize)),
            limits: (requests, bytes),
            _present: app.metrics.produce_streams.enter(),
            app,
        }
    }

    async fn run(self, mut requests: Streaming<ProduceStreamRequest>) {
        let shutdown = self.app.shutdown.clone();
        let end = tokio::select! {
            biased;
            () = shutdown.draining() => Err(ApiError::shutting_down().into()),
            end = self.within_deadline(&mut requests) => end,
        };
        if let Err(status) = end {
            self.fail(status).await;
        }
    }

    async fn within_deadline(
        &self,
        requests: &mut Streaming<ProduceStreamRequest>,
    ) -> Result<(), Status> {
        let reading = self.read(requests);
        match self.call.deadline {
            None => reading.await,
            Some(deadline) => tokio::time::timeout_at(deadline, reading)
                .await
                .unwrap_or_else(|_| Err(ApiError::deadline("the stream was open").into())),
        }
    }

    async fn read(&self, requests: &mut Streaming<ProduceStreamRequest>) -> Result<(), Status> {
        loop {
            let request_place = acquire(&self.requests, 1).await?;
            let Some(message) = requests
                .message()
                .await
                .map_err(|s| decode_error(&self.app, s))?
            else {
                return Ok(());
            };
            let bytes = prost::Message::encoded_len(&message).div_ceil(BYTES_PER_PERMIT);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.limits.1);
            let place = Place {
                _request: request_place,
                _bytes: acquire(&self.bytes, bytes).await?,
            };
            self.submit(message, place).await;
        }
    }

    async fn submit(&self, message: ProduceStreamRequest, place: Place) {
        let (sequence, answers) = (message.sequence, self.answers.clone());
        let share = self.shares.take();
        let app = Arc::clone(&self.app);
        let answer = move |result: Result<_, ApiError>| {
            let outcome = match result {
                Ok(response) => Outcome::Response(response),
                Err(error) => Outcome::Error(app.count(error).into_proto()),
            };
            let response = ProduceStreamResponse {
                sequence,
                result: Some(outcome),
            };
            // A client that is gone needs no answer.
            drop(answers.send(Answer {
                result: Ok(response),
                _place: Some(place),
            }));
        };
        let Some(request) = message.request else {
            return answer(Err(ApiError::invalid("the message holds no request")));
        };
        match self
            .call
            .authorize(Action::Produce, Resource::Topic(&request.topic))
        {
            Ok(()) => {
                produce::submit(&self.app, &self.call, request, share, answer).await;
            }
            Err(error) => answer(Err(error)),
        }
    }

    /// Ends the stream with `status` once everything in flight is answered.
    async fn fail(&self, status: Status) {
        drop(self.requests.acquire_many(self.limits.0).await);
        drop(self.answers.send(Answer {
            result: Err(status),
            _place: None,
        }));
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, n: u32) -> Result<OwnedSemaphorePermit, Status> {
    let permits = Arc::clone(semaphore).acquire_many_owned(n).await;
    permits.map_err(|_closed| ApiError::shutting_down().into())
}
