//! One replica of a group: a core, its log, its machine, and who waits for what.
//!
//! It does what its core wants, in the order that the core's output asks for. The other files here
//! are its parts: `open` brings it back from the disk, `turn` takes inputs and drains the core,
//! `write` carries out the log's operations and gives them to the journal, `apply` feeds the
//! machine, `send` serves followers, `segments` makes the log durable apart from the journal,
//! `snapshot_out` and `snapshot_in` move whole groups, `suffix` is what outlives that, `stranded` lets time pass slowly while no
//! quorum is in reach, and `ask` answers reads and orders.

mod apply;
mod ask;
mod check;
mod chunk;
mod context;
mod lead;
mod limbo;
mod mend;
mod open;
mod rebuild;
mod replay;
mod segments;
mod send;
mod shortage;
mod snapshot_in;
mod snapshot_out;
mod stranded;
mod suffix;
mod turn;
mod write;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub(crate) use check::Checked;
pub(crate) use chunk::fuzz_part;
pub(crate) use context::{Cx, Now};
use trilith_peer::GroupMessage;
use trilith_raft::{Configuration, Core, EntryId, HardState, ReadId, SendEntries};
use trilith_storage::{Log, LogConfig};
use trilith_types::{
    EntryMeta, EntryPayload, GroupId, LogIndex, NodeId, Offset, Term, TimestampMs,
};

use crate::{
    Alarm, Group,
    event::{ChangeReply, ReadReply},
    machine::{Fate, Machine},
    pending::Pending,
    recent::Recent,
};

/// Where the log goes on, with what is proposed and not yet written.
#[derive(Clone, Copy, Debug)]
struct Tail {
    next_index: LogIndex,
    next_offset: Offset,
    /// The last entry's time; none goes before it.
    time: TimestampMs,
}

impl Tail {
    const fn follow(&mut self, meta: &EntryMeta) {
        self.next_index = meta.index.next();
        self.next_offset = meta.next_offset();
        self.time = meta.append_time;
    }
}

/// One replica.
pub(crate) struct Replica<M: Machine> {
    pub(crate) group: GroupId,
    pub(crate) shared: Arc<Group>,
    pub(crate) core: Core,
    pub(crate) log: Log,
    machine: M,
    /// The group's directory; logs lie in one directory for each generation.
    dir: PathBuf,
    generation: u64,
    log_config: LogConfig,
    tail: Tail,
    recent: Recent,

    /// Requests of this turn, and those that wait to hear who leads.
    requests: Vec<M::Request>,
    /// When leadership was last being handed over by this node.
    handed_over_at: Option<Duration>,
    /// Entries that were proposed and that the core has not handed out yet.
    proposed: VecDeque<(EntryMeta, EntryPayload)>,
    /// What their frames take, roughly.
    proposed_bytes: u64,
    /// Entries that came with the message that is being worked on.
    received: Vec<(EntryMeta, EntryPayload)>,
    pending: Pending<M::Pending>,
    changes: Pending<ChangeReply>,
    /// Set while the machine takes requests: the term that it leads in.
    leading: Option<Term>,

    hard: HardState,
    /// The members as of the log's base, then every configuration in the log.
    configurations: Vec<(LogIndex, Configuration)>,
    /// The end of the log was in doubt at the start, and is still.
    doubt: Option<EntryId>,
    /// The doubt is not durable yet: nothing is done before.
    doubt_unsaved: bool,
    /// The journal is to forget the entries from here on, once the doubt is durable.
    cut_from: Option<LogIndex>,

    write: write::Writing,
    /// A snapshot takes the place of the state just now.
    is_installing: bool,
    priority: u8,
    applied: LogIndex,
    /// Up to here entries may be applied.
    handed: LogIndex,
    /// Entries that were read to be applied.
    reading: VecDeque<(EntryMeta, EntryPayload)>,
    /// What comes next to be applied is damaged.
    apply_blocked: bool,

    /// More damage is looked for beside some that was met.
    is_looking_around: bool,

    next_read: u64,
    reads: BTreeMap<ReadId, ReadReply>,
    reads_waiting: BTreeMap<LogIndex, Vec<ReadReply>>,

    segments: segments::Segments,
    /// The latest commit index that each peer has not been told of yet.
    news: Vec<(NodeId, GroupMessage)>,
    /// Sends to peers whose queues have no room.
    parked_sends: Vec<SendEntries>,
    outgoing: BTreeMap<NodeId, snapshot_out::Outgoing>,
    staging: Option<snapshot_in::Staging>,
    next_number: u64,

