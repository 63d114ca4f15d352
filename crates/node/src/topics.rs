//! Creating, listing, describing, altering and deleting topics.
//!
//! These block: on the disk, and on the shards.

use std::sync::{Arc, mpsc};

use trilith_topics::{Topic, TopicError, TopicSettingsPatch};
use trilith_types::PartitionId;

use crate::{
    Node, PartitionStats,
    directory::{Directory, ServedTopic, Slot},
    event::Event,
    host::Opened,
    sweeper::Sweep,
};

/// A topic with its partitions' numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The topic.
    pub topic: Topic,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Which partition.
    pub partition: PartitionId,
    /// Its numbers; zeros when it is out of service.
    pub stats: PartitionStats,
    /// Why it is out of service, if it is.
    pub unavailable: Option<String>,
}

impl Node {
    /// Creates a topic. When this returns, the topic and its partitions are durable.
    ///
    /// # Errors
    /// A bad name or setting, a topic of that name, too many, or the disk.
    pub fn create_topic(
        &self,
        name: &str,
        settings: &TopicSettingsPatch,
    ) -> Result<Topic, TopicError> {
        let _one_at_a_time = self.begin_change()?;
        let topic = self.inner.catalog.lock().create(name, settings)?;
        let opened = self.inner.host.open_new(&topic, 0);
        let made = opened
            .map_err(|failed| partition_error(&topic, failed))
            .and_then(|opened| self.finish_change(topic.clone(), Vec::new(), opened));
        if made.is_err() {
            self.undo_create(&topic);
        }
        made
    }

    /// What was made of a topic goes again; the catalog remembers until it is gone. Where the
    /// catalog cannot be written either, the topic is found, whole and empty, at the next start.
    fn undo_create(&self, topic: &Topic) {
        match self.inner.catalog.lock().delete(topic.name.as_str()) {
            Ok(_) => drop(self.inner.sweeps.send(Sweep::Topic(topic.id))),
            Err(error) => {
                tracing::warn!(topic = %topic.name, %error, "a half-made topic stays until the next start");
            }
        }
    }

    /// Changes a topic's settings; partitions can be added.
    ///
    /// # Errors
    /// No such topic, a bad setting, too many partitions, or the disk.
    pub fn alter_topic(
        &self,
        name: &str,
        settings: &TopicSettingsPatch,
    ) -> Result<Topic, TopicError> {
        let _one_at_a_time = self.begin_change()?;
        let before = self.served(name)?;
        let topic = self.inner.catalog.lock().alter(name, settings)?;
        for slot in &before.partitions {
            if let Slot::Open(shared) = slot {
                let group = shared.group();
                self.inner.host.send(
                    shared,
                    Event::Configure {
                        group,
                        settings: topic.settings,
                    },
                );
            }
        }
        let has = before.topic.settings.partitions;
        match self.inner.host.open_new(&topic, has) {
            Ok(opened) => self.finish_change(topic, before.partitions.clone(), opened),
            Err(failed) => {
                self.serve_without(&topic, &before, &failed.1);
                Err(partition_error(&topic, failed))
            }
        }
    }

    /// Serves an altered topic whose new partitions could not be made: the catalog has them, and
    /// the next start makes them.
    fn serve_without(&self, topic: &Topic, before: &ServedTopic, reason: &str) {
        let mut partitions = before.partitions.clone();
        partitions.resize(
            topic.settings.partitions as usize,
            Slot::Unavailable(reason.into()),
        );
        let served = ServedTopic {
            topic: topic.clone(),
            partitions,
        };
        self.change_directory(|directory| directory.insert(served));
    }

