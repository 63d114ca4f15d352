//! `/v1/topics` and `/v1/topics/{topic}`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use trilith_proto::v1::{PartitionDescription, Topic, TopicSettings};

use super::extract::{self, Segments};
use crate::{app::App, call::Call, error::ApiError, json::Object, topics};

/// Bytes of a body that describes a topic.
const BODY_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    partitions: Option<u32>,
    retention_bytes: Option<u64>,
    retention_ms: Option<u64>,
    segment_bytes: Option<u64>,
    segment_ms: Option<u64>,
    record_bytes_max: Option<u32>,
    replicas: Option<u32>,
}

impl From<Settings> for TopicSettings {
    fn from(settings: Settings) -> Self {
        Self {
            partitions: settings.partitions,
            retention_bytes: settings.retention_bytes,
            retention_ms: settings.retention_ms,
            segment_bytes: settings.segment_bytes,
            segment_ms: settings.segment_ms,
            record_bytes_max: settings.record_bytes_max,
            replicas: settings.replicas,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    settings: Object<Settings>,
}

fn respond(app: &App, result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|error| extract::refuse(app, error))
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Response {
    let topics = topics::list(&app, &call).await;
    respond(
        &app,
        topics.map(|topics| {
            let topics: Vec<Value> = topics.into_iter().map(topic_json).collect();
            Json(json!({ "topics": topics })).into_response()
        }),
    )
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let created = async {
        let Create {
            name,
            settings: Object(settings),
        } = extract::json(&app, &call, &headers, body, BODY_BYTES_MAX).await?;
        let topic = topics::create(&app, &call, name, settings.into()).await?;
        Ok((StatusCode::CREATED, Json(topic_json(topic))).into_response())
    };
    respond(&app, created.await)
}

pub(super) async fn describe(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    Segments(name): Segments<String>,
) -> Response {
    let described = topics::describe(&app, &call, name).await;
    respond(
        &app,
        described.map(|described| {
            let mut json = topic_json(described.topic.unwrap_or_default());
            if let Some(fields) = json.as_object_mut() {
                let partitions = described.partitions.iter().map(partition_json).collect();
                fields.insert("partitions".to_owned(), Value::Array(partitions));
            }
            Json(json).into_response()
        }),
    )
}

pub(super) async fn alter(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let altered = async {
        let settings: Settings = extract::json(&app, &call, &headers, body, BODY_BYTES_MAX).await?;
        let topic = topics::alter(&app, &call, name, settings.into()).await?;
        Ok(Json(topic_json(topic)).into_response())
    };
    respond(&app, altered.await)
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    Segments(name): Segments<String>,
) -> Response {
    let deleted = topics::delete(&app, &call, name).await;
    respond(
        &app,
        deleted.map(|()| StatusCode::NO_CONTENT.into_response()),
    )
}

fn topic_json(topic: Topic) -> Value {
    let settings = topic.settings.unwrap_or_default();
    json!({
        "name": topic.name,
        "id": topic.id,
        "settings": {
            "partitions": settings.partitions,
            "retention_bytes": settings.retention_bytes,
            "retention_ms": settings.retention_ms,
            "segment_bytes": settings.segment_bytes,
            "segment_ms": settings.segment_ms,
            "record_bytes_max": settings.record_bytes_max,
            "replicas": settings.replicas,
        },
    })
}

fn partition_json(partition: &PartitionDescription) -> Value {
    json!({
        "partition": partition.partition,
        "start_offset": partition.start_offset,
        "end_offset": partition.end_offset,
        "bytes": partition.bytes,
        "segments": partition.segments,
        "damaged_ranges": partition.damaged_ranges,
        "leader": (partition.leader != 0).then_some(partition.leader),
        "replicas": partition.replicas,
        "unavailable": (!partition.unavailable.is_empty()).then_some(&partition.unavailable),
    })
}
