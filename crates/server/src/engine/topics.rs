//! Topics: the node blocks on them, so it is asked from the blocking pool.

use trilith_node::{
    Node, PartitionDescription, Topic, TopicDescription, TopicError, TopicSettingsPatch,
};
use trilith_proto::v1;

use super::Engine;
use crate::error::{ApiError, Reason};

impl Engine {
    pub(crate) async fn create_topic(
        &self,
        name: String,
        settings: v1::TopicSettings,
    ) -> Result<v1::Topic, ApiError> {
        let patch = patch(&settings);
        let topic = self
            .ask(move |node| node.create_topic(&name, &patch))
            .await?;
        Ok(topic_to_proto(&topic))
    }

    pub(crate) async fn alter_topic(
        &self,
        name: String,
        settings: v1::TopicSettings,
    ) -> Result<v1::Topic, ApiError> {
        let patch = patch(&settings);
        let topic = self
            .ask(move |node| node.alter_topic(&name, &patch))
            .await?;
        Ok(topic_to_proto(&topic))
    }

    pub(crate) async fn delete_topic(&self, name: String) -> Result<(), ApiError> {
        self.ask(move |node| node.delete_topic(&name)).await
    }

    pub(crate) async fn list_topics(&self) -> Result<Vec<v1::Topic>, ApiError> {
        let topics = self.ask(|node| Ok(node.list_topics())).await?;
        Ok(topics.iter().map(topic_to_proto).collect())
    }

    pub(crate) async fn describe_topic(
        &self,
        name: String,
    ) -> Result<v1::DescribeTopicResponse, ApiError> {
        let TopicDescription { topic, partitions } =
            self.ask(move |node| node.describe_topic(&name)).await?;
        Ok(v1::DescribeTopicResponse {
            topic: Some(topic_to_proto(&topic)),
            partitions: partitions.iter().map(partition_to_proto).collect(),
        })
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Node) -> Result<T, TopicError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let node = self.node.clone();
        match tokio::task::spawn_blocking(move || question(&node)).await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(ApiError::new(Reason::Internal, error.to_string())),
        }
    }
}

const fn patch(settings: &v1::TopicSettings) -> TopicSettingsPatch {
    TopicSettingsPatch {
        partitions: settings.partitions,
        retention_bytes: settings.retention_bytes,
        retention_ms: settings.retention_ms,
        segment_bytes: settings.segment_bytes,
        segment_ms: settings.segment_ms,
        record_bytes_max: settings.record_bytes_max,
        replicas: settings.replicas,
    }
}

fn topic_to_proto(topic: &Topic) -> v1::Topic {
    let settings = &topic.settings;
    v1::Topic {
        name: topic.name.to_string(),
        id: topic.id.get(),
        settings: Some(v1::TopicSettings {
            partitions: Some(settings.partitions),
            retention_bytes: Some(settings.retention_bytes),
            retention_ms: Some(settings.retention_ms),
            segment_bytes: Some(settings.segment_bytes),
            segment_ms: Some(settings.segment_ms),
            record_bytes_max: Some(settings.record_bytes_max),
            replicas: Some(settings.replicas),
        }),
    }
}

const fn partition_to_proto(partition: &PartitionDescription) -> v1::PartitionDescription {
    let stats = &partition.stats;
    v1::PartitionDescription {
        partition: partition.partition.get(),
        start_offset: stats.start_offset.get(),
        end_offset: stats.end_offset.get(),
        bytes: stats.bytes,
        segments: stats.segments,
        damaged_ranges: stats.damaged_ranges,
        leader: 0,
        replicas: Vec::new(),
    }
}
