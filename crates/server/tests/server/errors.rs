//! Every reason that the wire knows, and how it comes about.

use std::collections::BTreeSet;

use trilith_batch::Compression;
use trilith_proto::v1::{ConsumeRequest, ProduceRequest, TopicSettings};
use trilith_server::Reason;

use crate::fixture::{
    Fixture, batch, batch_with, damage_segment, produce_batch, reason, sim_server, start,
};

async fn refused(server: &Fixture, request: ProduceRequest) -> String {
    reason(&server.log().await.produce(request).await.unwrap_err())
}

#[tokio::test]
async fn batches_that_are_not_what_they_claim() {
    let server = start().await;
    server.create("t", 1).await;
    let good = batch(3, 50);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = to;
        produce_batch("t", bytes.into())
    };
    // The last byte, the compression bits of the attributes, the magic, the length.
    assert_eq!(
        refused(&server, changed(good.len() - 1, 0xff)).await,
        "CHECKSUM_MISMATCH"
    );
    assert_eq!(refused(&server, changed(22, 4)).await, "UNSUPPORTED_CODEC");
    assert_eq!(refused(&server, changed(16, 1)).await, "MALFORMED_BATCH");
    assert_eq!(refused(&server, changed(11, 0)).await, "MALFORMED_BATCH");
    let short = produce_batch("t", good.slice(..20));
    assert_eq!(refused(&server, short).await, "MALFORMED_BATCH");
}

#[tokio::test]
async fn records_larger_than_the_topic_takes() {
    let server = start().await;
    let settings = TopicSettings {
        record_bytes_max: Some(1000),
        ..TopicSettings::default()
    };
    server.create_with("t", settings).await;
    let large = produce_batch("t", batch(1, 1001));
    assert_eq!(refused(&server, large).await, "RECORD_TOO_LARGE");
    let compressed = batch_with(Compression::Lz4, 1, 1001);
    assert_eq!(
        refused(&server, produce_batch("t", compressed)).await,
        "RECORD_TOO_LARGE"
    );
    let plain = ProduceRequest {
        topic: "t".into(),
        records: vec![crate::fixture::record(&"x".repeat(1001))],
        ..ProduceRequest::default()
    };
    assert_eq!(refused(&server, plain).await, "RECORD_TOO_LARGE");
    let answer = server
        .post(
            "/v1/topics/t/records",
            "application/octet-stream",
            vec![0; 1001],
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (413, "RECORD_TOO_LARGE")
    );
    let fits = produce_batch("t", batch(1, 1000));
    server.log().await.produce(fits).await.unwrap();
}

#[tokio::test]
async fn messages_larger_than_any_batch() {
    let server = start().await;
    server.create("t", 1).await;
    let huge = produce_batch("t", vec![0; 18 << 20].into());
    assert_eq!(refused(&server, huge).await, "BATCH_TOO_LARGE");
}

