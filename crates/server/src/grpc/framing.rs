//! Holds a gRPC message back until all of it is there.
//!
//! The layer below the services takes memory for a message as soon as its five-byte prefix has
//! named a length. Here the prefix is read first: a length above the limit is refused, the bytes
//! are admitted (which may wait, and then the connection's window stays closed), and only a
//! message that has arrived whole is passed on. So nobody's claim costs memory.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::{
    admission::{Admission, Admitted},
    error::{ApiError, Reason},
};

/// Compressed flag and length, as the gRPC over HTTP/2 specification has it.
const PREFIX_BYTES: usize = 5;

/// The shares of the messages that were passed on and not yet taken by their handler, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(Arc<Mutex<VecDeque<Admitted>>>);

impl Shares {
    /// The share of the oldest message that none was taken for.
    pub(crate) fn take(&self) -> Option<Admitted> {
        self.0.lock().pop_front()
    }

    fn put(&self, share: Admitted) {
        self.0.lock().push_back(share);
    }
}

/// What one request's messages are held to.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) admission: Admission,
    pub(crate) message_bytes_max: usize,
    pub(crate) message_read_timeout: Duration,
    pub(crate) deadline: Option<Instant>,
}

/// A request body that passes whole messages on.
pub(crate) struct Framed<B> {
    inner: Pin<Box<B>>,
    rules: Rules,
    /// Takes the shares over; without it each is given back when its message was passed on.
    shares: Option<Shares>,
    state: State,
    /// Received and not yet passed on.
    pieces: VecDeque<Bytes>,
    /// The sum of `pieces`.
    buffered: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What came of taking one more frame in.
enum Filled {
    /// There is more to look at.
    More,
    /// The reader is told this at once.
    Tell(Option<Result<Frame<Bytes>, Status>>),
}

enum State {
    /// Waiting for a prefix.
    Prefix,
    /// Waiting for room for this many bytes, prefix included.
    Admitting(usize, BoxFuture<'static, Result<Admitted, ApiError>>),
    /// Waiting for the rest of a message of this many bytes, prefix included.
    Filling(usize, Admitted),
    /// Handing out a message; this many bytes are left of it.
    Passing(usize),
    /// The request is over.
    Ended,
}

impl<B> Framed<B> {
    pub(crate) fn new(inner: B, rules: Rules, shares: Option<Shares>) -> Self {
        Self {
            inner: Box::pin(inner),
            rules,
            shares,
            state: State::Prefix,
            pieces: VecDeque::new(),
            buffered: 0,
            timer: None,
        }
    }

    /// The whole length, prefix included, of the message that begins in `pieces`.
    fn claimed(&self) -> Option<usize> {
        if self.buffered < PREFIX_BYTES {
            return None;
        }
        let mut prefix = self
            .pieces
            .iter()
            .flat_map(|piece| piece.iter().copied())
            .skip(1);
        let mut length = 0_usize;
        for _ in 0..4 {
            length = (length << 8) | usize::from(prefix.next()?);
        }
        Some(PREFIX_BYTES + length)
    }

    fn begin(&mut self, bytes: usize) -> Result<(), ApiError> {
        let limit = self.rules.message_bytes_max;
        if bytes - PREFIX_BYTES > limit {
            let claimed = bytes - PREFIX_BYTES;
            return Err(ApiError::new(
                Reason::BatchTooLarge,
                format!("a message of {claimed} bytes; the most is {limit}: send smaller batches"),
            )
            .with("limit", limit));
        }
        self.state = match self.rules.admission.try_take(bytes) {
            Some(share) => State::Filling(bytes, share),
            None => {
                let (admission, deadline) = (self.rules.admission.clone(), self.rules.deadline);
                let wait = async move { admission.take(bytes, deadline).await };
                State::Admitting(bytes, Box::pin(wait))
            }
        };
        Ok(())
    }

    /// The next piece of the message being passed on.
    fn pass(&mut self, left: usize) -> Option<Bytes> {
        let mut piece = self.pieces.pop_front()?;
        if piece.len() > left {
            let rest = piece.split_off(left);
            self.pieces.push_front(rest);
        }
        self.buffered -= piece.len();
        self.state = match left - piece.len() {
            0 => State::Prefix,
            left => State::Passing(left),
        };
        Some(piece)
    }

