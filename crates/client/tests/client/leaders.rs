//! Two nodes of which one leads: what goes where, and what happens when that changes.

use std::time::Duration;

use futures::StreamExt;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use trilith_batch::BatchHeader;
use trilith_client::{
    Bytes, Client, ConsumeOptions, Delivery, Fate, Offset, PartitionId, Position, Producer,
    ProducerConfig, Record,
};
use trilith_proto::v1;

use crate::fake::{Fake, values};

const LONG: Duration = Duration::from_secs(3600);

/// Two nodes; the client was told of the first one only.
async fn two() -> (Fake, Fake) {
    (Fake::start(1).await, Fake::start(1).await)
}

async fn producer(fake: &Fake) -> Producer {
    let config = ProducerConfig {
        batch_records: 1,
        linger: LONG,
        ..ProducerConfig::default()
    };
    fake.client.producer("t", config).await.unwrap()
}

async fn send(producer: &Producer, value: &str) -> Delivery {
    producer.send(Record::new(value.to_owned())).await.unwrap()
}

/// The producer and the sequence that a batch is stamped with.
fn stamp(batch: &Bytes) -> (u64, i32) {
    let stamp = BatchHeader::parse(batch).unwrap().producer().unwrap();
    let stamp = stamp.expect("batches are numbered");
    (stamp.id.get(), stamp.sequence.get())
}

#[tokio::test]
async fn records_go_to_the_leader_with_their_numbers() {
    let (first, mut second) = two().await;
    first.led_at(second.address);
    let producer = producer(&first).await;
    let (a, b) = (send(&producer, "a").await, send(&producer, "b").await);
    let mut stream = second.stream().await;
    for (n, value) in ["a", "b"].into_iter().enumerate() {
        let request = stream.request().await;
        assert_eq!(values(&request.batch), [value]);
        assert_eq!(stamp(&request.batch), (0, n as i32));
        stream.acknowledge(&request, n as u64).await;
    }
    assert_eq!(a.await.unwrap().offset, Offset(0));
    assert_eq!(b.await.unwrap().offset, Offset(1));
}

#[tokio::test]
async fn a_refusal_that_names_the_leader_is_followed_and_the_bytes_stay_the_same() {
    let (mut first, mut second) = two().await;
    first.led_at(first.address);
    let producer = producer(&first).await;
    let delivery = send(&producer, "a").await;
    let mut old = first.stream().await;
    let refused = old.request().await;
    let leader = [("address", second.address.to_string())];
    old.refuse_with(&refused, Code::Unavailable, "NOT_LEADER", &leader)
        .await;
    let mut new = second.stream().await;
    let again = new.request().await;
    assert_eq!(again.batch, refused.batch);
    new.acknowledge(&again, 5).await;
    assert_eq!(delivery.await.unwrap().offset, Offset(5));
}

#[tokio::test]
async fn what_a_lost_leader_left_open_is_sent_again_in_order() {
    let (mut first, mut second) = two().await;
    first.led_at(first.address);
    let producer = producer(&first).await;
    let (a, b) = (send(&producer, "a").await, send(&producer, "b").await);
    let mut old = first.stream().await;
    let sent = [old.request().await.batch, old.request().await.batch];
    first.led_at(second.address);
    old.fail(Status::unavailable("the machine is gone")).await;
    let mut new = second.stream().await;
    for (n, bytes) in sent.iter().enumerate() {
        let request = new.request().await;
        assert_eq!(request.batch, *bytes, "the leader knows it by these");
        new.acknowledge(&request, n as u64).await;
    }
    assert_eq!(a.await.unwrap().offset, Offset(0));
    assert_eq!(b.await.unwrap().offset, Offset(1));
}

#[tokio::test]
async fn what_is_surely_not_stored_says_so_and_those_behind_it_go_under_a_new_number() {
    let (mut first, _second) = two().await;
    first.led_at(first.address);
    let producer = producer(&first).await;
    let (refused, next) = (send(&producer, "a").await, send(&producer, "b").await);
    let mut stream = first.stream().await;
    let (a, b) = (stream.request().await, stream.request().await);
    assert_eq!(stamp(&b.batch), (0, 1));
    stream
        .refuse(&a, Code::ResourceExhausted, "DISK_FULL")
        .await;
    stream
        .refuse(&b, Code::FailedPrecondition, "OUT_OF_SEQUENCE")
        .await;
    assert_eq!(refused.await.unwrap_err().fate, Fate::NotStored);
    let again = stream.request().await;
    assert_eq!(
        (values(&again.batch), stamp(&again.batch)),
        (vec!["b".into()], (1, 0))
    );
    stream.acknowledge(&again, 0).await;
    assert_eq!(next.await.unwrap().offset, Offset(0));
}

