//! A server on a port of its own, and clients for it.

use std::{net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::oneshot, task::JoinHandle};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use trilith_batch::{BatchBuilder, Compression};
use trilith_env::{
    Env, os,
    sim::{Failure, Op, SimDisk},
};
use trilith_node::{Addresses, NodeConfig};
use trilith_proto::v1::{
    CreateTopicRequest, ProduceRequest, ProduceResponse, Record, StatusRequest, StatusResponse,
    TopicSettings, cluster_client::ClusterClient, log_client::LogClient,
    topics_client::TopicsClient,
};
use trilith_server::{Member, RunError, Server, ServerConfig};
use trilith_types::TimestampMs;

/// A running server; dropped with its directory.
pub(crate) struct Fixture {
    pub(crate) addr: SocketAddr,
    member: Member,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), RunError>>,
    dir: TempDir,
}

/// A server with everything at its default.
pub(crate) async fn start() -> Fixture {
    start_with(|_| {}).await
}

/// A server with some settings changed.
pub(crate) async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    start_over(os::env(), dir, change, |_| {}).await
}

/// A server over a simulated disk, and the means to break it.
pub(crate) async fn sim_server() -> (Fixture, Faults) {
    let disk = SimDisk::new(7);
    let env = Env {
        disk: Arc::new(disk.clone()),
        ..os::env()
    };
    let dir = tempfile::tempdir().unwrap();
    (start_over(env, dir, |_| {}, |_| {}).await, Faults(disk))
}

/// Faults of a simulated disk.
pub(crate) struct Faults(SimDisk);

impl Faults {
    pub(crate) fn fail_durable_writes(&self) {
        for op in [Op::WriteDurable, Op::Sync] {
            self.0.fail(Failure::of(op).forever());
        }
    }

    /// Space that a file has already can still be written to.
    pub(crate) fn fill(&self) {
        for op in [Op::Allocate, Op::SetLen, Op::Create] {
            self.0.fail(
                Failure::of(op)
                    .forever()
                    .with(std::io::ErrorKind::StorageFull),
            );
        }
    }

    pub(crate) fn heal(&self) {
        self.0.clear_failures();
    }
}

/// Changes a byte of `text` where it stands in a segment file below `data`.
pub(crate) fn damage_segment(data: &Path, text: &[u8]) {
    let mut dirs = vec![data.to_owned()];
    let mut damaged = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "log") {
                damaged += usize::from(damage_file(&path, text));
            }
        }
    }
    assert_eq!(damaged, 1, "the text stands in one segment");
}

fn damage_file(path: &Path, text: &[u8]) -> bool {
    use std::os::unix::fs::FileExt;
    let bytes = std::fs::read(path).unwrap();
    let Some(at) = bytes.windows(text.len()).position(|window| window == text) else {
        return false;
    };
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[text[0] ^ 1], at as u64).unwrap();
    true
}

/// A request whose body of `bytes` bytes has been admitted and does not come: it is in flight
/// until the connection is dropped or gets the body.
pub(crate) async fn hold_bytes(server: &Fixture, topic: &str, bytes: usize) -> TcpStream {
    let before = metric(server, "trilith_in_flight_bytes").await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "POST /v1/topics/{topic}/records HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/octet-stream\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    until_metric(server, "trilith_in_flight_bytes", |now| {
        now >= before + bytes as u64
    })
    .await;
    stream
}

/// A metric without labels.
pub(crate) async fn metric(server: &Fixture, name: &str) -> u64 {
    let answer = server.get("/metrics").await;
    let line = answer
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Asks for a metric until it is as wanted.
pub(crate) async fn until_metric(server: &Fixture, name: &str, wanted: impl Fn(u64) -> bool) {
    while !wanted(metric(server, name).await) {
        tokio::task::yield_now().await;
    }
}

/// A server over a disk of the caller's choice.
pub(crate) async fn start_over(
    env: Env,
    dir: TempDir,
    change: impl FnOnce(&mut ServerConfig),
    change_node: impl FnOnce(&mut NodeConfig),
) -> Fixture {
    let mut node_config = NodeConfig::new(dir.path());
    change_node(&mut node_config);
    let mut config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..ServerConfig::default()
    };
    change(&mut config);
    let listening = Server::listen(config).await.unwrap();
    let addr = listening.local_addr();
    node_config.addresses = Addresses {
        client: addr.to_string(),
        ..Addresses::default()
    };
    let (member, _report) = Member::open(&env, node_config, None, false).unwrap();
    let bound = listening.serve(member.clone()).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let task = tokio::spawn(bound.run(shutdown));
    Fixture {
        addr,
        member,
        stop: Some(stop),
        task,
        dir,
    }
}

