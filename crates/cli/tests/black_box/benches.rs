//! `trilith bench`: short runs that show that it counts.

use serde_json::Value;

use crate::support::{Server, data_dir};

fn bench(server: &Server, arguments: &[&str]) -> Value {
    let all = [
        &["bench"],
        arguments,
        &["--seconds", "1", "--warmup", "0", "--json"],
    ]
    .concat();
    serde_json::from_str(&server.ok(&all)).unwrap()
}

fn assert_counts(outcome: &Value) {
    assert!(outcome["records"].as_u64().unwrap() > 0, "{outcome}");
    assert!(
        outcome["bytes_per_second"].as_f64().unwrap() > 0.0,
        "{outcome}"
    );
    let latency = &outcome["latency_us"];
    assert!(latency["count"].as_u64().unwrap() > 0, "{outcome}");
    assert!(
        latency["p50"].as_f64() <= latency["p99"].as_f64(),
        "{outcome}"
    );
    assert!(
        latency["p99"].as_f64() <= latency["max"].as_f64(),
        "{outcome}"
    );
    assert_eq!(outcome["failures"], 0);
}

#[test]
fn producing_is_measured_in_both_loops_and_leaves_no_topic() {
    let (dir, data) = data_dir();
    let server = Server::start(&data);
    let baseline = dir.path().join("baseline");
    let closed = bench(
        &server,
        &[
            "produce",
            "--clients",
            "2",
            "--in-flight",
            "3",
            "--batch",
            "10",
            "--partitions",
            "2",
            "--baseline-dir",
            baseline.to_str().unwrap(),
            "--baseline-bytes",
            "1MiB",
        ],
    );
    assert_counts(&closed);
    assert!(closed["ratio_to_baseline"].as_f64().unwrap() > 0.0);
    let open = bench(
        &server,
        &["produce", "--rate", "100", "--batch", "1", "--clients", "3"],
    );
    assert_counts(&open);
    // Every request is due within the run, so each one's latency is counted.
    assert_eq!(open["latency_us"]["count"], 100);
    assert_eq!(server.ok(&["topic", "list", "--output", "json"]), "[]\n");
}

#[test]
fn consuming_is_measured_over_what_is_there_and_as_it_comes() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    assert_counts(&bench(
        &server,
        &["consume", "--clients", "2", "--fill", "1MiB"],
    ));
    assert_counts(&bench(
        &server,
        &["consume", "--rate", "100", "--size", "10B"],
    ));
    server.ok(&["topic", "create", "kept"]);
    server.feed(&["produce", "kept"], b"record\n");
    assert_counts(&bench(&server, &["consume", "--topic", "kept"]));
    assert!(server.ok(&["topic", "list"]).contains("kept"));
}

#[test]
fn a_request_that_no_batch_can_hold_is_refused() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    let output = crate::support::run(
        server.command(["bench", "produce", "--size", "1MiB", "--batch", "100"]),
        b"",
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("smaller --batch")
    );
}
