//! The keeper: hosts the groups that the cluster's state places here, and tells the cluster what
//! it must know of this node. It runs on a thread of its own, and decides from what it is told and
//! the time alone.

mod balance;
mod forming;
mod members;
mod reconcile;
mod register;
mod sweep;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use trilith_host::PeerEvent;
use trilith_peer::Call;
use trilith_topics::{controller::Outcome, partition_of};
use trilith_types::{GroupId, NodeId, TopicId};

pub(crate) use self::register::say_leaving;
use self::{
    balance::Balance, forming::Forming, members::Members, register::Registration, sweep::Currency,
};
use super::{
    ControlError,
    controller_replica::Answer,
    directory::ServedTopic,
    node::{Inner, Live},
    partition::PartitionShared,
};

/// How long the answer to "create this topic" waits for leaders of its partitions. The topic is
/// there in any case.
const LEADERS_WAIT: Duration = Duration::from_secs(2);

/// How long opening a cluster of one node waits for its partitions.
pub(crate) const OPEN_WAIT: Duration = Duration::from_secs(30);

/// What the keeper is told.
pub(crate) enum Note {
    /// The cluster's state, or who leads it, has changed.
    Look,
    /// A command was applied. It is answered once this node serves what was made.
    Outcome(Result<Outcome, ControlError>, Answer),
    /// This node's copy of the cluster's state is as new as the asker wants it.
    CaughtUp(Done),
    /// This node's copy of the cluster's state is as new as this start.
    Current,
    /// This node was made a member of a cluster.
    Founded,
    /// A replica here has stopped.
    Stopped(GroupId, String),
    /// Somebody waits until the cluster is founded and every partition has a leader, for at most so
    /// long.
    WhenLed(Duration, Done),
    /// A group has another leader.
    Led,
    /// A new group is open whose preferred leader is this node.
    Formed(Arc<PartitionShared>),
    /// News of another node.
    Peer(PeerEvent),
    /// A group that was never hosted in this life was forgotten: its files may go.
    Forgotten(GroupId),
    /// Another node asks for something.
    Call(NodeId, Call),
    /// Nothing more: end.
    Close,
}

type Done = Box<dyn FnOnce() + Send>;

/// Somebody who waits for leaders.
struct Waiting {
    /// Of this topic; `None`: of every one.
    topic: Option<TopicId>,
    until: Duration,
    done: Done,
}

pub(crate) struct Keeper {
    inner: Arc<Inner>,
    notes: Vec<Note>,
    /// The version of the cluster's state that was looked at last.
    version: Option<u64>,
    served: BTreeMap<TopicId, Arc<ServedTopic>>,
    waiting: Vec<Waiting>,
    forming: Forming,
    registration: Registration,
    balance: Balance,
    members: Members,
    currency: Currency,
    is_closing: bool,
}

