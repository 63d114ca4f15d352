//! What becomes of records, whatever the server and the connection do.

use std::{future::Future, time::Duration};

use futures::{FutureExt, future::join_all};
use tonic::{Code, Status};
use trilith_client::{
    Delivery, Error, Fate, Offset, PartitionId, Producer, ProducerConfig, Record, SendError,
};

use crate::fake::{Fake, values};

/// Never reached: what is sent is sent for another reason.
const LONG: Duration = Duration::from_secs(3600);

/// One record a batch.
fn singly() -> ProducerConfig {
    ProducerConfig {
        batch_records: 1,
        linger: LONG,
        ..ProducerConfig::default()
    }
}

async fn send(producer: &Producer, value: &str) -> Delivery {
    producer.send(Record::new(value.to_owned())).await.unwrap()
}

async fn fate(delivery: Delivery) -> Fate {
    delivery.await.unwrap_err().fate
}

/// Polls `future` once and finds it waiting.
async fn assert_waits<F: Future + Unpin>(future: &mut F) {
    assert!(future.now_or_never().is_none());
}

#[tokio::test]
async fn each_record_learns_its_place_whatever_the_order_of_the_answers() {
    let mut fake = Fake::start(1).await;
    let producer = fake.client.producer("t", singly()).await.unwrap();
    let deliveries = [send(&producer, "a").await, send(&producer, "b").await];
    let stream = &mut fake.stream().await;
    let (a, b) = (stream.request().await, stream.request().await);
    assert_eq!(
        (values(&a.batch), values(&b.batch)),
        (vec!["a".into()], vec!["b".into()])
    );
    stream.acknowledge(&b, 11).await;
    stream.acknowledge(&a, 10).await;
    let offsets = join_all(deliveries)
        .await
        .into_iter()
        .map(|d| d.unwrap().offset);
    assert_eq!(offsets.collect::<Vec<_>>(), [Offset(10), Offset(11)]);
    let report = producer.close().await.unwrap();
    let partition = report.partitions[&PartitionId(0)];
    assert_eq!(
        (report.acknowledged, partition.first, partition.last),
        (2, Offset(10), Offset(11))
    );
}

