//! A server whose answers the test gives, request by request.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::Stream;
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};
use trilith_client::{Bytes, Client};
use trilith_proto::v1::{
    self,
    cluster_server::{Cluster, ClusterServer},
    log_server::{Log, LogServer},
    topics_server::{Topics, TopicsServer},
};

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A produce stream in the test's hands.
pub(crate) struct ProduceStream {
    requests: Streaming<v1::ProduceStreamRequest>,
    answers: mpsc::Sender<Result<v1::ProduceStreamResponse, Status>>,
}

/// A request that a producer sent.
pub(crate) struct Produced {
    pub(crate) sequence: u64,
    pub(crate) partition: u32,
    pub(crate) batch: Bytes,
}

impl ProduceStream {
    /// The next request.
    pub(crate) async fn request(&mut self) -> Produced {
        let request = self
            .requests
            .message()
            .await
            .unwrap()
            .expect("a request comes");
        let inner = request.request.unwrap();
        assert_eq!(inner.topic, "t");
        Produced {
            sequence: request.sequence,
            partition: inner.partition.unwrap(),
            batch: inner.batch,
        }
    }

    pub(crate) async fn acknowledge(&self, request: &Produced, first_offset: u64) {
        let records = values(&request.batch).len() as u64;
        let appended = v1::Appended {
            partition: request.partition,
            first_offset,
            records,
            durability: v1::Durability::Synced.into(),
            append_time_ms: 1,
        };
        let response = v1::ProduceResponse {
            appended: vec![appended],
            positions: Vec::new(),
        };
        self.answer(
            request,
            v1::produce_stream_response::Result::Response(response),
        )
        .await;
    }

    pub(crate) async fn refuse(&self, request: &Produced, code: tonic::Code, reason: &str) {
        self.refuse_with(request, code, reason, &[]).await;
    }

    /// The same with named details.
    pub(crate) async fn refuse_with(
        &self,
        request: &Produced,
        code: tonic::Code,
        reason: &str,
        details: &[(&str, String)],
    ) {
        let details = details.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
        let error = v1::Error {
            code: code as i32,
            reason: reason.into(),
            message: format!("refused: {reason}"),
            metadata: details.collect(),
        };
        self.answer(request, v1::produce_stream_response::Result::Error(error))
            .await;
    }

    async fn answer(&self, request: &Produced, result: v1::produce_stream_response::Result) {
        let answer = v1::ProduceStreamResponse {
            sequence: request.sequence,
            result: Some(result),
        };
        self.answers.send(Ok(answer)).await.unwrap();
    }

    /// Ends the stream with a status.
    pub(crate) async fn fail(self, status: Status) {
        self.answers.send(Err(status)).await.unwrap();
    }
}

/// The values in a batch, as text.
pub(crate) fn values(batch: &Bytes) -> Vec<String> {
    let records = trilith_batch::decode(batch.clone()).unwrap();
    let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
    records
        .map(|record| text(record.unwrap().1.value.unwrap()))
        .collect()
}

