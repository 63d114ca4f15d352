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
