//! Where partitions start and end.

use trilith_proto::v1::{ListOffsetsRequest, ListOffsetsResponse, PartitionOffsets};
use trilith_types::{PartitionId, TimestampMs};

use crate::{
    app::App,
    auth::{Action, Resource},
    call::Call,
    error::ApiError,
};

/// Answers for the partitions asked for, or for all of the topic's.
pub(crate) async fn list(
    app: &App,
    call: &Call,
    request: &ListOffsetsRequest,
) -> Result<ListOffsetsResponse, ApiError> {
    call.authorize(Action::ListOffsets, Resource::Topic(&request.topic))?;
    let all;
    let wanted: &[u32] = if request.partitions.is_empty() {
        all = (0..app.engine.partitions(&request.topic)?).collect::<Vec<_>>();
        &all
    } else {
        &request.partitions
    };
    let mut partitions = Vec::new();
    for &partition in wanted {
        let one = one(app, &request.topic, partition, request.timestamp_ms);
        partitions.push(call.within("looking offsets up", one).await?);
    }
    Ok(ListOffsetsResponse { partitions })
}

async fn one(
    app: &App,
    topic: &str,
    partition: u32,
    time: Option<i64>,
) -> Result<PartitionOffsets, ApiError> {
    let reader = app.engine.reader(topic, PartitionId(partition))?;
    let offset_at_time = match time {
        None => None,
        Some(time) => Some(reader.offset_at_time(TimestampMs(time)).await?.get()),
    };
    Ok(PartitionOffsets {
        partition,
        start_offset: reader.earliest().get(),
        end_offset: reader.end().get(),
        offset_at_time,
    })
}