/// What reached the disk is not known then, and it is never tried again: the pages may be marked
/// clean. The process is to end.
#[tokio::test]
async fn a_failed_write_to_the_journal_is_final() {
    let (server, disk) = sim_server().await;
    server.create("t", 1).await;
    server.append("t", &["a"]).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    server.member().on_fatal(move |why| {
        if let Some(tell) = tell.lock().unwrap().take() {
            tell.send(why.to_owned()).unwrap();
        }
    });
    disk.fail_durable_writes();
    assert_eq!(
        refused(&server, produce_batch("t", batch(1, 1))).await,
        "OUTCOME_UNKNOWN"
    );
    assert!(!told.await.unwrap().is_empty());
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_serves_what_is_there() {
    let (server, disk) = sim_server().await;
    server.create("t", 1).await;
    server.append("t", &["a"]).await;
    disk.fill();
    let large = produce_batch("t", batch(1, 500_000));
    assert_eq!(refused(&server, large.clone()).await, "DISK_FULL");
    assert_eq!(
        server
            .get("/v1/topics/t/partitions/0/records")
            .await
            .lines()
            .len(),
        1
    );
    disk.heal();
    while let Err(status) = server.log().await.produce(large.clone()).await {
        assert_eq!(reason(&status), "DISK_FULL");
    }
}

#[tokio::test]
async fn damage_on_disk_is_told_and_the_rest_is_served() {
    let server = start().await;
    server.create("t", 1).await;
    for value in ["first record", "second record", "third record"] {
        server.append("t", &[value]).await;
    }
    damage_segment(server.data(), b"second record");
    let mut log = server.log().await;
    let request = ConsumeRequest {
        topic: "t".into(),
        ..ConsumeRequest::default()
    };
    let mut responses = log.consume(request).await.unwrap().into_inner();
    let mut before = 0;
    let status = loop {
        match responses.message().await {
            Ok(response) => before += response.expect("an error comes first").records.len(),
            Err(status) => break status,
        }
    };
    assert_eq!((before, status.code()), (1, tonic::Code::DataLoss));
    assert_eq!(reason(&status), "DATA_DAMAGED");
    let behind = server
        .get("/v1/topics/t/partitions/0/records?from=2")
        .await
        .lines();
    assert_eq!(
        (behind.len(), &behind[0]["value"]),
        (1, &"third record".into())
    );
    let lines = server
        .get("/v1/topics/t/partitions/0/records")
        .await
        .lines();
    assert_eq!(lines[1]["error"]["reason"], "DATA_DAMAGED");
    let described = server.get("/v1/topics/t").await.json();
    assert_eq!(described["partitions"][0]["damaged_ranges"], 1);
    let alarms = server.status().await.this.unwrap().alarms;
    assert!(alarms[0].contains("1 range of entries"), "{alarms:?}");
}

#[tokio::test]
async fn a_partition_that_cannot_be_opened_is_out_of_service_and_the_others_are_not() {
    let mut server = start().await;
    server.create("broken", 1).await;
    server.create("whole", 1).await;
    let id = server.get("/v1/topics/broken").await.json()["id"].to_string();
    server.append("broken", &["a"]).await;
    server.append("whole", &["a"]).await;
    server.begin_shutdown();
    let dir = server.ended_with_dir().await;
    let group = dir.path().join("groups").join(format!("{id}.0"));
    assert!(break_manifests(&group) > 0);
    let server = Fixture::over(dir).await;
    let request = produce_batch("broken", batch(1, 1));
    assert_eq!(refused(&server, request).await, "PARTITION_UNAVAILABLE");
    let answer = server.get("/v1/topics/broken/partitions/0/records").await;
    assert_eq!(answer.reason(), "PARTITION_UNAVAILABLE");
    // It was shown as good.
    let described = server.get("/v1/topics/broken").await.json();
    let why = described["partitions"][0]["unavailable"].as_str().unwrap();
    assert!(why.contains("manifest"), "{why}");
    let described = server.get("/v1/topics/whole").await.json();
    assert!(described["partitions"][0]["unavailable"].is_null());
    let status = server.status().await;
    let alarms = status.this.unwrap().alarms;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(
        alarms[0].contains("partition 0 of topic broken"),
        "{alarms:?}"
    );
    let whole = server.get("/v1/topics/whole/partitions/0/records").await;
    assert_eq!(whole.lines().len(), 1);
}

/// Overwrites every manifest below `dir`; how many there were.
fn break_manifests(dir: &std::path::Path) -> usize {
    let mut broken = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            broken += break_manifests(&path);
        } else if path.file_stem().is_some_and(|name| name == "manifest") {
            std::fs::write(path, b"not a manifest").unwrap();
            broken += 1;
        }
    }
    broken
}

/// The names are a promise: changing one breaks clients.
#[test]
fn the_reasons_are_these() {
    let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let promised = [
        "NOT_LEADER",
        "NO_QUORUM",
        "OUTCOME_UNKNOWN",
        "NOT_FOUNDED",
        "CANNOT_FOUND",
        "NOT_ENOUGH_NODES",
        "OUT_OF_SEQUENCE",
        "STALE_EPOCH",
        "UNKNOWN_PRODUCER",
        "UNSUPPORTED_FORMAT",
        "UNKNOWN_TOPIC",
        "TOPIC_EXISTS",
        "INVALID_TOPIC_NAME",
        "UNKNOWN_PARTITION",
        "OFFSET_OUT_OF_RANGE",
        "RECORD_TOO_LARGE",
        "BATCH_TOO_LARGE",
        "MALFORMED_BATCH",
        "UNSUPPORTED_CODEC",
        "CHECKSUM_MISMATCH",
        "INVALID_SETTING",
        "INVALID_ARGUMENT",
        "TOO_MANY_BYTES_IN_FLIGHT",
        "DISK_FULL",
        "DATA_DAMAGED",
        "LOG_POISONED",
        "SHUTTING_DOWN",
        "DEADLINE_EXCEEDED",
        "FOREIGN_ORIGIN",
        "FOREIGN_HOST",
    ];
    assert!(promised.iter().all(|name| names.contains(name)));
}
