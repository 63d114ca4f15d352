//! `Log.Consume` and `Log.ListOffsets`.

use tonic::Streaming;
use trilith_proto::v1::{
    ConsumeRequest, ConsumeResponse, Edge, ListOffsetsRequest, Position, ProduceRequest, Record,
    position::At,
};

use crate::fixture::{Fixture, batch, detail, produce_batch, reason, record, start};

fn from(at: At) -> Option<Position> {
    Some(Position { at: Some(at) })
}

fn request() -> ConsumeRequest {
    ConsumeRequest {
        topic: "t".into(),
        ..ConsumeRequest::default()
    }
}

async fn values(mut responses: Streaming<ConsumeResponse>) -> Vec<String> {
    let mut values = Vec::new();
    while let Some(response) = responses.message().await.unwrap() {
        for record in response.records {
            values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

async fn consume(server: &Fixture, request: ConsumeRequest) -> Vec<String> {
    values(
        server
            .log()
            .await
            .consume(request)
            .await
            .unwrap()
            .into_inner(),
    )
    .await
}

async fn with_records() -> Fixture {
    let server = start().await;
    server.create("t", 2).await;
    server.append("t", &["a", "b", "c"]).await;
    server.append("t", &["d", "e"]).await;
    server
}

#[tokio::test]
async fn a_bounded_reader_starts_where_it_is_told_and_ends_at_the_end() {
    let server = with_records().await;
    for (at, expected) in [
        (At::Edge(Edge::Start.into()), "abcde"),
        (At::Edge(Edge::End.into()), ""),
        (At::Offset(0), "abcde"),
        (At::Offset(1), "bcde"),
        (At::Offset(4), "e"),
        (At::Offset(5), ""),
    ] {
        let values = consume(
            &server,
            ConsumeRequest {
                from: from(at),
                ..request()
            },
        )
        .await;
        assert_eq!(values.concat(), expected, "{at:?}");
    }
    assert_eq!(consume(&server, request()).await.concat(), "abcde");
    let other = ConsumeRequest {
        partition: 1,
        ..request()
    };
    assert!(consume(&server, other).await.is_empty());
}

#[tokio::test]
async fn a_time_finds_the_first_record_at_or_after_it() {
    let server = start().await;
    server.create("t", 1).await;
    let mut log = server.log().await;
    for time in [100, 300, 200] {
        let record = Record {
            timestamp_ms: Some(time),
            ..record(&time.to_string())
        };
        let request = ProduceRequest {
            topic: "t".into(),
            partition: Some(0),
            records: vec![record],
            ..ProduceRequest::default()
        };
        log.produce(request).await.unwrap();
    }
    for (time, expected) in [
        (50, "100300200"),
        (100, "100300200"),
        (101, "300200"),
        (301, ""),
    ] {
        let request = ConsumeRequest {
            from: from(At::TimestampMs(time)),
            ..request()
        };
        assert_eq!(consume(&server, request).await.concat(), expected, "{time}");
    }
}

#[tokio::test]
async fn no_more_records_come_than_were_asked_for() {
    let server = with_records().await;
    for most in 1..=6 {
        let request = ConsumeRequest {
            max_records: most,
            from: from(At::Offset(1)),
            ..request()
        };
        let got = consume(&server, request).await.concat();
        assert_eq!(got, "bcde"[..4.min(most as usize)]);
    }
}

#[tokio::test]
async fn whole_batches_are_counted_from_the_position_asked_for() {
    let server = with_records().await;
    let mut log = server.log().await;
    for (offset, most, batches, next) in [(1, 2, 1, 3), (1, 3, 2, 5), (4, 9, 1, 5), (2, 0, 2, 5)] {
        let request = ConsumeRequest {
            batches: true,
            from: from(At::Offset(offset)),
            max_records: most,
            ..request()
        };
        let mut responses = log.consume(request).await.unwrap().into_inner();
        let (mut got, mut last) = (0, 0);
        while let Some(response) = responses.message().await.unwrap() {
            got += response.batches.len();
            last = response.next_offset;
        }
        assert_eq!(
            (got, last),
            (batches, next),
            "from {offset}, at most {most}"
        );
    }
}

#[tokio::test]
async fn responses_are_as_large_as_asked_for_or_one_batch() {
    let server = start().await;
    server.create("t", 1).await;
    let mut log = server.log().await;
    for _ in 0..10 {
        log.produce(produce_batch("t", batch(10, 1000)))
            .await
            .unwrap();
    }
    for batches in [true, false] {
        let request = ConsumeRequest {
            batches,
            max_response_bytes: 25_000,
            ..request()
        };
        let mut responses = log.consume(request).await.unwrap().into_inner();
        let (mut records, mut answers) = (0, 0);
        while let Some(response) = responses.message().await.unwrap() {
            let bytes: usize = response.batches.iter().map(|b| b.len()).sum::<usize>()
                + response
                    .records
                    .iter()
                    .map(|r| r.value.as_ref().unwrap().len())
                    .sum::<usize>();
            assert!(bytes <= 26_000, "{bytes}");
            records += response.batches.len() * 10 + response.records.len();
            answers += 1;
        }
        assert_eq!(records, 100);
        assert!(answers >= 4);
    }
}

#[tokio::test]
async fn a_follower_gets_what_is_appended_later() {
    let server = with_records().await;
    let request = ConsumeRequest {
        follow: true,
        from: from(At::Offset(4)),
        max_records: 3,
        ..request()
    };
    let responses = server
        .log()
        .await
        .consume(request)
        .await
        .unwrap()
        .into_inner();
    let reading = tokio::spawn(values(responses));
    server.append("t", &["f"]).await;
    server.append("t", &["g", "h"]).await;
    assert_eq!(reading.await.unwrap().concat(), "efg");
}

#[tokio::test]
async fn a_follower_whose_topic_goes_is_told() {
    let server = with_records().await;
    let request = ConsumeRequest {
        follow: true,
        from: from(At::Edge(Edge::End.into())),
        ..request()
    };
    let mut responses = server
        .log()
        .await
        .consume(request)
        .await
        .unwrap()
        .into_inner();
    let delete = trilith_proto::v1::DeleteTopicRequest { name: "t".into() };
    let start = responses.message().await.unwrap().unwrap();
    assert!(start.records.is_empty() && start.next_offset == start.end_offset);
    server.topics().await.delete_topic(delete).await.unwrap();
    let status = responses.message().await.unwrap_err();
    assert_eq!(reason(&status), "UNKNOWN_TOPIC");
}

#[tokio::test]
async fn positions_out_of_range_name_the_range() {
    let server = with_records().await;
    let request = ConsumeRequest {
        from: from(At::Offset(6)),
        ..request()
    };
    let status = server.log().await.consume(request).await.unwrap_err();
    assert_eq!(reason(&status), "OFFSET_OUT_OF_RANGE");
    assert_eq!(
        (detail(&status, "earliest"), detail(&status, "end")),
        ("0".into(), "5".into())
    );
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let server = with_records().await;
    let mut log = server.log().await;
    for (request, expected) in [
        (
            ConsumeRequest {
                topic: "none".into(),
                ..request()
            },
            "UNKNOWN_TOPIC",
        ),
        (
            ConsumeRequest {
                partition: 2,
                ..request()
            },
            "UNKNOWN_PARTITION",
        ),
        (
            ConsumeRequest {
                from: from(At::Edge(9)),
                ..request()
            },
            "INVALID_ARGUMENT",
        ),
    ] {
        let status = log.consume(request).await.unwrap_err();
        assert_eq!(reason(&status), expected);
    }
}

#[tokio::test]
async fn offsets_are_listed_for_all_partitions_or_some() {
    let server = with_records().await;
    let mut log = server.log().await;
    let request = ListOffsetsRequest {
        topic: "t".into(),
        ..ListOffsetsRequest::default()
    };
    let all = log
        .list_offsets(request.clone())
        .await
        .unwrap()
        .into_inner()
        .partitions;
    let ends: Vec<_> = all
        .iter()
        .map(|p| (p.partition, p.start_offset, p.end_offset))
        .collect();
    assert_eq!(ends, [(0, 0, 5), (1, 0, 0)]);
    assert!(all.iter().all(|p| p.offset_at_time.is_none()));
    let some = ListOffsetsRequest {
        partitions: vec![1],
        timestamp_ms: Some(0),
        ..request.clone()
    };
    let some = log
        .list_offsets(some)
        .await
        .unwrap()
        .into_inner()
        .partitions;
    assert_eq!((some.len(), some[0].offset_at_time), (1, Some(0)));
    let none = ListOffsetsRequest {
        partitions: vec![2],
        ..request
    };
    assert_eq!(
        reason(&log.list_offsets(none).await.unwrap_err()),
        "UNKNOWN_PARTITION"
    );
}
