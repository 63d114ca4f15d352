//! The stream to the server: requests out, answers in.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trilith_proto::v1;

use crate::{Error, connection::Connection};

/// One open produce stream.
pub(super) struct Link {
    requests: mpsc::Sender<v1::ProduceStreamRequest>,
    answers: Streaming<v1::ProduceStreamResponse>,
}

/// The stream ended, with the server's reason or that of the connection.
pub(super) struct Ended(pub(super) Error);

impl Link {
    /// Opens a stream that holds up to `requests_max` requests.
    pub(super) async fn open(connection: &Connection, requests_max: usize) -> Result<Self, Error> {
        let (requests, outgoing) = mpsc::channel(requests_max);
        let answer = connection
            .log()
            .produce_stream(ReceiverStream::new(outgoing))
            .await;
        let answers = answer
            .map_err(|status| connection.failed(&status))?
            .into_inner();
        Ok(Self { requests, answers })
    }

    /// Hands a request to the connection; gives it back when the stream has ended.
    pub(super) async fn send(
        &self,
        request: v1::ProduceStreamRequest,
    ) -> Result<(), v1::ProduceStreamRequest> {
        self.requests.send(request).await.map_err(|unsent| unsent.0)
    }

    /// The next answer.
    pub(super) async fn answer(
        &mut self,
        connection: &Connection,
    ) -> Result<v1::ProduceStreamResponse, Ended> {
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Ended(Error::Interrupted {
                why: "the server ended the stream".into(),
            })),
            Err(status) => Err(Ended(connection.failed(&status))),
        }
    }
}
