//! What clients ask beside producing: topics, offsets, producer ids. Nothing here blocks; each
//! answer comes once, on this thread or on one of the node's, where it must not block.

use std::sync::Arc;

use parking_lot::Mutex;
use trilith_host::{GroupStatus, ReadRefused};
use trilith_topics::{
    SettingError, TopicError, TopicSettings, TopicSettingsPatch,
    controller::{CONTROLLER_GROUP, ControllerCommand, ControllerError, Outcome, Topic},
};
use trilith_types::{
    NodeId, Offset, PartitionId, ProducerId,
    limits::RECORD_BYTES_MAX,
    planted::{self, Bug},
};

use super::{
    ControlError, Node, PartitionError, PartitionReader, ReadError,
    controller_replica::{Answer, Change},
    keeper::Note,
    machine::GroupRequest,
    node::{Inner, Live},
    partition::PartitionShared,
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
    /// Who leads it, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Where its replicas are, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The numbers of the replica here; `None` without one.
    pub stats: Option<PartitionStats>,
    /// Why the replica here is out of service, if it is.
    pub unavailable: Option<String>,
}

/// A partition's numbers, for people and tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// The earliest record's offset.
    pub start_offset: Offset,
    /// Behind the last record that readers see.
    pub end_offset: Offset,
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: u32,
    /// Ranges of offsets that were found damaged on disk and are refused.
    pub damaged_ranges: u32,
}

impl Node {
    /// Creates a topic. It is answered when the topic is durable on a majority and this node
    /// serves it, and its partitions have leaders unless that takes long.
    ///
    /// `allow_fewer`: with fewer nodes than replicas, as many replicas as nodes.
    pub fn create_topic(
        &self,
        name: &str,
        settings: &TopicSettingsPatch,
        allow_fewer: bool,
        done: impl FnOnce(Result<Arc<Topic>, ControlError>) + Send + 'static,
    ) {
        let mut settings = *settings;
        if let Err(refused) = self.check_record_size(&settings) {
            return done(Err(refused));
        }
        let most = self.inner.config.record_bytes_max();
        if settings.record_bytes_max.is_none() && TopicSettings::default().record_bytes_max > most {
            settings.record_bytes_max = Some(most);
        }
        let command = ControllerCommand::CreateTopic {
            name: name.to_owned(),
            settings,
            allow_fewer,
        };
        self.change_topic(command, done);
    }

    /// Changes a topic's settings; partitions can be added.
    pub fn alter_topic(
        &self,
        name: &str,
        settings: &TopicSettingsPatch,
        done: impl FnOnce(Result<Arc<Topic>, ControlError>) + Send + 'static,
    ) {
        if let Err(refused) = self.check_record_size(settings) {
            return done(Err(refused));
        }
        let command = ControllerCommand::AlterTopic {
            name: name.to_owned(),
            settings: *settings,
        };
        self.change_topic(command, done);
    }

    /// Deletes a topic: once this is answered it is gone for good. Its files are removed in the
    /// background, on each node when it learns of it.
    pub fn delete_topic(
        &self,
        name: &str,
        done: impl FnOnce(Result<(), ControlError>) + Send + 'static,
    ) {
        let name = name.to_owned();
        let command = ControllerCommand::DeleteTopic { name };
        self.change_topic(command, move |topic| done(topic.map(drop)));
    }

    /// Refuses records that no batch could bring into the journal. Nodes are expected to have files
    /// of the same size.
    fn check_record_size(&self, settings: &TopicSettingsPatch) -> Result<(), ControlError> {
        let max = self.inner.config.record_bytes_max();
        match settings.record_bytes_max {
            Some(asked) if asked > max && asked <= RECORD_BYTES_MAX => {
                let journal_file = self.inner.config.journal.file_bytes;
                let refused = SettingError::JournalTooSmall {
                    asked,
                    max,
                    journal_file,
                };
                Err(ControllerError::from(TopicError::from(refused)).into())
            }
            _ => Ok(()),
        }
    }

