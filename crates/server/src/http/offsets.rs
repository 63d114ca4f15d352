//! `GET /v1/topics/{topic}/offsets`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use trilith_proto::v1::{ListOffsetsRequest, PartitionOffsets};

use super::{
    extract::{self, Segments},
    position,
};
use crate::{app::App, call::Call, error::ApiError, offsets};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    partition: Option<String>,
    time: Option<String>,
    #[serde(rename = "timeout_ms")]
    _timeout_ms: Option<String>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    Segments(topic): Segments<String>,
    RawQuery(query): RawQuery,
) -> Response {
    match answer(&app, &call, topic, query.as_deref()).await {
        Ok(json) => json.into_response(),
        Err(error) => extract::refuse(&app, error),
    }
}

async fn answer(
    app: &App,
    call: &Call,
    topic: String,
    query: Option<&str>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let parameters: Parameters = extract::query(query)?;
    let partition = parameters
        .partition
        .as_deref()
        .map(|p| extract::number("partition", p));
    let time = parameters.time.as_deref().map(position::time).transpose()?;
    let request = ListOffsetsRequest {
        topic,
        partitions: partition.transpose()?.into_iter().collect(),
        timestamp_ms: time.map(|time| time.get()),
    };
    let response = offsets::list(app, call, &request).await?;
    let partitions: Vec<_> = response.partitions.iter().map(to_json).collect();
    Ok(Json(json!({ "partitions": partitions })))
}

fn to_json(offsets: &PartitionOffsets) -> serde_json::Value {
    let mut json = json!({
        "partition": offsets.partition,
        "start_offset": offsets.start_offset,
        "end_offset": offsets.end_offset,
    });
    if let (Some(offset), Some(fields)) = (offsets.offset_at_time, json.as_object_mut()) {
        fields.insert("offset_at_time".to_owned(), offset.into());
    }
    json
}
