//! `trilith.v1.Topics`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trilith_proto::v1::{
    AlterTopicRequest, AlterTopicResponse, CreateTopicRequest, CreateTopicResponse,
    DeleteTopicRequest, DeleteTopicResponse, DescribeTopicRequest, DescribeTopicResponse,
    ListTopicsRequest, ListTopicsResponse, topics_server::Topics,
};

use super::call_of;
use crate::{app::App, error::ApiError, topics};

/// Topics and their settings.
#[derive(Clone, Debug)]
pub(crate) struct TopicsService {
    pub(crate) app: Arc<App>,
}

impl TopicsService {
    fn answer<T>(&self, result: Result<T, ApiError>) -> Result<Response<T>, Status> {
        result
            .map(Response::new)
            .map_err(|e| self.app.count(e).into())
    }
}

#[tonic::async_trait]
impl Topics for TopicsService {
    async fn create_topic(
        &self,
        request: Request<CreateTopicRequest>,
    ) -> Result<Response<CreateTopicResponse>, Status> {
        let call = call_of(&request)?;
        let CreateTopicRequest { name, settings } = request.into_inner();
        let topic = topics::create(&self.app, &call, name, settings.unwrap_or_default()).await;
        self.answer(topic.map(|topic| CreateTopicResponse { topic: Some(topic) }))
    }

    async fn list_topics(
        &self,
        request: Request<ListTopicsRequest>,
    ) -> Result<Response<ListTopicsResponse>, Status> {
        let call = call_of(&request)?;
        let topics = topics::list(&self.app, &call).await;
        self.answer(topics.map(|topics| ListTopicsResponse { topics }))
    }

    async fn describe_topic(
        &self,
        request: Request<DescribeTopicRequest>,
    ) -> Result<Response<DescribeTopicResponse>, Status> {
        let call = call_of(&request)?;
        self.answer(topics::describe(&self.app, &call, request.into_inner().name).await)
    }

    async fn alter_topic(
        &self,
        request: Request<AlterTopicRequest>,
    ) -> Result<Response<AlterTopicResponse>, Status> {
        let call = call_of(&request)?;
        let AlterTopicRequest { name, settings } = request.into_inner();
        let topic = topics::alter(&self.app, &call, name, settings.unwrap_or_default()).await;
        self.answer(topic.map(|topic| AlterTopicResponse { topic: Some(topic) }))
    }

    async fn delete_topic(
        &self,
        request: Request<DeleteTopicRequest>,
    ) -> Result<Response<DeleteTopicResponse>, Status> {
        let call = call_of(&request)?;
        let deleted = topics::delete(&self.app, &call, request.into_inner().name).await;
        self.answer(deleted.map(|()| DeleteTopicResponse {}))
    }
}