    fn change_topic(
        &self,
        command: ControllerCommand,
        done: impl FnOnce(Result<Arc<Topic>, ControlError>) + Send + 'static,
    ) {
        self.command(command, move |outcome| {
            let topic = match outcome {
                Ok(Outcome::Created(topic) | Outcome::Altered(topic) | Outcome::Deleted(topic)) => {
                    Ok(topic)
                }
                // Another command's outcome: the machine answers each with its own.
                Ok(_) => Err(ControlError::OutcomeUnknown),
                Err(error) => Err(error),
            };
            done(topic);
        });
    }

    /// A new producer id, which nobody else has or had.
    pub fn new_producer(
        &self,
        done: impl FnOnce(Result<ProducerId, ControlError>) + Send + 'static,
    ) {
        self.command(ControllerCommand::TakeProducerIds { count: 1 }, |outcome| {
            done(match outcome {
                Ok(Outcome::ProducerIds { first, .. }) => Ok(first),
                Ok(_) => Err(ControlError::OutcomeUnknown),
                Err(error) => Err(error),
            });
        });
    }

    /// Hands a command to the controller's group; only its leader takes it.
    pub(crate) fn command(
        &self,
        command: ControllerCommand,
        answer: impl FnOnce(Result<Outcome, ControlError>) + Send + 'static,
    ) {
        let answer: Answer = Box::new(answer);
        if self.inner.is_closing() {
            return answer(Err(ControlError::ShuttingDown));
        }
        match self.inner.live() {
            // The first command of all is under way; nothing makes sense before it.
            Ok(_) if self.inner.controller.read().cluster().is_none() => {
                let reason = "its founding is under way".to_owned();
                answer(Err(ControlError::NoQuorum { reason }));
            }
            Ok(live) => {
                let book = Arc::clone(&self.inner.book);
                let change = Change {
                    command,
                    book,
                    answer,
                };
                live.host
                    .request(CONTROLLER_GROUP, GroupRequest::Controller(change));
            }
            Err(error) => answer(Err(error.into())),
        }
    }

    /// Answers once this node knows every topic that was there when it was asked: for a node that
    /// is asked for a topic that it does not know.
    pub fn catch_up(&self, done: impl FnOnce(Result<(), ControlError>) + Send + 'static) {
        let live = match self.inner.live() {
            Ok(live) => live,
            Err(error) => return done(Err(error.into())),
        };
        let keeper = Arc::clone(&self.inner.keeper);
        live.host.read(CONTROLLER_GROUP, move |read| match read {
            Ok(_) => {
                // Dropped only when the node is shutting down.
                let note = Note::CaughtUp(Box::new(move || done(Ok(()))));
                drop(keeper.send(note));
            }
            Err(refused) => done(Err(ControlError::NoQuorum {
                reason: refused.to_string(),
            })),
        });
    }

    /// All topics, sorted by name.
    #[must_use]
    pub fn list_topics(&self) -> Vec<Topic> {
        let directory = self.inner.directory.load();
        directory
            .topics()
            .map(|served| served.topic.clone())
            .collect()
    }

    /// A topic, as this node knows it.
    ///
    /// # Errors
    /// There is none of that name, or no cluster.
    pub fn topic(&self, name: &str) -> Result<Topic, PartitionError> {
        self.inner.live()?;
        Ok(self.inner.directory.load().topic(name)?.topic.clone())
    }