    fn end(&mut self, error: ApiError) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.finish();
        Poll::Ready(Some(Err(error.into())))
    }

    fn finish(&mut self) {
        self.state = State::Ended;
        self.pieces.clear();
        self.buffered = 0;
    }

    /// Runs while a message has begun and is not all there.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<ApiError> {
        let limit = self.rules.message_read_timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(ApiError::new(
            Reason::DeadlineExceeded,
            format!("a message was begun and did not arrive whole within {limit:?}"),
        ))
    }
}

impl<B> Framed<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    /// Takes one more frame in.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Filled> {
        match ready!(self.inner.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if data.has_remaining() {
                        self.buffered += data.len();
                        self.pieces.push_back(data);
                    }
                    Poll::Ready(Filled::More)
                }
                Err(trailers) => Poll::Ready(Filled::Tell(Some(Ok(trailers)))),
            },
            Some(Err(error)) => {
                self.finish();
                Poll::Ready(Filled::Tell(Some(Err(Status::from_error(error.into())))))
            }
            None if self.buffered == 0 => {
                self.finish();
                Poll::Ready(Filled::Tell(None))
            }
            None => {
                let have = self.buffered;
                self.finish();
                let message = format!("the request ended {have} bytes into a message");
                Poll::Ready(Filled::Tell(Some(Err(ApiError::invalid(message).into()))))
            }
        }
    }
}

