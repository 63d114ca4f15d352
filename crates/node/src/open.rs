//! Opening a node: the data directory, who it is, its groups.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use trilith_env::Env;
use trilith_host::{
    GroupSpec, HostConfig, HostParts, HostReport, Machine, Outbound, Shard, Workers,
};
use trilith_peer::{Found, Founder};
use trilith_raft::Configuration;
use trilith_storage::{DataDir, SyncPolicy};
use trilith_topics::controller::CONTROLLER_GROUP;
use trilith_types::{ClusterId, GroupId, LogIndex, NodeId};

use super::{
    FoundError, Member, Node, NodeConfig, OpenError, Start,
    book::{Book, NodeInfo},
    controller_replica::{ControllerReplica, ControllerShared},
    founding::{found_alone, found_of_list, number_of},
    identity::IdentityFile,
    keeper::{Keeper, Note, OPEN_WAIT},
    layout::controller_dir,
    machine::GroupMachine,
    node::{Closer, Inner, Live, Threads},
    observer::{Alarms, Ears},
};
use crate::{Admission, Metrics, inbox::Inbox, shell};

/// A host that waits for somebody to run its shards.
pub(crate) type Hosted = Option<HostParts<GroupMachine>>;

/// What opening a node found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Whether the node belongs to a cluster.
    pub is_founded: bool,
    /// What the journal and the votes had.
    pub host: Option<HostReport>,
    /// How long it took.
    pub took: Duration,
}

/// A node without threads, for whoever drives it on one: a simulator.
pub struct NodeParts {
    /// The handle.
    pub node: Node,
    /// What was found.
    pub report: OpenReport,
    keeper: Keeper,
    host: Hosted,
    /// Whether the journal was closed behind the shards.
    is_closed: Arc<AtomicBool>,
    is_closing: bool,
}

impl Node {
    /// Opens the node in its data directory and starts its threads. A node that belongs to a
    /// cluster, or founds one by itself, is a member of it when this returns; any other waits to
    /// be told ([`Node::found`]).
    ///
    /// # Errors
    /// The data directory is in use or of an earlier format, or holds what cannot be used.
    pub fn open(
        env: &Env,
        config: NodeConfig,
        outbound: Arc<dyn Outbound>,
    ) -> Result<(Self, OpenReport), OpenError> {
        let NodeParts {
            node,
            report,
            mut keeper,
            ..
        } = Self::build(env, config, outbound, true)?;
        let held = node.inner.data_dir.lock().clone();
        let inner = Arc::clone(&node.inner);
        // What was known before is served from the first moment on.
        let mut patience = keeper.turn();
        let run = move || {
            while !keeper.is_finished() {
                let now = keeper.now();
                keeper.wait(patience.map(|at| at.saturating_sub(now)));
                patience = keeper.turn();
            }
            // Without a shutdown nobody has waited for the shards.
            let host = inner.threads.lock().host.take();
            keeper.end();
            if let Some(host) = host {
                host.join();
            }
            drop(held);
        };
        let thread = shell::spawn("keeper".to_owned(), run).map_err(OpenError::Thread)?;
        node.inner.threads.lock().keeper = Some(thread);
        node.inner.wait_if_alone();
        Ok((node, report))
    }