#[tokio::test]
async fn a_silent_leader_is_asked_after_and_left() {
    let (mut first, mut second) = two().await;
    first.led_at(first.address);
    let producer = producer(&first).await;
    let delivery = send(&producer, "a").await;
    let mut paused = first.stream().await;
    let unanswered = paused.request().await;
    // Both say so now; the paused one would not be asked first.
    first.led_at(second.address);
    second.led_at(second.address);
    let mut new = second.stream().await;
    let again = new.request().await;
    assert_eq!(again.batch, unanswered.batch);
    new.acknowledge(&again, 3).await;
    assert_eq!(delivery.await.unwrap().offset, Offset(3));
    // What the old one says in the end changes nothing.
    paused.acknowledge(&unanswered, 9).await;
    assert_eq!(producer.close().await.unwrap().acknowledged, 1);
}

fn not_leader(address: String) -> Status {
    let details =
        ErrorDetails::with_error_info("NOT_LEADER", "trilith", [("address".to_owned(), address)]);
    Status::with_error_details(Code::Unavailable, "not me", details)
}

fn response(first: u64, records: u64) -> Result<v1::ConsumeResponse, Status> {
    let mut builder = trilith_batch::BatchBuilder::new(trilith_batch::Compression::None);
    for n in first..first + records {
        builder
            .push(&trilith_batch::Record {
                value: Some(n.to_string().into()),
                ..trilith_batch::Record::default()
            })
            .unwrap();
    }
    let mut batch = builder.build().unwrap().to_vec();
    trilith_batch::set_base_offset(&mut batch, Offset(first)).unwrap();
    Ok(v1::ConsumeResponse {
        batches: vec![batch.into()],
        next_offset: first + records,
        end_offset: first + records,
        ..v1::ConsumeResponse::default()
    })
}

#[tokio::test]
async fn a_reader_follows_the_leader_and_gives_each_record_once() {
    let (first, second) = two().await;
    first.led_at(first.address);
    first.script(
        vec![response(0, 3), Err(not_leader(second.address.to_string()))],
        true,
    );
    // The new leader's batches lie otherwise: what was given out is dropped.
    second.script(vec![response(2, 3)], false);
    let options = ConsumeOptions {
        follow: true,
        limit: Some(5),
        ..ConsumeOptions::default()
    };
    let (tell, told) = std::sync::mpsc::channel();
    let consumer = first.client.consume("t", PartitionId(0), options).await;
    let consumer = consumer.unwrap().on_interruption(move |interruption| {
        tell.send(interruption.position).unwrap();
    });
    let offsets: Vec<u64> = consumer
        .map(|record| record.unwrap().offset.get())
        .collect()
        .await;
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [Offset(3)]);
    let asked = &second.consumed()[0];
    let from = v1::Position {
        at: Some(v1::position::At::Offset(3)),
    };
    assert_eq!((asked.from, asked.max_records), (Some(from), 2));
}

#[tokio::test]
async fn a_reader_without_patience_ends_with_the_error() {
    let (first, second) = two().await;
    first.led_at(first.address);
    first.script(
        vec![response(0, 3), Err(not_leader(second.address.to_string()))],
        true,
    );
    let options = ConsumeOptions {
        from: Position::Start,
        patience: Duration::ZERO,
        ..ConsumeOptions::default()
    };
    let mut consumer = first
        .client
        .consume("t", PartitionId(0), options)
        .await
        .unwrap();
    for _ in 0..3 {
        assert!(consumer.next().await.unwrap().is_ok());
    }
    let error = consumer.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some("NOT_LEADER"));
    assert!(consumer.next().await.is_none());
    assert_eq!(consumer.position(), Offset(3));
}

/// Reads the first three records from a leader that says nothing after them.
async fn behind_a_silent_leader(first: &Fake, second: &Fake) -> trilith_client::Consumer {
    first.script(vec![response(0, 3)], false);
    let both = [first, second].map(|fake| fake.address.to_string());
    let client = Client::connect(both).await.unwrap();
    let options = ConsumeOptions {
        follow: true,
        limit: Some(5),
        ..ConsumeOptions::default()
    };
    let consumer = client.consume("t", PartitionId(0), options).await;
    let mut consumer = consumer.unwrap();
    for offset in 0..3 {
        assert_eq!(
            consumer.next().await.unwrap().unwrap().offset,
            Offset(offset)
        );
    }
    consumer
}

/// A stream of a leader that is paused never breaks, and one of a leader that is cut off may not.
#[tokio::test]
async fn a_reader_leaves_a_silent_leader_for_the_one_that_another_node_names() {
    let (first, second) = two().await;
    first.led_at(first.address);
    let consumer = behind_a_silent_leader(&first, &second).await;
    second.script(vec![response(2, 3)], false);
    second.led_later_at(second.address);
    let rest: Vec<u64> = consumer
        .map(|record| record.unwrap().offset.get())
        .collect()
        .await;
    assert_eq!(rest, [3, 4]);
}
