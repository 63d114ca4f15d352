//! The host as seen by the rest of the node: from any thread, never blocking.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use parking_lot::RwLock;
use trilith_peer::{NodeMessage, Progress};
use trilith_raft::{Change, Transition};
use trilith_storage::{
    LogConfig, LogReader,
    journal::{Journal, JournalStats},
};
use trilith_types::{GroupId, LogIndex, NodeId, Offset};

use crate::{
    ChangeRefused, Discard, DiscardRefused, Group, Metrics, OpenGroupError, ReadRefused, Refusal,
    TransferRefused,
    desk::Desk,
    event::{Event, GroupSpec, GroupStatus, OnDrop, PeerEvent},
    inbox::{Inbox, Rejected, Weight},
    machine::Machine,
    pulse::Pulse,
};

/// What a small message takes of an inbox's limit, apart from its entries.
const MESSAGE_BYTES: u64 = 256;

/// A handle on a host; clones are cheap.
pub struct HostHandle<M: Machine> {
    pub(crate) shared: Arc<Shared<M>>,
}

/// What handles and shards share.
pub(crate) struct Shared<M: Machine> {
    pub(crate) inboxes: Vec<Arc<Inbox<Event<M>>>>,
    /// Where the shards are run, once threads do it.
    pub(crate) desks: OnceLock<Vec<Arc<Desk<M>>>>,
    pub(crate) groups: RwLock<BTreeMap<GroupId, Arc<Group>>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) journal: Journal,
    pub(crate) pulse: Arc<Pulse>,
    /// Groups that were found on disk and have not been opened.
    pub(crate) found: Arc<crate::found::Found>,
    pub(crate) requests_max: usize,
}

impl<M: Machine> Clone for HostHandle<M> {
    fn clone(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        Self { shared }
    }
}

impl<M: Machine> fmt::Debug for HostHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostHandle({} groups)", self.shared.groups.read().len())
    }
}

impl<M: Machine> Shared<M> {
    /// The inbox of the shard that owns a group.
    pub(crate) fn inbox(&self, group: GroupId) -> Option<&Arc<Inbox<Event<M>>>> {
        // Ids of one topic's partitions are neighbours: they go around the shards.
        let spread = (group.0 ^ (group.0 >> 32)) % self.inboxes.len().max(1) as u64;
        self.inboxes.get(spread as usize)
    }

    /// Runs a shard for what was put in, and leaves others to their threads: they are there to
    /// work beside each other.
    pub(crate) fn visit(&self) {
        let mut desks = self.desks.get().into_iter().flatten();
        while let Some(desk) = desks.next() {
            if desk.has_work() {
                desks.for_each(|other| other.wake());
                desk.visit();
                return;
            }
        }
    }

    /// Leaves what was put in to the shards' threads.
    pub(crate) fn wake(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.wake());
    }

    #[expect(
        clippy::result_large_err,
        reason = "an event that comes back is answered, once"
    )]
    fn tell(&self, group: GroupId, event: Event<M>) -> Result<(), Event<M>> {
        let Some(inbox) = self.inbox(group) else {
            return Err(event);
        };
        match inbox.send(event, Weight::None) {
            Ok(()) => Ok(()),
            Err(Rejected::Closed(event) | Rejected::Full(event)) => Err(event),
        }
    }
}

impl<M: Machine> HostHandle<M> {
    /// A client's wish: it is decided on by the group's machine if this node leads, and refused
    /// otherwise.
    pub fn request(&self, group: GroupId, request: M::Request) {
        let event = Event::Request { group, request };
        let Some(inbox) = self.shared.inbox(group) else {
            return;
        };
        match inbox.send(event, Weight::Request) {
            Ok(()) => self.shared.metrics.queued_requests.add(1),
            Err(Rejected::Closed(Event::Request { request, .. })) => {
                self.shared.metrics.refused_requests.add(1);
                M::refuse(request, Refusal::ShuttingDown);
            }
            Err(Rejected::Full(Event::Request { request, .. })) => {
                self.shared.metrics.refused_requests.add(1);
                let limit = self.shared.requests_max;
                M::refuse(request, Refusal::TooManyRequests { limit });
            }
            Err(_) => {}
        }
    }

    /// Asks for an index from which on reading is linearisable, and answers with it once it is
    /// applied here.
    pub fn read(
        &self,
        group: GroupId,
        reply: impl FnOnce(Result<LogIndex, ReadRefused>) + Send + 'static,
    ) {
        let reply = Box::new(reply);
        if let Err(Event::Read { reply, .. }) =
            self.shared.tell(group, Event::Read { group, reply })
        {
            reply(Err(ReadRefused::Stopped));
        }
    }