    /// Opens the node without starting a thread.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub fn assemble(
        env: &Env,
        config: NodeConfig,
        outbound: Arc<dyn Outbound>,
    ) -> Result<NodeParts, OpenError> {
        Self::build(env, config, outbound, false)
    }

    fn build(
        env: &Env,
        config: NodeConfig,
        outbound: Arc<dyn Outbound>,
        is_threaded: bool,
    ) -> Result<NodeParts, OpenError> {
        let began = env.clock.monotonic();
        let config = NodeConfig {
            shards: config.shards.max(1),
            ..config
        };
        let holder = format!("process {}", std::process::id());
        let data_dir = DataDir::take(&env.disk, &config.data, &holder)?;
        let mut identity = IdentityFile::start(env, &config.data, config.name.as_deref())?;
        let was_member = identity.get().member.is_some();
        if !was_member {
            found_by_itself(env, &config, &mut identity)?;
        }
        let was_founded_now = !was_member && identity.get().member.is_some();
        let inner = Arc::new(Inner {
            env: env.clone(),
            metrics: Arc::new(Metrics::default()),
            admission: Admission::new(config.inflight_bytes_max),
            book: Arc::new(Book::default()),
            directory: ArcSwap::default(),
            controller: Arc::new(ControllerShared::default()),
            keeper: Inbox::new(),
            outbound,
            live: OnceLock::new(),
            identity: ArcSwap::from_pointee(identity.get().clone()),
            identity_file: Mutex::new(identity),
            was_founded_now: was_founded_now.into(),
            alive: Mutex::default(),
            opened_at: began,
            refusals: Mutex::default(),
            alarms: Alarms::default(),
            on_peers: OnceLock::new(),
            on_fatal: OnceLock::new(),
            host_parts: Mutex::default(),
            threads: Mutex::new(Threads::default()),
            is_threaded,
            is_closing: false.into(),
            is_leaving: false.into(),
            moving: 0.into(),
            data_dir: Mutex::new(Some(Arc::new(data_dir))),
            config: Arc::new(config),
        });
        let mut report = OpenReport::default();
        if inner.identity.load().member.is_some() {
            report.host = Some(inner.go_live()?);
            report.is_founded = true;
        }
        report.took = env.clock.monotonic().saturating_sub(began);
        let keeper = Keeper::new(Arc::clone(&inner));
        let host = inner.host_parts.lock().take();
        let node = Node {
            _closer: Arc::new(Closer(Arc::clone(&inner))),
            inner,
        };
        Ok(NodeParts {
            node,
            report,
            keeper,
            host,
            is_closed: Arc::default(),
            is_closing: false,
        })
    }
}

/// Founds a cluster if the node's settings say so.
fn found_by_itself(
    env: &Env,
    config: &NodeConfig,
    identity: &mut IdentityFile,
) -> Result<(), FoundError> {
    let name = identity.get().name.clone();
    let found = match &config.start {
        Start::Wait => return Ok(()),
        Start::Alone => {
            let random = [env.rng.next_u64(), env.rng.next_u64()];
            found_alone(random, &name, &config.addresses)
        }
        Start::With(members) => found_of_list(members)?,
    };
    let number = number_of(&found, &name)?;
    identity.found(&found, number)?;
    Ok(())
}

impl Inner {
    /// Hosts what this node, which is a member of a cluster now, is to host.
    fn go_live(self: &Arc<Self>) -> Result<HostReport, OpenError> {
        let identity = self.identity.load_full();
        let member = identity
            .member
            .expect("the caller has seen that the node is a member");
        self.learn_founders(&identity.founders);
        let data = self.config.data.clone();
        let mut config = match &self.config.host {
            Some(host) => HostConfig {
                node: member.node,
                incarnation: identity.incarnation,
                dir: data,
                ..host.clone()
            },
            None => HostConfig::new(member.node, identity.incarnation, data),
        };
        config.shards = self.config.shards;
        config.journal = self.config.journal;
        config.scrub_bytes_per_second = self.config.scrub_bytes_per_second;
        // Among several, a node that forgets what it has acknowledged may cost the others' records.
        config.journal.sync = if identity.is_alone() {
            self.config.sync
        } else {
            SyncPolicy::Always
        };
        config.open_segments_max = self.config.open_segments_max;
        config.open_logs_max = (self.config.open_logs_max / config.shards.max(1)).max(1);
        let ears = Ears {
            keeper: Arc::clone(&self.keeper),
            inner: Arc::downgrade(self),
        };
        let outbound = Arc::clone(&self.outbound);
        let workers = if self.is_threaded {
            Workers::Threads
        } else {
            Workers::None
        };
        let parts = trilith_host::open(&self.env, config, workers, outbound, Arc::new(ears))?;
        let report = parts.report.clone();
        let live = Arc::new(Live {
            host: parts.handle.clone(),
            cluster: member.cluster,
            node: member.node,
            incarnation: identity.incarnation,
            founders: identity.founders.clone(),
            is_founder: identity.is_founder(),
            is_alone: identity.is_alone(),
        });
        self.run_host(parts, &live)?;
        if live.is_alone {
            // There is nobody else to wait for.
            live.host.campaign(CONTROLLER_GROUP);
        }
        drop(self.live.set(live));
        self.peers_changed();
        Ok(report)
    }

