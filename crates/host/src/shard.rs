//! A shard: some groups, owned by one thread.
//!
//! Its decisions are here, driven by events and by the clock that it is given; the threads that run
//! it (`desk.rs`) decide nothing. One [`Shard::turn`] takes everything that waits: all proposals
//! of a group become one write, all finished writes of a group one answer, and the network is told
//! to send once, at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use trilith_peer::PeerEvent;
use trilith_storage::journal::{JournalOp, Submission};
use trilith_types::{GroupId, NodeId};

use crate::{
    ChangeRefused, DiscardRefused, Group, GroupSpec, OpenGroupError, ReadRefused, Refusal,
    TransferRefused,
    event::{Event, OnDrop, OpenDone},
    handle::Shared,
    machine::Machine,
    replica::{Cx, Now, Replica},
    scrub::Scrub,
};

/// A turn says that it is getting on after so many events or groups.
const STRIDE: usize = 64;

/// Groups, and what they work with.
pub struct Shard<M: Machine> {
    number: usize,
    shared: Arc<Shared<M>>,
    pub(crate) cx: Cx<M>,
    pub(crate) replicas: BTreeMap<GroupId, Box<Replica<M>>>,
    pub(crate) scrub: Scrub,
    events: Vec<Event<M>>,
    /// Groups to look at in this turn.
    touched: Vec<GroupId>,
    /// Groups whose time passes.
    awake: BTreeSet<GroupId>,
    /// Groups to look at later.
    timers: BTreeSet<(Duration, GroupId)>,
    /// Groups whose logs had files open for writing after their last turn.
    open_logs: BTreeSet<GroupId>,
    next_tick: Duration,
    /// Until when leadership is being handed over, and who waits for that.
    handing: Option<(Duration, Arc<OnDrop>)>,
    closing: Closing,
    told_failure: bool,
}

/// How far a clean stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// Leadership is being handed over; no later than this it goes on without.
    HandingOver(Duration),
    /// The last syncs and marks are on their way.
    Finishing,
    Done,
}

impl<M: Machine> Shard<M> {
    pub(crate) fn new(number: usize, shared: Arc<Shared<M>>, cx: Cx<M>) -> Self {
        let now = cx.env.clock.monotonic();
        let next_tick = now + cx.config.tick;
        let share = cx.config.scrub_bytes_per_second / cx.config.shards.max(1) as u64;
        let scrub = Scrub::new(share, cx.config.scrub_every, now);
        Self {
            number,
            shared,
            cx,
            replicas: BTreeMap::new(),
            scrub,
            events: Vec::new(),
            touched: Vec::new(),
            awake: BTreeSet::new(),
            timers: BTreeSet::new(),
            open_logs: BTreeSet::new(),
            next_tick,
            handing: None,
            closing: Closing::No,
            told_failure: false,
        }
    }

