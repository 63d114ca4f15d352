//! The responses of one partition, over as many streams as it takes.
//!
//! A stream that breaks is opened again, at the partition's leader of then, from the offset behind
//! what was given out: a record comes once, whatever happens in between. A stream on which nothing
//! comes may be one that has nothing to give, or its server may be paused or cut off: another node
//! is asked from time to time whether it still leads.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::Stream as _;
use tokio::time::{Instant, sleep};
use tonic::Streaming;
use trilith_proto::v1;
use trilith_types::{Offset, PartitionId};

use super::options::{ConsumeOptions, Interruption, Position};
use crate::{
    Error,
    connection::{Backoff, Connection, Route, direct},
    error::Seconds,
};

/// A stream that lived this long was a good one, even when nothing came.
const STEADY: Duration = Duration::from_secs(1);

type Opening =
    Pin<Box<dyn Future<Output = Result<(Route, Streaming<v1::ConsumeResponse>), Error>> + Send>>;
/// Ready, with the reason, once the partition is known to be led by another node.
type Watch = Pin<Box<dyn Future<Output = Error> + Send>>;
type Listener = Box<dyn FnMut(&Interruption) + Send>;

/// Where the responses come from.
pub(super) struct Feed {
    connection: Connection,
    topic: String,
    partition: PartitionId,
    options: ConsumeOptions,
    state: State,
    /// While nothing comes on the stream at hand.
    watch: Option<Watch>,
    backoff: Backoff,
    /// When the stream at hand was opened.
    opened: Instant,
    /// When something last came, or a stream broke that had lived for a while.
    heard: Instant,
    listener: Option<Listener>,
}

enum State {
    Open(Route, Box<Streaming<v1::ConsumeResponse>>),
    Opening(Opening),
    Ended,
}

/// What a stream gives next.
pub(super) enum Next {
    Response(v1::ConsumeResponse),
    /// The server says that this was all.
    End,
    /// A new stream: what was half read of the old one is to be dropped.
    Resumed,
}

impl Feed {
    /// Opens the first stream. What may pass is waited for as long as requests may take.
    pub(super) async fn open(
        connection: &Connection,
        topic: &str,
        partition: PartitionId,
        options: ConsumeOptions,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + connection.timeout();
        let mut backoff = Backoff::default();
        let mut unreached = 0;
        let request = request(topic, partition, &options);
        let (route, responses) = loop {
            let opened = tokio::time::timeout_at(deadline, open(connection, &request)).await;
            let error = match opened {
                Ok(Ok(opened)) => break opened,
                Ok(Err(error)) => error,
                Err(_) => {
                    let why = format!("no answer within {}", Seconds(connection.timeout()));
                    return Err(Error::Interrupted { why });
                }
            };
            unreached += usize::from(matches!(error, Error::Unreachable { .. }));
            let wait = backoff.next();
            let is_over = Instant::now() + wait >= deadline || unreached > connection.all().len();
            if !error.may_pass() || is_over {
                return Err(error);
            }
            sleep(wait).await;
        };
        Ok(Self {
            connection: connection.clone(),
            topic: topic.to_owned(),
            partition,
            options,
            state: State::Open(route, Box::new(responses)),
            watch: None,
            backoff: Backoff::default(),
            opened: Instant::now(),
            heard: Instant::now(),
            listener: None,
        })
    }

