//! `trilith.v1.Cluster`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trilith_proto::v1::{
    DiscardRequest, DiscardResponse, InitProducerRequest, InitProducerResponse, InitRequest,
    InitResponse, MetadataRequest, MetadataResponse, ReplaceRequest, ReplaceResponse,
    StatusRequest, StatusResponse, cluster_server::Cluster,
};

use super::call_of;
use crate::{app::App, cluster, error::ApiError};

/// The cluster and its nodes.
#[derive(Clone, Debug)]
pub(crate) struct ClusterService {
    pub(crate) app: Arc<App>,
}

impl ClusterService {
    fn answer<T>(&self, result: Result<T, ApiError>) -> Result<Response<T>, Status> {
        result
            .map(Response::new)
            .map_err(|e| self.app.count(e).into())
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn init(&self, request: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        let call = call_of(&request)?;
        let nodes = request.into_inner().nodes;
        self.answer(cluster::init(&self.app, &call, nodes).await)
    }

    async fn replace(
        &self,
        request: Request<ReplaceRequest>,
    ) -> Result<Response<ReplaceResponse>, Status> {
        let call = call_of(&request)?;
        let replace = request.into_inner();
        self.answer(cluster::replace(&self.app, &call, replace).await)
    }

    async fn discard(
        &self,
        request: Request<DiscardRequest>,
    ) -> Result<Response<DiscardResponse>, Status> {
        let call = call_of(&request)?;
        let discard = request.into_inner();
        self.answer(cluster::discard(&self.app, &call, &discard).await)
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let call = call_of(&request)?;
        self.answer(cluster::status(&self.app, &call).await)
    }

    async fn metadata(
        &self,
        request: Request<MetadataRequest>,
    ) -> Result<Response<MetadataResponse>, Status> {
        let call = call_of(&request)?;
        let topics = request.into_inner().topics;
        self.answer(cluster::metadata(&self.app, &call, &topics))
    }

    async fn init_producer(
        &self,
        request: Request<InitProducerRequest>,
    ) -> Result<Response<InitProducerResponse>, Status> {
        let call = call_of(&request)?;
        self.answer(cluster::init_producer(&self.app, &call).await)
    }
}
