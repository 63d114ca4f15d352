//! The gRPC services, as routes of the one router.

mod cluster;
mod consume;
mod framing;
mod health;
mod log;
mod produce_stream;
mod topics;

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, response::IntoResponse};
use http::{HeaderMap, Request, Response, header};
use tonic::{Code, Status, server::NamedService};
use tonic_health::pb::health_server::HealthServer;
use tower::{Service, ServiceExt};
use trilith_proto::v1::{
    cluster_server::ClusterServer, log_server::LogServer, topics_server::TopicsServer,
};

pub(crate) use self::framing::{Framed, Rules, Shares};
use crate::{app::App, call::Call, error::ApiError};

/// Every method that is served; what metrics tell apart by name.
pub(crate) const METHODS: [&str; 19] = [
    "/trilith.v1.Log/Produce",
    "/trilith.v1.Log/ProduceStream",
    "/trilith.v1.Log/Consume",
    "/trilith.v1.Log/ListOffsets",
    "/trilith.v1.Topics/CreateTopic",
    "/trilith.v1.Topics/ListTopics",
    "/trilith.v1.Topics/DescribeTopic",
    "/trilith.v1.Topics/AlterTopic",
    "/trilith.v1.Topics/DeleteTopic",
    "/trilith.v1.Cluster/Init",
    "/trilith.v1.Cluster/Replace",
    "/trilith.v1.Cluster/Discard",
    "/trilith.v1.Cluster/Status",
    "/trilith.v1.Cluster/Metadata",
    "/trilith.v1.Cluster/InitProducer",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The routes of all services.
pub(crate) fn router(app: &Arc<App>) -> Result<Router<Arc<App>>, tonic_reflection::server::Error> {
    let bytes_max = app.limits.message_bytes_max;
    let log = LogServer::new(log::LogService {
        app: Arc::clone(app),
    })
    .max_decoding_message_size(bytes_max)
    .max_encoding_message_size(usize::MAX);
    let topics = TopicsServer::new(topics::TopicsService {
        app: Arc::clone(app),
    });
    let cluster = ClusterServer::new(cluster::ClusterService {
        app: Arc::clone(app),
    });
    let health = HealthServer::new(health::HealthService {
        shutdown: app.shutdown.clone(),
    });
    let router = mount(Router::new(), app, log, Hold::UntilHandled);
    let router = mount(router, app, topics, Hold::UntilRead);
    let router = mount(router, app, cluster, Hold::UntilRead);
    let router = mount(router, app, health, Hold::UntilRead);
    let router = mount(router, app, descriptors().build_v1()?, Hold::UntilRead);
    Ok(mount(
        router,
        app,
        descriptors().build_v1alpha()?,
        Hold::UntilRead,
    ))
}

fn descriptors() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(trilith_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // What errors carry, so that tools can print it.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// How long a message's bytes count as in flight.
#[derive(Clone, Copy)]
enum Hold {
    /// Until the message was read.
    UntilRead,
    /// Until the handler is through with it: it takes the share over.
    UntilHandled,
}

fn mount<S, B>(router: Router<Arc<App>>, app: &Arc<App>, service: S, hold: Hold) -> Router<Arc<App>>
where
    S: Service<Request<Framed<Body>>, Response = Response<B>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    Response<B>: IntoResponse,
    B: Send + 'static,
{
    let app = Arc::clone(app);
    let service = service
        .map_request(move |request| framed(&app, request, hold))
        .map_response(|response: Response<B>| name_decode_errors(response.into_response()));
    router.route_service(&format!("/{}/{{*method}}", S::NAME), service)
}

fn framed(app: &App, request: Request<Body>, hold: Hold) -> Request<Framed<Body>> {
    let (mut parts, body) = request.into_parts();
    let deadline = parts
        .extensions
        .get::<Call>()
        .and_then(|call| call.deadline);
    let shares = match hold {
        Hold::UntilRead => None,
        Hold::UntilHandled => {
            let shares = Shares::default();
            parts.extensions.insert(shares.clone());
            Some(shares)
        }
    };
    Request::from_parts(parts, Framed::new(body, app.rules(deadline), shares))
}

/// What is known of the caller.
fn call_of<T>(request: &tonic::Request<T>) -> Result<Call, Status> {
    request
        .extensions()
        .get::<Call>()
        .cloned()
        .ok_or_else(|| Status::internal("no call"))
}

/// How the message decoder begins what it says.
const DECODE_ERROR: &str = "failed to decode Protobuf message";

fn malformed(status: &Status) -> Option<ApiError> {
    let is_malformed =
        status.code() == Code::Internal && status.message().starts_with(DECODE_ERROR);
    is_malformed.then(|| ApiError::invalid(status.message()))
}

/// The decoder blames the server for bytes that are no message; the client sent them.
fn decode_error(app: &App, status: Status) -> Status {
    malformed(&status).map_or(status, |error| app.count(error).into())
}

/// The same where the decoder answered before any handler was called.
fn name_decode_errors(response: axum::response::Response) -> axum::response::Response {
    if !response.headers().contains_key(Status::GRPC_STATUS) {
        return response;
    }
    let error = Status::from_header_map(response.headers()).and_then(|status| malformed(&status));
    error.map_or(response, refuse)
}

/// Whether a request is gRPC and wants its errors as such.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// An error as a gRPC response without a body.
pub(crate) fn refuse(error: ApiError) -> axum::response::Response {
    Status::from(error).into_http::<Body>()
}