impl Keeper {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            notes: Vec::new(),
            version: None,
            served: BTreeMap::new(),
            waiting: Vec::new(),
            forming: Forming::default(),
            registration: Registration::default(),
            balance: Balance::default(),
            members: Members::default(),
            currency: Currency::default(),
            is_closing: false,
        }
    }

    pub(crate) const fn is_finished(&self) -> bool {
        self.is_closing
    }

    /// Does what is due, and says when it wants to look again.
    pub(crate) fn turn(&mut self) -> Option<Duration> {
        let mut notes = std::mem::take(&mut self.notes);
        if notes.is_empty() {
            self.inner.keeper.wait(&mut notes, Some(Duration::ZERO));
        }
        for note in notes.drain(..) {
            self.take(note);
        }
        self.notes = notes;
        let live = self.inner.live.get().cloned()?;
        self.reconcile(&live);
        let now = self.inner.env.clock.monotonic();
        self.finish_waiting(now);
        if self.inner.book.removed().is_err() {
            // There is nothing to be done for a cluster that has no such node.
            return self.waiting.iter().map(|waiting| waiting.until).min();
        }
        let timers = [
            self.registration.turn(&self.inner, &live, now),
            self.balance.turn(&self.inner, &live, &self.served, now),
            self.members.turn(&self.inner, &live, &self.served, now),
            self.forming.turn(&live, now),
            self.waiting.iter().map(|waiting| waiting.until).min(),
            self.ask_for_now(&live, now),
        ];
        timers.into_iter().flatten().min()
    }

    /// Takes nothing more, and answers those who have waited so far.
    pub(crate) fn end(self) {
        for note in self.notes.into_iter().chain(self.inner.keeper.close()) {
            if let Note::Outcome(outcome, answer) = note {
                answer(outcome);
            }
        }
        for waiting in self.waiting {
            (waiting.done)();
        }
    }

    /// The time by which turns are due.
    pub(crate) fn now(&self) -> Duration {
        self.inner.env.clock.monotonic()
    }

    /// Whether there is something to look at.
    pub(crate) fn has_notes(&self) -> bool {
        !self.notes.is_empty() || self.inner.keeper.len() > 0
    }

    /// Waits for something to do.
    pub(crate) fn wait(&mut self, patience: Option<Duration>) {
        let inbox = Arc::clone(&self.inner.keeper);
        inbox.wait(&mut self.notes, patience);
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Look | Note::Led => {}
            Note::WhenLed(patience, done) => {
                let until = self.now() + patience;
                let topic = None;
                self.waiting.push(Waiting { topic, until, done });
            }
            Note::Outcome(outcome, answer) => self.answer(outcome, answer),
            Note::CaughtUp(done) => {
                self.reconcile_now();
                done();
            }
            Note::Current => self.is_current(),
            Note::Founded => self.inner.start_founded(),
            Note::Stopped(group, reason) => self.stopped(group, &reason),
            Note::Forgotten(group) => self.remove_files(group),
            Note::Peer(event) => self.balance.peer(event, self.inner.env.clock.monotonic()),
            Note::Formed(partition) => self.forming.add(partition, self.now()),
            Note::Call(from, call) if register::is_leaving(&call) => self.peer_leaves(from),
            Note::Call(from, call) if register::is_unfit(&call) => {
                self.balance.unfit(from, self.now());
            }
            Note::Call(from, call) => register::take_call(&self.inner, from, &call),
            Note::Close => self.is_closing = true,
        }
    }

    fn peer_leaves(&mut self, node: NodeId) {
        self.balance.leaves(node);
        if let Some(live) = self.inner.live.get() {
            live.host.peer_leaves(node);
        }
    }

    fn reconcile_now(&mut self) {
        if let Some(live) = self.inner.live.get().cloned() {
            self.reconcile(&live);
        }
    }

    /// Answers a command. What it made is served here first; a new topic is worth little without
    /// leaders, so they are waited for.
    fn answer(&mut self, outcome: Result<Outcome, ControlError>, answer: Answer) {
        self.reconcile_now();
        let topic = match &outcome {
            Ok(Outcome::Created(topic) | Outcome::Altered(topic)) => topic.id,
            _ => return answer(outcome),
        };
        self.waiting.push(Waiting {
            topic: Some(topic),
            until: self.now() + LEADERS_WAIT,
            done: Box::new(move || answer(outcome)),
        });
    }

    fn finish_waiting(&mut self, now: Duration) {
        let served = &self.served;
        let is_founded = self.inner.controller.read().cluster().is_some();
        let is_led = |topic: &Arc<ServedTopic>| topic.partitions.iter().all(|p| p.is_settled());
        let is_ready = |waiting: &mut Waiting| match waiting.topic {
            _ if waiting.until <= now => true,
            Some(topic) => served.get(&topic).is_none_or(is_led),
            None => is_founded && served.values().all(is_led),
        };
        for waiting in self.waiting.extract_if(.., is_ready) {
            (waiting.done)();
        }
    }

    fn stopped(&self, group: GroupId, reason: &str) {
        let (id, _) = partition_of(group);
        let partitions = self
            .served
            .get(&id)
            .into_iter()
            .flat_map(|topic| &topic.partitions);
        if let Some(partition) = partitions.into_iter().find(|p| p.group == group) {
            let (topic, number) = (&partition.topic, partition.partition);
            tracing::error!(%topic, partition = %number, reason, "a replica has stopped");
            partition.stop(reason.to_owned());
        } else {
            tracing::error!(%group, reason, "a replica has stopped");
        }
    }
}

impl Live {
    /// Whether the cluster's state places something here.
    fn is_me(&self, node: NodeId) -> bool {
        self.node == node
    }
}
