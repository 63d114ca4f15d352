//! What goes in comes out.

use std::fs;

use crate::support::{Server, data_dir, succeed};

#[test]
fn lines_come_back_as_they_were() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let lines: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let summary = server.feed(&["produce", "t", "--summary", "json"], lines.as_bytes());
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["acknowledged"], 20_000);
    assert_eq!(summary["partitions"][0]["first_offset"], 0);
    assert_eq!(summary["partitions"][0]["last_offset"], 19_999);
    assert_eq!(server.ok(&["consume", "t"]), lines);
    server.stop();
    let again = Server::start(&data);
    assert_eq!(again.ok(&["consume", "t"]), lines);
}

#[test]
fn compressed_lines_come_back_as_they_were() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let lines = "the same words again and again\n".repeat(5000);
    server.feed(&["produce", "t", "--compression", "lz4"], lines.as_bytes());
    assert_eq!(server.ok(&["consume", "t"]), lines);
}

#[test]
fn keys_keep_their_order_over_several_partitions() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t", "--partitions", "3"]);
    let lines: String = (0..3000).map(|n| format!("key{}:{n}\n", n % 10)).collect();
    server.feed(&["produce", "t", "--key-delimiter", ":"], lines.as_bytes());
    let read = server.ok(&["consume", "t", "--output", "%k %s\\n"]);
    let mut last = std::collections::BTreeMap::new();
    let mut partitions = std::collections::BTreeMap::new();
    for line in read.lines() {
        let (key, number) = line.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        assert!(
            last.insert(key.to_owned(), number)
                .is_none_or(|before| before < number)
        );
    }
    assert_eq!(read.lines().count(), 3000);
    for line in server.ok(&["consume", "t", "--output", "%k %p\\n"]).lines() {
        let (key, partition) = line.split_once(' ').unwrap();
        assert_eq!(
            partitions
                .entry(key.to_owned())
                .or_insert(partition.to_owned()),
            partition
        );
    }
    assert!(
        partitions
            .values()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
            > 1
    );
}

