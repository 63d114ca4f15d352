//! `/metrics` and its table.

use std::collections::BTreeSet;

use crate::fixture::start;

const TABLE: &str = include_str!("../../../../docs/METRICS.md");

#[tokio::test]
async fn the_table_names_every_metric_and_no_other() {
    let server = start().await;
    server.create("t", 1).await;
    server.append("t", &["a"]).await;
    let text = server.get("/metrics").await;
    let served: BTreeSet<&str> = text
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|rest| rest.split(' ').next().unwrap())
        .collect();
    let told: BTreeSet<&str> = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|rest| rest.split(['`', '{']).next().unwrap())
        .collect();
    assert_eq!(served, told);
}

#[tokio::test]
async fn requests_records_and_errors_are_counted() {
    let server = start().await;
    server.create("t", 1).await;
    server.append("t", &["a", "b"]).await;
    server.get("/v1/topics/t/partitions/0/records").await;
    server.get("/v1/topics/none").await;
    server.get("/no/such/path").await;
    let answer = server.get("/metrics").await;
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    for line in [
        "trilith_requests_total{route=\"/trilith.v1.Log/Produce\",code=\"0\"} 1",
        "trilith_requests_total{route=\"GET /v1/topics/{topic}\",code=\"404\"} 1",
        "trilith_requests_total{route=\"other\",code=\"404\"} 1",
        "trilith_request_seconds_count{route=\"/trilith.v1.Log/Produce\"} 1",
        "trilith_errors_total{reason=\"UNKNOWN_TOPIC\"} 1",
        "trilith_produce_records_total 2",
        "trilith_produce_seconds_count 1",
        "trilith_consume_records_total 2",
        "trilith_in_flight_bytes 0",
    ] {
        assert!(
            answer.text().lines().any(|l| l == line),
            "{line}\n{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn replicas_have_samples_of_their_own_up_to_a_limit_and_the_journal_its_times() {
    let server = start().await;
    server.create("t", 2).await;
    server.append("t", &["a", "b"]).await;
    let lines = |text: &str, start: &str| text.lines().filter(|l| l.starts_with(start)).count();
    let answer = server.get("/metrics").await;
    let text = answer.text();
    assert_eq!(lines(text, "trilith_replica_leads{topic=\"t\""), 2);
    let ends: u64 = text
        .lines()
        .filter_map(|line| line.strip_prefix("trilith_replica_end_offset{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(ends, 2, "{text}");
    assert!(text.contains("trilith_replicas_left_out 0\n"));
    assert_eq!(lines(text, "trilith_journal_sync_seconds_bucket"), 16);
    assert!(!text.contains("trilith_journal_sync_seconds_count 0\n"));
    server.create("many", 300).await;
    let answer = server.get("/metrics").await;
    let text = answer.text();
    assert_eq!(lines(text, "trilith_replica_leads{"), 256);
    assert!(text.contains("trilith_replicas_left_out 46\n"), "{text}");
}
