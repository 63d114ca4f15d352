//! A partition as everybody but its shard sees it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use trilith_host::Group;
use trilith_raft::Role;
use trilith_topics::TopicSettings;
use trilith_types::{GroupId, NodeId, Offset, PartitionId, Term, TopicId, TopicName};

use super::{Leader, NotMember, PartitionError, book::Book};

/// What a partition's replica here, its producers and its readers share. There is one for every
/// partition of the cluster, whether it has a replica here or not.
#[derive(Debug)]
pub(crate) struct PartitionShared {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) group: GroupId,
    /// Where its replicas are; the first one is the preferred leader.
    replicas: ArcSwap<Vec<NodeId>>,
    /// Whether one of them is here.
    pub(crate) is_here: bool,
    /// The replica here, once it is opened.
    pub(crate) local: OnceLock<Arc<Group>>,
    /// Where the partition begins by what was applied. The log's own beginning follows once a mark
    /// is durable.
    log_start: AtomicU64,
    /// The topic was deleted.
    gone: AtomicBool,
    pub(crate) damage_met: DamageMet,
    book: Arc<Book>,
    settings: Mutex<TopicSettings>,
    route: Mutex<Route>,
}

/// Who leads, as the replica here knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) leader: Option<NodeId>,
    pub(crate) term: Term,
    /// This node.
    pub(crate) is_here: bool,
    /// Why the replica here is out of service.
    pub(crate) stopped: Option<String>,
}

impl PartitionShared {
    pub(crate) fn new(
        (topic, topic_id, partition): (TopicName, TopicId, PartitionId),
        settings: TopicSettings,
        (replicas, is_here): (Vec<NodeId>, bool),
        book: Arc<Book>,
    ) -> Self {
        Self {
            topic,
            topic_id,
            partition,
            group: trilith_topics::group_id(topic_id, partition),
            replicas: ArcSwap::from_pointee(replicas),
            is_here,
            local: OnceLock::new(),
            log_start: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            damage_met: DamageMet::default(),
            book,
            settings: Mutex::new(settings),
            route: Mutex::default(),
        }
    }

    /// Where its replicas are; the first one is the preferred leader.
    pub(crate) fn replicas(&self) -> Arc<Vec<NodeId>> {
        self.replicas.load_full()
    }

    /// Another node has taken the place of one of them, and not of this one.
    pub(crate) fn place(&self, replicas: Vec<NodeId>) {
        self.replicas.store(Arc::new(replicas));
    }

    pub(crate) fn settings(&self) -> TopicSettings {
        *self.settings.lock()
    }

    pub(crate) fn configure(&self, settings: TopicSettings) {
        *self.settings.lock() = settings;
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    /// A command that moves the beginning was applied.
    pub(crate) fn set_log_start(&self, to: Offset) {
        self.log_start.fetch_max(to.get(), Ordering::AcqRel);
    }

    pub(crate) fn route(&self) -> Route {
        self.route.lock().clone()
    }

    /// The replica's role has changed. Readers that wait look again, and find out whether this
    /// node still leads.
    pub(crate) fn set_role(&self, role: Role, term: Term, leader: Option<NodeId>) {
        let is_here = role == Role::Leader;
        let mut route = self.route.lock();
        let was_here = std::mem::replace(&mut route.is_here, is_here);
        (route.leader, route.term) = (leader, term);
        drop(route);
        if was_here && !is_here {
            self.wake();
        }
    }

    /// Those who wait for records look again.
    pub(crate) fn wake(&self) {
        if let Some(group) = self.local.get() {
            group.wake();
        }
    }

    /// The topic was deleted.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_led_here(&self) -> bool {
        self.route.lock().is_here
    }

    /// The replica here is out of service.
    pub(crate) fn stop(&self, reason: String) {
        let mut route = self.route.lock();
        route.is_here = false;
        route.stopped = Some(reason);
        drop(route);
        self.wake();
    }

    /// Whom to ask: the leader that is known; without a replica here, the one that would lead if
    /// all were well, which knows better.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        if self.is_here {
            self.route.lock().leader
        } else {
            self.replicas.load().first().copied()
        }
    }

    /// The same, with its address.
    pub(crate) fn known_leader(&self) -> Option<Leader> {
        self.address(self.leader())
    }

    pub(crate) fn address(&self, leader: Option<NodeId>) -> Option<Leader> {
        leader.map(|node| self.book.leader(node))
    }

    /// The replica's group, while this node leads.
    pub(crate) fn led_here(&self) -> Result<&Arc<Group>, PartitionError> {
        self.still_there()?;
        self.in_service()?;
        let is_here = self.route.lock().is_here;
        match self.local.get() {
            Some(group) if is_here => Ok(group),
            _ => Err(self.not_leader(self.known_leader())),
        }
    }

    /// An error when the replica here is out of service: others may lead, if there are any.
    pub(crate) fn in_service(&self) -> Result<(), PartitionError> {
        match self.route.lock().stopped.clone() {
            None => Ok(()),
            Some(reason) if self.replicas.load().len() <= 1 => Err(self.unavailable(reason)),
            Some(_) => Err(self.not_leader(None)),
        }
    }

    /// Whether there is nothing to wait for: a leader is known, or will not come from here.
    pub(crate) fn is_settled(&self) -> bool {
        let is_stopped = self.route.lock().stopped.is_some();
        is_stopped || self.leader().is_some()
    }

    pub(crate) fn not_leader(&self, leader: Option<Leader>) -> PartitionError {
        PartitionError::NotLeader {
            topic: self.topic.to_string(),
            partition: self.partition,
            leader,
        }
    }

    pub(crate) fn unavailable(&self, reason: String) -> PartitionError {
        PartitionError::Unavailable {
            topic: self.topic.to_string(),
            partition: self.partition,
            reason,
        }
    }

    /// An error once the partition's topic was deleted, or this node is no member any more.
    pub(crate) fn still_there(&self) -> Result<(), PartitionError> {
        self.book.removed().map_err(NotMember::from)?;
        if self.gone.load(Ordering::Acquire) {
            return Err(PartitionError::UnknownTopic {
                topic: self.topic.to_string(),
            });
        }
        Ok(())
    }
}

/// Damage that readers met, by its first offset. Recovery finds what it scans; a log that was
/// closed cleanly is not scanned, and its damage shows when it is read.
#[derive(Debug, Default)]
pub(crate) struct DamageMet(Mutex<BTreeSet<Offset>>);

impl DamageMet {
    /// Most ranges that are remembered; more are neither told nor counted.
    const RANGES_MAX: usize = 256;

    /// Whether this is the first time that anybody met it.
    pub(crate) fn is_new(&self, first: Offset) -> bool {
        let mut met = self.0.lock();
        met.len() < Self::RANGES_MAX && met.insert(first)
    }

    /// How many ranges there are.
    pub(crate) fn ranges(&self) -> usize {
        self.0.lock().len()
    }
}