    /// Whether a turn would find something to do before its next deadline.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.touched.is_empty() || self.cx.inbox.has_events()
    }

    /// Whether it was told to close and is through, or has failed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.closing == Closing::Done
    }

    /// Why the node must stop, if it must.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.cx.failed.as_deref()
    }

    /// Takes everything that waits and does what is due. Returns when it wants its next turn, on
    /// the monotonic clock, however little comes until then.
    pub fn turn(&mut self) -> Duration {
        self.cx.now = Now::of(&self.cx.env);
        let mut events = std::mem::take(&mut self.events);
        self.cx.inbox.take(&mut events);
        self.cx.metrics.events_per_turn.record(events.len() as u64);
        self.handle_all(&mut events);
        self.events = events;
        self.tick_if_due();
        self.take_timers();
        self.attend_touched();
        self.close_logs_if_short();
        self.hand_over_further();
        self.close_further();
        self.tell_failure();
        // The others first: what they do with it takes longer than this node's own write.
        self.cx.outbound.flush();
        self.submit();
        self.deadline()
    }

    /// Hands to the journal what all groups of this turn want to be durable: one frame takes it.
    fn submit(&mut self) {
        if !self.cx.submissions.is_empty() {
            self.cx.journal.submit_all(self.cx.submissions.drain(..));
        }
    }

    fn handle_all(&mut self, events: &mut Vec<Event<M>>) {
        for (place, event) in (1..).zip(events.drain(..)) {
            self.handle(event);
            self.pulse_after(place);
        }
    }

    /// A turn of thousands of groups may take longer than other nodes wait before they suspect this
    /// one, and their elections in all of those groups would make the next turns longer still. A shard
    /// that gets on is not one that hangs, however long its turn is.
    fn pulse_after(&self, place: usize) {
        if place.is_multiple_of(STRIDE) {
            self.pulse();
        }
    }

    fn pulse(&self) {
        self.shared.pulse.shard_ticked(self.number);
        if self.number == 0 {
            self.watch_disk();
        }
    }

    fn deadline(&self) -> Duration {
        if !self.touched.is_empty() {
            return self.cx.now.monotonic;
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.map_or(self.next_tick, |at| at.min(self.next_tick))
    }

    fn tick_if_due(&mut self) {
        let now = self.cx.now.monotonic;
        if now < self.next_tick {
            return;
        }
        // After a pause it is one tick, not many: nothing could have been heard meanwhile.
        self.next_tick = now + self.cx.config.tick;
        self.pulse();
        self.cx.open_logs_max = (self.cx.open_logs_max + 1).min(self.cx.config.open_logs_max);
        if self.number == 0 {
            // The first shard lets the journal's time pass, and watches the disk for all.
            self.cx.journal.tick(now);
        }
        self.scrub_if_due();
        for (place, group) in (1..).zip(&self.awake) {
            if let Some(replica) = self.replicas.get_mut(group) {
                replica.tick(&mut self.cx);
                self.touched.push(*group);
            }
            self.pulse_after(place);
        }
    }

    fn watch_disk(&self) {
        let config = &self.cx.config;
        let limit = config.tick * config.disk_stall_ticks;
        if self
            .cx
            .journal
            .oldest_unsynced()
            .is_none_or(|age| age <= limit)
        {
            self.shared.pulse.disk_is_well();
        }
    }

    fn take_timers(&mut self) {
        let now = self.cx.now.monotonic;
        while let Some((_, group)) = self.timers.pop_first_if_due(now) {
            if let Some(replica) = self.replicas.get_mut(&group) {
                replica.armed = None;
                self.touched.push(group);
            }
        }
    }

    fn attend_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for (place, group) in (1..).zip(touched.drain(..)) {
            let Some(replica) = self.replicas.get_mut(&group) else {
                continue;
            };
            replica.turn(&mut self.cx);
            arm(&mut self.cx, &mut self.awake, &mut self.timers, replica);
            self.note_open_log(group);
            self.pulse_after(place);
        }
        // Its memory serves the next turn.
        self.touched = touched;
        self.touched.append(&mut self.cx.again);
    }

    /// Counts a group's log if it is open for writing now.
    fn note_open_log(&mut self, group: GroupId) {
        let replica = self.replicas.get(&group);
        if replica.is_some_and(|replica| replica.log.is_open_for_writing()) {
            self.open_logs.insert(group);
            self.close_logs();
        } else {
            self.open_logs.remove(&group);
        }
    }

    /// Keeps the files that are open for writing within their bound: closes those of the groups that
    /// have gone without an entry for longest, and some more, so that it is seldom looked for them.
    /// Those that are being synced stay open; syncs have the same bound.
    fn close_logs(&mut self) {
        if self.open_logs.len() <= self.cx.open_logs_max {
            return;
        }
        let left = self.cx.open_logs_max - self.cx.open_logs_max / 8;
        let by_age = self.open_logs.iter().filter_map(|group| {
            let replica = self.replicas.get(group)?;
            replica.may_park().then_some((replica.last_append, *group))
        });
        let mut by_age: Vec<(Duration, GroupId)> = by_age.collect();
        by_age.sort_unstable();
        for (_, group) in by_age.into_iter().take(self.open_logs.len() - left) {
            if let Some(replica) = self.replicas.get_mut(&group) {
                replica.park();
            }
            self.open_logs.remove(&group);
        }
    }

    /// Without files to open, half of the logs that have some open are closed; the bound rises again
    /// with time.
    fn close_logs_if_short(&mut self) {
        if !std::mem::take(&mut self.cx.is_short_of_files) {
            return;
        }
        self.cx.open_logs_max = (self.open_logs.len() / 2).max(1);
        tracing::warn!(
            logs = self.cx.open_logs_max,
            "no more files may be opened (ulimit -n): logs that are open for writing are closed"
        );
        self.close_logs();
    }

    fn with(&mut self, group: GroupId, work: impl FnOnce(&mut Replica<M>, &mut Cx<M>)) -> bool {
        let Some(replica) = self.replicas.get_mut(&group) else {
            return false;
        };
        work(replica, &mut self.cx);
        self.touched.push(group);
        // The messages of one turn may bring entries for thousands of groups.
        self.note_open_log(group);
        true
    }

    fn handle(&mut self, event: Event<M>) {
        match event {
            Event::Request { group, request } => self.request(group, request),
            Event::Message(message) => {
                let group = message.message.group;
                if !self.with(group, |replica, cx| replica.message(cx, message)) {
                    self.cx.metrics.refused_messages.add(1);
                }
            }
            Event::Chunk { from, chunk } => {
                self.with(chunk.group, |replica, cx| replica.chunk(cx, from, chunk));
            }
            Event::ChunkAck { from, ack } => {
                self.with(ack.group, |replica, cx| replica.chunk_ack(cx, from, ack));
            }
            Event::Persisted {
                group,
                submitted,
                result,
            } => {
                let took = self.cx.now.monotonic.saturating_sub(submitted);
                self.cx.metrics.persist_micros.record_micros(took);
                self.with(group, |replica, cx| replica.persisted(cx, result));
            }
            Event::VoteStored {
                group,
                number,
                result,
            } => {
                self.with(group, |replica, cx| replica.vote_stored(cx, number, result));
            }
            Event::Marked { group, result } => {
                self.with(group, |replica, cx| replica.marked(cx, result));
            }
            Event::NeedMark { group } => {
                self.with(group, |replica, _| replica.need_mark());
            }
            Event::Synced {
                group,
                number,
                outcome,
            } => {
                self.cx.syncs = self.cx.syncs.saturating_sub(1);
                self.with(group, |replica, cx| replica.synced(cx, number, outcome));
                if let Some(next) = self.cx.sync_queue.pop_front() {
                    self.touched.push(next);
                }
            }
            Event::StagedSynced {
                group,
                number,
                outcome,
            } => {
                self.with(group, |replica, cx| {
                    replica.staged_synced(cx, number, outcome)
                });
            }
            Event::Fetched {
                group,
                send,
                result,
            } => {
                self.with(group, |replica, cx| replica.fetched(cx, send, result));
            }
            Event::Checked { group, checked } => {
                if checked.is_of_scrub() {
                    self.scrubbed(group, &checked);
                }
                self.with(group, |replica, cx| replica.checked(cx, &checked));
            }
            Event::RepairRead {
                group,
                send,
                entries,
                damaged,
            } => {
                self.with(group, |replica, cx| {
                    replica.repair_read(cx, &send, entries, &damaged);
                });
            }
            Event::Peer(event) => self.peer(event),
            Event::HandOver { done } => self.begin_handing_over(done),
            Event::WantFiles => self.cx.is_short_of_files = true,
            Event::Leaving(node) => drop(self.cx.leaving.insert(node)),
            Event::Close => self.begin_closing(),
            order => self.order(order),
        }
    }

    /// What the rest of the node wants.
    fn order(&mut self, event: Event<M>) {
        match event {
            Event::Read { group, reply } => match self.replicas.get_mut(&group) {
                Some(replica) => {
                    replica.read(&self.cx, reply);
                    self.touched.push(group);
                }
                None => reply(Err(ReadRefused::UnknownGroup)),
            },
            Event::Transfer { group, to, reply } => match self.replicas.get_mut(&group) {
                Some(replica) => {
                    replica.transfer(&self.cx, to, reply);
                    self.touched.push(group);
                }
                None => reply(Err(TransferRefused::UnknownGroup)),
            },
            Event::Change {
                group,
                changes,
                transition,
                reply,
            } => match self.replicas.get_mut(&group) {
                Some(replica) => {
                    replica.change(&mut self.cx, &changes, transition, reply);
                    self.touched.push(group);
                }
                None => reply(Err(ChangeRefused::UnknownGroup)),
            },
            Event::Discard {
                group,
                confirmed,
                reply,
            } => match self.replicas.get_mut(&group) {
                Some(replica) => {
                    replica.discard_doubtful(&self.cx, confirmed, reply);
                    self.touched.push(group);
                }
                None => reply(Err(DiscardRefused::UnknownGroup)),
            },
            Event::Damaged { group, next } => {
                self.with(group, |replica, cx| replica.reader_met_damage(cx, next));
            }
            Event::Check { group } => {
                self.with(group, |replica, cx| replica.check_log(cx));
            }
            Event::Campaign { group } => {
                self.with(group, |replica, cx| replica.campaign(cx));
            }
            Event::Priority { group, priority } => {
                self.with(group, |replica, _| replica.set_priority(priority));
            }
            Event::Instruct { group, instruction } => {
                self.with(group, |replica, _| replica.instruct(instruction));
            }
            Event::Configure { group, log } => {
                self.with(group, |replica, _| replica.configure(log));
            }
            Event::Open { spec, done } => self.open(*spec, done),
            Event::Forget { group, done } => self.forget(group, done),
            Event::Status { group, reply } => {
                reply(self.replicas.get(&group).map(|replica| replica.status()));
            }
            Event::Statuses { reply } => {
                let all = self.replicas.iter();
                reply(
                    all.map(|(group, replica)| (*group, replica.status()))
                        .collect(),
                );
            }
            _ => {}
        }
    }

    fn request(&mut self, group: GroupId, request: M::Request) {
        self.cx.metrics.queued_requests.sub(1);
        match self.replicas.get_mut(&group) {
            Some(replica) => {
                replica.request(request);
                self.touched.push(group);
            }
            None => {
                self.cx.metrics.refused_requests.add(1);
                M::refuse(request, Refusal::UnknownGroup);
            }
        }
    }

    fn peer(&mut self, event: PeerEvent) {
        let (node, is_suspected): (NodeId, bool) = match event {
            PeerEvent::Suspect(node) => (node, true),
            PeerEvent::Alive(node) => (node, false),
            // Every message says whose life it is from.
            PeerEvent::Reset(node, _) => {
                self.cx.leaving.remove(&node);
                return;
            }
        };
        for (group, replica) in &mut self.replicas {
            if replica.core.configuration().is_member(node) {
                replica.peer(&self.cx, node, is_suspected);
                self.touched.push(*group);
            }
        }
        self.note_peer(node, is_suspected);
    }

    /// Groups that are opened later must know as well.
    fn note_peer(&mut self, node: NodeId, is_suspected: bool) {
        if is_suspected {
            self.cx.suspected.insert(node);
        } else {
            self.cx.suspected.remove(&node);
        }
    }

    fn open(&mut self, spec: GroupSpec<M>, done: OpenDone) {
        let group = spec.group;
        let opened = if self.replicas.contains_key(&group) {
            Err(OpenGroupError::Twice { group })
        } else if self.closing != Closing::No || self.cx.failed.is_some() {
            Err(OpenGroupError::ShuttingDown)
        } else {
            let found = self.shared.found.get(group);
            Replica::open(&mut self.cx, spec, found)
        };
        if opened.is_ok() {
            self.shared.found.forget(group);
        }
        done(opened.map(|replica| self.host(replica)));
    }

    fn host(&mut self, mut replica: Replica<M>) -> Arc<Group> {
        let group = replica.group;
        for node in self.cx.suspected.clone() {
            replica.peer(&self.cx, node, true);
        }
        // Many may be opened before the next turn, and what the journal had was appended to them.
        if self.open_logs.len() >= self.cx.open_logs_max && replica.may_park() {
            replica.park();
        } else if replica.log.is_open_for_writing() {
            self.open_logs.insert(group);
        }
        let shared = Arc::clone(&replica.shared);
        self.shared
            .groups
            .write()
            .insert(group, Arc::clone(&shared));
        self.replicas.insert(group, Box::new(replica));
        self.touched.push(group);
        shared
    }

    fn forget(&mut self, group: GroupId, done: Box<dyn FnOnce() + Send>) {
        let (replay, vote) = self.shared.found.get(group);
        self.shared.found.forget(group);
        let dir = self.replicas.remove(&group).map(|mut replica| {
            replica.leave(&mut self.cx);
            self.awake.remove(&group);
            self.open_logs.remove(&group);
            if let Some(at) = replica.armed {
                self.timers.remove(&(at, group));
            }
            self.shared.groups.write().remove(&group);
            replica.shared.close();
            replica.dir().to_owned()
        });
        if dir.is_none() && replay.mark.is_none() && replay.entries.is_empty() && vote.is_none() {
            done();
            return;
        }
        self.cx.votes.forget(group, Box::new(|_| ()));
        let (background, disk) = (self.cx.background.clone(), Arc::clone(&self.cx.env.disk));
        let forgotten = move |result: Result<(), _>| {
            if result.is_ok()
                && let Some(dir) = dir
            {
                background.remove_dir(&disk, dir);
            }
            done();
        };
        self.cx.submissions.push(Submission {
            group,
            ops: vec![JournalOp::Forget],
            done: Box::new(forgotten),
        });
    }

    fn begin_handing_over(&mut self, done: Arc<OnDrop>) {
        self.cx.is_leaving = true;
        self.handing = Some((self.cx.now.monotonic + self.cx.config.handover, done));
        for (group, replica) in &mut self.replicas {
            if replica.hand_over(&self.cx) {
                self.touched.push(*group);
            }
        }
    }

    /// Leadership that is here yet, or again, goes; whoever waits for that hears of its end.
    fn hand_over_further(&mut self) {
        if !self.cx.is_leaving || self.cx.is_closing {
            return;
        }
        let mut is_left = false;
        for (group, replica) in &mut self.replicas {
            let was_begun = replica.core.status().transfer.is_some();
            if replica.hand_over(&self.cx) {
                is_left = true;
                if !was_begun {
                    self.touched.push(*group);
                }
            }
        }
        let now = self.cx.now.monotonic;
        if !is_left
            || self
                .handing
                .as_ref()
                .is_some_and(|(until, _)| *until <= now)
        {
            self.handing = None;
        }
    }

    fn begin_closing(&mut self) {
        if self.closing != Closing::No {
            return;
        }
        let now = self.cx.now.monotonic;
        self.closing = Closing::HandingOver(now + self.cx.config.handover);
        self.cx.is_closing = true;
        self.handing = None;
        for (group, replica) in &mut self.replicas {
            replica.hand_over(&self.cx);
            self.touched.push(*group);
        }
    }

    /// Goes on with a clean stop: leadership first, then what waits for answers, then the logs.
    fn close_further(&mut self) {
        if self.cx.failed.is_some() && self.closing != Closing::No {
            self.closing = Closing::Done;
        }
        match self.closing {
            Closing::HandingOver(until) => {
                let is_late = until <= self.cx.now.monotonic;
                if !is_late && !self.has_handed_over() {
                    return;
                }
                for replica in self.replicas.values_mut() {
                    replica.step_back(&mut self.cx);
                }
                self.cx.is_settling = true;
                for (group, replica) in &mut self.replicas {
                    replica.finish();
                    self.touched.push(*group);
                }
                self.closing = Closing::Finishing;
            }
            Closing::Finishing => {
                let mut replicas = self.replicas.values();
                if self.touched.is_empty() && replicas.all(|replica| replica.is_finished()) {
                    self.close_all();
                    self.closing = Closing::Done;
                }
            }
            Closing::No | Closing::Done => {}
        }
    }

    fn has_handed_over(&mut self) -> bool {
        let cx = &self.cx;
        let mut replicas = self.replicas.values_mut();
        replicas.all(|replica| !replica.hand_over(cx) && replica.is_settled())
    }

    fn close_all(&mut self) {
        for (_, mut replica) in std::mem::take(&mut self.replicas) {
            replica.leave(&mut self.cx);
            replica.shared.close();
        }
        self.shared.groups.write().clear();
        self.awake.clear();
        self.timers.clear();
        self.touched.clear();
    }

    /// Answers what came after the shard had closed.
    pub(crate) fn answer_late(&self) {
        for event in self.cx.inbox.close() {
            match event {
                Event::Request { request, .. } => {
                    self.cx.metrics.queued_requests.sub(1);
                    M::refuse(request, Refusal::ShuttingDown);
                }
                Event::Read { reply, .. } => reply(Err(ReadRefused::Stopped)),
                Event::Transfer { reply, .. } => reply(Err(TransferRefused::Stopped)),
                Event::Change { reply, .. } => reply(Err(ChangeRefused::Unknown)),
                Event::Discard { reply, .. } => reply(Err(DiscardRefused::Stopped)),
                Event::Open { done, .. } => done(Err(OpenGroupError::ShuttingDown)),
                Event::Forget { done, .. } => done(),
                Event::Status { reply, .. } => reply(None),
                Event::Statuses { reply } => reply(Vec::new()),
                _ => {}
            }
        }
    }

    /// Tells everybody, once, that the node must stop.
    fn tell_failure(&mut self) {
        let Some(reason) = self.cx.failed.clone() else {
            return;
        };
        if std::mem::replace(&mut self.told_failure, true) {
            return;
        }
        tracing::error!(reason, "this node stops: nothing more can be promised");
        for replica in self.replicas.values_mut() {
            replica.answer_all(&self.cx);
        }
        self.awake.clear();
        self.timers.clear();
        self.cx.observer.fatal(&reason);
    }
}

