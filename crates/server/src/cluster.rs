//! The cluster, for both protocols: the check of the caller, then the node.

use trilith_proto::v1::{
    ClusterNode, DiscardRequest, DiscardResponse, InitProducerResponse, InitResponse,
    MetadataResponse, ReplaceRequest, ReplaceResponse, StatusResponse,
};

use crate::{
    app::App,
    auth::{Action, Resource},
    call::Call,
    error::ApiError,
};

pub(crate) async fn init(
    app: &App,
    call: &Call,
    nodes: Vec<ClusterNode>,
) -> Result<InitResponse, ApiError> {
    call.authorize(Action::FoundCluster, Resource::Server)?;
    let founding = app.engine.init(nodes);
    let doing = "the cluster was being founded, which goes on";
    let cluster_id = call.within(doing, founding).await?;
    Ok(InitResponse { cluster_id })
}

pub(crate) async fn replace(
    app: &App,
    call: &Call,
    replace: ReplaceRequest,
) -> Result<ReplaceResponse, ApiError> {
    call.authorize(Action::FoundCluster, Resource::Server)?;
    let replacing = app.engine.replace(call, replace);
    call.within("a node was being replaced, which goes on", replacing)
        .await
}

pub(crate) async fn discard(
    app: &App,
    call: &Call,
    discard: &DiscardRequest,
) -> Result<DiscardResponse, ApiError> {
    let resource = match discard.topic.as_str() {
        "" => Resource::Server,
        topic => Resource::Topic(topic),
    };
    call.authorize(Action::DiscardDoubtful, resource)?;
    let asked = app.engine.discard(discard);
    call.within("a replica was being asked", asked).await
}

pub(crate) async fn status(app: &App, call: &Call) -> Result<StatusResponse, ApiError> {
    call.authorize(Action::DescribeCluster, Resource::Server)?;
    call.within("the node was being asked", app.engine.status())
        .await
}

pub(crate) fn metadata(
    app: &App,
    call: &Call,
    topics: &[String],
) -> Result<MetadataResponse, ApiError> {
    call.authorize(Action::DescribeCluster, Resource::Server)?;
    app.engine.metadata(topics)
}

pub(crate) async fn init_producer(
    app: &App,
    call: &Call,
) -> Result<InitProducerResponse, ApiError> {
    call.authorize(Action::Produce, Resource::Server)?;
    let asking = app.engine.init_producer(call);
    call.within("a number was being drawn", asking).await
}
