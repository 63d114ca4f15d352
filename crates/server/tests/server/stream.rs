//! `Log.ProduceStream`.

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use trilith_proto::v1::{
    ProduceStreamRequest, ProduceStreamResponse, produce_stream_response::Result as Outcome,
};

use crate::fixture::{batch, produce_batch, reason, start, start_with};

fn message(sequence: u64, topic: &str) -> ProduceStreamRequest {
    ProduceStreamRequest {
        sequence,
        request: Some(produce_batch(topic, batch(2, 100))),
    }
}

#[tokio::test]
async fn every_request_is_answered_by_its_sequence_and_in_the_partitions_order() {
    let server = start().await;
    server.create("t", 1).await;
    let requests = futures::stream::iter((0..500).map(|n| message(n, "t")));
    let mut answers = server
        .log()
        .await
        .produce_stream(requests)
        .await
        .unwrap()
        .into_inner();
    let mut seen = BTreeSet::new();
    while let Some(ProduceStreamResponse { sequence, result }) = answers.message().await.unwrap() {
        let Some(Outcome::Response(response)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(response.appended[0].first_offset, sequence * 2);
        assert!(seen.insert(sequence));
    }
    assert_eq!(seen.len(), 500);
}

#[tokio::test]
async fn an_error_of_one_request_leaves_the_stream_open() {
    let server = start().await;
    server.create("t", 1).await;
    let requests = [
        message(1, "none"),
        message(2, "t"),
        ProduceStreamRequest {
            sequence: 3,
            request: None,
        },
        message(4, "t"),
    ];
    let requests = futures::stream::iter(requests);
    let mut answers = server
        .log()
        .await
        .produce_stream(requests)
        .await
        .unwrap()
        .into_inner();
    let mut outcomes = std::collections::BTreeMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let text = match answer.result.unwrap() {
            Outcome::Response(_) => "ok".to_owned(),
            Outcome::Error(error) => error.reason,
        };
        outcomes.insert(answer.sequence, text);
    }
    let outcomes: Vec<_> = outcomes.into_values().collect();
    assert_eq!(outcomes, ["UNKNOWN_TOPIC", "ok", "INVALID_ARGUMENT", "ok"]);
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_not_read_further() {
    let server = start_with(|config| {
        config.limits.stream_requests_max = 4;
    })
    .await;
    server.create("t", 1).await;
    let (requests, sent) = mpsc::channel(1);
    let mut log = server.log().await;
    let mut answers = log
        .produce_stream(ReceiverStream::new(sent))
        .await
        .unwrap()
        .into_inner();
    // More than the stream's bound and both windows hold; only reading answers lets it finish.
    let sending = tokio::spawn(async move {
        for n in 0..2000 {
            let request = produce_batch("t", batch(1, 16 << 10));
            requests
                .send(ProduceStreamRequest {
                    sequence: n,
                    request: Some(request),
                })
                .await
                .unwrap();
        }
    });
    let mut count = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(
            matches!(answer.result, Some(Outcome::Response(_))),
            "{answer:?}"
        );
        count += 1;
    }
    sending.await.unwrap();
    assert_eq!(count, 2000);
}

#[tokio::test]
async fn answers_go_on_after_the_client_has_said_all() {
    let server = start().await;
    server.create("t", 1).await;
    let (requests, sent) = mpsc::channel(8);
    for n in 0..8 {
        requests.send(message(n, "t")).await.unwrap();
    }
    drop(requests);
    let mut log = server.log().await;
    let mut answers = log
        .produce_stream(ReceiverStream::new(sent))
        .await
        .unwrap()
        .into_inner();
    let mut count = 0;
    while answers.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 8);
}

#[tokio::test]
async fn a_deadline_ends_the_stream() {
    let server = start().await;
    server.create("t", 1).await;
    let (requests, sent) = mpsc::channel(8);
    requests.send(message(1, "t")).await.unwrap();
    let mut request = tonic::Request::new(ReceiverStream::new(sent));
    // Only the server knows of it: the client must be told.
    request
        .metadata_mut()
        .insert("grpc-timeout", "300m".parse().unwrap());
    let mut answers = server
        .log()
        .await
        .produce_stream(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().sequence, 1);
    let status = answers.message().await.unwrap_err();
    assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
    drop(requests);
}