/// What the next consume request is answered with.
pub(crate) type Script = Vec<Result<v1::ConsumeResponse, Status>>;

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    streams: mpsc::Receiver<ProduceStream>,
    service: Service,
    server: tokio::task::JoinHandle<()>,
    shutdown: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Service {
    partitions: u32,
    streams: mpsc::Sender<ProduceStream>,
    consume: Arc<Mutex<Vec<(Script, bool)>>>,
    consumed: Arc<Mutex<Vec<v1::ConsumeRequest>>>,
    /// Where it says that everything is led; until it is told, it knows no cluster.
    leader: Arc<Mutex<Option<String>>>,
    /// In which term.
    term: Arc<AtomicU64>,
    /// Producers that were numbered.
    producers: Arc<AtomicU64>,
    /// What it answers to whatever is asked of topics, leaders and records.
    refusal: Arc<Mutex<Option<(tonic::Code, &'static str)>>>,
}

impl Fake {
    /// A server that knows one topic, `t`, whose records have 1000 bytes at most.
    pub(crate) async fn start(partitions: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(8);
        let (shutdown, stopped) = oneshot::channel();
        let service = Service {
            partitions,
            streams: sender,
            consume: Arc::default(),
            consumed: Arc::default(),
            leader: Arc::default(),
            term: Arc::new(1.into()),
            producers: Arc::default(),
            refusal: Arc::default(),
        };
        let serve = Server::builder()
            .add_service(LogServer::new(service.clone()))
            .add_service(TopicsServer::new(service.clone()))
            .add_service(ClusterServer::new(service.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                let _ = stopped.await;
            });
        let server = tokio::spawn(async move { serve.await.unwrap() });
        let client = Client::connect([address.to_string()]).await.unwrap();
        Self {
            address,
            client,
            streams,
            service,
            server,
            shutdown,
        }
    }

    /// Says from now on that everything is led at this address.
    pub(crate) fn led_at(&self, leader: SocketAddr) {
        *self.service.leader.lock() = Some(leader.to_string());
    }

    /// The same, elected after those that were told before.
    pub(crate) fn led_later_at(&self, leader: SocketAddr) {
        self.service.term.fetch_add(1, Ordering::Relaxed);
        self.led_at(leader);
    }

    /// Refuses from now on what is asked of topics, leaders and records.
    pub(crate) fn refuses(&self, code: tonic::Code, reason: &'static str) {
        *self.service.refusal.lock() = Some((code, reason));
    }

    /// Another client, which is told of these servers.
    pub(crate) async fn client_of(servers: &[&Self]) -> Client {
        let addresses = servers.iter().map(|server| server.address.to_string());
        Client::connect(addresses).await.unwrap()
    }

    /// The next produce stream that the client opens.
    pub(crate) async fn stream(&mut self) -> ProduceStream {
        self.streams.recv().await.unwrap()
    }

    /// Answers the next consume request so, and then ends or stays silent.
    pub(crate) fn script(&self, script: Script, ends: bool) {
        self.service.consume.lock().insert(0, (script, ends));
    }

    pub(crate) fn consumed(&self) -> Vec<v1::ConsumeRequest> {
        self.service.consumed.lock().clone()
    }

    /// Ends the server and closes its port and, once no stream is open, its connections.
    pub(crate) async fn stop(self) -> Client {
        self.shutdown.send(()).unwrap();
        self.server.await.unwrap();
        self.client
    }
}

#[tonic::async_trait]
impl Log for Service {
    type ProduceStreamStream = Out<v1::ProduceStreamResponse>;
    type ConsumeStream = Out<v1::ConsumeResponse>;

    async fn produce(
        &self,
        _: Request<v1::ProduceRequest>,
    ) -> Result<Response<v1::ProduceResponse>, Status> {
        Err(Status::unimplemented("the client uses the stream"))
    }

    async fn produce_stream(
        &self,
        request: Request<Streaming<v1::ProduceStreamRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let (answers, outgoing) = mpsc::channel(64);
        let stream = ProduceStream {
            requests: request.into_inner(),
            answers,
        };
        self.streams
            .send(stream)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn consume(
        &self,
        request: Request<v1::ConsumeRequest>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        self.refused()?;
        self.consumed.lock().push(request.into_inner());
        let (script, ends) = self.consume.lock().pop().expect("the test wrote a script");
        let answers = futures::stream::iter(script);
        Ok(Response::new(if ends {
            Box::pin(answers)
        } else {
            Box::pin(futures::StreamExt::chain(
                answers,
                futures::stream::pending(),
            ))
        }))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let time = request.into_inner().timestamp_ms;
        let offsets = |partition| v1::PartitionOffsets {
            partition,
            start_offset: 1,
            end_offset: 9,
            offset_at_time: time.map(|time| time as u64),
        };
        let partitions = (0..self.partitions).rev().map(offsets).collect();
        Ok(Response::new(v1::ListOffsetsResponse { partitions }))
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn init(
        &self,
        _: Request<v1::InitRequest>,
    ) -> Result<Response<v1::InitResponse>, Status> {
        Err(Status::unimplemented("no test founds a cluster"))
    }

    async fn replace(
        &self,
        _: Request<v1::ReplaceRequest>,
    ) -> Result<Response<v1::ReplaceResponse>, Status> {
        Err(Status::unimplemented("no test replaces a node"))
    }

    async fn discard(
        &self,
        _: Request<v1::DiscardRequest>,
    ) -> Result<Response<v1::DiscardResponse>, Status> {
        Err(Status::unimplemented("no test drops anything"))
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Err(Status::unimplemented("no test asks"))
    }

    async fn metadata(
        &self,
        _: Request<v1::MetadataRequest>,
    ) -> Result<Response<v1::MetadataResponse>, Status> {
        // Who leads what is told of what there is, and nothing of the rest.
        if self
            .refusal
            .lock()
            .is_some_and(|(_, reason)| reason != "UNKNOWN_TOPIC")
        {
            self.refused()?;
        }
        let Some(client_address) = self.leader.lock().clone() else {
            return Err(Status::unimplemented("alone"));
        };
        let node = v1::ClusterNode {
            id: 1,
            client_address,
            ..v1::ClusterNode::default()
        };
        let partition = |partition| v1::PartitionMetadata {
            partition,
            leader: 1,
            replicas: vec![1],
            term: self.term.load(Ordering::Relaxed),
        };
        Ok(Response::new(v1::MetadataResponse {
            cluster_id: "f00".into(),
            nodes: vec![node],
            topics: vec![v1::TopicMetadata {
                name: "t".into(),
                id: 7,
                partitions: (0..self.partitions).map(partition).collect(),
            }],
        }))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        match *self.leader.lock() {
            None => Err(Status::unimplemented("alone")),
            Some(_) => Ok(Response::new(v1::InitProducerResponse {
                producer_id: self.producers.fetch_add(1, Ordering::Relaxed),
                epoch: 0,
            })),
        }
    }
}

impl Service {
    fn refused(&self) -> Result<(), Status> {
        let Some((code, reason)) = *self.refusal.lock() else {
            return Ok(());
        };
        let details = ErrorDetails::with_error_info(reason, "trilith", []);
        let message = format!("refused: {reason}");
        Err(Status::with_error_details(code, message, details))
    }

    fn topic(&self, name: &str) -> Result<v1::Topic, Status> {
        self.refused()?;
        if name != "t" {
            let details = ErrorDetails::with_error_info(
                "UNKNOWN_TOPIC",
                "trilith",
                [("topic".to_owned(), name.to_owned())],
            );
            let message = format!("there is no topic {name:?}");
            let code = tonic::Code::NotFound;
            return Err(Status::with_error_details(code, message, details));
        }
        let settings = v1::TopicSettings {
            partitions: Some(self.partitions),
            record_bytes_max: Some(1000),
            ..v1::TopicSettings::default()
        };
        Ok(v1::Topic {
            name: "t".into(),
            id: 7,
            settings: Some(settings),
        })
    }
}

#[tonic::async_trait]
impl Topics for Service {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        let topic = Some(self.topic(&request.into_inner().name)?);
        Ok(Response::new(v1::CreateTopicResponse { topic }))
    }

    async fn list_topics(
        &self,
        _: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let topics = vec![self.topic("t")?];
        Ok(Response::new(v1::ListTopicsResponse { topics }))
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        let topic = Some(self.topic(&request.into_inner().name)?);
        Ok(Response::new(v1::DescribeTopicResponse {
            topic,
            partitions: Vec::new(),
        }))
    }

    async fn alter_topic(
        &self,
        _: Request<v1::AlterTopicRequest>,
    ) -> Result<Response<v1::AlterTopicResponse>, Status> {
        Ok(Response::new(v1::AlterTopicResponse { topic: None }))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        self.topic(&request.into_inner().name)?;
        Ok(Response::new(v1::DeleteTopicResponse {}))
    }
}
