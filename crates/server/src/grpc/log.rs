//! `trilith.v1.Log`.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};
use trilith_proto::v1::{
    ConsumeRequest, ConsumeResponse, ListOffsetsRequest, ListOffsetsResponse, ProduceRequest,
    ProduceResponse, ProduceStreamRequest, ProduceStreamResponse, log_server::Log,
};

use super::{Shares, call_of, consume, produce_stream};
use crate::{
    app::App,
    auth::{Action, Resource},
    offsets, produce,
};

/// Records in and out.
#[derive(Clone, Debug)]
pub(crate) struct LogService {
    pub(crate) app: Arc<App>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Log for LogService {
    async fn produce(
        &self,
        request: Request<ProduceRequest>,
    ) -> Result<Response<ProduceResponse>, Status> {
        let call = call_of(&request)?;
        let share = request.extensions().get::<Shares>().and_then(Shares::take);
        let request = request.into_inner();
        let answer = async {
            call.authorize(Action::Produce, Resource::Topic(&request.topic))?;
            produce::append(&self.app, &call, request, share).await
        };
        answer
            .await
            .map(Response::new)
            .map_err(|e| self.app.count(e).into())
    }

    type ProduceStreamStream = Answers<ProduceStreamResponse>;

    async fn produce_stream(
        &self,
        request: Request<Streaming<ProduceStreamRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let call = call_of(&request)?;
        let shares = request
            .extensions()
            .get::<Shares>()
            .cloned()
            .unwrap_or_default();
        let answers = produce_stream::run(&self.app, call, request.into_inner(), shares);
        Ok(Response::new(Box::pin(answers)))
    }

    type ConsumeStream = Answers<ConsumeResponse>;

    async fn consume(
        &self,
        request: Request<ConsumeRequest>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let call = call_of(&request)?;
        match consume::run(&self.app, &call, request.into_inner()).await {
            Ok(answers) => Ok(Response::new(answers)),
            Err(error) => Err(self.app.count(error).into()),
        }
    }

    async fn list_offsets(
        &self,
        request: Request<ListOffsetsRequest>,
    ) -> Result<Response<ListOffsetsResponse>, Status> {
        let call = call_of(&request)?;
        let request = request.into_inner();
        let answer = offsets::list(&self.app, &call, &request).await;
        answer
            .map(Response::new)
            .map_err(|e| self.app.count(e).into())
    }
}
