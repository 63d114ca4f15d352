//! What a replica works with: the shard's share of the node.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use trilith_env::Env;
use trilith_raft::{Moment, Output};
use trilith_storage::{
    FileCache, SyncRounds,
    journal::{Journal, Submission},
    votes::Votes,
};
use trilith_types::{GroupId, NodeId, TimestampMs};

use crate::{
    HostConfig, Metrics, Observer, Outbound, background::Background, event::Event, inbox::Inbox,
    machine::Machine,
};

/// Now, on both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    pub(crate) monotonic: Duration,
    pub(crate) wall: TimestampMs,
}

impl Now {
    pub(crate) fn of(env: &Env) -> Self {
        Self {
            monotonic: env.clock.monotonic(),
            wall: env.clock.wall(),
        }
    }

    /// As cores have it.
    pub(crate) fn moment(&self) -> Moment {
        Moment(u64::try_from(self.monotonic.as_micros()).unwrap_or(u64::MAX))
    }
}

/// What all replicas of a shard work with.
pub(crate) struct Cx<M: Machine> {
    pub(crate) env: Env,
    pub(crate) config: Arc<HostConfig>,
    pub(crate) journal: Journal,
    pub(crate) votes: Votes,
    pub(crate) files: Arc<FileCache>,
    /// Who makes syncs of segments, many of them together.
    pub(crate) syncer: Arc<SyncRounds>,
    pub(crate) outbound: Arc<dyn Outbound>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) metrics: Arc<Metrics>,
    /// The shard's own: completions of the disk are sent here.
    pub(crate) inbox: Arc<Inbox<Event<M>>>,
    pub(crate) background: Background,
    pub(crate) now: Now,
    /// Serves one core after the other.
    pub(crate) out: Output,
    /// Bytes of recent entries of all groups.
    pub(crate) recent_bytes: u64,
    /// Syncs of segments that are under way.
    pub(crate) syncs: usize,
    /// Groups that wait for one of those to end.
    pub(crate) sync_queue: VecDeque<GroupId>,
    /// Snapshots that are being sent.
    pub(crate) snapshots: usize,
    /// What goes to the journal at the end of the turn.
    pub(crate) submissions: Vec<Submission>,
    /// Groups that want another turn.
    pub(crate) again: Vec<GroupId>,
    /// Nodes that have not been heard of for a while.
    pub(crate) suspected: BTreeSet<NodeId>,
    /// Nodes that said that they are about to stop.
    pub(crate) leaving: BTreeSet<NodeId>,
    /// Most logs that are open for writing just now; less than the setting after a shortage.
    pub(crate) open_logs_max: usize,
    /// Somebody was not allowed to open a file in this turn.
    pub(crate) is_short_of_files: bool,
    /// Leadership is handed over whenever it is here: the node is about to be shut down.
    pub(crate) is_leaving: bool,
    /// Why the node must stop.
    pub(crate) failed: Option<String>,
    /// The last syncs and marks are on their way: nothing more is heard.
    pub(crate) is_settling: bool,
    /// Requests are refused: the node is being shut down.
    pub(crate) is_closing: bool,
}

impl<M: Machine> Cx<M> {
    /// A write or sync failed: nothing more can be promised by this node.
    pub(crate) fn fail(&mut self, reason: impl Into<String>) {
        if self.failed.is_none() {
            self.failed = Some(reason.into());
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.config.node
    }
}
