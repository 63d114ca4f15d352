//! The streams to the leaders: requests out, answers in.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use futures::{
    FutureExt, Stream, StreamExt,
    stream::{self, FuturesUnordered},
};
use tokio::sync::mpsc;
use tokio_stream::{StreamMap, wrappers::ReceiverStream};
use tonic::Streaming;
use trilith_proto::v1;

use crate::{
    Error,
    connection::{Connection, Route, direct},
};

/// The node at the other end of a stream.
pub(super) type Address = Arc<str>;

type Answers = Pin<Box<dyn Stream<Item = Result<v1::ProduceStreamResponse, Error>> + Send>>;
type Opening = Pin<Box<dyn Future<Output = (Address, Result<Link, Error>)> + Send>>;

/// What a link brings.
pub(super) enum Event {
    Opened(Address),
    /// It was not opened.
    Failed(Address, Error),
    Answer(v1::ProduceStreamResponse),
    /// It is over: nothing that is open on it will be answered.
    Ended(Address, Error),
}

/// All streams of a producer, one for each node that leads something.
pub(super) struct Links {
    connection: Connection,
    /// Requests that one stream holds; no more than that are open at a time.
    requests_max: usize,
    open: BTreeMap<Address, State>,
    answers: StreamMap<Address, Answers>,
    opening: FuturesUnordered<Opening>,
}

enum State {
    Opening,
    Open(mpsc::Sender<v1::ProduceStreamRequest>),
}

struct Link {
    route: Route,
    requests: mpsc::Sender<v1::ProduceStreamRequest>,
    answers: Streaming<v1::ProduceStreamResponse>,
}

impl Links {
    pub(super) fn new(connection: Connection, requests_max: usize) -> Self {
        Self {
            connection,
            requests_max,
            open: BTreeMap::new(),
            answers: StreamMap::new(),
            opening: FuturesUnordered::new(),
        }
    }

    /// Whether a request to this node can go at once; opens a stream to it if there is none.
    pub(super) fn ready(&mut self, address: &Address) -> bool {
        match self.open.get(address) {
            // One that is closed is about to tell that it has ended.
            Some(State::Open(requests)) => requests.capacity() > 0 && !requests.is_closed(),
            Some(State::Opening) => false,
            None => {
                self.open.insert(Arc::clone(address), State::Opening);
                let route = self.connection.to(address);
                let opening = open(self.connection.clone(), route, self.requests_max);
                let address = Arc::clone(address);
                self.opening
                    .push(Box::pin(opening.map(move |link| (address, link))));
                false
            }
        }
    }

    /// Sends a request on a stream that is ready; whether it went.
    pub(super) fn send(&self, address: &Address, request: v1::ProduceStreamRequest) -> bool {
        match self.open.get(address) {
            Some(State::Open(requests)) => requests.try_send(request).is_ok(),
            _ => false,
        }
    }

    /// Gives a stream up.
    pub(super) fn close(&mut self, address: &Address) {
        self.open.remove(address);
        self.answers.remove(address);
    }

    /// What happens next; never ready when there is nothing to happen.
    pub(super) async fn event(&mut self) -> Event {
        tokio::select! {
            Some((address, answer)) = self.answers.next(), if !self.answers.is_empty() => {
                match answer {
                    Ok(answer) => Event::Answer(answer),
                    Err(error) => {
                        self.close(&address);
                        Event::Ended(address, error)
                    }
                }
            }
            Some((address, opened)) = self.opening.next(), if !self.opening.is_empty() => {
                self.opened(address, opened)
            }
            else => std::future::pending().await,
        }
    }

    fn opened(&mut self, address: Address, opened: Result<Link, Error>) -> Event {
        let Link {
            route,
            requests,
            answers,
        } = match opened {
            Ok(link) => link,
            Err(error) => {
                self.open.remove(&address);
                return Event::Failed(address, error);
            }
        };
        self.open
            .insert(Arc::clone(&address), State::Open(requests));
        let connection = self.connection.clone();
        let answers =
            answers.map(move |answer| answer.map_err(|status| connection.failed(&route, &status)));
        let end = stream::once(async {
            Err(Error::Interrupted {
                why: "the server ended the stream".into(),
            })
        });
        self.answers
            .insert(Arc::clone(&address), Box::pin(answers.chain(end)));
        Event::Opened(address)
    }
}

async fn open(connection: Connection, route: Route, requests_max: usize) -> Result<Link, Error> {
    let (requests, outgoing) = mpsc::channel(requests_max);
    let answer = route
        .log()
        .produce_stream(direct(ReceiverStream::new(outgoing)))
        .await;
    match answer {
        Ok(answers) => Ok(Link {
            route,
            requests,
            answers: answers.into_inner(),
        }),
        Err(status) => Err(connection.failed(&route, &status)),
    }
}