    /// Begins to hand leadership of a group to `to`. The answer says whether it has begun; the
    /// observer tells of its end.
    pub fn transfer(
        &self,
        group: GroupId,
        to: NodeId,
        reply: impl FnOnce(Result<(), TransferRefused>) + Send + 'static,
    ) {
        let reply = Box::new(reply);
        let event = Event::Transfer { group, to, reply };
        if let Err(Event::Transfer { reply, .. }) = self.shared.tell(group, event) {
            reply(Err(TransferRefused::Stopped));
        }
    }

    /// Changes the members of a group. The answer comes once the change is committed, with the
    /// index of its entry; a joint configuration is left by itself afterwards.
    pub fn change_membership(
        &self,
        group: GroupId,
        changes: Vec<Change>,
        transition: Transition,
        reply: impl FnOnce(Result<LogIndex, ChangeRefused>) + Send + 'static,
    ) {
        let reply = Box::new(reply);
        let event = Event::Change {
            group,
            changes,
            transition,
            reply,
        };
        if let Err(Event::Change { reply, .. }) = self.shared.tell(group, event) {
            reply(Err(ChangeRefused::Unknown));
        }
    }

    /// What is doubtful in a group's log here: an operator's last resort when a voter is gone for good
    /// and the group cannot decide ([`trilith_raft::Core::discard_doubtful`]). It is dropped if that is
    /// `confirmed`, and else only told. What was acknowledged may be lost by it.
    pub fn discard_doubtful(
        &self,
        group: GroupId,
        confirmed: bool,
        reply: impl FnOnce(Result<Discard, DiscardRefused>) + Send + 'static,
    ) {
        let reply = Box::new(reply);
        let event = Event::Discard {
            group,
            confirmed,
            reply,
        };
        if let Err(Event::Discard { reply, .. }) = self.shared.tell(group, event) {
            reply(Err(DiscardRefused::Stopped));
        }
    }

    /// Lets a group stand for election now, if it may: for tests, and for a new group's preferred
    /// leader.
    pub fn campaign(&self, group: GroupId) {
        drop(self.shared.tell(group, Event::Campaign { group }));
    }

    /// A reader met damage, after which reading goes on at the offset `next`: the entries are
    /// fetched from peers. The observer hears of it; the reader tries again later.
    pub fn damaged(&self, group: GroupId, next: Offset) {
        drop(self.shared.tell(group, Event::Damaged { group, next }));
    }

    /// Reads a group's log through in the background: what is damaged is told to the observer and
    /// fetched from peers. For a reader that met damage, and for looking in time.
    pub fn check_log(&self, group: GroupId) {
        drop(self.shared.tell(group, Event::Check { group }));
    }

    /// Sets how soon a group stands for election, from 0 to [`trilith_raft::PRIORITY_MAX`].
    pub fn set_priority(&self, group: GroupId, priority: u8) {
        drop(self.shared.tell(group, Event::Priority { group, priority }));
    }

    /// Calls `instruction` with a group's machine, on its shard: for what is not replicated, such
    /// as settings. It is dropped when the group is not hosted.
    pub fn instruct(
        &self,
        group: GroupId,
        instruction: impl FnOnce(&mut M, &trilith_storage::Log) + Send + 'static,
    ) {
        let instruction = Box::new(instruction);
        let event = Event::Instruct { group, instruction };
        drop(self.shared.tell(group, event));
    }

    /// Changes the settings of a group's log, from the next append on.
    pub fn configure(&self, group: GroupId, log: LogConfig) {
        drop(self.shared.tell(group, Event::Configure { group, log }));
    }

    /// Hosts a group: a new one, or one that is on disk already.
    pub fn open_group(
        &self,
        spec: GroupSpec<M>,
        done: impl FnOnce(Result<Arc<Group>, OpenGroupError>) + Send + 'static,
    ) {
        let (group, spec, done) = (spec.group, Box::new(spec), Box::new(done));
        if let Err(Event::Open { done, .. }) = self.shared.tell(group, Event::Open { spec, done }) {
            done(Err(OpenGroupError::ShuttingDown));
        }
    }

    /// Removes a group and its data, hosted or only found on disk; for deleted topics. `done` is
    /// called when it cannot come back; its files are removed in the background.
    pub fn forget_group(&self, group: GroupId, done: impl FnOnce() + Send + 'static) {
        let done = Box::new(done);
        if let Err(Event::Forget { done, .. }) =
            self.shared.tell(group, Event::Forget { group, done })
        {
            done();
        }
    }

