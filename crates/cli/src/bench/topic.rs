//! The topic that a run works on.

use trilith_client::{Client, TopicSettings};

use crate::{failure::Failure, values};

/// A topic, made for the run and deleted after it unless it was named.
#[derive(Debug)]
pub(super) struct BenchTopic {
    pub(super) name: String,
    is_ours: bool,
}

impl BenchTopic {
    /// The topic `named`, made when it is not there, or one of our own.
    pub(super) async fn open(
        client: &Client,
        named: Option<&str>,
        partitions: u32,
        record_bytes: u64,
    ) -> Result<Self, Failure> {
        let own = || format!("bench-{}-{}", std::process::id(), values::now_ms());
        let name = named.map_or_else(own, str::to_owned);
        // Room for what a value is sent with.
        let record_bytes_max = u32::try_from(record_bytes.max(1 << 20)).ok();
        let settings = TopicSettings {
            partitions: Some(partitions),
            record_bytes_max,
            ..TopicSettings::default()
        };
        match client.create_topic(&name, settings).await {
            Ok(_) => {}
            Err(error) if named.is_some() && error.reason() == Some("TOPIC_EXISTS") => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            name,
            is_ours: named.is_none(),
        })
    }

    /// Deletes the topic if it was made for the run.
    pub(super) async fn close(self, client: &Client) -> Result<(), Failure> {
        if self.is_ours {
            client.delete_topic(&self.name).await?;
        }
        Ok(())
    }
}