impl Fixture {
    /// Tells the server to end.
    pub(crate) fn begin_shutdown(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the end.
    pub(crate) async fn ended(self) -> Result<(), RunError> {
        self.task.await.unwrap()
    }

    /// The same, and what it leaves behind.
    pub(crate) async fn ended_with_dir(self) -> TempDir {
        let Self {
            member,
            stop,
            task,
            dir,
            ..
        } = self;
        task.await.unwrap().unwrap();
        drop((member, stop));
        dir
    }

    /// A server over what another one left behind.
    pub(crate) async fn over(dir: TempDir) -> Self {
        start_over(os::env(), dir, |_| {}, |_| {}).await
    }

    /// The node.
    pub(crate) const fn member(&self) -> &Member {
        &self.member
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.addr)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn log(&self) -> LogClient<Channel> {
        LogClient::new(self.channel().await)
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20)
    }

    /// What the node says of itself.
    pub(crate) async fn status(&self) -> StatusResponse {
        let mut cluster = ClusterClient::new(self.channel().await);
        let status = cluster.status(StatusRequest {}).await.unwrap();
        status.into_inner()
    }

    pub(crate) async fn topics(&self) -> TopicsClient<Channel> {
        TopicsClient::new(self.channel().await)
    }

    pub(crate) async fn create(&self, name: &str, partitions: u32) {
        let settings = TopicSettings {
            partitions: Some(partitions),
            ..TopicSettings::default()
        };
        self.create_with(name, settings).await;
    }

    pub(crate) async fn create_with(&self, name: &str, settings: TopicSettings) {
        let request = CreateTopicRequest {
            name: name.into(),
            settings: Some(settings),
        };
        self.topics().await.create_topic(request).await.unwrap();
    }

    /// Appends one batch of records with these values to partition 0.
    pub(crate) async fn append(&self, topic: &str, values: &[&str]) -> ProduceResponse {
        let records = values.iter().map(|value| record(value)).collect();
        let request = ProduceRequest {
            topic: topic.into(),
            partition: Some(0),
            records,
            ..ProduceRequest::default()
        };
        self.log()
            .await
            .produce(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.http(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        self.http(Method::POST, path, &[("content-type", content_type)], body)
            .await
    }

    /// One HTTP/1.1 request on a connection of its own, its response read to the end.
    pub(crate) async fn http(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// The same with the response's body still to come.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.addr.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender
            .send_request(request.body(Full::new(body.into())).unwrap())
            .await
            .unwrap()
    }

    /// Whether the server still does what it is there for.
    pub(crate) async fn assert_serving(&self) {
        assert_eq!(self.get("/readyz").await.status, StatusCode::OK);
        let request = trilith_proto::v1::ListTopicsRequest {};
        self.topics().await.list_topics(request).await.unwrap();
    }
}

/// A whole HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The error's reason, after checking that the rest of it is there.
    pub(crate) fn reason(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert!(error["code"].is_string() && error["metadata"].is_object());
        error["reason"].as_str().unwrap().to_owned()
    }
}

/// The reason that a status carries.
pub(crate) fn reason(status: &Status) -> String {
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert_eq!(info.domain, trilith_server::ERROR_DOMAIN);
    info.reason
}

/// A detail that a status carries.
pub(crate) fn detail(status: &Status, key: &str) -> String {
    status
        .get_details_error_info()
        .unwrap()
        .metadata
        .get(key)
        .unwrap()
        .clone()
}

pub(crate) fn record(value: &str) -> Record {
    Record {
        value: Some(value.to_owned().into()),
        ..Record::default()
    }
}

/// A batch of records with values of `bytes` bytes.
pub(crate) fn batch(records: u32, bytes: usize) -> Bytes {
    batch_with(Compression::None, records, bytes)
}

pub(crate) fn batch_with(compression: Compression, records: u32, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    let value = vec![b'v'; bytes];
    for _ in 0..records {
        builder
            .push_parts(None, Some(&value), &[], TimestampMs(1))
            .unwrap();
    }
    builder.build().unwrap()
}

/// A request that appends an encoded batch to partition 0.
pub(crate) fn produce_batch(topic: &str, batch: Bytes) -> ProduceRequest {
    ProduceRequest {
        topic: topic.into(),
        partition: Some(0),
        batch,
        ..ProduceRequest::default()
    }
}
