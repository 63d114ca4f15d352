//! Topics: changed by the leader of the cluster's own state, read from what this node knows.

use tokio::time::Instant;
use trilith_node::{
    PartitionDescription, PartitionStats, Topic, TopicDescription, TopicSettingsPatch,
};
use trilith_proto::v1;
use trilith_types::NodeId;

use super::{Engine, leaders::Seek, told};
use crate::{
    call::Call,
    error::{ApiError, Reason},
    forward::{of_write, passed_on},
};

/// How long a list waits until this node knows what the cluster knows; then it is told as known.
const CATCH_UP_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

impl Engine {
    pub(crate) async fn create_topic(
        &self,
        call: &Call,
        name: String,
        settings: v1::TopicSettings,
    ) -> Result<v1::Topic, ApiError> {
        let patch = patch(&settings);
        let here = async |until| {
            let made = told(
                |tell| self.node().create_topic(&name, &patch, false, tell),
                until,
            );
            {
                let topic = made.await??;
                Ok(topic_to_proto(&topic))
            }
        };
        let there = async |address: String| {
            let request = v1::CreateTopicRequest {
                name: name.clone(),
                settings: Some(settings),
            };
            let request = passed_on(request, call.deadline);
            let answer = self.forward.topics(&address)?.create_topic(request).await;
            named(answer.map_err(|s| of_write(&s))?.into_inner().topic)
        };
        self.lead(Seek::new(call), here, there).await
    }

    pub(crate) async fn alter_topic(
        &self,
        call: &Call,
        name: String,
        settings: v1::TopicSettings,
    ) -> Result<v1::Topic, ApiError> {
        let patch = patch(&settings);
        let here = async |until| {
            let made = told(|tell| self.node().alter_topic(&name, &patch, tell), until);
            {
                let topic = made.await??;
                Ok(topic_to_proto(&topic))
            }
        };
        let there = async |address: String| {
            let request = v1::AlterTopicRequest {
                name: name.clone(),
                settings: Some(settings),
            };
            let request = passed_on(request, call.deadline);
            let answer = self.forward.topics(&address)?.alter_topic(request).await;
            named(answer.map_err(|s| of_write(&s))?.into_inner().topic)
        };
        self.lead(Seek::new(call), here, there).await
    }

    pub(crate) async fn delete_topic(&self, call: &Call, name: String) -> Result<(), ApiError> {
        let here = async |until| {
            let gone = told(|tell| self.node().delete_topic(&name, tell), until);
            Ok(gone.await??)
        };
        let there = async |address: String| {
            let request = v1::DeleteTopicRequest { name: name.clone() };
            let request = passed_on(request, call.deadline);
            let answer = self.forward.topics(&address)?.delete_topic(request).await;
            answer.map_err(|s| of_write(&s)).map(drop)
        };
        self.lead(Seek::new(call), here, there).await
    }

    pub(crate) async fn list_topics(&self) -> Result<Vec<v1::Topic>, ApiError> {
        self.catch_up_if_possible().await?;
        let topics = self.node().list_topics();
        Ok(topics.iter().map(topic_to_proto).collect())
    }

    pub(crate) async fn describe_topic(
        &self,
        call: &Call,
        name: String,
    ) -> Result<v1::DescribeTopicResponse, ApiError> {
        self.catch_up_if_possible().await?;
        let until = Seek::new(call).until();
        let described = told(|tell| self.node().describe_topic(&name, tell), until);
        let TopicDescription { topic, partitions } = described.await??;
        Ok(v1::DescribeTopicResponse {
            topic: Some(topic_to_proto(&topic)),
            partitions: partitions.iter().map(partition_to_proto).collect(),
        })
    }

    /// A topic's partitions, after catching up if it is not known.
    pub(crate) async fn partitions_of(&self, topic: &str) -> Result<u32, ApiError> {
        match self.partitions(topic) {
            Err(error) if error.reason() == Reason::UnknownTopic => {
                self.catch_up_if_possible().await?;
                self.partitions(topic)
            }
            known => known,
        }
    }

    /// What this node knows is told while nobody can say whether there is more.
    async fn catch_up_if_possible(&self) -> Result<(), ApiError> {
        match self.catch_up(Instant::now() + CATCH_UP_WAIT).await {
            Err(error) if matches!(error.reason(), Reason::NotFounded | Reason::NotMember) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

fn named(topic: Option<v1::Topic>) -> Result<v1::Topic, ApiError> {
    let message = "the leader answered without the topic";
    topic.ok_or_else(|| ApiError::new(Reason::Internal, message))
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

fn partition_to_proto(partition: &PartitionDescription) -> v1::PartitionDescription {
    let PartitionStats {
        start_offset,
        end_offset,
        bytes,
        segments,
        damaged_ranges,
    } = partition.stats.unwrap_or_default();
    v1::PartitionDescription {
        partition: partition.partition.get(),
        start_offset: start_offset.get(),
        end_offset: end_offset.get(),
        bytes,
        segments,
        damaged_ranges,
        leader: partition.leader.map_or(0, NodeId::get),
        replicas: partition.replicas.iter().map(|node| node.get()).collect(),
        unavailable: partition.unavailable.clone().unwrap_or_default(),
    }
}