    /// Starts the shards, or leaves them to whoever drives the node, and opens the controller's
    /// group.
    fn run_host(
        self: &Arc<Self>,
        mut parts: HostParts<GroupMachine>,
        live: &Live,
    ) -> Result<(), OpenError> {
        // Who joins a group that is there hears from it who its members are.
        let founders = live.founders.iter().filter(|_| live.is_founder);
        let voters = Configuration::of_voters(founders.map(|founder| founder.node));
        let replica =
            ControllerReplica::new(Arc::clone(&self.controller), Arc::clone(&self.keeper));
        let mut spec = GroupSpec::new(
            CONTROLLER_GROUP,
            controller_dir(&self.config.data),
            voters,
            GroupMachine::Controller(replica),
        );
        spec.log = self.config.log.clone();
        // The reserve is kept from records, and for this.
        spec.log.reserve_bytes = 0;
        let (opened, answer) = mpsc::channel();
        live.host
            .open_group(spec, move |result| drop(opened.send(result.map(drop))));
        let answer = if self.is_threaded {
            let (_, threads) = parts.start().map_err(OpenError::Thread)?;
            self.threads.lock().host = Some(threads);
            answer.recv().ok()
        } else {
            for shard in &mut parts.shards {
                shard.turn();
            }
            *self.host_parts.lock() = Some(parts);
            answer.try_recv().ok()
        };
        match answer {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(OpenError::Controller(error)),
            None => Err(OpenError::Controller(
                trilith_host::OpenGroupError::ShuttingDown,
            )),
        }
    }

    /// A cluster of one node is up when its only node is: whoever opens it need not ask again.
    fn wait_if_alone(self: &Arc<Self>) {
        let Some(live) = self.live.get().filter(|live| live.is_alone) else {
            return;
        };
        let (led, ready) = mpsc::channel();
        let keeper = Arc::clone(&self.keeper);
        live.host.read(CONTROLLER_GROUP, move |_leads| {
            let done = Box::new(move || led.send(()).unwrap_or_default());
            drop(keeper.send(Note::WhenLed(OPEN_WAIT, done)));
        });
        let _led_or_not = ready.recv();
    }

    /// Until the cluster's state is known, its founders are all there is.
    fn learn_founders(&self, founders: &[Founder]) {
        let info = |founder: &Founder| NodeInfo {
            node: founder.node,
            name: founder.name.clone(),
            client_address: founder.client_address.clone(),
            peer_address: founder.peer_address.clone(),
            incarnation: trilith_types::Incarnation(0),
        };
        let founders = founders.iter().map(|founder| (founder.node, info(founder)));
        self.book.replace(founders.collect());
    }

    /// This node was just made a member; the keeper comes here.
    pub(crate) fn start_founded(self: &Arc<Self>) {
        if self.live.get().is_some() {
            return;
        }
        if let Err(error) = self.go_live() {
            let reason = error.to_string();
            tracing::error!(reason, "the node is a member now and cannot start as one");
            if let Some(tell) = self.on_fatal.get() {
                tell(&reason);
            }
        }
    }
}

impl Node {
    /// Founds a cluster of these nodes, of which this is one. The others are told when they connect
    /// to a node that knows. Said again to one of the founders, it changes nothing.
    ///
    /// # Errors
    /// The list cannot be one or does not have this node; the node belongs to another cluster; or
    /// the identity could not be written.
    pub fn init(&self, members: &[Member]) -> Result<ClusterId, FoundError> {
        let mut found = found_of_list(members)?;
        let identity = self.identity();
        if let Some(member) = identity.member
            && is_same_list(&identity.founders, &found.members)
        {
            return Ok(member.cluster);
        }
        let rng = &self.inner.env.rng;
        let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        found.cluster = ClusterId(random.max(1));
        self.found(&found)?;
        Ok(found.cluster)
    }

    /// Makes this node, which belongs to no cluster yet, a member of one, durably. It begins to
    /// take part right after. Said again, it changes nothing.
    ///
    /// # Errors
    /// The node belongs to another cluster, or is not in the list; or the identity could not be
    /// written.
    pub fn found(&self, found: &Found) -> Result<(), FoundError> {
        super::founding::check(found)?;
        let mut file = self.inner.identity_file.lock();
        let identity = file.get();
        if let Some(member) = identity.member {
            if member.cluster == found.cluster {
                return Ok(());
            }
            return Err(FoundError::Founded {
                name: identity.name.clone(),
                has: member.cluster,
                asked: found.cluster,
            });
        }
        let number = number_of(found, &identity.name)?;
        file.found(found, number)?;
        self.inner.was_founded_now.store(true, Ordering::Release);
        self.inner.identity.store(Arc::new(file.get().clone()));
        drop(file);
        drop(self.inner.keeper.send(Note::Founded));
        Ok(())
    }
}

