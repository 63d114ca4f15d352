//! A node: the handle through which topics are changed, batches appended and partitions read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use trilith_batch::{BatchHeader, BatchLimits, check};
use trilith_env::Space;
use trilith_storage::DataDir;
use trilith_topics::Catalog;
use trilith_types::PartitionId;

use crate::{
    Admission, Metrics, NoRoom, NodeConfig, PartitionError, PartitionReader, Permit, ProduceError,
    REQUEST_BYTES,
    directory::Directory,
    event::{Append, Appended, Event},
    host::Host,
    inbox::Inbox,
    partition::PartitionShared,
    sweeper::Sweep,
};

/// A node with its data directory. Clones are handles on one node; any thread may use one.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

/// The shards' threads, and the sweeper's.
pub(crate) type Threads = (Vec<JoinHandle<()>>, Option<JoinHandle<()>>);

pub(crate) struct Inner {
    pub(crate) host: Host,
    pub(crate) directory: ArcSwap<Directory>,
    pub(crate) catalog: Arc<Mutex<Catalog>>,
    /// One topic is created, altered or deleted at a time.
    pub(crate) changing: Mutex<()>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) sweeps: Arc<Inbox<Sweep>>,
    pub(crate) threads: Mutex<Threads>,
    pub(crate) is_closing: AtomicBool,
    /// Held by every thread too.
    pub(crate) data_dir: Mutex<Option<Arc<DataDir>>>,
}

/// A moment on the node's monotonic clock after which an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub(crate) Duration);

/// A batch for a partition.
#[derive(Debug)]
pub struct Produce<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Which partition.
    pub partition: PartitionId,
    /// One encoded batch, as it came.
    pub batch: Bytes,
    /// A batch that still waits then is answered [`ProduceError::DeadlineExceeded`] and is not
    /// appended. Once it was appended its answer comes, late or not.
    pub deadline: Option<Deadline>,
    /// Room for the batch from [`Node::reserve`]; `None` takes it if there is some.
    pub permit: Option<Permit>,
}

impl Node {
    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Appends a batch and calls `done` once, when it is as durable as the sync policy promises,
    /// or with the reason why not: on this thread when that is known at once, else on the thread
    /// that owns the partition, where it must not block.
    ///
    /// The batch is checked here, on the caller's thread. Batches that one thread sends to one
    /// partition are appended in that order.
    pub fn produce(
        &self,
        produce: Produce<'_>,
        done: impl FnOnce(Result<Appended, ProduceError>) + Send + 'static,
    ) {
        let arrived = self.inner.host.env.clock.monotonic();
        match self.examine(produce) {
            Ok(Examined {
                partition,
                header,
                batch,
                deadline,
                permit,
            }) => {
                self.inner.metrics.queued_batches.add(1);
                let shared = Arc::clone(&partition);
                let done = Box::new(done);
                let append = Append {
                    partition,
                    header,
                    batch,
                    deadline,
                    arrived,
                    permit,
                    done,
                };
                self.inner.host.send(&shared, Event::Append(append));
            }
            Err(error) => {
                self.inner.metrics.failed_batches.add(1);
                done(Err(error));
            }
        }
    }

    /// Everything that can be said about a batch before it waits.
    fn examine(&self, produce: Produce<'_>) -> Result<Examined, ProduceError> {
        let Produce {
            topic,
            partition,
            batch,
            deadline,
            permit,
        } = produce;
        if self.is_closing() {
            return Err(ProduceError::ShuttingDown);
        }
        let directory = self.inner.directory.load();
        let served = directory.topic(topic)?;
        let partition = Arc::clone(served.partition(partition)?);
        let record_bytes_max = served.topic.settings.record_bytes_max;
        let header = check(
            &batch,
            &BatchLimits {
                record_bytes_max,
                ..BatchLimits::default()
            },
        )?;
        let permit = match permit {
            Some(permit) => permit,
            None => self.try_reserve(batch.len())?,
        };
        Ok(Examined {
            partition,
            header,
            batch,
            deadline: deadline.map(|Deadline(at)| at),
            permit,
        })
    }

    /// The moment `after` from now.
    #[must_use]
    pub fn deadline(&self, after: Duration) -> Deadline {
        Deadline(self.inner.host.env.clock.monotonic().saturating_add(after))
    }

    /// Calls `ready` with room for a batch of `bytes` (and [`REQUEST_BYTES`] beside), at once or when others have given room
    /// back: for those who would rather wait than be refused.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn reserve(
        &self,
        bytes: usize,
        ready: impl FnOnce(Permit) + Send + 'static,
    ) -> Result<(), NoRoom> {
        self.inner.admission.reserve(bytes + REQUEST_BYTES, ready)
    }

    /// Room for a batch of `bytes` (and [`REQUEST_BYTES`] beside), if there is any now.
    ///
    /// # Errors
    /// There is none.
    pub fn try_reserve(&self, bytes: usize) -> Result<Permit, NoRoom> {
        self.inner.admission.try_reserve(bytes + REQUEST_BYTES)
    }

    /// A reader of a partition.
    ///
    /// # Errors
    /// There is no such partition, or it is out of service.
    pub fn reader(
        &self,
        topic: &str,
        partition: PartitionId,
    ) -> Result<PartitionReader, PartitionError> {
        let directory = self.inner.directory.load();
        let shared = Arc::clone(directory.topic(topic)?.partition(partition)?);
        Ok(PartitionReader {
            shared,
            metrics: Arc::clone(&self.inner.metrics),
        })
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// There is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<u32, PartitionError> {
        Ok(self
            .inner
            .directory
            .load()
            .topic(topic)?
            .topic
            .settings
            .partitions)
    }

    /// What the node counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// How full the file system with the data is.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn disk_space(&self) -> std::io::Result<Space> {
        let host = &self.inner.host;
        host.env.disk.space(&host.config.data)
    }

    /// Bytes of batches in flight.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.inner.admission
    }

    /// The node's settings.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.inner.host.config
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.inner.is_closing.load(Ordering::Acquire)
    }

    /// Takes no more batches, finishes what is queued, syncs and closes every log, and gives the
    /// data directory free. Blocks until that is done. What comes later is refused; a second call
    /// finds nothing left to do.
    pub fn shutdown(&self) {
        self.inner.is_closing.store(true, Ordering::Release);
        let _no_more_changes = self.inner.changing.lock();
        let (shards, sweeper) = std::mem::take(&mut *self.inner.threads.lock());
        self.inner.close_shards();
        join(shards);
        // The sweeper goes last: shards may still have given it something.
        drop(self.inner.sweeps.send(Sweep::Close));
        join(sweeper);
        drop(self.inner.data_dir.lock().take());
    }
}

/// A batch that may wait for its turn.
struct Examined {
    partition: Arc<PartitionShared>,
    header: BatchHeader,
    batch: Bytes,
    deadline: Option<Duration>,
    permit: Permit,
}

impl Inner {
    fn close_shards(&self) {
        for inbox in &self.host.shards {
            // A closed one has no shard behind it any more.
            drop(inbox.send(Event::Close));
        }
    }
}

impl Drop for Inner {
    /// Without [`Node::shutdown`] the threads finish in the same way, but nobody waits for them;
    /// each keeps the data directory until it is done.
    fn drop(&mut self) {
        self.close_shards();
        drop(self.sweeps.send(Sweep::Close));
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.inner.host.config.data.display())
    }
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        // A panic in it has ended the process already.
        drop(thread.join());
    }
}