    chore_at: Option<Duration>,
    /// When a file is opened that could not be, for want of descriptors.
    files_retry: Option<Duration>,
    pub(crate) last_append: Duration,
    /// When the shard looks at it next, apart from ticks.
    pub(crate) armed: Option<Duration>,
    /// Whether it is among those that tick.
    pub(crate) is_awake: bool,
    /// While no quorum is in reach: its next tick.
    slow_tick: Option<Duration>,
    pub(crate) stopped: Option<Arc<str>>,
}

impl<M: Machine> Replica<M> {
    /// Whether nobody waits for an answer, and nothing is on its way to the disk.
    pub(crate) fn is_settled(&self) -> bool {
        self.stopped.is_some()
            || (self.pending.is_empty() && self.changes.is_empty() && self.write.is_idle())
    }

    /// Stops this replica: it takes no part any more, and the others of the node go on.
    pub(crate) fn stop(&mut self, cx: &mut Cx<M>, reason: impl Into<String>) {
        if self.stopped.is_some() {
            return;
        }
        let reason: String = reason.into();
        tracing::error!(group = %self.group, reason, "a replica stops");
        let reason: Arc<str> = reason.into();
        self.stopped = Some(Arc::clone(&reason));
        cx.metrics.stopped.add(1);
        self.step_aside(cx);
        self.write.give_up();
        self.shared
            .change(|view| view.stopped = Some(Arc::clone(&reason)));
        self.answer_all(cx);
        self.recent_cleared(cx);
        let reason = reason.to_string();
        cx.observer.alarm(self.group, &Alarm::Stopped { reason });
    }

    /// Tells everybody who waits that nothing is known of what they wait for.
    pub(crate) fn answer_all(&mut self, cx: &Cx<M>) {
        for pending in self.pending.take_all() {
            cx.metrics.pending_requests.sub(1);
            M::abandon(pending, Fate::Unknown);
        }
        for reply in self.changes.take_all() {
            reply(Err(crate::ChangeRefused::Unknown));
        }
        let reads = std::mem::take(&mut self.reads).into_values();
        let waiting = std::mem::take(&mut self.reads_waiting).into_values();
        for reply in reads.chain(waiting.flatten()) {
            reply(Err(crate::ReadRefused::Stopped));
        }
        let refusal = self.refusal(cx);
        for request in std::mem::take(&mut self.requests) {
            cx.metrics.refused_requests.add(1);
            M::refuse(request, refusal.clone());
        }
    }

    /// A name for something that comes back later.
    const fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn recent_cleared(&mut self, cx: &mut Cx<M>) {
        self.keep_recent(cx, |recent| recent.clear());
    }

    /// Changes the recent entries, and keeps count of them.
    fn keep_recent(&mut self, cx: &mut Cx<M>, change: impl FnOnce(&mut Recent)) {
        let before = self.recent.bytes();
        change(&mut self.recent);
        let after = self.recent.bytes();
        cx.recent_bytes = (cx.recent_bytes + after).saturating_sub(before);
        if after >= before {
            cx.metrics.recent_bytes.add(after - before);
        } else {
            cx.metrics.recent_bytes.sub(before - after);
        }
    }

    /// Where its logs are.
    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// The group has gone quiet: what it keeps for speed goes.
    pub(crate) fn quieten(&mut self, cx: &mut Cx<M>) {
        if self.stopped.is_none() && self.applied == self.log.last_index() {
            self.recent_cleared(cx);
        }
        self.write.release_memory();
        self.requests.shrink_to_fit();
        self.proposed.shrink_to_fit();
        self.parked_sends.shrink_to_fit();
        self.news = Vec::new();
        self.reading.clear();
    }

    /// The node stops: nothing more is promised to anybody.
    pub(crate) fn step_back(&mut self, cx: &mut Cx<M>) {
        self.step_aside(cx);
        self.answer_all(cx);
    }

    /// The replica leaves the shard.
    pub(crate) fn leave(&mut self, cx: &mut Cx<M>) {
        self.step_aside(cx);
        self.answer_all(cx);
        self.recent_cleared(cx);
        self.end_snapshots(cx);
        cx.metrics.groups.sub(1);
        if self.core.status().vote_lost {
            cx.metrics.voteless.sub(1);
        }
        if self.is_awake {
            cx.metrics.awake.sub(1);
        }
        if self.stopped.is_some() {
            cx.metrics.stopped.sub(1);
        }
    }
}
