//! Topics, from the making to the deleting.

use serde_json::Value;

use crate::support::{Server, data_dir};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_topic_is_made_shown_changed_and_deleted() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    let made = server.ok(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "2",
        "--retention-age",
        "7d",
        "--retention-bytes",
        "1GiB",
        "--segment-bytes",
        "1MiB",
        "--output",
        "json",
    ]);
    let made = json(&made);
    assert_eq!(made["settings"]["partitions"], 2);
    assert_eq!(made["settings"]["retention_ms"], 7 * 86_400_000_u64);
    let listed = json(&server.ok(&["topic", "list", "--output", "json"]));
    assert_eq!(listed, Value::Array(vec![made.clone()]));
    assert!(server.ok(&["topic", "list"]).contains("orders"));

    let altered = server.ok(&[
        "topic",
        "alter",
        "orders",
        "--partitions",
        "3",
        "--output",
        "json",
    ]);
    let altered = json(&altered);
    assert_eq!(altered["settings"]["partitions"], 3);
    assert_eq!(altered["settings"]["retention_bytes"], 1 << 30);
    server.feed(&["produce", "orders", "--partition", "2"], b"x\ny\n");
    let described = json(&server.ok(&["topic", "describe", "orders", "--output", "json"]));
    assert_eq!(described["partitions"][2]["end_offset"], 2);
    assert!(
        server
            .ok(&["topic", "describe", "orders"])
            .contains("3 partitions, keeps 1 GiB")
    );

    server.ok(&["topic", "delete", "orders"]);
    assert_eq!(
        json(&server.ok(&["topic", "list", "--output", "json"])),
        Value::Array(Vec::new())
    );
    let again = json(&server.ok(&["topic", "create", "orders", "--output", "json"]));
    assert_ne!(again["id"], made["id"]);
    assert_eq!(server.ok(&["consume", "orders"]), "");
}

#[test]
fn refusals_say_what_is_wrong_and_what_to_do() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let cases: [(&[&str], &str); 9] = [
        (&["topic", "create", "t"], "t"),
        (&["topic", "create", "__own"], "reserved"),
        (&["topic", "create", "a/b"], "a-z"),
        (
            &["topic", "alter", "t", "--segment-bytes", "1"],
            "--segment-bytes is 1B, but must lie between 16KiB and 4GiB",
        ),
        (
            &["topic", "create", "u", "--segment-age", "1ms"],
            "--segment-age is 1ms, but must lie between 100ms and",
        ),
        (
            &["topic", "create", "u", "--record-bytes-max", "16777217"],
            "--record-bytes-max is 16777217B, but must lie between 1B and 16MiB",
        ),
        (
            &["topic", "create", "u", "--partitions", "0"],
            "--partitions is 0, but must lie between 1 and 10000",
        ),
        (&["consume", "nope"], "trilith topic list"),
        (&["produce", "t", "--partition", "9"], "numbered from 0"),
    ];
    for (arguments, hint) in cases {
        let output = crate::support::run(server.command(arguments), b"record\n");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}