impl<B> Body for Framed<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Passing(left) => match this.pass(left) {
                    Some(piece) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                    None => return this.end(ApiError::invalid("a message lost its bytes")),
                },
                State::Prefix => {
                    this.state = State::Prefix;
                    if let Some(bytes) = this.claimed() {
                        if let Err(error) = this.begin(bytes) {
                            return this.end(error);
                        }
                        continue;
                    }
                }
                State::Admitting(bytes, mut wait) => match wait.as_mut().poll(cx) {
                    Poll::Ready(Ok(share)) => {
                        this.state = State::Filling(bytes, share);
                        continue;
                    }
                    Poll::Ready(Err(error)) => return this.end(error),
                    Poll::Pending => {
                        this.state = State::Admitting(bytes, wait);
                        return Poll::Pending;
                    }
                },
                State::Filling(bytes, share) if this.buffered >= bytes => {
                    if let Some(shares) = &this.shares {
                        shares.put(share);
                    }
                    this.timer = None;
                    this.state = State::Passing(bytes);
                    continue;
                }
                filling @ State::Filling(..) => this.state = filling,
            }
            match this.poll_fill(cx) {
                Poll::Ready(Filled::Tell(told)) => return Poll::Ready(told),
                Poll::Ready(Filled::More) => continue,
                Poll::Pending => {}
            }
            if this.buffered == 0 && matches!(this.state, State::Prefix) {
                return Poll::Pending;
            }
            let error = ready!(this.poll_timeout(cx));
            return this.end(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};
    use proptest::{collection::vec, prelude::*};
    use tonic_types::StatusExt;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn rules(in_flight: usize) -> Rules {
        Rules {
            admission: Admission::new(in_flight, Duration::from_secs(600)),
            message_bytes_max: 1000,
            message_read_timeout: TIMEOUT,
            deadline: None,
        }
    }

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((length as u32).to_be_bytes());
        bytes.extend((0..length).map(|n| n as u8));
        bytes
    }

    type Frames = stream::BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>;

    /// A request that sends these pieces, then ends, or then goes quiet.
    fn request(
        pieces: Vec<Vec<u8>>,
        ends: bool,
        rules: &Rules,
    ) -> (Framed<StreamBody<Frames>>, Shares) {
        let pieces = stream::iter(pieces).map(|piece| Ok(Frame::data(Bytes::from(piece))));
        let frames: Frames = match ends {
            true => pieces.boxed(),
            false => pieces.chain(stream::pending()).boxed(),
        };
        let shares = Shares::default();
        (
            Framed::new(StreamBody::new(frames), rules.clone(), Some(shares.clone())),
            shares,
        )
    }

    /// What is passed on, and the reason it ended with if it is an error.
    async fn read(mut body: Framed<StreamBody<Frames>>) -> (Vec<u8>, Option<String>) {
        let mut passed = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => passed.extend_from_slice(frame.data_ref().unwrap()),
                Err(status) => {
                    return (
                        passed,
                        Some(status.get_details_error_info().unwrap().reason),
                    );
                }
            }
        }
        (passed, None)
    }

    #[tokio::test]
    async fn messages_pass_whole_however_they_are_cut() {
        let rules = rules(1 << 20);
        let all = [message(300), message(0), message(1000), message(1)].concat();
        for size in [1, 2, 4, 5, 6, 7, 300, 306, all.len()] {
            let pieces = all.chunks(size).map(<[u8]>::to_vec).collect();
            let (body, shares) = request(pieces, true, &rules);
            assert_eq!(read(body).await, (all.clone(), None), "pieces of {size}");
            assert!((0..4).all(|_| shares.take().is_some()));
            assert!(shares.take().is_none());
        }
        assert_eq!(rules.admission.in_flight(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_pass_as_whole_messages_or_end_the_request(
            lengths in vec(0..200_usize, 0..4),
            tail in vec(any::<u8>(), 0..12),
            sizes in vec(1..50_usize, 1..6),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let whole: Vec<u8> = lengths.into_iter().flat_map(message).collect();
            let all = [whole.clone(), tail.clone()].concat();
            let mut pieces = Vec::new();
            let mut rest = &all[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece.to_vec());
                rest = after;
            }
            let rules = rules(1 << 20);
            let (body, shares) = request(pieces, true, &rules);
            let (passed, error) = runtime.unwrap().block_on(read(body));
            // Of what follows, only what is whole is passed on.
            prop_assert!(passed.starts_with(&whole) && all.starts_with(&passed));
            prop_assert_eq!(error.is_none(), passed.len() == all.len());
            while shares.take().is_some() {}
            prop_assert_eq!(rules.admission.in_flight(), 0);
        }
    }

    #[tokio::test]
    async fn a_claim_above_the_limit_is_refused_by_its_length() {
        let rules = rules(1 << 20);
        for claim in [1001_u32, u32::MAX] {
            let prefix = [&[0][..], &claim.to_be_bytes()].concat();
            let (body, _) = request(vec![message(10), prefix], false, &rules);
            assert_eq!(
                read(body).await,
                (message(10), Some("BATCH_TOO_LARGE".into()))
            );
        }
    }

    #[tokio::test]
    async fn a_message_that_ends_early_is_not_passed_on() {
        let rules = rules(1 << 20);
        for have in [1, 4, 5, 14] {
            let (body, _) = request(vec![message(10)[..have].to_vec()], true, &rules);
            assert_eq!(
                read(body).await,
                (vec![], Some("INVALID_ARGUMENT".into())),
                "{have} bytes"
            );
        }
        assert_eq!(rules.admission.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_go_on_is_given_up_and_a_quiet_stream_is_not() {
        let rules = rules(1 << 20);
        let (body, _) = request(vec![message(10), message(10)[..8].to_vec()], false, &rules);
        let begun = Instant::now();
        assert_eq!(
            read(body).await,
            (message(10), Some("DEADLINE_EXCEEDED".into()))
        );
        assert_eq!(begun.elapsed(), TIMEOUT);
        let (body, _) = request(vec![message(10)], false, &rules);
        assert!(
            tokio::time::timeout(TIMEOUT * 10, read(body))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_message_waits_for_room_before_it_is_passed_on() {
        let rules = rules(1024);
        let held = rules.admission.try_take(1024).unwrap();
        let (body, shares) = request(vec![message(500), message(500)], true, &rules);
        let mut reading = Box::pin(read(body));
        assert!(futures::poll!(&mut reading).is_pending());
        drop(held);
        assert_eq!(reading.await, ([message(500), message(500)].concat(), None));
        assert!(rules.admission.in_flight() >= 1000);
        drop((shares.take(), shares.take()));
        assert_eq!(rules.admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_while_it_waits_gives_its_place_up() {
        let rules = rules(64);
        let held = rules.admission.try_take(64).unwrap();
        let (body, _) = request(vec![message(10)], true, &rules);
        let mut reading = Box::pin(read(body));
        assert!(futures::poll!(&mut reading).is_pending());
        drop(reading);
        drop(held);
        assert!(rules.admission.try_take(64).is_some());
    }
}
