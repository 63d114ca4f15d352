//! A node: the handle through which topics are changed, batches appended and partitions read.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use trilith_env::{Env, Space};
use trilith_host::{HostHandle, HostThreads, Outbound};
use trilith_peer::Founder;
use trilith_storage::{DataDir, Durability, SyncPolicy};
use trilith_types::{ClusterId, Incarnation, NodeId, PartitionId};

use super::{
    Identity, NodeConfig, NotFounded, NotMember, PartitionError, Removed, book::Book,
    controller_replica::ControllerShared, directory::Directory, identity::IdentityFile,
    keeper::Note, machine::GroupMachine, observer::Alarms, partition::PartitionShared,
};
use crate::{Admission, Metrics, inbox::Inbox};

/// What this program can do, as nodes tell each other: entries of newer kinds are written only
/// when every node can read them.
pub const FEATURE_LEVEL: u32 = 2;

/// A node with its data directory. Clones are handles on one node; any thread may use one.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
    pub(crate) _closer: Arc<Closer>,
}

/// Goes with the last handle.
pub(crate) struct Closer(pub(crate) Arc<Inner>);

/// A node that belongs to a cluster.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) host: HostHandle<GroupMachine>,
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) founders: Vec<Founder>,
    /// Whether it is one of them; else it joined a cluster that was there.
    pub(crate) is_founder: bool,
    /// Whether it is the only one.
    pub(crate) is_alone: bool,
}

/// The threads of shards, and the keeper's.
#[derive(Default)]
pub(crate) struct Threads {
    pub(crate) host: Option<HostThreads>,
    pub(crate) keeper: Option<JoinHandle<()>>,
}

type OnPeers = Box<dyn Fn() + Send + Sync>;
type OnFatal = Box<dyn Fn(&str) + Send + Sync>;

pub(crate) struct Inner {
    pub(crate) env: Env,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) book: Arc<Book>,
    pub(crate) directory: ArcSwap<Directory>,
    pub(crate) controller: Arc<ControllerShared>,
    pub(crate) keeper: Arc<Inbox<Note>>,
    pub(crate) outbound: Arc<dyn Outbound>,
    pub(crate) live: OnceLock<Arc<Live>>,
    /// The file is held while a cluster is founded; the copy is for everybody else.
    pub(crate) identity_file: Mutex<IdentityFile>,
    pub(crate) identity: ArcSwap<Identity>,
    /// The node became a founder in this life.
    pub(crate) was_founded_now: AtomicBool,
    /// Other nodes that are heard of in time.
    pub(crate) alive: Mutex<std::collections::BTreeSet<NodeId>>,
    /// On the monotonic clock.
    pub(crate) opened_at: Duration,
    /// What other nodes said last when they did not let this one in, by their addresses.
    pub(crate) refusals: Mutex<std::collections::BTreeMap<String, String>>,
    pub(crate) alarms: Alarms,
    pub(crate) on_peers: OnceLock<OnPeers>,
    pub(crate) on_fatal: OnceLock<OnFatal>,
    /// A host whose shards are to be run by whoever drives the node.
    pub(crate) host_parts: Mutex<super::open::Hosted>,
    pub(crate) threads: Mutex<Threads>,
    pub(crate) is_threaded: bool,
    pub(crate) is_closing: AtomicBool,
    /// Groups that this node leads and whose members are not yet those that they should be.
    pub(crate) moving: std::sync::atomic::AtomicUsize,
    /// Leadership is handed to others, and none is handed out or stood for.
    pub(crate) is_leaving: AtomicBool,
    /// Held by every thread too.
    pub(crate) data_dir: Mutex<Option<Arc<DataDir>>>,
}

impl Inner {
    pub(crate) fn live(&self) -> Result<&Arc<Live>, NotMember> {
        self.book.removed()?;
        Ok(self.live.get().ok_or(NotFounded)?)
    }

