//! Opening a node: the data directory, the catalog, every partition's log.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use trilith_env::Env;
use trilith_storage::{DataDir, FileCache, Recovery};
use trilith_topics::{Catalog, Topic};
use trilith_types::{PartitionId, TopicName};

use crate::{
    Admission, Metrics, Node, NodeConfig, OpenError,
    directory::{Directory, ServedTopic, Slot},
    event::Event,
    host::Host,
    inbox::Inbox,
    node::Inner,
    shard::Shard,
    shell,
    sweeper::{Sweep, Sweeper},
};

/// What opening a node found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Topics.
    pub topics: usize,
    /// Partitions that are in service.
    pub partitions: usize,
    /// Partitions that had not been closed in order, with what was done.
    pub recovered: Vec<RecoveredPartition>,
    /// Partitions that are out of service, and why.
    pub unavailable: Vec<UnavailablePartition>,
    /// How long it took.
    pub took: Duration,
}

/// A partition whose log was recovered.
#[derive(Clone, Debug)]
pub struct RecoveredPartition {
    /// Its topic.
    pub topic: TopicName,
    /// Its number.
    pub partition: PartitionId,
    /// What was found and done.
    pub recovery: Recovery,
}

/// A partition whose log could not be opened.
#[derive(Clone, Debug)]
pub struct UnavailablePartition {
    /// Its topic.
    pub topic: TopicName,
    /// Its number.
    pub partition: PartitionId,
    /// What is in the way.
    pub reason: String,
}

/// The parts of a node before its threads run.
pub(crate) struct Parts {
    pub(crate) node: Node,
    pub(crate) report: OpenReport,
    pub(crate) shards: Vec<(Shard, Arc<Inbox<Event>>)>,
    pub(crate) sweeper: Sweeper,
}

impl Node {
    /// Opens the node in its data directory and starts its threads.
    ///
    /// A partition whose log cannot be opened is out of service and reported; the others are
    /// served.
    ///
    /// # Errors
    /// The data directory is in use, or the catalog of topics cannot be used.
    pub fn open(env: &Env, config: NodeConfig) -> Result<(Self, OpenReport), OpenError> {
        let Parts {
            node,
            report,
            shards,
            sweeper,
        } = Self::assemble(env, config)?;
        let held = node.inner.data_dir.lock().clone();
        let mut threads = Vec::new();
        for (number, (shard, inbox)) in shards.into_iter().enumerate() {
            let (env, held) = (env.clone(), held.clone());
            let run = move || {
                shell::run_shard(shard, &inbox, &env);
                drop(held);
            };
            threads.push(shell::spawn(format!("shard-{number}"), run).map_err(OpenError::Thread)?);
        }
        let run = move || {
            sweeper.run();
            drop(held);
        };
        let sweep = shell::spawn("sweeper".to_owned(), run).map_err(OpenError::Thread)?;
        *node.inner.threads.lock() = (threads, Some(sweep));
        Ok((node, report))
    }

    /// Opens the node without starting a thread.
    pub(crate) fn assemble(env: &Env, config: NodeConfig) -> Result<Parts, OpenError> {
        let began = env.clock.monotonic();
        let config = Arc::new(NodeConfig {
            shards: config.shards.max(1),
            ..config
        });
        let holder = format!("process {}", std::process::id());
        let data_dir = DataDir::take(&env.disk, &config.data, &holder)?;
        let mut catalog = Catalog::open(&env.disk, &config.data)?;
        let metrics = Arc::new(Metrics::default());
        let host = Host {
            env: env.clone(),
            config: Arc::clone(&config),
            files: FileCache::new(config.open_segments_max),
            metrics: Arc::clone(&metrics),
            shards: (0..config.shards).map(|_| Inbox::new()).collect(),
        };
        let sweeps = Inbox::new();
        let shards = host.shards.iter().map(|inbox| {
            let (config, metrics) = (Arc::clone(&config), Arc::clone(&metrics));
            (
                Shard::new(env, config, metrics, Arc::clone(inbox), Arc::clone(&sweeps)),
                Arc::clone(inbox),
            )
        });
        let shards = shards.collect();
        let mut report = OpenReport::default();
        let directory = open_topics(&host, &mut catalog, &mut report)?;
        for (id, _) in catalog.state().deleted() {
            drop(sweeps.send(Sweep::Topic(id)));
        }
        report.took = env.clock.monotonic().saturating_sub(began);
        let catalog = Arc::new(Mutex::new(catalog));
        let sweeper = Sweeper {
            disk: Arc::clone(&env.disk),
            data: config.data.clone(),
            catalog: Arc::clone(&catalog),
            inbox: Arc::clone(&sweeps),
        };
        let node = Self::from_inner(Inner {
            host,
            directory: ArcSwap::from_pointee(directory),
            catalog,
            changing: Mutex::new(()),
            admission: Admission::new(config.inflight_bytes_max),
            metrics,
            sweeps,
            threads: Mutex::default(),
            is_closing: false.into(),
            data_dir: Mutex::new(Some(Arc::new(data_dir))),
        });
        Ok(Parts {
            node,
            report,
            shards,
            sweeper,
        })
    }
}

/// Opens every partition of every topic, and makes those that a crash kept from being made.
fn open_topics(
    host: &Host,
    catalog: &mut Catalog,
    report: &mut OpenReport,
) -> Result<Directory, OpenError> {
    let topics: Vec<Topic> = catalog.state().topics().cloned().collect();
    let mut directory = Directory::default();
    for mut topic in topics {
        let partitions: Vec<Slot> = (0..topic.settings.partitions)
            .map(|partition| open_partition(host, &topic, PartitionId(partition), report))
            .collect();
        let is_whole = partitions.iter().all(|slot| matches!(slot, Slot::Open(_)));
        if topic.ready < topic.settings.partitions && is_whole {
            catalog.mark_ready(topic.id)?;
            topic.ready = topic.settings.partitions;
        }
        report.topics += 1;
        directory.insert(ServedTopic { topic, partitions });
    }
    Ok(directory)
}

fn open_partition(
    host: &Host,
    topic: &Topic,
    partition: PartitionId,
    report: &mut OpenReport,
) -> Slot {
    match host.open(topic, partition, partition.0 < topic.ready) {
        Ok(opened) => {
            report.partitions += 1;
            if !opened.recovery.clean || !opened.recovery.damage.is_empty() {
                let (topic, recovery) = (topic.name.clone(), opened.recovery.clone());
                report.recovered.push(RecoveredPartition {
                    topic,
                    partition,
                    recovery,
                });
            }
            host.hand_over(topic, opened)
        }
        Err(reason) => {
            let slot = Slot::Unavailable(reason.as_str().into());
            report.unavailable.push(UnavailablePartition {
                topic: topic.name.clone(),
                partition,
                reason,
            });
            slot
        }
    }
}
