//! Several nodes on this machine, as `trilith up` runs them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{data_dir, run, succeed, text, trilith};

/// A cluster under `trilith up`.
struct Up {
    child: Child,
    /// What it says, from when the cluster was ready.
    says: BufReader<ChildStdout>,
    base_port: u16,
}

/// A port whose followers in steps of ten are free, too, each with the next one. Tests at the same
/// time begin at different places.
fn free_ports() -> u16 {
    let begin = 20_000 + (std::process::id() as u16 % 500) * 40;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let all_free =
        |base: &u16| (0..4).all(|n| is_free(base + 10 * n) && is_free(base + 10 * n + 1));
    let mut taken = TAKEN.lock().unwrap();
    let base = (begin..60_000)
        .step_by(40)
        .find(|base| !taken.contains(base) && all_free(base));
    taken.push(base.unwrap());
    base.unwrap()
}

static TAKEN: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());

impl Up {
    /// Starts it and waits until it says that the cluster is `how`.
    fn start(data: &Path, base_port: u16, arguments: &[&str], how: &str) -> Self {
        let mut child = trilith()
            .args(["up", "--base-port", &base_port.to_string(), "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        let mut up = Self {
            child,
            says,
            base_port,
        };
        up.until(how);
        up
    }

    /// Reads what it says up to a line with `part`.
    fn until(&mut self, part: &str) -> String {
        let mut line = String::new();
        let mut said = String::new();
        while !line.contains(part) {
            said += &line;
            line.clear();
            let read = self.says.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended without {part:?}: {said}");
        }
        line
    }

    fn address(&self, node: u16) -> SocketAddr {
        ([127, 0, 0, 1], self.base_port + 10 * (node - 1)).into()
    }

    fn peer_address(&self, node: u16) -> SocketAddr {
        let address = self.address(node);
        (address.ip(), address.port() + 1).into()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let all: Vec<String> = (1..=3).map(|n| self.address(n).to_string()).collect();
        let mut command = trilith();
        command
            .args(arguments)
            .env("TRILITH_ENDPOINTS", all.join(","));
        command
    }

    fn ok(&self, arguments: &[&str]) -> String {
        text(&succeed(self.command(arguments), b""))
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = run(self.command(arguments), b"");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn process_of(&self, node: u64) -> Pid {
        let status = self.json(&["cluster", "status", "--output", "json"]);
        let nodes = status["nodes"].as_array().unwrap().clone();
        let found = nodes.iter().find(|n| n["id"].as_u64() == Some(node));
        let pid = found.unwrap()["pid"].as_i64().unwrap();
        Pid::from_raw(pid.try_into().unwrap()).unwrap()
    }

    fn leader(&self, topic: &str) -> u64 {
        let topic = self.json(&["topic", "describe", topic, "--output", "json"]);
        topic["partitions"][0]["leader"].as_u64().unwrap()
    }

    fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut rest = String::new();
        self.says.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // The nodes end with it, whatever way it ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn data() -> (tempfile::TempDir, PathBuf) {
    data_dir()
}

#[test]
fn the_leader_is_killed_and_nothing_is_lost_or_doubled() {
    const RECORDS: u64 = 50_000;
    let (_dir, data) = data();
    let base_port = free_ports();
    let mut up = Up::start(&data, base_port, &["--restart-after", "1s"], "is founded");
    up.ok(&["topic", "create", "t"]);
    let mut producer = up
        .command(&["produce", "t", "--summary", "json", "--timeout", "60s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let count = RECORDS.to_string();
    let mut follower = up
        .command(&[
            "consume",
            "t",
            "--follow",
            "--count",
            &count,
            "--timeout",
            "60s",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = producer.stdin.take().unwrap();
    let mut read = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || read.next().unwrap().unwrap().parse::<u64>().unwrap();
    let mut seen = 0;
    for n in 0..RECORDS {
        writeln!(input, "{n}").unwrap();
        if n == RECORDS / 2 {
            // Something was stored, and more is on its way.
            while seen < 1000 {
                assert_eq!(next(), seen);
                seen += 1;
            }
            kill_process(up.process_of(up.leader("t")), Signal::KILL).unwrap();
        }
    }
    drop(input);
    let output = producer.wait_with_output().unwrap();
    assert!(output.status.success());
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["acknowledged"].as_u64(), Some(RECORDS));
    for n in seen..RECORDS {
        assert_eq!(next(), n, "each once and in order");
    }
    assert!(follower.wait().unwrap().success());
    up.until("it is started again");
    up.until("process");
    assert!(up.stop().success());

    let up = Up::start(&data, base_port, &[], "is up again");
    let stored = up.ok(&["consume", "t"]);
    let numbers = stored.lines().map(|line| line.parse::<u64>().unwrap());
    assert!(numbers.eq(0..RECORDS));
    assert!(up.stop().success());
}

/// The body of an HTTP answer.
fn http(address: SocketAddr, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 20"), "{answer}");
    body.to_owned()
}

#[test]
fn any_node_answers_a_plain_client() {
    let (_dir, data) = data();
    let up = Up::start(&data, free_ports(), &["--no-restart"], "is founded");
    http(up.address(2), "POST /v1/topics", r#"{"name":"t"}"#);
    for node in 1..=3 {
        let body = format!(r#"{{"value":"through {node}"}}"#);
        http(up.address(node), "POST /v1/topics/t/records", &body);
    }
    for node in 1..=3 {
        let read = http(
            up.address(node),
            "GET /v1/topics/t/partitions/0/records",
            "",
        );
        for other in 1..=3 {
            assert!(read.contains(&format!("through {other}")), "{read}");
        }
        let offsets = http(up.address(node), "GET /v1/topics/t/offsets", "");
        assert!(offsets.contains(r#""end_offset":3"#), "{offsets}");
    }
    let said = run(
        up.command(&["topic", "create", "wide", "--replicas", "5"]),
        b"",
    )
    .stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("the cluster has 3"), "{said}");
    assert!(up.stop().success());
}

/// A node beside those that `up` runs.
struct Extra(Child);

impl Extra {
    /// Starts it on an empty directory, and waits until it serves.
    fn start(up: &Up, data: &Path, name: &str, number: u16) -> Self {
        let seeds: Vec<String> = (1..=3).map(|n| up.peer_address(n).to_string()).collect();
        let mut child = trilith()
            .args(["serve", "--name", name, "--seeds", &seeds.join(",")])
            .args(["--listen", &up.address(number).to_string()])
            .args(["--peer-listen", &up.peer_address(number).to_string()])
            .arg("--data")
            .arg(data.join(name))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert!(line.contains("serves"), "{line}");
        Self(child)
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_that_is_gone_for_good_is_replaced_by_a_new_one() {
    let (_dir, data) = data();
    let up = Up::start(&data, free_ports(), &["--no-restart"], "is founded");
    up.ok(&["topic", "create", "t", "--partitions", "3"]);
    let feed = |range: std::ops::Range<u64>| {
        let lines: String = range.map(|n| format!("{n}:{n}\n")).collect();
        let arguments = ["produce", "t", "--key-delimiter", ":", "--timeout", "60s"];
        succeed(up.command(&arguments), lines.as_bytes());
    };
    feed(0..3000);
    let with = format!("n4={}", up.peer_address(4));
    let replace = ["cluster", "replace", "n3", "--with", &with];
    let refused = run(up.command(&replace), b"");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("stop it for good"), "{said}");
    up.ok(&[
        "topic",
        "create",
        "pair",
        "--replicas",
        "2",
        "--partitions",
        "3",
    ]);
    // Until every node has said what it can do, none is replaced.
    let levels = || {
        let status = up.json(&["cluster", "status", "--output", "json"]);
        let nodes = status["nodes"].as_array().unwrap().clone();
        nodes.into_iter().map(|node| node["feature_level"].as_u64())
    };
    while !levels().all(|level| level >= Some(2)) {}
    kill_process(up.process_of(3), Signal::KILL).unwrap();
    // It is heard of for a moment yet.
    let tries = |with: &str| {
        let replace = ["cluster", "replace", "n3", "--with", with];
        loop {
            let output = run(up.command(&replace), b"");
            let said = String::from_utf8(output.stderr).unwrap();
            if output.status.success() || !said.contains("stop it for good") {
                return (output.status.success(), said);
            }
        }
    };
    let (_, said) = tries(&with);
    assert!(
        said.contains("\"pair\"") && said.contains("topic delete"),
        "{said}"
    );
    up.ok(&["topic", "delete", "pair"]);
    // Nothing is changed before the new one is there.
    for (with, part) in [
        (with.clone(), "no node answers"),
        (
            format!("n4={}", up.peer_address(2)),
            "is the address of node 2",
        ),
    ] {
        let (success, said) = tries(&with);
        assert!(!success && said.contains(part), "{said}");
    }
    let _fourth = Extra::start(&up, &data, "n4", 4);
    let (success, said) = tries(&format!("n5={}", up.peer_address(4)));
    assert!(!success && said.contains("is named \"n4\""), "{said}");
    let status = up.json(&["cluster", "status", "--output", "json"]);
    let names = status["nodes"].as_array().unwrap().iter();
    let waits = names.filter(|node| node["id"].is_null()).count();
    assert_eq!(waits, 1, "n3, which is silent: {status}");
    let (success, said) = tries(&with);
    assert!(success, "{said}");
    let votes = || {
        let status = up.json(&["cluster", "status", "--output", "json"]);
        let nodes = status["nodes"].as_array().unwrap().clone();
        let new = nodes
            .into_iter()
            .find(|node| node["id"].as_u64() == Some(4));
        new.and_then(|node| node["voting"].as_u64())
    };
    while votes() != Some(4) {}
    // Those who were refused meanwhile were let in, or are no members any more.
    let alarms = || {
        let status = up.json(&["cluster", "status", "--output", "json"]);
        status["nodes"]
            .to_string()
            .contains("did not let this node in")
    };
    while alarms() {}
    // Of the first three one is left: the new one's vote is needed.
    kill_process(up.process_of(1), Signal::KILL).unwrap();
    feed(3000..4000);
    let stored = up.ok(&["consume", "t"]);
    let mut numbers: Vec<u64> = stored.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..4000));
    // The old one comes back, knows of nothing that has changed, and is told.
    let old = Extra::start(&up, &data, "n3", 3);
    let only = |node: u16, arguments: &[&str]| {
        let mut command = up.command(arguments);
        command.env("TRILITH_ENDPOINTS", up.address(node).to_string());
        let output = run(command, b"");
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), said.join(""))
    };
    let status = ["cluster", "status"];
    while !only(3, &status).1.contains("was removed from its cluster") {}
    let (code, said) = only(3, &["topic", "describe", "t"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ask the cluster's other nodes"), "{said}");
    let mut ready = TcpStream::connect(up.address(3)).unwrap();
    let head = format!(
        "GET /readyz HTTP/1.1
host: {}
connection: close

",
        up.address(3)
    );
    ready.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    ready.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("NOT_MEMBER"),
        "{answer}"
    );
    // A client that was told of more than one asks the other.
    let both = format!("{},{}", up.address(3), up.address(2));
    let mut command = up.command(&["topic", "describe", "t"]);
    command.env("TRILITH_ENDPOINTS", &both);
    assert!(text(&succeed(command, b"")).contains("3 partitions"));
    let mut command = up.command(&["produce", "t"]);
    command.env("TRILITH_ENDPOINTS", &both);
    succeed(
        command,
        b"one more
",
    );
    drop(old);
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The copy has as many starts behind it as the original had at its last one: its next start has the
/// number of the one that acknowledged what the copy lacks.
#[test]
fn a_copy_of_a_directory_that_was_started_since_is_refused_and_the_original_is_not() {
    let (_dir, data) = data();
    let up = Up::start(&data, free_ports(), &["--no-restart"], "is founded");
    up.ok(&["topic", "create", "t"]);
    let feed = |range: std::ops::Range<u64>| {
        let lines: String = range.map(|n| format!("{n}\n")).collect();
        let arguments = ["produce", "t", "--timeout", "60s"];
        succeed(up.command(&arguments), lines.as_bytes());
    };
    feed(0..100);
    kill_process(up.process_of(3), Signal::KILL).unwrap();
    let old = data.join("old");
    copy_directory(&data.join("n3"), &old);
    let original = Extra::start(&up, &data, "n3", 3);
    // From here on nothing is acknowledged without it.
    kill_process(up.process_of(1), Signal::KILL).unwrap();
    feed(100..200);
    drop(original);
    let mut command = trilith();
    command
        .args(["serve", "--name", "n3", "--seeds"])
        .arg(up.peer_address(2).to_string())
        .args(["--listen", &up.address(3).to_string()])
        .args(["--peer-listen", &up.peer_address(3).to_string()])
        .arg("--data")
        .arg(&old);
    let piped = command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut copy = Extra(piped.spawn().unwrap());
    let mut says = BufReader::new(copy.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("another copy of its data directory has started since") {
        line.clear();
        says.read_line(&mut line).unwrap();
        assert!(!line.is_empty() && !line.contains(": connected"), "{line}");
    }
    assert!(
        line.contains("says that this is its start number 2"),
        "{line}"
    );
    drop(copy);
    let _original = Extra::start(&up, &data, "n3", 3);
    feed(200..300);
    let stored = up.ok(&["consume", "t"]);
    let numbers = stored.lines().map(|line| line.parse::<u64>().unwrap());
    assert!(numbers.eq(0..300), "{stored}");
}

#[test]
fn the_nodes_end_with_the_process_that_runs_them() {
    let (_dir, data) = data();
    let mut up = Up::start(&data, free_ports(), &[], "is founded");
    let nodes: Vec<Pid> = (1..=3).map(|node| up.process_of(node)).collect();
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    let runs = |node: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.as_raw_nonzero()));
        // A zombie waits for its parent to look at it, which is not ours to do.
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    while nodes.iter().any(runs) {
        std::thread::yield_now();
    }
}

#[test]
fn a_node_that_cannot_start_ends_all_with_its_reason() {
    let (_dir, data) = data();
    let base_port = free_ports();
    let _taken = TcpListener::bind(("127.0.0.1", base_port + 10)).unwrap();
    let mut command = trilith();
    command
        .args(["up", "--base-port", &base_port.to_string(), "--data"])
        .arg(&data);
    let output = run(command, b"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("n2 did not start") && said.contains("in use"),
        "{said}"
    );
}