    pub(super) fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// Gives nothing more.
    pub(super) fn end(&mut self) {
        self.state = State::Ended;
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The next response. `position` is where a new stream would go on, and `left` how many
    /// records are still wanted; without a position nothing was heard yet, and it would begin
    /// anew.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        position: Option<Offset>,
        left: u64,
    ) -> Poll<Result<Next, Error>> {
        loop {
            match &mut self.state {
                State::Ended => return Poll::Ready(Ok(Next::End)),
                State::Open(route, responses) => {
                    let Poll::Ready(next) = Pin::new(&mut **responses).poll_next(cx) else {
                        let watch = self.watch.get_or_insert_with(|| {
                            let place = (self.topic.clone(), self.partition);
                            watch(self.connection.clone(), place, &route.address)
                        });
                        let error = ready!(watch.as_mut().poll(cx));
                        let wait = self.broken();
                        self.interrupted(error, position, left, wait)?;
                        continue;
                    };
                    self.watch = None;
                    let error = match next {
                        Some(Ok(response)) => {
                            self.heard = Instant::now();
                            self.backoff = Backoff::default();
                            return Poll::Ready(Ok(Next::Response(response)));
                        }
                        None if !self.options.follow => {
                            self.state = State::Ended;
                            return Poll::Ready(Ok(Next::End));
                        }
                        None => Error::Interrupted {
                            why: "the server ended the stream".into(),
                        },
                        Some(Err(status)) => self.connection.failed(route, &status),
                    };
                    self.connection.moved(&self.topic, self.partition, &error);
                    let wait = self.broken();
                    self.interrupted(error, position, left, wait)?;
                }
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok((route, responses)) => {
                        self.state = State::Open(route, Box::new(responses));
                        self.opened = Instant::now();
                        return Poll::Ready(Ok(Next::Resumed));
                    }
                    // What its failure says of the leader is noted already.
                    Err(error) => {
                        let wait = self.backoff.next();
                        self.interrupted(error, position, left, wait)?;
                    }
                },
            }
        }
    }

    /// How long to wait after a stream broke. Idle time is no fault: patience counts from here
    /// on, unless streams break as fast as they are opened.
    fn broken(&mut self) -> Duration {
        if self.heard < self.opened && self.opened.elapsed() < STEADY {
            return self.backoff.next();
        }
        self.heard = Instant::now();
        self.backoff = Backoff::default();
        Duration::ZERO
    }

    /// Begins to open the next stream, or says that it is of no use.
    fn interrupted(
        &mut self,
        error: Error,
        position: Option<Offset>,
        left: u64,
        wait: Duration,
    ) -> Result<(), Error> {
        let is_over = self.heard.elapsed() + wait >= self.options.patience;
        if !error.may_pass() || is_over {
            self.state = State::Ended;
            return Err(error);
        }
        self.watch = None;
        if wait.is_zero()
            && let Some(listener) = &mut self.listener
        {
            listener(&Interruption {
                partition: self.partition,
                position: position.unwrap_or_default(),
                cause: error,
            });
        }
        let options = ConsumeOptions {
            from: position.map_or(self.options.from, Position::Offset),
            limit: self.options.limit.map(|_| left),
            ..self.options
        };
        let request = request(&self.topic, self.partition, &options);
        let connection = self.connection.clone();
        self.state = State::Opening(Box::pin(async move {
            sleep(wait).await;
            open(&connection, &request).await
        }));
        Ok(())
    }
}

fn request(topic: &str, partition: PartitionId, options: &ConsumeOptions) -> v1::ConsumeRequest {
    v1::ConsumeRequest {
        topic: topic.to_owned(),
        partition: partition.get(),
        from: Some(options.from.to_proto()),
        follow: options.follow,
        max_records: options.limit.unwrap_or(0),
        batches: true,
        max_response_bytes: 0,
    }
}

/// One attempt, at the partition's leader.
async fn open(
    connection: &Connection,
    request: &v1::ConsumeRequest,
) -> Result<(Route, Streaming<v1::ConsumeResponse>), Error> {
    let partition = PartitionId(request.partition);
    let route = connection.leader(&request.topic, partition).await?;
    let mut log = route.log();
    let answer = tokio::select! {
        answer = log.consume(direct(request.clone())) => answer,
        error = connection.led_elsewhere(&request.topic, partition, &route.address) => {
            return Err(error);
        }
    };
    match answer {
        Ok(answer) => Ok((route, answer.into_inner())),
        Err(status) => {
            let error = connection.failed(&route, &status);
            if error.may_pass() {
                connection.moved(&request.topic, partition, &error);
            } else if error.is_of_one_node() {
                let (topic, address) = (&request.topic, &route.address);
                if connection
                    .is_known_elsewhere(topic, partition, address)
                    .await
                {
                    let why = format!("{address}: {error}, and another node knows it");
                    return Err(Error::Interrupted { why });
                }
            }
            Err(error)
        }
    }
}

fn watch(connection: Connection, place: (String, PartitionId), address: &str) -> Watch {
    let address = address.to_owned();
    Box::pin(async move {
        let (topic, partition) = place;
        connection.led_elsewhere(&topic, partition, &address).await
    })
}