#[test]
fn binary_files_come_back_as_they_were() {
    let (dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let mut whole = Vec::new();
    let mut arguments: Vec<String> = ["produce", "t", "--input", "files"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    for piece in 0..20_u64 {
        let noise = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8;
        let bytes: Vec<u8> = (0..300_000 + piece).map(|at| noise(at + piece)).collect();
        let path = dir.path().join(format!("piece{piece:02}"));
        fs::write(&path, &bytes).unwrap();
        whole.extend(bytes);
        arguments.push(path.to_str().unwrap().to_owned());
    }
    succeed(server.command(&arguments), b"");
    let read = succeed(server.command(["consume", "t", "--output", "%s"]), b"").stdout;
    assert!(
        read == whole,
        "{} bytes instead of {}",
        read.len(),
        whole.len()
    );
    assert_eq!(
        server
            .ok(&["consume", "t", "--output", "%S\\n"])
            .lines()
            .count(),
        20
    );
}

#[test]
fn json_lines_keep_keys_headers_times_and_nulls_apart() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    for topic in ["a", "b"] {
        server.ok(&["topic", "create", topic]);
    }
    let lines = concat!(
        r#"{"key":"k","value":"v","timestamp_ms":1700000000000,"headers":[{"name":"h","value":"1"},{"name":"h","value":null}]}"#,
        "\n",
        r#"{"key":"","value":null,"timestamp_ms":5}"#,
        "\n",
        r#"{"value_base64":"//4=","timestamp_ms":-1}"#,
        "\n",
    );
    server.feed(&["produce", "a", "--input", "json"], lines.as_bytes());
    let read = server.ok(&["consume", "a", "--output", "json"]);
    server.feed(&["produce", "b", "--input", "json"], read.as_bytes());
    assert_eq!(
        server.ok(&["consume", "b", "--output", "json"]),
        read.replace(r#""topic":"a""#, r#""topic":"b""#)
    );
    let records: Vec<serde_json::Value> = read
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records[0]["headers"][1]["value"], serde_json::Value::Null);
    assert_eq!(
        (&records[1]["key"], &records[1]["value"]),
        (&"".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&records[2]["value_base64"], &records[2]["offset"]),
        (&"//4=".into(), &2.into())
    );
}

#[test]
fn reading_starts_where_it_is_told() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let lines: String = (0..100)
        .map(|n| format!("{{\"value\":\"{n}\",\"timestamp_ms\":{}}}\n", 1000 + n))
        .collect();
    server.feed(&["produce", "t", "--input", "json"], lines.as_bytes());
    let read = |from: &str, count: &str| {
        let all = server.ok(&["consume", "t", "--from", from, "--count", count]);
        all.lines()
            .map(|line| line.parse::<u64>().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(read("start", "3"), [0, 1, 2]);
    assert_eq!(read("42", "2"), [42, 43]);
    assert_eq!(read("-2", "9"), [98, 99]);
    assert_eq!(read("@1090", "2"), [90, 91]);
    assert_eq!(read("end", "1"), [0_u64; 0]);
    assert_eq!(read("-1h", "1"), [0_u64; 0]);
    assert!(
        server
            .fails(&["consume", "t", "--from", "1000"])
            .contains("100")
    );
    assert!(
        server
            .fails(&["consume", "t", "--partition", "7"])
            .contains("numbered from 0")
    );
}

/// Servers bound the streams of one connection, and a stream that is not read holds its place:
/// reading more partitions than that at once, over one connection, waited for ever.
#[test]
fn a_topic_of_many_partitions_is_read_whole() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t", "--partitions", "130"]);
    let lines: String = (0..2000).map(|n| format!("{n}:{n}\n")).collect();
    server.feed(&["produce", "t", "--key-delimiter", ":"], lines.as_bytes());
    for more in [&[][..], &["--follow", "--count", "2000"]] {
        let read = server.ok(&[&["consume", "t"], more].concat());
        let mut numbers: Vec<u64> = read.lines().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert!(
            numbers.iter().copied().eq(0..2000),
            "{} of 2000",
            numbers.len()
        );
    }
}

/// The largest records, of bytes that are no text and of control characters, which are UTF-8 and
/// take six bytes each when they are escaped.
#[test]
fn the_largest_records_go_through_json_and_back() {
    let (dir, data) = data_dir();
    let server = Server::start(&data);
    for topic in ["a", "b"] {
        server.ok(&["topic", "create", topic, "--record-bytes-max", "16MiB"]);
    }
    let files = [0xff, 1].map(|byte| {
        let file = dir.path().join(format!("{byte}"));
        std::fs::write(&file, vec![byte; 16 << 20]).unwrap();
        file.to_str().unwrap().to_owned()
    });
    server.ok(&["produce", "a", "--input", "files", &files[0], &files[1]]);
    let json = server.ok(&["consume", "a", "--output", "json"]);
    assert_eq!(json.lines().count(), 2);
    server.feed(&["produce", "b", "--input", "json"], json.as_bytes());
    let lengths = server.ok(&["consume", "b", "--output", "%S\\n"]);
    assert_eq!(lengths, "16777216\n16777216\n");
    // Other programs escape what they like.
    let escaped = format!("{{\"value\":\"{}\"}}\n", "\\u0001".repeat(16 << 20));
    server.feed(&["produce", "b", "--input", "json"], escaped.as_bytes());
    let length = server.ok(&["consume", "b", "--from", "-1", "--output", "%S"]);
    assert_eq!(length, "16777216");
}

#[test]
fn a_record_that_is_refused_is_named() {
    let (dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t", "--record-bytes-max", "1000"]);
    let [small, large] = ["small", "large"].map(|name| dir.path().join(name));
    std::fs::write(&small, [b'x'; 10]).unwrap();
    std::fs::write(&large, [b'x'; 2_000]).unwrap();
    let (small, large) = (small.to_str().unwrap(), large.to_str().unwrap());
    let told = server.fails(&["produce", "t", "--input", "files", small, large]);
    assert!(told.contains(&format!("{large}: the record has")), "{told}");
    let told = server.fails(&["produce", "t", small, small, large]);
    assert!(
        told.contains("record 3 of the input: the record has"),
        "{told}"
    );
}
