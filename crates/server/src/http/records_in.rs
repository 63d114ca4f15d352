//! `POST /v1/topics/{topic}/records`.
//!
//! The content type says what the body is, and none of those taken is one that a web page may
//! send to a foreign server without asking first.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use trilith_proto::v1::{Appended, Durability, ProduceRequest, Record};
use trilith_types::TimestampMs;

use super::{
    extract::{self, Segments},
    records_lines::Lines,
};
use crate::{
    app::App,
    auth::{Action, Resource},
    call::Call,
    error::{ApiError, Reason},
    json::{RecordFields, base64},
    produce,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    partition: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(rename = "timeout_ms")]
    _timeout_ms: Option<String>,
}

/// Where records go, of whatever form they are.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) topic: String,
    pub(super) partition: Option<u32>,
}

impl Target {
    pub(super) fn request(&self, records: Vec<Record>) -> ProduceRequest {
        ProduceRequest {
            topic: self.topic.clone(),
            partition: self.partition,
            records,
            batch: Bytes::new(),
        }
    }
}

pub(super) async fn produce(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    Segments(topic): Segments<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match answer(&app, &call, topic, query.as_deref(), &headers, body).await {
        Ok(json) => json.into_response(),
        Err(error) => extract::refuse(&app, error),
    }
}

async fn answer(
    app: &Arc<App>,
    call: &Call,
    topic: String,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<serde_json::Value>, ApiError> {
    call.authorize(Action::Produce, Resource::Topic(&topic))?;
    let parameters: Parameters = extract::query(query)?;
    let partition = parameters
        .partition
        .as_deref()
        .map(|p| extract::number("partition", p));
    let target = Target {
        topic,
        partition: partition.transpose()?,
    };
    // A topic that is not there is told before the body is read.
    app.engine.partitions_of(&target.topic).await?;
    match extract::media_type(headers).as_str() {
        "application/json" => {
            one(
                app,
                call,
                &target,
                body,
                app.limits.json_bytes_max,
                |body| {
                    RecordFields::parse(body)
                        .map(from_fields)
                        .map_err(|e| ApiError::invalid(format!("the body: {e}")))
                },
            )
            .await
        }
        "application/octet-stream" => {
            let key = key_of(parameters)?;
            let record = |value: &Bytes| {
                Ok(Record {
                    key,
                    value: Some(value.clone()),
                    ..Record::default()
                })
            };
            let limit = app.limits.message_bytes_max;
            one(app, call, &target, body, limit, record).await
        }
        "application/x-ndjson" | "application/jsonl" => {
            Lines::new(app, call, target, body).run().await.map(Json)
        }
        other => Err(ApiError::new(
            Reason::UnsupportedMediaType,
            format!(
                "content type {other:?} is not taken: send one record as application/json, records \
                 line by line as application/x-ndjson, or a value as application/octet-stream"
            ),
        )),
    }
}

fn key_of(parameters: Parameters) -> Result<Option<Bytes>, ApiError> {
    match (parameters.key, parameters.key_base64) {
        (Some(_), Some(_)) => Err(ApiError::invalid("give key or key_base64, not both")),
        (Some(key), None) => Ok(Some(key.into())),
        (None, Some(key)) => base64(&key)
            .map(Some)
            .map_err(|e| ApiError::invalid(format!("key_base64: {e}"))),
        (None, None) => Ok(None),
    }
}

/// A record as it goes on to be appended.
pub(super) fn from_fields(fields: RecordFields) -> Record {
    let header = |header: trilith_batch::Header| trilith_proto::v1::Header {
        name: header.name.as_str().to_owned(),
        value: header.value,
    };
    Record {
        key: fields.key,
        value: fields.value,
        headers: fields.headers.into_iter().map(header).collect(),
        timestamp_ms: fields.timestamp.map(TimestampMs::get),
        offset: 0,
    }
}

/// One record that is the whole body, of at most `limit` bytes.
async fn one(
    app: &Arc<App>,
    call: &Call,
    target: &Target,
    body: Body,
    limit: usize,
    record: impl FnOnce(&Bytes) -> Result<Record, ApiError>,
) -> Result<Json<serde_json::Value>, ApiError> {
    // A body that does not say its length is taken for one of the largest.
    let claimed = hyper::body::Body::size_hint(&body)
        .upper()
        .unwrap_or(limit as u64);
    if claimed > limit as u64 {
        return Err(extract::too_large(limit));
    }
    let share = app.admission.take(claimed as usize, call.deadline).await?;
    let body = extract::bytes(app, call, body, limit).await?;
    let request = target.request(vec![record(&body)?]);
    let response = produce::append(app, call, request, Some(share)).await?;
    let appended = response.appended.first().ok_or_else(|| {
        ApiError::new(
            Reason::Internal,
            "the append was acknowledged without a position",
        )
    })?;
    Ok(Json(json!({
        "partition": appended.partition,
        "offset": appended.first_offset,
        "durability": durability(appended),
        "append_time_ms": appended.append_time_ms,
    })))
}

/// `synced` or `written`.
pub(super) fn durability(appended: &Appended) -> &'static str {
    match appended.durability() {
        Durability::Synced => "synced",
        Durability::Written => "written",
        Durability::Unspecified => "unspecified",
    }
}
