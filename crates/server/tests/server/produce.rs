//! `Log.Produce`.

use trilith_batch::{Compression, partition_for_key};
use trilith_proto::v1::{ConsumeRequest, Durability, ProduceRequest, Record, TopicSettings};

use crate::fixture::{batch, batch_with, produce_batch, reason, record, start};

#[tokio::test]
async fn records_are_acknowledged_with_their_positions() {
    let server = start().await;
    server.create("t", 1).await;
    let first = server.append("t", &["a", "b"]).await;
    let second = server.append("t", &["c"]).await;
    assert_eq!(first.appended.len(), 1);
    assert_eq!(first.appended[0].durability(), Durability::Synced);
    assert!(first.appended[0].append_time_ms > 0);
    let offsets: Vec<u64> = first
        .positions
        .iter()
        .chain(&second.positions)
        .map(|p| p.offset)
        .collect();
    assert_eq!(offsets, [0, 1, 2]);
}

#[tokio::test]
async fn keys_decide_the_partition_and_keyless_records_stay_together() {
    let server = start().await;
    server.create("t", 7).await;
    let keys = ["a", "b", "c", "stone", "lintel", "a"];
    let mut records: Vec<Record> = keys
        .iter()
        .map(|key| Record {
            key: Some((*key).into()),
            ..record("v")
        })
        .collect();
    records.extend([record("x"), record("y")]);
    let request = ProduceRequest {
        topic: "t".into(),
        records,
        ..ProduceRequest::default()
    };
    let response = server
        .log()
        .await
        .produce(request)
        .await
        .unwrap()
        .into_inner();
    for (key, position) in keys.iter().zip(&response.positions) {
        assert_eq!(
            position.partition,
            partition_for_key(key.as_bytes(), 7).get()
        );
    }
    assert_eq!(
        response.positions[6].partition,
        response.positions[7].partition
    );
    let total: u64 = response.appended.iter().map(|a| a.records).sum();
    assert_eq!(total, 8);
}

#[tokio::test]
async fn keyless_requests_go_round_the_partitions() {
    let server = start().await;
    server.create("t", 3).await;
    let mut partitions = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let records = vec![record("v")];
        let request = ProduceRequest {
            topic: "t".into(),
            records,
            ..ProduceRequest::default()
        };
        let response = server
            .log()
            .await
            .produce(request)
            .await
            .unwrap()
            .into_inner();
        partitions.insert(response.positions[0].partition);
    }
    assert_eq!(partitions.len(), 3);
}

#[tokio::test]
async fn a_batch_is_stored_as_it_came_and_served_as_it_is_stored() {
    let server = start().await;
    server.create("t", 1).await;
    let sent = [
        batch(3, 10),
        batch_with(Compression::Lz4, 200, 500),
        batch(1, 0),
    ];
    let mut log = server.log().await;
    for batch in &sent {
        let response = log
            .produce(produce_batch("t", batch.clone()))
            .await
            .unwrap()
            .into_inner();
        assert!(response.positions.is_empty());
    }
    let request = ConsumeRequest {
        topic: "t".into(),
        batches: true,
        ..ConsumeRequest::default()
    };
    let mut responses = log.consume(request).await.unwrap().into_inner();
    let mut got = Vec::new();
    while let Some(response) = responses.message().await.unwrap() {
        got.extend(response.batches);
    }
    assert_eq!(got.len(), sent.len());
    for (got, sent) in got.iter().zip(&sent) {
        // All but what the server sets: the base offset and the leader epoch.
        assert_eq!((&got[8..12], &got[16..]), (&sent[8..12], &sent[16..]));
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_says_why() {
    let server = start().await;
    server.create("t", 2).await;
    let mut log = server.log().await;
    let base = ProduceRequest {
        topic: "t".into(),
        ..ProduceRequest::default()
    };
    let cases = [
        (base.clone(), "INVALID_ARGUMENT"),
        (
            ProduceRequest {
                batch: batch(1, 1),
                ..base.clone()
            },
            "INVALID_ARGUMENT",
        ),
        (
            ProduceRequest {
                batch: batch(1, 1),
                records: vec![record("v")],
                partition: Some(0),
                ..base.clone()
            },
            "INVALID_ARGUMENT",
        ),
        (
            ProduceRequest {
                records: vec![record("v")],
                partition: Some(2),
                ..base.clone()
            },
            "UNKNOWN_PARTITION",
        ),
        (
            ProduceRequest {
                topic: "none".into(),
                records: vec![record("v")],
                ..base
            },
            "UNKNOWN_TOPIC",
        ),
    ];
    for (request, expected) in cases {
        let status = log.produce(request).await.unwrap_err();
        assert_eq!(reason(&status), expected, "{status:?}");
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn headers_timestamps_null_and_empty_survive_the_way_there_and_back() {
    let server = start().await;
    server.create("t", 1).await;
    let header = |name: &str, value: Option<&'static [u8]>| trilith_proto::v1::Header {
        name: name.into(),
        value: value.map(Into::into),
    };
    let records = vec![
        Record {
            key: Some("".into()),
            value: None,
            headers: vec![header("a", Some(b"\xff")), header("a", None)],
            timestamp_ms: Some(-5),
            offset: 99,
        },
        Record {
            key: None,
            value: Some("".into()),
            timestamp_ms: Some(7),
            ..Record::default()
        },
    ];
    let request = ProduceRequest {
        topic: "t".into(),
        records: records.clone(),
        partition: Some(0),
        ..ProduceRequest::default()
    };
    let mut log = server.log().await;
    log.produce(request).await.unwrap();
    let request = ConsumeRequest {
        topic: "t".into(),
        ..ConsumeRequest::default()
    };
    let mut responses = log.consume(request).await.unwrap().into_inner();
    let response = responses.message().await.unwrap().unwrap();
    let mut expected = records;
    (expected[0].offset, expected[1].offset) = (0, 1);
    assert_eq!(response.records, expected);
    assert_eq!((response.next_offset, response.end_offset), (2, 2));
}

#[tokio::test]
async fn records_that_do_not_fit_one_batch_go_into_two() {
    let server = start().await;
    let settings = TopicSettings {
        record_bytes_max: Some(16 << 20),
        ..TopicSettings::default()
    };
    server.create_with("t", settings).await;
    let large = "x".repeat((8 << 20) + (40 << 10));
    let records = vec![record(&large), record(&large), record("small")];
    let request = ProduceRequest {
        topic: "t".into(),
        records,
        ..ProduceRequest::default()
    };
    let response = server
        .log()
        .await
        .produce(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(response.appended.len(), 2);
    let offsets: Vec<u64> = response.positions.iter().map(|p| p.offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
}
