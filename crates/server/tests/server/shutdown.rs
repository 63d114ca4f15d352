//! How a server ends.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use trilith_proto::v1::{ConsumeRequest, ProduceStreamRequest};

use crate::fixture::{Fixture, batch, hold_bytes, produce_batch, reason, start, start_with};

#[tokio::test]
async fn followers_streams_and_watchers_are_sent_away_with_a_reason_to_come_back() {
    let mut server = start().await;
    server.create("t", 1).await;
    let mut log = server.log().await;
    let request = ConsumeRequest {
        topic: "t".into(),
        follow: true,
        ..ConsumeRequest::default()
    };
    let mut follower = log.consume(request).await.unwrap().into_inner();
    let (requests, sent) = mpsc::channel(8);
    let mut stream = log
        .produce_stream(ReceiverStream::new(sent))
        .await
        .unwrap()
        .into_inner();
    let message = ProduceStreamRequest {
        sequence: 1,
        request: Some(produce_batch("t", batch(1, 1))),
    };
    requests.send(message).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().sequence, 1);
    let mut health = HealthClient::new(server.channel().await);
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut status = async || watch.message().await.unwrap().map(|m| m.status());
    assert_eq!(status().await, Some(ServingStatus::Serving));
    // Where it starts, then the record.
    for _ in 0..2 {
        assert!(follower.message().await.unwrap().is_some());
    }

    server.begin_shutdown();
    for status in [
        follower.message().await.unwrap_err(),
        stream.message().await.unwrap_err(),
    ] {
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(reason(&status), "SHUTTING_DOWN");
    }
    assert_eq!(status().await, Some(ServingStatus::NotServing));
    assert_eq!(status().await, None);
    server.ended().await.unwrap();
}

#[tokio::test]
async fn a_request_in_flight_is_finished_and_new_connections_are_refused() {
    let mut server = start().await;
    server.create("t", 1).await;
    let addr = server.addr;
    let mut held = hold_bytes(&server, "t", 5).await;
    server.begin_shutdown();
    // The listener is closed first: once nobody answers, the drain has begun.
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    held.write_all(b"hello").await.unwrap();
    let mut response = String::new();
    held.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.contains("\"offset\":0"), "{response}");
    server.ended().await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let mut server = start_with(|config| {
        config.limits.drain_timeout = Duration::from_millis(50);
    })
    .await;
    server.create("t", 1).await;
    let mut held = hold_bytes(&server, "t", 5).await;
    server.begin_shutdown();
    server.ended().await.unwrap();
    let mut response = Vec::new();
    drop(held.read_to_end(&mut response).await);
    assert!(response.is_empty(), "no answer was made up");
}

#[tokio::test]
async fn idle_connections_do_not_hold_the_end_up() {
    let mut server =
        start_with(|config| config.limits.drain_timeout = Duration::from_secs(600)).await;
    let silent = TcpStream::connect(server.addr).await.unwrap();
    let grpc = server.channel().await;
    server.assert_serving().await;
    server.begin_shutdown();
    server.ended().await.unwrap();
    drop((silent, grpc));
}

#[tokio::test]
async fn the_data_directory_is_free_afterwards_and_holds_what_was_acknowledged() {
    let mut server = start().await;
    server.create("t", 1).await;
    server.append("t", &["a", "b"]).await;
    server.begin_shutdown();
    let dir = server.ended_with_dir().await;
    let again = Fixture::over(dir).await;
    let lines = again.get("/v1/topics/t/partitions/0/records").await.lines();
    assert_eq!(lines.len(), 2);
}
