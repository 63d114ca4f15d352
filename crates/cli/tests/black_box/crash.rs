//! A server that is killed in the middle of its work.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    thread,
};

use crate::support::{Server, data_dir};

/// Produces numbered lines until the server is gone; how many were acknowledged.
fn produce_until_killed(server: Server, first: u64) -> u64 {
    let mut producer = server.command(["produce", "t", "--summary", "json", "--timeout", "3s"]);
    let mut producer = producer
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = producer.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        // Ends when the producer does.
        (first..)
            .take_while(|n| writeln!(input, "{n}").is_ok())
            .count()
    });
    // Killed only once records are stored, so that there is something to lose.
    let from = format!("{first}");
    let mut seen = server.command([
        "consume", "t", "--follow", "--count", "500", "--from", &from,
    ]);
    let mut seen = seen.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(seen.stdout.take().unwrap()).lines().count();
    assert_eq!(lines, 500);
    assert!(seen.wait().unwrap().success());
    server.kill();
    let output = producer.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    summary["acknowledged"].as_u64().unwrap()
}

#[test]
fn after_kill_9_every_acknowledged_record_is_there_once_and_in_order() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t", "--segment-bytes", "1MiB"]);
    let mut stored = 0;
    let mut server = Some(server);
    for _ in 0..3 {
        let acknowledged = produce_until_killed(server.take().unwrap(), stored);
        let restarted = Server::start(&data);
        let read = restarted.ok(&["consume", "t"]);
        let numbers: Vec<u64> = read.lines().map(|line| line.parse().unwrap()).collect();
        let expected = stored + acknowledged;
        assert!(
            numbers.len() as u64 >= expected,
            "{} of {expected}",
            numbers.len()
        );
        assert!(
            numbers.iter().copied().eq(0..numbers.len() as u64),
            "not once and in order"
        );
        stored = numbers.len() as u64;
        server = Some(restarted);
    }
    server.unwrap().stop();
    let mut verify = crate::support::trilith();
    verify.arg("verify").arg(&data);
    crate::support::succeed(verify, b"");
}
