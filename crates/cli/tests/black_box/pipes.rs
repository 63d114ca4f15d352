//! Output that nobody reads any more, and input that trickles.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Server, data_dir, trilith};

#[test]
fn a_closed_pipe_ends_quietly() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    server.feed(
        &["produce", "t"],
        "a line of some length to fill the pipe\n"
            .repeat(100_000)
            .as_bytes(),
    );
    let mut command = server.command(["consume", "t"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[test]
fn a_closed_pipe_ends_quietly_for_listings_too() {
    let mut command = trilith();
    command
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[test]
fn a_follower_sees_each_line_as_it_is_typed() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let mut follower = server.command(["consume", "t", "--follow", "--count", "2"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(follower.stdout.take().unwrap());
    let mut typist = server.command(["produce", "t", "--summary", "none"]);
    let mut typist = typist.stdin(Stdio::piped()).spawn().unwrap();
    let mut keyboard = typist.stdin.take().unwrap();
    for line in ["first\n", "second\n"] {
        keyboard.write_all(line.as_bytes()).unwrap();
        let mut read = String::new();
        seen.read_line(&mut read).unwrap();
        assert_eq!(read, line);
    }
    drop(keyboard);
    assert!(typist.wait().unwrap().success());
    assert!(follower.wait().unwrap().success());
    assert_eq!(seen.read_to_end(&mut Vec::new()).unwrap(), 0);
}

/// A producer that is interrupted once ended without a word on what was stored.
#[test]
fn an_interrupted_producer_says_what_was_acknowledged() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let mut follower = server.command(["consume", "t", "--follow", "--count", "2"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let mut producer = server.command(["produce", "t", "--summary", "json"]);
    let mut producer = producer
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = producer.stdin.take().unwrap();
    keyboard.write_all(b"one\ntwo\n").unwrap();
    // Stored and seen; the producer waits for more input.
    assert!(follower.wait().unwrap().success());
    let pid = Pid::from_raw(producer.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = producer.wait_with_output().unwrap();
    drop(keyboard);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["acknowledged"], 2);
}
