//! The client: a connection, and what can be asked over it.

use std::time::Duration;

use trilith_proto::v1;
use trilith_types::{PartitionId, TimestampMs};

use crate::{
    ConsumeOptions, Consumer, Error, PartitionOffsets, Producer, ProducerConfig, Topic,
    TopicDescription, TopicSettings,
    connection::{Connection, Repeat, Route},
};

/// Connections to the nodes of a cluster. Clones share them.
///
/// A request goes to any node, again or to another one after what may pass, within
/// [`Client::with_timeout`]: reads whatever happened, changes only when they are known to have had
/// no effect. Records go to and come from the leaders of their partitions.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) connection: Connection,
}

impl Client {
    /// Connects to the first endpoint (`host:port`) that answers. A connection that breaks later
    /// is made again by the next call that needs it, at the next endpoint when there are several.
    ///
    /// # Errors
    /// [`Error::Endpoint`] or [`Error::Unreachable`].
    pub async fn connect<E>(endpoints: E) -> Result<Self, Error>
    where
        E: IntoIterator,
        E::Item: Into<String>,
    {
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        Ok(Self {
            connection: Connection::open(&endpoints).await?,
        })
    }

    /// The same connections with another bound on how long a request may take, retries included.
    /// It is 20 seconds otherwise. Producers have their own
    /// ([`ProducerConfig::delivery_timeout`]).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            connection: self.connection.with_timeout(timeout),
        }
    }

    /// A producer for one topic.
    ///
    /// # Errors
    /// The topic cannot be described: it is unknown, or the server is not reached.
    pub async fn producer(&self, topic: &str, config: ProducerConfig) -> Result<Producer, Error> {
        let description = self.describe_topic(topic).await?;
        Ok(Producer::start(
            self.connection.clone(),
            &description.topic,
            config,
        ))
    }

    /// Reads one partition from a position on. To read several, read them side by side and merge
    /// the streams: order is kept within a partition only.
    ///
    /// # Errors
    /// The server's refusal (`UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `OFFSET_OUT_OF_RANGE` with
    /// `earliest` and `end` in its metadata), or it is not reached.
    pub async fn consume(
        &self,
        topic: &str,
        partition: PartitionId,
        options: ConsumeOptions,
    ) -> Result<Consumer, Error> {
        Consumer::open(&self.connection, topic, partition, options).await
    }

    /// Where the partitions of a topic start and end and, with a time, each one's first record at
    /// or after it. In order of the partitions' numbers.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, or the server is not reached.
    pub async fn list_offsets(
        &self,
        topic: &str,
        time: Option<TimestampMs>,
    ) -> Result<Vec<PartitionOffsets>, Error> {
        let request = v1::ListOffsetsRequest {
            topic: topic.to_owned(),
            partitions: Vec::new(),
            timestamp_ms: time.map(TimestampMs::get),
        };
        let call = |route: Route| {
            let request = request.clone();
            async move { route.log().list_offsets(request).await }
        };
        let answer = self.connection.ask(Repeat::Always, call).await?;
        let mut all: Vec<PartitionOffsets> =
            answer.partitions.into_iter().map(Into::into).collect();
        all.sort_unstable_by_key(|offsets| offsets.partition);
        Ok(all)
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// `TOPIC_EXISTS`, `INVALID_TOPIC_NAME`, `INVALID_SETTING`, or the server is not reached.
    pub async fn create_topic(&self, name: &str, settings: TopicSettings) -> Result<Topic, Error> {
        let request = v1::CreateTopicRequest {
            name: name.to_owned(),
            settings: Some(settings.into()),
        };
        let call = |route: Route| {
            let request = request.clone();
            async move { route.topics().create_topic(request).await }
        };
        present(
            self.connection
                .ask(Repeat::WithoutEffect, call)
                .await?
                .topic,
        )
    }

    /// All topics, in order of their names.
    ///
    /// # Errors
    /// The server is not reached.
    pub async fn list_topics(&self) -> Result<Vec<Topic>, Error> {
        let call = |route: Route| async move {
            let request = v1::ListTopicsRequest {};
            route.topics().list_topics(request).await
        };
        let answer = self.connection.ask(Repeat::Always, call).await?;
        let mut topics: Vec<Topic> = answer.topics.into_iter().map(Into::into).collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// A topic's settings and the state of its partitions.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, or the server is not reached.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, Error> {
        let request = v1::DescribeTopicRequest {
            name: name.to_owned(),
        };
        let call = |route: Route| {
            let request = request.clone();
            async move { route.topics().describe_topic(request).await }
        };
        let answer = self.connection.ask(Repeat::Always, call).await?;
        let mut partitions: Vec<crate::PartitionDescription> =
            answer.partitions.into_iter().map(Into::into).collect();
        partitions.sort_unstable_by_key(|description| description.partition);
        Ok(TopicDescription {
            topic: present(answer.topic)?,
            partitions,
        })
    }

    /// Changes the settings that are given and leaves the others.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, `INVALID_SETTING`, or the server is not reached.
    pub async fn alter_topic(&self, name: &str, settings: TopicSettings) -> Result<Topic, Error> {
        let request = v1::AlterTopicRequest {
            name: name.to_owned(),
            settings: Some(settings.into()),
        };
        let call = |route: Route| {
            let request = request.clone();
            async move { route.topics().alter_topic(request).await }
        };
        present(self.connection.ask(Repeat::Always, call).await?.topic)
    }

    /// Deletes a topic and all that is in it.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, or the server is not reached.
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let request = v1::DeleteTopicRequest {
            name: name.to_owned(),
        };
        let call = |route: Route| {
            let request = request.clone();
            async move { route.topics().delete_topic(request).await }
        };
        self.connection.ask(Repeat::WithoutEffect, call).await?;
        Ok(())
    }
}

fn present(topic: Option<v1::Topic>) -> Result<Topic, Error> {
    topic.map(Into::into).ok_or_else(|| Error::Protocol {
        what: "it names no topic".into(),
    })
}
