//! What a consumer gives out of the batches that it is sent.

use futures::{StreamExt, TryStreamExt};
use tonic::Status;
use trilith_batch::{BatchBuilder, Compression, Record, set_base_offset};
use trilith_client::{
    Bytes, ConsumeOptions, Consumer, Error, Offset, PartitionId, Position, TimestampMs,
};
use trilith_proto::v1;

use crate::fake::{Fake, Script};

/// A stored batch: offsets from `first` on, timestamps as given, the offset as value.
fn batch(first: u64, timestamps: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for (offset, &timestamp) in (first..).zip(timestamps) {
        let value = Some(offset.to_string().into());
        let timestamp = TimestampMs(timestamp);
        builder
            .push(&Record {
                value,
                timestamp,
                ..Record::default()
            })
            .unwrap();
    }
    let mut bytes = builder.build().unwrap().to_vec();
    set_base_offset(&mut bytes, Offset(first)).unwrap();
    bytes.into()
}

fn response(batches: &[Bytes], next: u64) -> Result<v1::ConsumeResponse, Status> {
    let (records, batches) = (Vec::new(), batches.to_vec());
    Ok(v1::ConsumeResponse {
        records,
        batches,
        next_offset: next,
        end_offset: next,
    })
}

async fn open(fake: &Fake, script: Script, ends: bool, options: ConsumeOptions) -> Consumer {
    fake.script(script, ends);
    fake.client
        .consume("t", PartitionId(0), options)
        .await
        .unwrap()
}

fn from(from: Position) -> ConsumeOptions {
    ConsumeOptions {
        from,
        ..ConsumeOptions::default()
    }
}

async fn offsets(consumer: &mut Consumer) -> Vec<u64> {
    consumer
        .map_ok(|record| record.offset.get())
        .try_collect()
        .await
        .unwrap()
}

#[tokio::test]
async fn records_come_in_order_from_the_offset_asked_for() {
    let fake = Fake::start(1).await;
    let script = || {
        vec![
            response(&[batch(3, &[0; 4]), batch(7, &[0; 2])], 9),
            response(&[batch(9, &[0])], 10),
        ]
    };
    let mut consumer = open(&fake, script(), true, from(Position::Offset(Offset(5)))).await;
    assert_eq!(consumer.position(), Offset(5));
    assert_eq!(offsets(&mut consumer).await, [5, 6, 7, 8, 9]);
    assert_eq!(
        (consumer.position(), consumer.end()),
        (Offset(10), Offset(10))
    );
    let mut consumer = open(&fake, script(), true, ConsumeOptions::default()).await;
    assert_eq!(offsets(&mut consumer).await, [3, 4, 5, 6, 7, 8, 9]);
    assert!(
        fake.consumed()
            .iter()
            .all(|request| request.batches && request.topic == "t")
    );
}

#[tokio::test]
async fn a_limit_ends_the_stream_even_when_it_follows() {
    let fake = Fake::start(1).await;
    let options = ConsumeOptions {
        follow: true,
        limit: Some(2),
        ..from(Position::Start)
    };
    let script = vec![response(&[batch(0, &[0; 4])], 4)];
    let mut consumer = open(&fake, script.clone(), false, options).await;
    assert_eq!(offsets(&mut consumer).await, [0, 1]);
    assert_eq!(consumer.position(), Offset(2));
    let none = ConsumeOptions {
        limit: Some(0),
        ..options
    };
    assert!(
        offsets(&mut open(&fake, script, false, none).await)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_time_starts_at_the_first_record_at_or_after_it_and_keeps_earlier_ones_behind() {
    let fake = Fake::start(1).await;
    let script = vec![response(&[batch(0, &[10, 30, 20, 40])], 4)];
    let mut consumer = open(&fake, script, true, from(Position::Time(TimestampMs(25)))).await;
    assert_eq!(offsets(&mut consumer).await, [1, 2, 3]);
}

#[tokio::test]
async fn an_error_ends_the_stream_and_the_position_says_where() {
    let fake = Fake::start(1).await;
    let script = vec![
        response(&[batch(0, &[0; 2])], 2),
        Err(Status::data_loss("bad sector")),
    ];
    let mut consumer = open(&fake, script, true, ConsumeOptions::default()).await;
    assert!(consumer.next().await.unwrap().is_ok() && consumer.next().await.unwrap().is_ok());
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Server(_)), "{error}");
    assert!(consumer.next().await.is_none());
    assert_eq!(consumer.position(), Offset(2));
}

#[tokio::test]
async fn a_batch_damaged_on_its_way_is_an_error_and_not_a_record() {
    let fake = Fake::start(1).await;
    let mut damaged = batch(0, &[0; 2]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let script = vec![response(&[damaged.into()], 2)];
    let mut consumer = open(&fake, script, true, ConsumeOptions::default()).await;
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { what } if what.contains("checksum")),
        "{error}"
    );
    assert!(consumer.next().await.is_none());
    assert_eq!(consumer.position(), Offset(0));
}
