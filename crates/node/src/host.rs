//! Opening the logs of partitions and handing them to shards.

use std::{path::Path, sync::Arc};

use trilith_env::Disk;
use trilith_storage::{FileCache, Log, Recovery, manifest::MANIFEST, mirrored::MirroredFile};
use trilith_topics::{Topic, group_id, partition_dir};
use trilith_types::PartitionId;

use crate::{
    Metrics, NodeConfig,
    directory::Slot,
    event::Event,
    inbox::Inbox,
    partition::{DamageMet, PartitionShared},
    waiters::Waiters,
};

/// What is needed to open partitions.
pub(crate) struct Host {
    pub(crate) env: trilith_env::Env,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) files: Arc<FileCache>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shards: Vec<Arc<Inbox<Event>>>,
}

/// An opened partition that no shard has yet.
pub(crate) struct Opened {
    log: Log,
    pub(crate) shared: Arc<PartitionShared>,
    pub(crate) recovery: Recovery,
}

impl Host {
    /// Opens a partition's log. `must_exist`: it was made before, so that a missing directory is a
    /// loss and not a beginning.
    pub(crate) fn open(
        &self,
        topic: &Topic,
        partition: PartitionId,
        must_exist: bool,
    ) -> Result<Opened, String> {
        let dir = partition_dir(&self.config.data, topic.id, partition);
        if must_exist {
            refuse_missing(&*self.env.disk, &dir)?;
        }
        let config = topic.settings.log_config(&self.config.log);
        let group = group_id(topic.id, partition);
        let (log, recovery) = Log::open(&self.env, Arc::clone(&self.files), &dir, group, config)
            .map_err(|error| error.to_string())?;
        // Recovery has synced all that it found.
        log.publish(log.end_offset());
        let shard = (topic.id.0 + u64::from(partition.0)) % self.shards.len().max(1) as u64;
        let shared = Arc::new(PartitionShared {
            topic: topic.name.clone(),
            topic_id: topic.id,
            partition,
            shard: shard as usize,
            reader: log.reader(),
            waiters: Waiters::new(log.visible_upto()),
            damage_met: DamageMet::default(),
        });
        Ok(Opened {
            log,
            shared,
            recovery,
        })
    }

    /// Opens partitions `from..` of a topic. Each is made if it is missing.
    pub(crate) fn open_new(
        &self,
        topic: &Topic,
        from: u32,
    ) -> Result<Vec<Opened>, (PartitionId, String)> {
        (from..topic.settings.partitions)
            .map(PartitionId)
            .map(|partition| {
                self.open(topic, partition, false)
                    .map_err(|reason| (partition, reason))
            })
            .collect()
    }

    /// Hands a partition to its shard.
    pub(crate) fn hand_over(&self, topic: &Topic, opened: Opened) -> Slot {
        let Opened { log, shared, .. } = opened;
        let event = Event::Host {
            log: Box::new(log),
            shared: Arc::clone(&shared),
            settings: topic.settings,
        };
        self.send(&shared, event);
        Slot::Open(shared)
    }

    /// Sends an event to the partition's shard; answers it when the shard has closed.
    pub(crate) fn send(&self, shared: &PartitionShared, event: Event) {
        let sent = match self.shards.get(shared.shard) {
            Some(inbox) => inbox.send(event),
            None => Err(event),
        };
        if let Err(event) = sent {
            crate::shell::answer_late(event, &self.metrics);
        }
    }
}

fn refuse_missing(disk: &dyn Disk, dir: &Path) -> Result<(), String> {
    let entries = disk.list(dir).map_err(|error| {
        format!(
            "{} cannot be read, although the partition was made: {error}; restore it from a copy",
            dir.display()
        )
    })?;
    let manifests = MirroredFile::paths(dir, MANIFEST);
    if entries.iter().any(|entry| manifests.contains(&entry.path)) {
        return Ok(());
    }
    Err(format!(
        "{} holds no manifest, although the partition was made; restore it from a copy",
        dir.display()
    ))
}