fn is_same_list(a: &[Founder], b: &[Founder]) -> bool {
    let key = |founder: &Founder| (founder.name.clone(), founder.peer_address.clone());
    a.iter().map(key).eq(b.iter().map(key))
}

impl NodeParts {
    /// Does everything that can be done now without the disk's or the network's answers, and says
    /// when there is something to do next if nothing comes before, on the monotonic clock.
    pub fn turn(&mut self) -> Option<Duration> {
        loop {
            let next = self.step();
            if !self.has_more() {
                return next;
            }
        }
    }

    /// One turn of the keeper and of each shard, for whoever may stop a node in the middle of its
    /// work. Says when there is something to do next if nothing comes before.
    pub fn step(&mut self) -> Option<Duration> {
        let mut next = self.keeper.turn();
        if let Some(host) = self.node.inner.host_parts.lock().take() {
            self.host = Some(host);
        }
        for shard in self.host.iter_mut().flat_map(|host| &mut host.shards) {
            let deadline = shard.turn();
            next = Some(next.map_or(deadline, |next| next.min(deadline)));
        }
        if !self.has_more() {
            self.close_journal();
        }
        next
    }

    /// Whether another step would find something to do now.
    #[must_use]
    pub fn has_more(&self) -> bool {
        let mut shards = self.host.iter().flat_map(|host| &host.shards);
        shards.any(Shard::has_events) || self.keeper.has_notes()
    }

    /// Begins a clean stop; [`NodeParts::turn`] goes on with it.
    pub fn begin_stop(&mut self) {
        let inner = &self.node.inner;
        inner.is_closing.store(true, Ordering::Release);
        match inner.live.get() {
            Some(live) => live.host.shutdown(),
            None => self.is_closed.store(true, Ordering::Release),
        }
        self.is_closing = true;
    }

    /// The journal goes last: shards may have given it something until they were through.
    fn close_journal(&mut self) {
        let Some(host) = self.host.as_ref().filter(|_| self.is_closing) else {
            return;
        };
        if host.shards.iter().all(Shard::is_finished) {
            self.is_closing = false;
            let is_closed = Arc::clone(&self.is_closed);
            host.journal().close(Box::new(move |_clean_or_not| {
                is_closed.store(true, Ordering::Release);
            }));
        }
    }

    /// Whether a clean stop is through.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Why the node must stop, if it must.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        let mut shards = self.host.iter().flat_map(|host| &host.shards);
        shards.find_map(Shard::failure)
    }

    /// How far each hosted group has applied: for checks.
    #[must_use]
    pub fn applied(&self) -> Vec<(GroupId, LogIndex)> {
        self.groups()
            .iter()
            .map(|group| (group.id(), group.applied()))
            .collect()
    }
}

/// What is seen from outside, for checks.
impl NodeParts {
    /// The groups that are hosted.
    #[must_use]
    pub fn groups(&self) -> Vec<Arc<trilith_host::Group>> {
        let live = self.node.inner.live.get();
        live.map(|live| live.host.groups()).unwrap_or_default()
    }

    /// Gives the state of a group's machine, with the index of the last entry that it holds.
    pub fn state(
        &self,
        group: GroupId,
        reply: impl FnOnce(LogIndex, bytes::Bytes) + Send + 'static,
    ) {
        let Some(live) = self.node.inner.live.get() else {
            return;
        };
        let Some(seen) = live.host.group(group) else {
            return;
        };
        live.host.instruct(group, move |machine, _| {
            reply(seen.applied(), machine.state());
        });
    }

    /// Begins to hand leadership of a group to another node, and says whether it has begun.
    pub fn transfer(&self, group: GroupId, to: NodeId, reply: impl FnOnce(bool) + Send + 'static) {
        match self.node.inner.live.get() {
            Some(live) => live.host.transfer(group, to, |begun| reply(begun.is_ok())),
            None => reply(false),
        }
    }

    /// The numbers of all hosted groups: `reply` is called once for each shard, with that shard's.
    pub fn statuses(
        &self,
        reply: impl Fn(Vec<(GroupId, trilith_host::GroupStatus)>) + Send + Sync + 'static,
    ) {
        if let Some(live) = self.node.inner.live.get() {
            live.host.statuses(reply);
        }
    }
}

impl std::fmt::Debug for NodeParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeParts({:?}, {:?})", self.node, self.host)
    }
}