    /// A topic with the numbers of its partitions' replicas here.
    pub fn describe_topic(
        &self,
        name: &str,
        done: impl FnOnce(Result<TopicDescription, PartitionError>) + Send + 'static,
    ) {
        let live = match self.inner.live() {
            Ok(live) => live,
            Err(error) => return done(Err(error.into())),
        };
        let served = match self.inner.directory.load().topic(name) {
            Ok(served) => Arc::clone(served),
            Err(error) => return done(Err(error)),
        };
        let descriptions = served
            .partitions
            .iter()
            .map(|partition| describe(partition));
        let description = TopicDescription {
            topic: served.topic.clone(),
            partitions: descriptions.collect(),
        };
        // The last one that lets go of it answers.
        let gathering = Arc::new(Gathering {
            description: Mutex::new(Some(description)),
            done: Mutex::new(Some(Box::new(|description| done(Ok(description))))),
        });
        for partition in served
            .partitions
            .iter()
            .filter(|partition| partition.is_here)
        {
            let (gathering, shared) = (Arc::clone(&gathering), Arc::clone(partition));
            live.host.status(partition.group, move |status| {
                if let Some(status) = status {
                    gathering.add(&shared, &status);
                }
            });
        }
    }

    /// A reader of a partition that this node leads. Before it is given, the leadership is
    /// confirmed by a majority, so that [`PartitionReader::end`] is behind every record that was
    /// acknowledged before this was called.
    pub fn reader(
        &self,
        topic: &str,
        partition: PartitionId,
        done: impl FnOnce(Result<PartitionReader, ReadError>) + Send + 'static,
    ) {
        let (live, shared) = match self.led(topic, partition) {
            Ok(found) => found,
            Err(error) => return done(Err(error.into())),
        };
        let metrics = Arc::clone(&self.inner.metrics);
        if planted::is_on(Bug::ReadUnconfirmed) {
            return done(reader_of(live, shared, metrics));
        }
        let reading = Arc::clone(&live);
        live.host.read(shared.group, move |confirmed| {
            done(match confirmed {
                Ok(_) => reader_of(reading, shared, metrics),
                Err(ReadRefused::Stopped) => Err(ReadError::ShuttingDown),
                Err(refused) => Err(ReadError::NoQuorum {
                    reason: refused.to_string(),
                }),
            });
        });
    }

    fn led(
        &self,
        topic: &str,
        partition: PartitionId,
    ) -> Result<(Arc<Live>, Arc<PartitionShared>), PartitionError> {
        let live = Arc::clone(self.inner.live()?);
        let shared = self.inner.partition(topic, partition)?;
        shared.led_here()?;
        Ok((live, shared))
    }
}

fn reader_of(
    live: Arc<Live>,
    shared: Arc<PartitionShared>,
    metrics: Arc<crate::Metrics>,
) -> Result<PartitionReader, ReadError> {
    let group = Arc::clone(shared.led_here()?);
    let log = group.reader();
    Ok(PartitionReader {
        live,
        shared,
        group,
        log,
        metrics,
    })
}

fn describe(partition: &PartitionShared) -> PartitionDescription {
    PartitionDescription {
        partition: partition.partition,
        leader: partition.leader(),
        replicas: partition.replicas().to_vec(),
        stats: None,
        unavailable: partition.route().stopped,
    }
}

type Described = Box<dyn FnOnce(TopicDescription) + Send>;

/// A description that is being put together.
struct Gathering {
    description: Mutex<Option<TopicDescription>>,
    done: Mutex<Option<Described>>,
}

impl Gathering {
    fn add(&self, shared: &PartitionShared, status: &GroupStatus) {
        let mut description = self.description.lock();
        let partitions = description
            .as_mut()
            .map(|description| &mut description.partitions);
        let place = partitions.and_then(|all| all.get_mut(shared.partition.0 as usize));
        if let Some(place) = place {
            place.stats = Some(PartitionStats {
                start_offset: status.start_offset,
                end_offset: status.visible_upto,
                bytes: status.bytes,
                segments: status.segments as u32,
                damaged_ranges: status.damaged_ranges.max(shared.damage_met.ranges()) as u32,
            });
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        let (description, done) = (
            self.description.get_mut().take(),
            self.done.get_mut().take(),
        );
        if let (Some(description), Some(done)) = (description, done) {
            done(description);
        }
    }
}

impl Inner {
    /// Who leads the cluster's own state, as far as is known.
    pub(crate) fn controller_leader(&self) -> Option<NodeId> {
        self.controller.leader()
    }
}