    /// Groups that the journal knows and that were neither opened nor forgotten yet.
    #[must_use]
    pub fn found_groups(&self) -> Vec<GroupId> {
        self.shared.found.groups()
    }

    /// Tells every group of what was learnt of a node.
    pub fn peer_event(&self, event: PeerEvent) {
        for inbox in &self.shared.inboxes {
            inbox.tell(Event::Peer(event));
        }
    }

    /// Takes what came from another node, and gives back what is not for a group. Messages past
    /// an inbox's limit are dropped: cores send again. Once it has delivered everything, the
    /// caller calls [`HostHandle::delivered`].
    pub fn deliver(&self, from: NodeId, message: NodeMessage) -> Option<NodeMessage> {
        let (group, event, bytes) = match message {
            NodeMessage::Group(message) => {
                let entries = message.entries.iter();
                let bytes: u64 = entries.map(|(_, payload)| payload.len() as u64).sum();
                (message.message.group, Event::Message(message), bytes)
            }
            NodeMessage::SnapshotChunk(chunk) => {
                let bytes = chunk.bytes.len() as u64;
                (chunk.group, Event::Chunk { from, chunk }, bytes)
            }
            NodeMessage::SnapshotAck(ack) => (ack.group, Event::ChunkAck { from, ack }, 0),
            other => return Some(other),
        };
        self.shared.metrics.received_messages.add(1);
        let taken = self.shared.inbox(group).is_some_and(|inbox| {
            inbox
                .put(event, Weight::Bytes(bytes + MESSAGE_BYTES))
                .is_ok()
        });
        if !taken {
            self.shared.metrics.refused_messages.add(1);
        }
        None
    }

    /// What was delivered is all there is for now: it is attended to, on this thread when it is
    /// little and nobody else is at it.
    pub fn delivered(&self) {
        self.shared.visit();
    }

    /// A group's numbers; `None` when it is not hosted.
    pub fn status(&self, group: GroupId, reply: impl FnOnce(Option<GroupStatus>) + Send + 'static) {
        let reply = Box::new(reply);
        if let Err(Event::Status { reply, .. }) =
            self.shared.tell(group, Event::Status { group, reply })
        {
            reply(None);
        }
    }

    /// The numbers of all groups: `reply` is called once for each shard, with that shard's.
    pub fn statuses(&self, reply: impl Fn(Vec<(GroupId, GroupStatus)>) + Send + Sync + 'static) {
        let reply = Arc::new(reply);
        for inbox in &self.shared.inboxes {
            let one = Arc::clone(&reply);
            let event = Event::Statuses {
                reply: Box::new(move |statuses| one(statuses)),
            };
            if inbox.send(event, Weight::None).is_err() {
                reply(Vec::new());
            }
        }
    }

    /// A hosted group.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<Arc<Group>> {
        self.shared.groups.read().get(&group).cloned()
    }

    /// All hosted groups.
    #[must_use]
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.shared.groups.read().values().cloned().collect()
    }

    /// A handle for reading a group's log.
    #[must_use]
    pub fn reader(&self, group: GroupId) -> Option<LogReader> {
        self.group(group).map(|group| group.reader())
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// What the journal has done and holds.
    #[must_use]
    pub fn journal_stats(&self) -> JournalStats {
        self.shared.journal.stats()
    }

    /// What goes into the heartbeats between nodes: whether shards and disk are getting on.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.pulse.progress()
    }

    /// Hands leadership of every group to another member that can take it, also when it comes back
    /// later, and goes on with everything else: requests that come meanwhile wait until it is known
    /// who leads. `done` is called when nothing is left to hand over, or it took too long.
    pub fn hand_over(&self, done: impl FnOnce() + Send + Sync + 'static) {
        let done = Arc::new(OnDrop::new(done));
        for inbox in &self.shared.inboxes {
            let done = Arc::clone(&done);
            inbox.tell(Event::HandOver { done });
        }
    }

    /// A reader was not allowed to open a file, for want of descriptors: logs that are open for
    /// writing are closed, and it may try again.
    pub fn want_files(&self) {
        for inbox in &self.shared.inboxes {
            inbox.tell(Event::WantFiles);
        }
    }

    /// Another node is about to stop: leadership is not handed to it.
    pub fn peer_leaves(&self, node: NodeId) {
        for inbox in &self.shared.inboxes {
            inbox.tell(Event::Leaving(node));
        }
    }

    /// Begins a clean stop: leadership is handed over, what came is finished, every log is closed.
    /// The shards say when they are through ([`crate::Shard::is_finished`]).
    pub fn shutdown(&self) {
        for inbox in &self.shared.inboxes {
            inbox.tell(Event::Close);
        }
    }
}