    /// Deletes a topic. When this returns, it is gone for good; its files are removed in the
    /// background, after a crash too.
    ///
    /// # Errors
    /// No such topic, or the disk.
    pub fn delete_topic(&self, name: &str) -> Result<(), TopicError> {
        let _one_at_a_time = self.begin_change()?;
        let topic = self.inner.catalog.lock().delete(name)?;
        let removed = self.change_directory(|directory| directory.remove(&topic.name));
        let (reply, replies) = mpsc::channel::<()>();
        for slot in removed.iter().flat_map(|served| &served.partitions) {
            if let Slot::Open(shared) = slot {
                let reply = reply.clone();
                let group = shared.group();
                self.inner.host.send(
                    shared,
                    Event::Forget {
                        group,
                        reply: Box::new(move || drop(reply)),
                    },
                );
            }
        }
        drop(reply);
        // Ends when every shard has let go of its partitions.
        while replies.recv().is_ok() {}
        drop(self.inner.sweeps.send(Sweep::Topic(topic.id)));
        Ok(())
    }

    /// All topics, sorted by name.
    #[must_use]
    pub fn list_topics(&self) -> Vec<Topic> {
        self.inner
            .directory
            .load()
            .topics()
            .map(|served| served.topic.clone())
            .collect()
    }

    /// A topic with the numbers of its partitions.
    ///
    /// # Errors
    /// No such topic.
    pub fn describe_topic(&self, name: &str) -> Result<TopicDescription, TopicError> {
        let served = self.served(name)?;
        let (reply, replies) = mpsc::channel();
        for (number, slot) in served.partitions.iter().enumerate() {
            if let Slot::Open(shared) = slot {
                let reply = reply.clone();
                let group = shared.group();
                let answer = move |stats| {
                    let _ = reply.send((number, stats));
                };
                self.inner.host.send(
                    shared,
                    Event::Describe {
                        group,
                        reply: Box::new(answer),
                    },
                );
            }
        }
        drop(reply);
        let mut stats = vec![PartitionStats::default(); served.partitions.len()];
        for (number, found) in replies {
            if let Some(place) = stats.get_mut(number) {
                *place = found;
            }
        }
        let partitions = served.partitions.iter().zip(stats).zip(0..);
        let partitions = partitions.map(|((slot, stats), number)| PartitionDescription {
            partition: PartitionId(number),
            stats,
            unavailable: match slot {
                Slot::Open(_) => None,
                Slot::Unavailable(reason) => Some(reason.to_string()),
            },
        });
        Ok(TopicDescription {
            topic: served.topic.clone(),
            partitions: partitions.collect(),
        })
    }

    fn served(&self, name: &str) -> Result<Arc<ServedTopic>, TopicError> {
        let directory = self.inner.directory.load();
        let unknown = |_| TopicError::Unknown {
            name: name.to_owned(),
        };
        directory.topic(name).map(Arc::clone).map_err(unknown)
    }

    fn begin_change(&self) -> Result<parking_lot::MutexGuard<'_, ()>, TopicError> {
        let guard = self.inner.changing.lock();
        if self.is_closing() {
            Err(TopicError::ShuttingDown)
        } else {
            Ok(guard)
        }
    }

    /// Notes durably that the partitions were made, hands them to their shards, and serves them.
    fn finish_change(
        &self,
        topic: Topic,
        mut partitions: Vec<Slot>,
        opened: Vec<Opened>,
    ) -> Result<Topic, TopicError> {
        // A partition that is out of service may never have been made.
        let is_whole = partitions.iter().all(|slot| matches!(slot, Slot::Open(_)));
        let mut topic = topic;
        if is_whole {
            self.inner.catalog.lock().mark_ready(topic.id)?;
            topic.ready = topic.settings.partitions;
        }
        partitions.extend(
            opened
                .into_iter()
                .map(|opened| self.inner.host.hand_over(&topic, opened)),
        );
        let served = ServedTopic {
            topic: topic.clone(),
            partitions,
        };
        self.change_directory(|directory| directory.insert(served));
        Ok(topic)
    }

    fn change_directory<T>(&self, change: impl FnOnce(&mut Directory) -> T) -> T {
        let mut directory = Directory::clone(&self.inner.directory.load());
        let result = change(&mut directory);
        self.inner.directory.store(Arc::new(directory));
        result
    }
}

fn partition_error(topic: &Topic, (partition, reason): (PartitionId, String)) -> TopicError {
    TopicError::Partition {
        topic: topic.name.to_string(),
        partition: partition.0,
        reason,
    }
}
