//! `grpc.health.v1.Health`. Watching ends with the server, so that a watcher never holds it up.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

use crate::shutdown::Shutdown;

/// The names that have a health of their own; the empty one is the whole server.
const SERVICES: [&str; 3] = ["", "trilith.v1.Log", "trilith.v1.Topics"];

/// All services are as healthy as the server: serving until it begins to end.
#[derive(Debug)]
pub(crate) struct HealthService {
    pub(crate) shutdown: Shutdown,
}

impl HealthService {
    fn status(&self, service: &str) -> Option<ServingStatus> {
        SERVICES.contains(&service).then(|| {
            if self.shutdown.is_draining() {
                ServingStatus::NotServing
            } else {
                ServingStatus::Serving
            }
        })
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status as i32,
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.get_ref().service) {
            Some(status) => Ok(Response::new(response(status))),
            None => Err(Status::new(Code::NotFound, "no service of that name")),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.status(&request.get_ref().service);
        let first = stream::iter([Ok(response(known.unwrap_or(ServingStatus::ServiceUnknown)))]);
        let shutdown = self.shutdown.clone();
        let last = stream::once(async move {
            shutdown.draining().await;
            Ok(response(ServingStatus::NotServing))
        });
        Ok(Response::new(Box::pin(first.chain(last))))
    }
}