#[tokio::test]
async fn a_batch_goes_when_it_is_full_or_has_lingered_or_is_flushed() {
    let mut fake = Fake::start(1).await;
    let config = ProducerConfig {
        batch_records: 2,
        linger: LONG,
        ..ProducerConfig::default()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    for value in ["1", "2", "3"] {
        send(&producer, value).await;
    }
    let mut stream = fake.stream().await;
    let full = stream.request().await;
    assert_eq!(values(&full.batch), ["1", "2"]);
    let (flushed, rest) = tokio::join!(producer.flush(), async {
        let rest = stream.request().await;
        stream.acknowledge(&full, 0).await;
        stream.acknowledge(&rest, 2).await;
        rest
    });
    assert_eq!(
        (flushed.unwrap().acknowledged, values(&rest.batch)),
        (3, vec!["3".into()])
    );

    let config = ProducerConfig {
        linger: Duration::from_millis(1),
        ..config
    };
    let lingering = fake.client.producer("t", config).await.unwrap();
    send(&lingering, "alone").await;
    assert_eq!(
        values(&fake.stream().await.request().await.batch),
        ["alone"]
    );
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_and_a_large_record_goes_alone() {
    let mut fake = Fake::start(1).await;
    let config = ProducerConfig {
        batch_bytes: 300,
        linger: LONG,
        ..ProducerConfig::default()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    let (small, large) = ("s".repeat(60), "l".repeat(900));
    for value in [&small, &small, &large, &small] {
        send(&producer, value).await;
    }
    let flush = producer.flush();
    let serve = async {
        let mut stream = fake.stream().await;
        let mut sizes = Vec::new();
        for first in [0, 2, 3] {
            let request = stream.request().await;
            sizes.push(
                values(&request.batch)
                    .iter()
                    .map(String::len)
                    .collect::<Vec<_>>(),
            );
            stream.acknowledge(&request, first).await;
        }
        sizes
    };
    let (report, sizes) = tokio::join!(flush, serve);
    assert_eq!(sizes, [vec![60, 60], vec![900], vec![60]]);
    assert_eq!(report.unwrap().acknowledged, 4);
}

#[tokio::test]
async fn keys_decide_the_partition_and_other_records_move_on_with_each_batch() {
    let mut fake = Fake::start(10).await;
    let producer = fake.client.producer("t", singly()).await.unwrap();
    let mut stream = {
        producer
            .send(Record::new("v").with_key("21"))
            .await
            .unwrap();
        fake.stream().await
    };
    assert_eq!(
        stream.request().await.partition,
        (-973_932_308_i32 & i32::MAX) as u32 % 10
    );
    producer
        .send_to(PartitionId(4), Record::new("v").with_key("21"))
        .await
        .unwrap();
    assert_eq!(stream.request().await.partition, 4);
    let mut seen = Vec::new();
    for _ in 0..10 {
        send(&producer, "v").await;
        seen.push(stream.request().await.partition);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    let error = producer
        .send_to(PartitionId(10), Record::new("v"))
        .await
        .unwrap_err();
    let partition = PartitionId(10);
    assert_eq!(
        error,
        SendError::UnknownPartition {
            partition,
            partitions: 10
        }
    );
}

#[tokio::test]
async fn a_refused_batch_is_not_stored_and_the_next_goes_on() {
    let mut fake = Fake::start(1).await;
    let producer = fake.client.producer("t", singly()).await.unwrap();
    let (refused, poisoned, stored) = (
        send(&producer, "a").await,
        send(&producer, "b").await,
        send(&producer, "c").await,
    );
    let stream = &mut fake.stream().await;
    let (a, b, c) = (
        stream.request().await,
        stream.request().await,
        stream.request().await,
    );
    stream
        .refuse(&a, Code::ResourceExhausted, "DISK_FULL")
        .await;
    stream.refuse(&b, Code::Internal, "LOG_POISONED").await;
    stream.acknowledge(&c, 0).await;
    let error = refused.await.unwrap_err();
    assert_eq!(
        (error.fate, error.cause.reason()),
        (Fate::NotStored, Some("DISK_FULL"))
    );
    assert_eq!(fate(poisoned).await, Fate::Unknown);
    assert_eq!(stored.await.unwrap().offset, Offset(0));
    let failed = producer.close().await.unwrap_err();
    assert_eq!(
        (failed.report.acknowledged, failed.report.not_acknowledged),
        (1, 2)
    );
    assert_eq!(failed.failure.cause.reason(), Some("DISK_FULL"));
}

#[tokio::test]
async fn what_a_lost_stream_leaves_open_is_unknown_and_the_next_stream_goes_on() {
    let mut fake = Fake::start(1).await;
    let producer = fake.client.producer("t", singly()).await.unwrap();
    let (answered, open) = (send(&producer, "a").await, send(&producer, "b").await);
    let mut stream = fake.stream().await;
    let (a, _b) = (stream.request().await, stream.request().await);
    stream.acknowledge(&a, 0).await;
    stream
        .fail(Status::unavailable("the machine is gone"))
        .await;
    assert_eq!(answered.await.unwrap().offset, Offset(0));
    let error = open.await.unwrap_err();
    assert_eq!(error.fate, Fate::Unknown);
    assert!(matches!(error.cause, Error::Interrupted { .. }), "{error}");
    let later = send(&producer, "c").await;
    let stream = &mut fake.stream().await;
    let c = stream.request().await;
    assert_eq!(values(&c.batch), ["c"]);
    stream.acknowledge(&c, 5).await;
    assert_eq!(later.await.unwrap().offset, Offset(5));
}

#[tokio::test]
async fn a_halting_producer_sends_nothing_after_a_failure() {
    let mut fake = Fake::start(1).await;
    let config = ProducerConfig {
        halt_on_failure: true,
        in_flight_requests_max: 1,
        batch_records: 1,
        ..ProducerConfig::default()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    let (first, queued) = (send(&producer, "a").await, send(&producer, "b").await);
    let mut stream = fake.stream().await;
    let a = stream.request().await;
    let mut halted = Box::pin(producer.halted());
    assert_waits(&mut halted).await;
    stream
        .refuse(&a, Code::ResourceExhausted, "DISK_FULL")
        .await;
    assert_eq!(halted.await.cause.reason(), Some("DISK_FULL"));
    assert_eq!(fate(first).await, Fate::NotStored);
    let error = queued.await.unwrap_err();
    assert_eq!(
        (error.fate, error.cause.reason()),
        (Fate::NotStored, Some("DISK_FULL"))
    );
    let refused = producer.send(Record::new("c")).await.unwrap_err();
    assert!(refused.to_string().contains("DISK_FULL"), "{refused}");
    assert_eq!(
        producer.close().await.unwrap_err().report.not_acknowledged,
        2
    );
}

#[tokio::test]
async fn dropping_settles_everything_that_is_open() {
    let mut fake = Fake::start(1).await;
    let config = ProducerConfig {
        in_flight_requests_max: 1,
        batch_records: 2,
        ..singly()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    let mut deliveries = Vec::new();
    for value in ["sent", "sent", "queued", "queued", "open"] {
        deliveries.push(send(&producer, value).await);
    }
    let _first = fake.stream().await.request().await;
    drop(producer);
    let fates: Vec<Fate> = join_all(deliveries.into_iter().map(fate)).await;
    assert_eq!(fates[..2], [Fate::Unknown; 2]);
    assert_eq!(fates[2..], [Fate::NotStored; 3]);
}

#[tokio::test]
async fn a_sender_waits_at_the_bound_until_an_answer_makes_room() {
    let mut fake = Fake::start(1).await;
    let config = ProducerConfig {
        in_flight_bytes_max: 300,
        ..singly()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    let value = "x".repeat(100);
    send(&producer, &value).await;
    send(&producer, &value).await;
    let mut third = Box::pin(producer.send(Record::new(value.clone())));
    let mut stream = fake.stream().await;
    let (a, _b) = (stream.request().await, stream.request().await);
    assert_waits(&mut third).await;
    stream.acknowledge(&a, 0).await;
    third.await.unwrap();
}

#[tokio::test]
async fn a_batch_that_holds_the_whole_budget_does_not_linger() {
    let mut fake = Fake::start(1).await;
    let config = ProducerConfig {
        in_flight_bytes_max: 300,
        linger: LONG,
        ..ProducerConfig::default()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    let value = "x".repeat(100);
    let serve = async {
        let mut stream = fake.stream().await;
        let held = stream.request().await;
        stream.acknowledge(&held, 0).await;
        values(&held.batch).len()
    };
    let fill = async {
        for _ in 0..3 {
            send(&producer, &value).await;
        }
    };
    let (held, ()) = tokio::join!(serve, fill);
    assert_eq!(held, 2);
}

#[tokio::test]
async fn a_record_over_the_topics_limit_is_refused_at_once() {
    let fake = Fake::start(1).await;
    let producer = fake
        .client
        .producer("t", ProducerConfig::default())
        .await
        .unwrap();
    let error = producer.send(Record::new(vec![0; 1001])).await.unwrap_err();
    assert_eq!(
        error,
        SendError::RecordTooLarge {
            bytes: 1001,
            max: 1000
        }
    );
    assert!(producer.close().await.is_ok());
}

#[tokio::test]
async fn without_a_server_records_are_not_stored_after_the_timeout() {
    let fake = Fake::start(1).await;
    let config = ProducerConfig {
        delivery_timeout: Duration::from_millis(1),
        ..singly()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    let _client = fake.stop().await;
    let error = send(&producer, "a").await.await.unwrap_err();
    assert_eq!(error.fate, Fate::NotStored, "{error}");
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up() {
    let mut fake = Fake::start(1).await;
    let config = ProducerConfig {
        delivery_timeout: Duration::from_millis(200),
        ..singly()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    let delivery = send(&producer, "a").await;
    let mut stream = fake.stream().await;
    let _request = stream.request().await;
    assert_eq!(fate(delivery).await, Fate::Unknown);
}

#[tokio::test]
async fn compressed_batches_hold_the_same_records() {
    let mut fake = Fake::start(1).await;
    let config = ProducerConfig {
        compression: trilith_client::Compression::Lz4,
        batch_records: 100,
        ..ProducerConfig::default()
    };
    let producer = fake.client.producer("t", config).await.unwrap();
    for _ in 0..100 {
        send(&producer, "the same words again and again").await;
    }
    let request = fake.stream().await.request().await;
    assert_eq!(values(&request.batch).len(), 100);
    assert!(request.batch.len() < 1000, "{} bytes", request.batch.len());
}
