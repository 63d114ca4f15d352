//! Starting and ending servers.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use trilith_client::{Client, ProducerConfig, Record};

use crate::support::{Server, data_dir, run, trilith};

fn refused(arguments: &[&str]) -> String {
    let mut command = trilith();
    command.arg("serve").args(arguments);
    let output = run(command, b"");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_second_server_on_a_directory_is_refused_and_the_first_goes_on() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    let said = refused(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    assert!(said.contains("in use by process"), "{said}");
    let said = trilith_verify(&data);
    assert!(said.contains("in use by process"), "{said}");
    server.ok(&["topic", "create", "t"]);
    server.stop();
}

fn trilith_verify(data: &std::path::Path) -> String {
    let mut command = trilith();
    command.arg("verify").arg(data);
    let output = run(command, b"");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_port_in_use_is_named() {
    let (dir, data) = data_dir();
    let server = Server::start(&data);
    let other = dir.path().join("other");
    let address = server.address.to_string();
    let said = refused(&["--listen", &address, "--data", other.to_str().unwrap()]);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    // What was opened for nothing is free again.
    Server::start(&other).stop();
}

#[test]
fn beyond_loopback_it_must_be_said_that_it_is_meant() {
    let (_dir, data) = data_dir();
    let said = refused(&["--listen", "0.0.0.0:0", "--data", data.to_str().unwrap()]);
    assert!(said.contains("--insecure"), "{said}");
}

#[test]
fn without_a_server_commands_say_how_to_start_one() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = trilith();
    command.args(["topic", "list", "--endpoints", &free.to_string()]);
    let output = run(command, b"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("trilith serve"), "{said}");
}

#[test]
fn sigterm_finishes_what_is_in_flight_and_keeps_what_was_acknowledged() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let mut follower = server.command(["consume", "t", "--follow"]);
    let mut follower = follower
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let acknowledged = runtime.block_on(async {
        let client = Client::connect([server.address.to_string()]).await.unwrap();
        let config = ProducerConfig {
            batch_records: 10,
            halt_on_failure: true,
            // How long the server is looked for when nothing was in flight.
            delivery_timeout: Duration::from_secs(3),
            ..ProducerConfig::default()
        };
        let producer = client.producer("t", config).await.unwrap();
        let mut last = None;
        for n in 0..5000 {
            last = producer
                .send(Record::new(n.to_string()))
                .await
                .ok()
                .or(last);
            if n == 2500 {
                server.signal(Signal::TERM);
            }
        }
        match producer.close().await {
            Ok(report) => report.acknowledged,
            Err(failed) => failed.report.acknowledged,
        }
    });
    assert!(server.wait().success());
    follower.wait().unwrap();
    let server = Server::start(&data);
    let read = server.ok(&["consume", "t"]);
    let stored: Vec<u64> = read.lines().map(|line| line.parse().unwrap()).collect();
    assert!(
        stored.len() as u64 >= acknowledged,
        "{} of {acknowledged}",
        stored.len()
    );
    assert!(stored.iter().copied().eq(0..stored.len() as u64));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    // An open connection may hold the first one up; the second does not ask.
    server.ok(&["topic", "create", "t"]);
    let mut follower = server.command(["consume", "t", "--follow"]);
    let mut follower = follower
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    server.signal(Signal::INT);
    server.signal(Signal::INT);
    let status = server.wait();
    assert!(matches!(status.code(), Some(0 | 1)), "{status:?}");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn the_environment_sets_what_flags_do_not() {
    let (_dir, data) = data_dir();
    let server = Server::start_with(&data, &["--log-format", "json", "--sync", "every:1ms"]);
    server.ok(&["topic", "create", "t"]);
    server.stop();
    let log = std::fs::read_to_string(data.with_extension("stderr")).unwrap();
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "INFO");
    let mut command = trilith();
    command.arg("serve").env("TRILITH_SYNC", "sometimes");
    let output = run(command, b"");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// A follower with its lines and what it says besides.
struct Follower {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(server: &Server, timeout: &str) -> Self {
        let mut child = server
            .command(["consume", "t", "--follow", "--timeout", timeout])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self, wanted: &[&str]) {
        for line in wanted {
            assert_eq!(self.lines.next().unwrap().unwrap(), *line);
        }
    }

    fn ended(self) -> (ExitStatus, String) {
        drop(self.lines);
        let output = self.child.wait_with_output().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn a_follower_whose_server_does_not_come_back_says_where_to_go_on() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    server.feed(&["produce", "t"], b"a\nb\nc\n");
    let mut follower = Follower::start(&server, "500ms");
    follower.next(&["a", "b", "c"]);
    server.kill();
    let (status, said) = follower.ended();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("go on with --partition 0 --from 3"), "{said}");
}

#[test]
fn a_follower_goes_on_where_it_was_after_a_restart_and_says_so() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    let address = server.address.to_string();
    server.ok(&["topic", "create", "t"]);
    server.feed(&["produce", "t"], b"a\nb\n");
    let mut follower = Follower::start(&server, "60s");
    follower.next(&["a", "b"]);
    server.kill();
    let server = Server::start_with(&data, &["--listen", &address]);
    server.feed(&["produce", "t"], b"c\nd\n");
    follower.next(&["c", "d"]);
    kill_process(Pid::from_child(&follower.child), Signal::TERM).unwrap();
    let (_, said) = follower.ended();
    assert!(said.contains("partition 0, offset 2:"), "{said}");
    server.stop();
}

#[test]
fn a_producer_without_input_notices_that_its_last_records_are_lost() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let mut producer = server.command(["produce", "t", "--timeout", "2s"]);
    let mut producer = producer
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = producer.stdin.take().unwrap();
    // Once a record of its is stored, the producer has connected and waits for input.
    writeln!(input, "stored").unwrap();
    while server.ok(&["consume", "t"]).is_empty() {}
    server.kill();
    // The input stays open: the producer must not wait for more of it.
    writeln!(input, "lost").unwrap();
    let output = producer.wait_with_output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(1));
}

/// The usual limit on open files is 1024, and a server may not be allowed to raise it.
#[test]
fn few_open_files_are_enough_for_many_partitions() {
    let (_dir, data) = data_dir();
    let server = Server::start_limited(&data, 128);
    server.ok(&["topic", "create", "t", "--partitions", "100"]);
    let lines: String = (0..2000).map(|n| format!("{n}:{n}\n")).collect();
    server.feed(&["produce", "t", "--key-delimiter", ":"], lines.as_bytes());
    assert_eq!(server.ok(&["consume", "t"]).lines().count(), 2000);
    server.stop();
}

#[test]
fn a_server_that_does_not_answer_is_given_up_within_the_timeout() {
    // It accepts, as the system does for it, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for arguments in [
        &["produce", "t"][..],
        &["consume", "t"],
        &["topic", "list"],
        &["topic", "create", "t"],
    ] {
        let mut command = trilith();
        command
            .args(arguments)
            .args(["--timeout", "100ms", "--endpoints", &address]);
        let output = run(command, b"record\n");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said.contains(&format!("no answer from {address} within 100ms")),
            "{arguments:?}: {said}"
        );
    }
    let mut command = trilith();
    command
        .args(["topic", "list", "--endpoints", &address])
        .env("TRILITH_TIMEOUT", "50ms");
    let said = String::from_utf8(run(command, b"").stderr).unwrap();
    assert!(said.contains("within 50ms"), "{said}");
}