    /// The cluster has this node no longer, and will not have it again. Clients are refused from
    /// here on; those who wait are told. What it has on disk stays as it is.
    pub(crate) fn leave_cluster(&self, how: &str) {
        let Some(member) = self.identity.load().member else {
            return;
        };
        let removed = Removed { node: member.node };
        if !self.book.set_removed(removed) {
            return;
        }
        tracing::error!(how, "{removed}");
        for topic in self.directory.load().topics() {
            topic
                .partitions
                .iter()
                .for_each(|partition| partition.wake());
        }
        self.refusals.lock().clear();
        // There is nobody to be connected to.
        self.peers_changed();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// What an acknowledgement stands for: only a cluster of one node may promise less.
    pub(crate) fn durability(&self) -> Durability {
        let is_alone = self.live.get().is_some_and(|live| live.is_alone);
        let policy = if is_alone {
            self.config.sync
        } else {
            SyncPolicy::Always
        };
        policy.promises()
    }

    pub(crate) fn peers_changed(&self) {
        if let Some(tell) = self.on_peers.get() {
            tell();
        }
    }

    /// A partition, wherever its replicas are.
    pub(crate) fn partition(
        &self,
        topic: &str,
        partition: PartitionId,
    ) -> Result<Arc<PartitionShared>, PartitionError> {
        self.live()?;
        let directory = self.directory.load();
        Ok(Arc::clone(directory.topic(topic)?.partition(partition)?))
    }
}

impl Node {
    /// How many partitions a topic has.
    ///
    /// # Errors
    /// There is no such topic, or no cluster.
    pub fn partitions(&self, topic: &str) -> Result<u32, PartitionError> {
        self.inner.live()?;
        let directory = self.inner.directory.load();
        Ok(directory.topic(topic)?.topic.settings.partitions)
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
        self.inner.env.disk.space(&self.inner.config.data)
    }

    /// Bytes of batches in flight.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.inner.admission
    }

    /// The node's settings.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.inner.config
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.inner.identity.load_full()
    }

    /// Calls `tell` whenever there may be other nodes to connect to. Only the first one that is
    /// given counts.
    pub fn on_peers_changed(&self, tell: impl Fn() + Send + Sync + 'static) {
        drop(self.inner.on_peers.set(Box::new(tell)));
    }

    /// Calls `tell` with the reason when the node can promise nothing more, because a write or a
    /// sync failed: the process must end. Only the first one that is given counts.
    pub fn on_fatal(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        drop(self.inner.on_fatal.set(Box::new(tell)));
    }

    /// Tells the other nodes that this one is about to stop, and hands its leadership to them; with
    /// everything else it goes on. `done` is called when nothing is left to hand over, or it took
    /// too long. To be called before [`Node::shutdown`], which would refuse what comes meanwhile.
    pub fn hand_over(&self, done: impl FnOnce() + Send + Sync + 'static) {
        self.inner.is_leaving.store(true, Ordering::Release);
        let Some(live) = self.inner.live.get() else {
            return done();
        };
        super::keeper::say_leaving(&self.inner, live);
        live.host.hand_over(done);
    }

    /// Takes no more batches, hands leadership over, finishes what came, closes every log, and
    /// gives the data directory free. Blocks until that is done. What comes later is refused; a
    /// second call finds nothing left to do.
    pub fn shutdown(&self) {
        self.inner.is_closing.store(true, Ordering::Release);
        let Threads { host, keeper } = std::mem::take(&mut *self.inner.threads.lock());
        if let Some(live) = self.inner.live.get() {
            live.host.shutdown();
        }
        if let Some(host) = host {
            host.join();
        }
        drop(self.inner.keeper.send(Note::Close));
        if let Some(keeper) = keeper {
            // A panic in it has ended the process already.
            drop(keeper.join());
        }
        for partition in self
            .inner
            .directory
            .load()
            .topics()
            .flat_map(|topic| &topic.partitions)
        {
            partition.wake();
        }
        drop(self.inner.data_dir.lock().take());
    }
}

impl Drop for Closer {
    /// Without [`Node::shutdown`] the threads finish in the same way, but nobody waits for them.
    fn drop(&mut self) {
        if let Some(live) = self.0.live.get() {
            live.host.shutdown();
        }
        drop(self.0.keeper.send(Note::Close));
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.inner.config.data.display())
    }
}
