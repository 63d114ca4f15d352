//! Where partitions start and end.

use futures::{StreamExt, TryStreamExt, stream};
use trilith_proto::v1::{ListOffsetsRequest, ListOffsetsResponse, PartitionOffsets};
use trilith_types::{PartitionId, TimestampMs};

use crate::{
    app::App,
    auth::{Action, Resource},
    call::Call,
    engine::Place,
    error::{ApiError, Reason},
};

/// Partitions that are asked about at a time.
const AT_ONCE: usize = 64;

/// Answers for the partitions asked for, or for all of the topic's.
pub(crate) async fn list(
    app: &App,
    call: &Call,
    request: &ListOffsetsRequest,
) -> Result<ListOffsetsResponse, ApiError> {
    call.authorize(Action::ListOffsets, Resource::Topic(&request.topic))?;
    let wanted: Vec<u32> = if request.partitions.is_empty() {
        (0..app.engine.partitions_of(&request.topic).await?).collect()
    } else {
        request.partitions.clone()
    };
    let asked = wanted.into_iter().map(|partition| {
        let one = one(app, call, &request.topic, partition, request.timestamp_ms);
        call.within("looking offsets up", one)
    });
    let partitions = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    Ok(ListOffsetsResponse { partitions })
}

/// One partition's, here or at its leader.
pub(crate) async fn one(
    app: &App,
    call: &Call,
    topic: &str,
    partition: u32,
    time: Option<i64>,
) -> Result<PartitionOffsets, ApiError> {
    let reader = match app.engine.find(call, topic, PartitionId(partition)).await? {
        Place::Here(reader) => reader,
        Place::At(address) => {
            let request = ListOffsetsRequest {
                topic: topic.to_owned(),
                partitions: vec![partition],
                timestamp_ms: time,
            };
            let answer = app.engine.offsets_at(&address, request, call).await?;
            let first = answer.partitions.into_iter().next();
            let message = "the leader answered without the partition";
            return first.ok_or_else(|| ApiError::new(Reason::Internal, message));
        }
    };
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
