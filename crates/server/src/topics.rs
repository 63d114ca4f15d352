//! Topics, for both protocols: the check of the caller, then the node off the async threads.

use trilith_proto::v1::{DescribeTopicResponse, Topic, TopicSettings};

use crate::{
    app::App,
    auth::{Action, Resource},
    call::Call,
    error::ApiError,
};

pub(crate) async fn create(
    app: &App,
    call: &Call,
    name: String,
    settings: TopicSettings,
) -> Result<Topic, ApiError> {
    call.authorize(Action::CreateTopic, Resource::Topic(&name))?;
    let work = app.engine.create_topic(call, name, settings);
    call.within("the topic was being created, which goes on", work)
        .await
}

pub(crate) async fn list(app: &App, call: &Call) -> Result<Vec<Topic>, ApiError> {
    call.authorize(Action::ListTopics, Resource::Server)?;
    call.within("the topics were being listed", app.engine.list_topics())
        .await
}

pub(crate) async fn describe(
    app: &App,
    call: &Call,
    name: String,
) -> Result<DescribeTopicResponse, ApiError> {
    call.authorize(Action::DescribeTopic, Resource::Topic(&name))?;
    call.within(
        "the topic was being described",
        app.engine.describe_topic(call, name),
    )
    .await
}

pub(crate) async fn alter(
    app: &App,
    call: &Call,
    name: String,
    settings: TopicSettings,
) -> Result<Topic, ApiError> {
    call.authorize(Action::AlterTopic, Resource::Topic(&name))?;
    let work = app.engine.alter_topic(call, name, settings);
    call.within("the topic was being altered, which goes on", work)
        .await
}

pub(crate) async fn delete(app: &App, call: &Call, name: String) -> Result<(), ApiError> {
    call.authorize(Action::DeleteTopic, Resource::Topic(&name))?;
    let work = app.engine.delete_topic(call, name);
    call.within("the topic was being deleted, which goes on", work)
        .await
}
