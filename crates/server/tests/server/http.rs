//! Every HTTP route.

use futures::StreamExt;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value as JsonValue;

use crate::fixture::{Fixture, start, start_with};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const BYTES: &str = "application/octet-stream";

async fn with_topic() -> Fixture {
    let server = start().await;
    let made = server
        .post(
            "/v1/topics",
            JSON,
            r#"{"name":"t","settings":{"partitions":2}}"#,
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    server
}

#[tokio::test]
async fn a_topics_life() {
    let server = with_topic().await;
    let again = server.post("/v1/topics", JSON, r#"{"name":"t"}"#).await;
    assert_eq!(
        (again.status, again.reason().as_str()),
        (StatusCode::CONFLICT, "TOPIC_EXISTS")
    );
    let described = server.get("/v1/topics/t").await.json();
    assert_eq!(
        (&described["name"], &described["settings"]["partitions"]),
        (&"t".into(), &2.into())
    );
    assert_eq!(described["partitions"][1]["end_offset"], 0);
    let patch = [("content-type", JSON)];
    let body = r#"{"retention_ms":5000}"#;
    let altered = server
        .http(Method::PATCH, "/v1/topics/t", &patch, body)
        .await;
    assert_eq!(altered.json()["settings"]["retention_ms"], 5000);
    assert_eq!(
        server.get("/v1/topics").await.json()["topics"][0]["name"],
        "t"
    );
    let deleted = server.http(Method::DELETE, "/v1/topics/t", &[], "").await;
    assert_eq!(
        (deleted.status, deleted.body.len()),
        (StatusCode::NO_CONTENT, 0)
    );
    let gone = server.get("/v1/topics/t").await;
    assert_eq!(
        (gone.status, gone.reason().as_str()),
        (StatusCode::NOT_FOUND, "UNKNOWN_TOPIC")
    );
}

#[tokio::test]
async fn topics_that_cannot_be_say_why() {
    let server = start().await;
    for (body, expected) in [
        (r#"{"name":"a/b"}"#, "INVALID_TOPIC_NAME"),
        (r#"{"name":""}"#, "INVALID_TOPIC_NAME"),
        ("", "INVALID_ARGUMENT"),
        ("{}", "INVALID_ARGUMENT"),
        ("[]", "INVALID_ARGUMENT"),
        (r#"["by_position"]"#, "INVALID_ARGUMENT"),
        (r#"{"name":"a","settings":[3]}"#, "INVALID_ARGUMENT"),
        (
            r#"{"name":"a","settings":{"partitions":0}}"#,
            "INVALID_SETTING",
        ),
        (r#"{"name":"a","setings":{}}"#, "INVALID_ARGUMENT"),
        ("{", "INVALID_ARGUMENT"),
    ] {
        let answer = server.post("/v1/topics", JSON, body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::BAD_REQUEST, expected)
        );
    }
    let answer = server
        .post("/v1/topics", "text/plain", r#"{"name":"a"}"#)
        .await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(answer.reason(), "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(
        server.get("/v1/topics").await.json()["topics"][0],
        JsonValue::Null
    );
    let out_of_bounds = r#"{"name":"a","settings":{"segment_ms":1}}"#;
    let answer = server.post("/v1/topics", JSON, out_of_bounds).await;
    let metadata = &answer.json()["error"]["metadata"];
    assert_eq!(
        (&metadata["setting"], &metadata["value"], &metadata["min"]),
        (&"segment_ms".into(), &"1".into(), &"100".into())
    );
    let answer = server.post("/v1/topics", JSON, vec![b' '; 20 << 10]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.reason(), "BODY_TOO_LARGE");
}

#[tokio::test]
async fn one_record_comes_back_as_it_went() {
    let server = with_topic().await;
    let body = r#"{"key":"k","value":"v","headers":[{"name":"h","value_base64":"/w=="}],"timestamp_ms":5}"#;
    let answer = server
        .post("/v1/topics/t/records?partition=1", JSON, body)
        .await
        .json();
    assert_eq!(
        (&answer["partition"], &answer["offset"]),
        (&1.into(), &0.into())
    );
    assert_eq!(answer["durability"], "synced");
    let got = server.get("/v1/topics/t/partitions/1/records").await;
    assert_eq!(got.headers["content-type"], "application/x-ndjson");
    let expected = r#"{"offset":0,"timestamp_ms":5,"key":"k","value":"v","headers":[{"name":"h","value_base64":"/w=="}]}"#;
    assert_eq!(got.text(), format!("{expected}\n"));
}

#[tokio::test]
async fn a_raw_body_is_a_value() {
    let server = with_topic().await;
    let path = "/v1/topics/t/records?partition=0";
    let bytes: Vec<u8> = (0..=255).collect();
    server
        .post(&format!("{path}&key=a%20b"), BYTES, bytes)
        .await;
    server
        .post(&format!("{path}&key_base64=/w=="), BYTES, "")
        .await;
    let lines = server
        .get("/v1/topics/t/partitions/0/records")
        .await
        .lines();
    assert_eq!(lines[0]["key"], "a b");
    assert!(
        lines[0]["value_base64"]
            .as_str()
            .unwrap()
            .starts_with("AAECAwQF")
    );
    assert_eq!(
        (&lines[1]["key_base64"], &lines[1]["value"]),
        (&"/w==".into(), &"".into())
    );
    let both = server
        .post(&format!("{path}&key=a&key_base64=YQ=="), BYTES, "")
        .await;
    assert_eq!(both.reason(), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn lines_are_appended_in_their_order() {
    let server = with_topic().await;
    let count = 25_000;
    let lines: String = (0..count)
        .map(|n| format!("{{\"value\":\"{n}\"}}\n\n"))
        .collect();
    let answer = server
        .post("/v1/topics/t/records?partition=0", LINES, lines)
        .await
        .json();
    assert_eq!(answer["records"], count);
    let appended = answer["appended"].as_array().unwrap();
    assert_eq!(
        (appended.len(), &appended[0]["records"]),
        (1, &count.into())
    );
    let got = server
        .get("/v1/topics/t/partitions/0/records")
        .await
        .lines();
    assert_eq!(got.len(), count);
    assert!(
        got.iter()
            .enumerate()
            .all(|(n, line)| line["value"].as_str() == Some(n.to_string().as_str()))
    );
}

#[tokio::test]
async fn times_too_far_apart_for_one_batch_go_into_two() {
    let server = with_topic().await;
    let times = [i64::MIN, i64::MAX, 0];
    let lines: String = times
        .iter()
        .map(|time| format!("{{\"value\":\"x\",\"timestamp_ms\":{time}}}\n"))
        .collect();
    let path = "/v1/topics/t/records?partition=0";
    let answer = server.post(path, LINES, lines).await;
    assert_eq!(answer.json()["records"], 3, "{}", answer.text());
    let got = server.get("/v1/topics/t/partitions/0/records").await;
    let read: Vec<_> = got
        .lines()
        .iter()
        .map(|line| line["timestamp_ms"].as_i64().unwrap())
        .collect();
    assert_eq!(read, times);
}

#[tokio::test]
async fn a_wrong_line_is_named_and_what_went_before_is_counted() {
    let server = with_topic().await;
    let good = "{\"value\":\"x\"}\n".repeat(10_000);
    let body = format!("{good}{{\"value\":1}}\n{good}");
    let answer = server
        .post("/v1/topics/t/records?partition=0", LINES, body)
        .await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT")
    );
    let metadata = &answer.json()["error"]["metadata"];
    assert_eq!(
        (&metadata["line"], &metadata["acknowledged_records"]),
        (&"10001".into(), &"10000".into())
    );
    let offsets = server.get("/v1/topics/t/offsets?partition=0").await.json();
    assert_eq!(offsets["partitions"][0]["end_offset"], 10_000);
}

#[tokio::test]
async fn a_last_line_without_an_end_counts() {
    let server = with_topic().await;
    let body = "{\"value\":\"a\"}\r\n{\"value\":\"b\"}";
    let answer = server
        .post("/v1/topics/t/records?partition=0", LINES, body)
        .await;
    assert_eq!(answer.json()["records"], 2);
    let nothing = server.post("/v1/topics/t/records", LINES, "").await;
    assert_eq!(
        (nothing.status, &nothing.json()["records"]),
        (StatusCode::OK, &0.into())
    );
}

#[tokio::test]
async fn records_that_cannot_be_say_why() {
    let server = with_topic().await;
    let path = "/v1/topics/t/records";
    for (path, content_type, body, status, expected) in [
        (path, "text/plain", "x", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (path, JSON, "{", 400, "INVALID_ARGUMENT"),
        ("/v1/topics/none/records", JSON, "{}", 404, "UNKNOWN_TOPIC"),
        (
            "/v1/topics/t/records?partition=2",
            JSON,
            "{}",
            404,
            "UNKNOWN_PARTITION",
        ),
        (
            "/v1/topics/t/records?partition=x",
            JSON,
            "{}",
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "/v1/topics/t/records?partiton=1",
            JSON,
            "{}",
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "/v1/topics/t/records?timeout_ms=soon",
            JSON,
            "{}",
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "/v1/topics/%ff/records",
            JSON,
            "{}",
            400,
            "INVALID_ARGUMENT",
        ),
        // A key with a replacement character in it would be another key.
        (
            "/v1/topics/t/records?key=%ff",
            BYTES,
            "x",
            400,
            "INVALID_ARGUMENT",
        ),
    ] {
        let answer = server.post(path, content_type, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (status, expected),
            "{path}"
        );
    }
}

/// The largest record of bytes that are no text, and of control characters, which are UTF-8.
#[tokio::test]
async fn the_largest_records_come_out_and_go_in_again() {
    let server = start().await;
    let settings = r#"{"name":"t","settings":{"record_bytes_max":16777216}}"#;
    server.post("/v1/topics", JSON, settings).await;
    for (offset, byte) in [(0, 0xff), (2, 1)] {
        let path = "/v1/topics/t/records?partition=0";
        let sent = server.post(path, BYTES, vec![byte; 16 << 20]).await;
        assert_eq!(sent.json()["offset"], offset);
        let records = "/v1/topics/t/partitions/0/records";
        let line = server.get(&format!("{records}?from={offset}")).await.body;
        let media_type = if byte == 1 { JSON } else { LINES };
        let again = server.post(path, media_type, line.clone()).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text());
        let copy = server.get(&format!("{records}?from={}", offset + 1)).await;
        let value = |line: &[u8]| {
            let record: JsonValue = serde_json::from_slice(line).unwrap();
            record["value_base64"].as_str().unwrap().to_owned()
        };
        assert!(value(&copy.body) == value(&line), "byte {byte:#x}");
    }
}

#[tokio::test]
async fn reading_starts_and_ends_where_it_is_told() {
    let server = with_topic().await;
    server.append("t", &["a", "b", "c", "d"]).await;
    for (query, expected) in [
        ("", "abcd"),
        ("?from=start", "abcd"),
        ("?from=2", "cd"),
        ("?from=1&max_records=2", "bc"),
        ("?from=end", ""),
        ("?from=4", ""),
        ("?from=@0", "abcd"),
        ("?from=2999-01-01T00:00:00Z", ""),
    ] {
        let answer = server
            .get(&format!("/v1/topics/t/partitions/0/records{query}"))
            .await;
        let values: String = answer
            .lines()
            .iter()
            .map(|line| line["value"].as_str().unwrap())
            .collect();
        assert_eq!(values, expected, "{query}");
    }
    for (path, status, expected) in [
        (
            "/v1/topics/t/partitions/0/records?from=5",
            416,
            "OFFSET_OUT_OF_RANGE",
        ),
        (
            "/v1/topics/t/partitions/0/records?from=soon",
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "/v1/topics/t/partitions/0/records?follow=maybe",
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "/v1/topics/t/partitions/2/records",
            404,
            "UNKNOWN_PARTITION",
        ),
        ("/v1/topics/t/partitions/x/records", 400, "INVALID_ARGUMENT"),
        ("/v1/topics/none/partitions/0/records", 404, "UNKNOWN_TOPIC"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (status, expected),
            "{path}"
        );
    }
}

/// Reads a body until it holds `text`.
async fn until(body: &mut hyper::body::Incoming, text: &str) -> String {
    let mut got = String::new();
    while !got.contains(text) {
        let frame = body.frame().await.unwrap().unwrap();
        got.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    got
}

#[tokio::test]
async fn following_sends_events() {
    let server = with_topic().await;
    server.append("t", &["a"]).await;
    let path = "/v1/topics/t/partitions/0/records?follow=true";
    let mut response = server.open(Method::GET, path, &[], "").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let first = until(response.body_mut(), "\n\n").await;
    assert!(first.starts_with("id: 0\ndata: {\"offset\":0,"), "{first}");
    server.append("t", &["b"]).await;
    let second = until(response.body_mut(), "\n\n").await;
    assert!(second.starts_with("id: 1\ndata: "), "{second}");

    let again = [("last-event-id", "0")];
    let mut response = server.open(Method::GET, path, &again, "").await;
    assert!(
        until(response.body_mut(), "\n\n")
            .await
            .starts_with("id: 1\n")
    );
}

#[tokio::test]
async fn following_sends_lines_to_those_who_ask_for_them() {
    let server = with_topic().await;
    server.append("t", &["a"]).await;
    let path = "/v1/topics/t/partitions/0/records?follow=true";
    let mut response = server
        .open(Method::GET, path, &[("accept", LINES)], "")
        .await;
    assert_eq!(response.headers()["content-type"], LINES);
    assert!(
        until(response.body_mut(), "\n")
            .await
            .starts_with("{\"offset\":0,")
    );
    let events = [("accept", "text/event-stream")];
    let bounded = server
        .http(
            Method::GET,
            "/v1/topics/t/partitions/0/records",
            &events,
            "",
        )
        .await;
    assert!(bounded.text().starts_with("id: 0\n"));
}

#[tokio::test]
async fn offsets_are_listed() {
    let server = with_topic().await;
    server.append("t", &["a", "b"]).await;
    let all = server.get("/v1/topics/t/offsets").await.json();
    assert_eq!(all["partitions"][0]["end_offset"], 2);
    assert_eq!(all["partitions"].as_array().unwrap().len(), 2);
    let one = server
        .get("/v1/topics/t/offsets?partition=0&time=@0")
        .await
        .json();
    assert_eq!(one["partitions"][0]["offset_at_time"], 0);
    assert_eq!(
        server
            .get("/v1/topics/t/offsets?partition=7")
            .await
            .reason(),
        "UNKNOWN_PARTITION"
    );
    assert_eq!(
        server.get("/v1/topics/t/offsets?time=x").await.reason(),
        "INVALID_ARGUMENT"
    );
}

#[tokio::test]
async fn the_server_answers_for_itself() {
    let server = start().await;
    assert_eq!(server.get("/healthz").await.text(), "ok\n");
    assert_eq!(server.get("/readyz").await.text(), "ok\n");
    let document = server.get("/openapi.json").await;
    assert_eq!(document.headers["content-type"], "application/json");
    assert_eq!(document.json()["openapi"], "3.1.0");
}

#[tokio::test]
async fn the_openapi_document_names_exactly_the_methods_that_are_served() {
    let server = with_topic().await;
    let document = server.get("/openapi.json").await.json();
    for (template, item) in document["paths"].as_object().unwrap() {
        // A topic that is not there: nothing is changed on the way.
        let path = template
            .replace("{topic}", "none")
            .replace("{partition}", "0");
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ] {
            let described = item.get(method.as_str().to_ascii_lowercase()).is_some();
            let answer = server.http(method.clone(), &path, &[], "").await;
            let is_served = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_served, described, "{method} {template}");
            if !is_served {
                assert_eq!(answer.reason(), "METHOD_NOT_ALLOWED");
            }
        }
    }
}

#[tokio::test]
async fn unknown_paths_are_told_in_json() {
    let server = start().await;
    for path in ["/", "/v1", "/v1/topics/t/partitions", "/nothing"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::NOT_FOUND, "UNKNOWN_ROUTE")
        );
    }
    let grpc = [("content-type", "application/grpc")];
    let answer = server
        .http(Method::POST, "/trilith.v1.Nothing/At", &grpc, "")
        .await;
    assert_eq!(answer.headers["grpc-status"], "12");
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_by_their_length() {
    let server = start_with(|config| {
        config.limits.message_bytes_max = 1000;
        config.limits.json_bytes_max = 1000;
        config.limits.body_bytes_max = 5000;
    })
    .await;
    server.create("t", 1).await;
    let path = "/v1/topics/t/records";
    for content_type in [BYTES, JSON] {
        let answer = server.post(path, content_type, vec![b'x'; 1001]).await;
        assert_eq!(answer.reason(), "BODY_TOO_LARGE");
    }
    assert_eq!(
        server.post(path, BYTES, vec![b'x'; 1000]).await.status,
        StatusCode::OK
    );
    assert_eq!(
        server.post(path, LINES, vec![b'x'; 1001]).await.reason(),
        "RECORD_TOO_LARGE"
    );
    let lines = "{\"value\":\"x\"}\n".repeat(400);
    assert_eq!(
        server.post(path, LINES, lines).await.reason(),
        "BODY_TOO_LARGE"
    );
}

#[tokio::test]
async fn a_body_of_unknown_length_is_taken_as_it_comes() {
    let server = with_topic().await;
    let pieces = futures::stream::iter(["{\"va", "lue\":\"a\"}\n{\"value\"", ":\"b\"}"])
        .map(|piece| Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes::Bytes::from(piece))));
    let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("/v1/topics/t/records?partition=0")
        .header("host", "localhost")
        .header("content-type", LINES)
        .body(http_body_util::StreamBody::new(pieces))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["records"], 2);
}
