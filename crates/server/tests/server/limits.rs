//! What clients can take up, and what happens at each bound.

use std::time::Duration;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use trilith_proto::v1::{ConsumeRequest, Edge, Position, position::At};

use crate::fixture::{
    Fixture, batch, hold_bytes, metric, produce_batch, reason, start, start_with, until_metric,
};

const IN_FLIGHT: &str = "trilith_in_flight_bytes";

async fn with_little_room(wait: Duration) -> Fixture {
    let server = start_with(|config| {
        config.limits.in_flight_bytes_max = 64 << 10;
        config.limits.admission_wait_max = wait;
    })
    .await;
    server.create("t", 1).await;
    server
}

#[tokio::test]
async fn a_full_server_lets_wait_and_then_refuses() {
    let server = with_little_room(Duration::from_millis(50)).await;
    let held = hold_bytes(&server, "t", 64 << 10).await;
    let status = server
        .log()
        .await
        .produce(produce_batch("t", batch(1, 100)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(reason(&status), "TOO_MANY_BYTES_IN_FLIGHT");
    let answer = server
        .post("/v1/topics/t/records", "application/json", "{}")
        .await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    // Reading is not writing: it goes on.
    assert_eq!(
        server.get("/v1/topics/t/partitions/0/records").await.status,
        StatusCode::OK
    );
    drop(held);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_room_back_to_those_who_wait() {
    let server = with_little_room(Duration::from_secs(600)).await;
    let held = hold_bytes(&server, "t", 64 << 10).await;
    let mut log = server.log().await;
    let waiting = tokio::spawn(async move { log.produce(produce_batch("t", batch(1, 100))).await });
    drop(held);
    waiting.await.unwrap().unwrap();
    until_metric(&server, IN_FLIGHT, |bytes| bytes == 0).await;
}

#[tokio::test]
async fn a_request_that_is_cancelled_while_it_waits_leaves_the_queue() {
    let server = with_little_room(Duration::from_secs(600)).await;
    let held = hold_bytes(&server, "t", 64 << 10).await;
    let mut log = server.log().await;
    let waiting =
        tokio::spawn(async move { log.produce(produce_batch("t", batch(1, 60_000))).await });
    waiting.abort();
    drop(waiting.await);
    drop(held);
    let mut log = server.log().await;
    log.produce(produce_batch("t", batch(1, 60_000)))
        .await
        .unwrap();
    until_metric(&server, IN_FLIGHT, |bytes| bytes == 0).await;
}

#[tokio::test]
async fn a_deadline_holds_while_waiting_for_room() {
    let server = with_little_room(Duration::from_secs(600)).await;
    let held = hold_bytes(&server, "t", 64 << 10).await;
    let answer = server
        .post(
            "/v1/topics/t/records?timeout_ms=50",
            "application/json",
            "{}",
        )
        .await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    drop(held);
}

#[tokio::test]
async fn a_deadline_ends_a_follower() {
    let server = start().await;
    server.create("t", 1).await;
    let mut request = tonic::Request::new(ConsumeRequest {
        topic: "t".into(),
        follow: true,
        from: Some(Position {
            at: Some(At::Edge(Edge::End.into())),
        }),
        ..ConsumeRequest::default()
    });
    request
        .metadata_mut()
        .insert("grpc-timeout", "100m".parse().unwrap());
    let mut responses = server
        .log()
        .await
        .consume(request)
        .await
        .unwrap()
        .into_inner();
    // The first response says where it starts.
    responses.message().await.unwrap();
    let status = responses.message().await.unwrap_err();
    assert_eq!(reason(&status), "DEADLINE_EXCEEDED");

    let path = "/v1/topics/t/partitions/0/records?follow=true&timeout_ms=100";
    let answer = server.get(path).await;
    assert!(
        answer.text().starts_with("event: error\ndata: "),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn a_deadline_that_has_passed_begins_nothing() {
    let server = start().await;
    server.create("t", 1).await;
    let answer = server
        .post(
            "/v1/topics/t/records?timeout_ms=0",
            "application/json",
            "{}",
        )
        .await;
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    let offsets = server.get("/v1/topics/t/offsets").await.json();
    assert_eq!(offsets["partitions"][0]["end_offset"], 0);
}

#[tokio::test]
async fn a_consumer_that_does_not_read_is_not_read_for() {
    const BATCH: usize = 1 << 20;
    let server = start().await;
    server.create("t", 1).await;
    let mut log = server.log().await;
    for _ in 0..48 {
        log.produce(produce_batch("t", batch(1, BATCH - 200)))
            .await
            .unwrap();
    }
    let request = ConsumeRequest {
        topic: "t".into(),
        batches: true,
        ..ConsumeRequest::default()
    };
    let mut responses = log.consume(request).await.unwrap().into_inner();
    assert!(responses.message().await.unwrap().is_some());
    let mut last = (u64::MAX, 0);
    while last.1 < 20 {
        let read = metric(&server, "trilith_consume_bytes_total").await;
        last = if read == last.0 {
            (read, last.1 + 1)
        } else {
            (read, 0)
        };
    }
    assert!(
        last.0 <= 6 * BATCH as u64,
        "{} bytes were read for a consumer that waits",
        last.0
    );
    let mut rest = 0;
    while let Some(response) = responses.message().await.unwrap() {
        rest += response.batches.len();
    }
    assert_eq!(rest, 47);
}

#[tokio::test]
async fn a_consumer_that_goes_away_is_forgotten() {
    let server = start().await;
    server.create("t", 1).await;
    let request = ConsumeRequest {
        topic: "t".into(),
        follow: true,
        ..ConsumeRequest::default()
    };
    let responses = server
        .log()
        .await
        .consume(request)
        .await
        .unwrap()
        .into_inner();
    until_metric(&server, "trilith_consumers", |open| open == 1).await;
    drop(responses);
    until_metric(&server, "trilith_consumers", |open| open == 0).await;
}

#[tokio::test]
async fn connections_over_the_bound_are_closed() {
    let server = start_with(|config| config.limits.connections_max = 1).await;
    let mut first = TcpStream::connect(server.addr).await.unwrap();
    let ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut answer = [0; 12];
    first.write_all(ask).await.unwrap();
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut second = TcpStream::connect(server.addr).await.unwrap();
    drop(second.write_all(ask).await);
    let mut nothing = Vec::new();
    drop(second.read_to_end(&mut nothing).await);
    assert!(nothing.is_empty());
    drop(first);
    loop {
        let mut third = TcpStream::connect(server.addr).await.unwrap();
        let wrote = third.write_all(ask).await;
        if wrote.is_ok() && third.read_exact(&mut answer).await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_or_only_half_is_cut() {
    let server = start_with(|config| {
        config.limits.header_read_timeout = Duration::from_millis(50);
        config.limits.message_read_timeout = Duration::from_millis(50);
    })
    .await;
    server.create("t", 1).await;
    for begun in [
        &b""[..],
        b"P",
        b"GET /",
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-y: ",
    ] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    let mut half = TcpStream::connect(server.addr).await.unwrap();
    let begun = b"POST /v1/topics HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    half.write_all(begun).await.unwrap();
    let mut answer = vec![0; 12];
    half.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 504");
    let mut half = hold_bytes(&server, "t", 10).await;
    half.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 504");
    until_metric(&server, IN_FLIGHT, |bytes| bytes == 0).await;
}