/// Sets the timer for what a group has to do next, and whether it ticks.
fn arm<M: Machine>(
    cx: &mut Cx<M>,
    awake: &mut BTreeSet<GroupId>,
    timers: &mut BTreeSet<(Duration, GroupId)>,
    replica: &mut Replica<M>,
) {
    let is_slow = replica.slow_down(cx);
    let is_awake = replica.stopped.is_none() && !replica.core.is_quiet() && !is_slow;
    if is_awake != replica.is_awake {
        replica.is_awake = is_awake;
        if is_awake {
            cx.metrics.awake.add(1);
            awake.insert(replica.group);
        } else {
            cx.metrics.awake.sub(1);
            awake.remove(&replica.group);
            replica.quieten(cx);
        }
    }
    let next = replica.deadline(cx);
    // An earlier timer stays: it will find nothing due and set the next.
    let is_later = |at| replica.armed.is_some_and(|armed| armed <= at);
    let Some(next) = next.filter(|&at| !is_later(at)) else {
        return;
    };
    if let Some(later) = replica.armed.replace(next) {
        timers.remove(&(later, replica.group));
    }
    timers.insert((next, replica.group));
}

/// Taking timers that are due.
trait Timers {
    fn pop_first_if_due(&mut self, now: Duration) -> Option<(Duration, GroupId)>;
}

impl Timers for BTreeSet<(Duration, GroupId)> {
    fn pop_first_if_due(&mut self, now: Duration) -> Option<(Duration, GroupId)> {
        self.first().filter(|(at, _)| *at <= now)?;
        self.pop_first()
    }
}
