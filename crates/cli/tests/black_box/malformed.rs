//! Ten thousand requests that are none: the server goes on serving, and takes no memory for what
//! they merely claim.

use std::{
    io::{Read, Write},
    net::SocketAddr,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use trilith_batch::{BatchBuilder, Compression, Record};
use trilith_proto::v1;

use crate::support::{Server, data_dir};

/// Requests on connections of their own, and gRPC messages on shared ones.
const CONNECTIONS: u64 = 5_000;
const MESSAGES: u64 = 5_000;
const TASKS: u64 = 16;

/// What the server may grow by. The claims add up to terabytes.
const GROWTH_MAX: u64 = 96 << 20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A generator that one seed decides (splitmix64, Steele et al. 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

fn anonymous_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}

/// Bytes as a client might send them that means harm, or is broken.
fn nonsense(rng: &mut Rng) -> Vec<u8> {
    let valid = "POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/json\r\ncontent-length: 13\r\n\r\n{\"value\":\"x\"}";
    match rng.below(9) {
        0 => {
            let n = rng.below(500);
            rng.bytes(n)
        }
        1 => {
            let n = rng.below(500);
            [PREFACE, &rng.bytes(n)].concat()
        }
        2 => http2_frames(rng),
        3 => valid.as_bytes()[..rng.below(valid.len())].to_vec(),
        4 => {
            let mut bytes = valid.as_bytes().to_vec();
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.next() as u8;
            }
            bytes
        }
        5 => claim(rng, "application/octet-stream"),
        6 => claim(rng, "application/x-ndjson"),
        7 => format!(
            "POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\
             content-type: application/x-ndjson\r\n\r\n{:x}\r\nabc",
            rng.next() >> rng.below(40),
        )
        .into_bytes(),
        _ => {
            let n = rng.below(60_000);
            let mut bytes = b"GET /healthz HTTP/1.1\r\nx: ".to_vec();
            bytes.resize(bytes.len() + n, b'y');
            bytes
        }
    }
}

/// A body that is said to be enormous and is not there.
fn claim(rng: &mut Rng, content_type: &str) -> Vec<u8> {
    format!(
        "POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{{\"value\":",
        rng.next() >> rng.below(40),
    )
    .into_bytes()
}

/// A right beginning, then frames with random types, flags, streams and lengths.
fn http2_frames(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for _ in 0..=rng.below(5) {
        let have = rng.below(60);
        let claimed = if rng.below(2) == 0 {
            have
        } else {
            rng.below(1 << 24)
        };
        bytes.extend_from_slice(&(claimed as u32).to_be_bytes()[1..]);
        bytes.extend([rng.below(11) as u8, rng.next() as u8]);
        bytes.extend((rng.below(9) as u32).to_be_bytes());
        bytes.extend(rng.bytes(have));
    }
    bytes
}

async fn connect_and_send(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The server may have closed by now; that is one of its answers.
    drop(stream.write_all(bytes).await);
    drop(stream.shutdown().await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let is_success = answer.starts_with(b"HTTP/1.1 2");
    assert!(!is_success || bytes.starts_with(b"POST") || bytes.starts_with(b"GET"));
}

/// A gRPC message whose prefix or content is not what it should be.
fn message(rng: &mut Rng, good: &[u8]) -> Bytes {
    let framed = |length: u32, content: &[u8]| {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(content);
        Bytes::from(bytes)
    };
    let n = rng.below(200);
    match rng.below(6) {
        0 => rng.bytes(n).into(),
        1 => framed(u32::MAX, &rng.bytes(n)),
        2 => framed(16 << 20, &rng.bytes(n)),
        3 => framed(n as u32, &rng.bytes(n)),
        4 => framed(good.len() as u32, &good[..rng.below(good.len())]),
        _ => {
            let mut bytes = good.to_vec();
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
            framed(bytes.len() as u32, &bytes)
        }
    }
}

/// What the malformed messages are made of.
fn good_request() -> v1::ProduceRequest {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..3 {
        let value = Some(Bytes::from_static(&[b'v'; 20]));
        builder
            .push(&Record {
                value,
                ..Record::default()
            })
            .unwrap();
    }
    v1::ProduceRequest {
        topic: "t".into(),
        partition: Some(0),
        records: Vec::new(),
        batch: builder.build().unwrap(),
    }
}

/// The body of a page of the server.
fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

fn in_flight_bytes(addr: SocketAddr) -> u64 {
    let metrics = get(addr, "/metrics");
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix("trilith_in_flight_bytes "));
    value.unwrap().parse().unwrap()
}

async fn send_messages(addr: SocketAddr, seed: u64, count: u64) {
    let good = good_request().encode_to_vec();
    let paths = [
        "Log/Produce",
        "Log/ProduceStream",
        "Log/Consume",
        "Topics/CreateTopic",
        "Log/ListOffsets",
    ];
    let mut rng = Rng(seed);
    let stream = TcpStream::connect(addr).await.unwrap();
    // Headers and body are two writes; without this the second waits for the first one's answer.
    stream.set_nodelay(true).unwrap();
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    for _ in 0..count {
        let path = paths[rng.below(paths.len())];
        let request = Request::post(format!("http://{addr}/trilith.v1.{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(message(&mut rng, &good)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "an error is a status of its own");
        let trailers_only = response.headers().contains_key("grpc-status");
        let body = response.into_body().collect().await.unwrap();
        assert!(trailers_only || body.trailers().unwrap().contains_key("grpc-status"));
    }
}

#[test]
fn ten_thousand_malformed_requests_do_no_harm() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    let (addr, process) = (server.address, server.process());
    server.ok(&["topic", "create", "t"]);
    get(addr, "/healthz");
    let before = anonymous_bytes(process);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(async move {
                let mut rng = Rng(task);
                for _ in 0..CONNECTIONS / TASKS + 1 {
                    connect_and_send(addr, &nonsense(&mut rng)).await;
                }
            });
            tasks.spawn(send_messages(addr, task + 1000, MESSAGES / TASKS + 1));
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
    let grown = anonymous_bytes(process).saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{} MiB more than before", grown >> 20);
    get(addr, "/healthz");
    server.feed(&["produce", "t", "--partition", "0"], b"still here\n");
    let read = server.ok(&["consume", "t"]);
    assert!(read.lines().any(|line| line == "still here"));
    while in_flight_bytes(addr) > 0 {
        std::thread::yield_now();
    }
    server.stop();
}
